/**
 * Where does the deployed controller keep its records? StorePort over Firestore, one atomic batch per commit.
 *
 * Every write names what it expects (`lastUpdateTime`, or that there is no such document yet) and no transaction is used:
 * one that dies keeps its locks for a minute. It also makes a late write harmless: Firestore's client tries again by
 * itself for longer than our deadline, and what arrives after we gave up finds its precondition gone, or is recognised.
 */
import { createHash, randomUUID } from 'node:crypto';
import type { DocumentReference, DocumentSnapshot, Firestore, Timestamp } from '@google-cloud/firestore';
import { z } from 'zod';
import { PermanentError, TransientError } from '../engine/errors.ts';
import { limits } from '../engine/limits.ts';
import { log } from '../engine/log.ts';
import type { ArchivedRollout, Commit, CommitResult, JournalEntry, Stored, StorePort } from '../engine/ports.ts';
import { storedJson } from '../engine/stored-json.ts';
import type { RecordClients } from './clients.ts';
import { type CollectionQuery, queryCollection } from './firestore-query.ts';
import { call, parseReply } from './status.ts';

const recordsCollection = 'rollout-endpoints';

/** JSON as text: Firestore's own values know no nested arrays, and would index every field of a snapshot. */
const json = z.string().transform(storedJson);

const journalSchema = z.object({ at: z.number(), sequence: z.int(), data: json });
const rolloutSchema = z.object({ key: z.string(), startedAt: z.number(), endedAt: z.number().nullable(), data: json });

/** StorePort over Firestore. `close` leaves the client open: it belongs to `clients`. */
export function firestoreStore(clients: Pick<RecordClients, 'firestore' | 'firestoreRest'>): StorePort {
  function ask<T>(name: string, act: (firestore: Firestore) => Promise<T>): Promise<T> {
    return call(name, limits.callDeadlineMs, async () => act(await clients.firestore()));
  }

  async function list(query: Pick<CollectionQuery, 'where' | 'after' | 'limit'>): Promise<Stored[]> {
    const found = await queryCollection(clients, { collection: recordsCollection, field: 'data', ...query });
    return found.map(({ id, value, revision }) => ({ key: id, data: storedJson(value), revision }));
  }

  return {
    load: (key) =>
      ask(`Load ${key}`, async (firestore) => {
        const snapshot = await recordAt(firestore, key).get();
        return snapshot.exists ? storedOf(snapshot) : null;
      }),

    listActive: (page) => list({ where: 'isActive', ...page }),

    listAll: (page) => list({ ...page }),

    async commit(change) {
      const commitId = randomUUID();
      try {
        return await ask(`Commit ${change.key}`, (firestore) => write(firestore, change, commitId));
      } catch (error) {
        if (!mayBeRefusal(error)) throw error;
        const result = await ask(`Commit ${change.key}`, (firestore) => refusalOf(firestore, change, commitId));
        if (result !== null) return result;
        // Contention that has passed: to look again is right for it. Anything else must not be silent.
        if (error instanceof TransientError) return { kind: 'conflict' };
        throw error;
      }
    },

    isMarked: (mark) => ask('Read mark', async (firestore) => (await markAt(firestore, mark).get()).exists),

    readRollout: (id) =>
      ask(`Read rollout ${id}`, async (firestore) => {
        const snapshot = await rolloutAt(firestore, id).get();
        return snapshot.exists ? archivedOf(snapshot) : null;
      }),

    listRollouts: (limit) =>
      ask('List rollouts', async (firestore) => {
        const found = await firestore.collection('rollouts').orderBy('startedAt', 'desc').limit(limit).get();
        return readable(found.docs, archivedOf);
      }),

    listJournal: (rollout, limit) =>
      ask(`List journal of ${rollout}`, async (firestore) => {
        // Without an order of its own a query is ordered by document id, which begins with the time.
        const found = await rolloutAt(firestore, rollout).collection('journal').limit(limit).get();
        return readable(
          found.docs,
          (document): JournalEntry => ({ rollout, ...parseReply(document.ref.path, journalSchema, document.data()) }),
        );
      }),

    close: () => Promise.resolve(),
  };
}

/**
 * `commitId` makes each write differ from the one before. Without it, a write that changes nothing would keep the update
 * time, and two commits could both succeed on one revision.
 */
async function write(firestore: Firestore, change: Commit, commitId: string): Promise<CommitResult> {
  const batch = firestore.batch();
  const record = recordAt(firestore, change.key);
  const fields = { data: JSON.stringify(change.data), isActive: change.isActive, commitId };
  if (change.expected === null) batch.create(record, fields);
  else batch.update(record, fields, { lastUpdateTime: await timestampOf(change.expected) });
  for (const mark of new Set(change.marks)) batch.create(markAt(firestore, mark), { mark });
  for (const entry of change.journal) {
    const { at, sequence, data } = entry;
    batch.create(journalAt(firestore, entry), { at, sequence, data: JSON.stringify(data), expireAt: expiry(at) });
  }
  for (const { id, key, startedAt, endedAt, data } of change.archive) {
    const expires = endedAt === null ? {} : { expireAt: expiry(endedAt) };
    batch.set(rolloutAt(firestore, id), { key, startedAt, endedAt, data: JSON.stringify(data), ...expires });
  }
  const [written] = await batch.commit();
  if (written === undefined)
    throw new PermanentError('internal', `Commit ${change.key}: the reply has no write result`);
  return { kind: 'committed', revision: revisionOf(written.writeTime) };
}

/** When Firestore may delete it, where the database has a policy for that; a Date is a timestamp there. */
function expiry(at: number): Date {
  return new Date(at + limits.historyKeepMs);
}

/**
 * Firestore says that a precondition failed, and not which. Null: none of those that can fail lawfully, so it is an error.
 * An answer can be lost and the client's next try be refused by its own first: such a commit was made.
 */
async function refusalOf(firestore: Firestore, change: Commit, commitId: string): Promise<CommitResult | null> {
  const marks = [...new Set(change.marks)];
  const [record, ...marked] = await firestore.getAll(
    recordAt(firestore, change.key),
    ...marks.map((mark) => markAt(firestore, mark)),
  );
  const revision = record?.updateTime === undefined ? null : revisionOf(record.updateTime);
  if (revision !== null && record?.get('commitId') === commitId) return { kind: 'committed', revision };
  const used = marks.find((_, i) => marked[i]?.exists);
  if (used !== undefined) return { kind: 'duplicate', mark: used };
  return revision === change.expected ? null : { kind: 'conflict' };
}

function mayBeRefusal(error: unknown): boolean {
  if (error instanceof PermanentError) return ['alreadyExists', 'failedPrecondition', 'notFound'].includes(error.code);
  return error instanceof TransientError && error.code === 'conflict';
}

function recordAt(firestore: Firestore, key: string): DocumentReference {
  return firestore.collection(recordsCollection).doc(key);
}

function rolloutAt(firestore: Firestore, id: string): DocumentReference {
  return firestore.collection('rollouts').doc(encodeURIComponent(id));
}

/** A mark is any text; a document id is not. */
function markAt(firestore: Firestore, mark: string): DocumentReference {
  return firestore.collection('rollout-marks').doc(createHash('sha256').update(mark).digest('hex'));
}

/** Padded, so that ids sort as sequences do. */
function journalAt(firestore: Firestore, { rollout, sequence }: JournalEntry): DocumentReference {
  const id = String(sequence).padStart(12, '0');
  return rolloutAt(firestore, rollout).collection('journal').doc(id);
}

function storedOf(snapshot: DocumentSnapshot): Stored {
  if (snapshot.updateTime === undefined)
    throw new PermanentError('internal', `${snapshot.ref.path} has no update time`);
  return { key: snapshot.id, data: storedJson(snapshot.get('data')), revision: revisionOf(snapshot.updateTime) };
}

function archivedOf(snapshot: DocumentSnapshot): ArchivedRollout {
  return { id: decodedId(snapshot.id), ...parseReply(snapshot.ref.path, rolloutSchema, snapshot.data()) };
}

/** Ids that others made need not be encoded as ours are. */
function decodedId(id: string): string {
  try {
    return decodeURIComponent(id);
  } catch {
    return id;
  }
}

/** Of documents that somebody else wrote to, those that can still be read. The others are reported, and hide none of these. */
function readable<T>(documents: DocumentSnapshot[], read: (document: DocumentSnapshot) => T): T[] {
  return documents.flatMap((document) => {
    try {
      return [read(document)];
    } catch (error) {
      if (!(error instanceof PermanentError)) throw error;
      log('CRITICAL', error.message);
      return [];
    }
  });
}

function revisionOf(time: Timestamp): string {
  return `${time.seconds}.${time.nanoseconds}`;
}

async function timestampOf(revision: string): Promise<Timestamp> {
  const { Timestamp } = await import('@google-cloud/firestore');
  const [seconds, nanoseconds] = revision.split('.');
  return new Timestamp(Number(seconds), Number(nanoseconds));
}
