/**
 * Where does a local run keep its records? StorePort over one SQLite file that several processes share. Writers take turns
 * (BEGIN IMMEDIATE); readers see the last commit and never wait (WAL).
 */
import { DatabaseSync } from 'node:sqlite';
import { z } from 'zod';
import { messageOf, PermanentError, TransientError } from './errors.ts';
import { limits } from './limits.ts';
import type { ArchivedRollout, Commit, CommitResult, Page, Stored, StorePort } from './ports.ts';
import { storedJson } from './stored-json.ts';

const SCHEMA_VERSION = 1;

const schema = `
  CREATE TABLE records (
    key TEXT PRIMARY KEY, revision INTEGER NOT NULL, is_active INTEGER NOT NULL, data TEXT NOT NULL
  ) STRICT;
  CREATE TABLE marks (mark TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
  CREATE TABLE journal (
    rollout TEXT NOT NULL, at REAL NOT NULL, sequence INTEGER NOT NULL, data TEXT NOT NULL,
    PRIMARY KEY (rollout, at, sequence)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE rollouts (
    id TEXT PRIMARY KEY, key TEXT NOT NULL, started_at REAL NOT NULL, ended_at REAL, data TEXT NOT NULL
  ) STRICT;
  CREATE INDEX rollouts_by_start ON rollouts (started_at DESC, id DESC);
  PRAGMA user_version = ${SCHEMA_VERSION};
`;

/** To SQLite a negative limit is none, and every key comes after the empty text. */
const everything: Page = { after: null, limit: -1 };

const json = z.string().transform(storedJson);

const recordRow = z.object({ key: z.string(), revision: z.int(), data: json });
const journalRow = z.object({ rollout: z.string(), at: z.number(), sequence: z.int(), data: json });
const rolloutRow = z
  .object({ id: z.string(), key: z.string(), started_at: z.number(), ended_at: z.number().nullable(), data: json })
  .transform(
    ({ id, key, started_at: startedAt, ended_at: endedAt, data }): ArchivedRollout => ({
      id,
      key,
      startedAt,
      endedAt,
      data,
    }),
  );

const versionRow = z.object({ user_version: z.int() });
const sqliteErrorSchema = z.object({ errcode: z.int() });

/**
 * Opens the store, and creates the file where there is none. TransientError `unavailable` when another process holds the
 * file for longer than `busyMs`; PermanentError `failedPrecondition` when a newer version of this software wrote it.
 */
export function openSqliteStore(path: string, busyMs: number = limits.sqliteBusyMs): StorePort {
  const database = translating(path, () => open(path, busyMs));
  const sql = {
    load: database.prepare('SELECT key, revision, data FROM records WHERE key = ?'),
    listActive: database.prepare(
      'SELECT key, revision, data FROM records WHERE key > ? AND is_active = 1 ORDER BY key LIMIT ?',
    ),
    listAll: database.prepare('SELECT key, revision, data FROM records WHERE key > ? ORDER BY key LIMIT ?'),
    create: database.prepare('INSERT OR IGNORE INTO records (key, revision, is_active, data) VALUES (?, 1, ?, ?)'),
    replace: database.prepare(
      'UPDATE records SET revision = revision + 1, is_active = ?, data = ? WHERE key = ? AND revision = ?',
    ),
    mark: database.prepare('INSERT OR IGNORE INTO marks (mark) VALUES (?)'),
    isMarked: database.prepare('SELECT 1 FROM marks WHERE mark = ?'),
    journal: database.prepare('INSERT INTO journal (rollout, at, sequence, data) VALUES (?, ?, ?, ?)'),
    listJournal: database.prepare('SELECT * FROM journal WHERE rollout = ? ORDER BY sequence LIMIT ?'),
    archive: database.prepare(
      'INSERT OR REPLACE INTO rollouts (id, key, started_at, ended_at, data) VALUES (?, ?, ?, ?, ?)',
    ),
    readRollout: database.prepare('SELECT * FROM rollouts WHERE id = ?'),
    listRollouts: database.prepare('SELECT * FROM rollouts ORDER BY started_at DESC, id DESC LIMIT ?'),
  };

  /** SQLite answers at once; the promise is the port's, and carries what was thrown. */
  function attempt<T>(act: () => T): Promise<T> {
    return new Promise((resolve) => resolve(translating(path, act)));
  }

  /** Runs inside the transaction; whatever is not `committed` is undone by the caller. */
  function apply(change: Commit): CommitResult {
    // Marks first: that an event was handled before stays true, a conflict only asks to look again.
    for (const mark of new Set(change.marks)) {
      if (sql.mark.run(mark).changes === 0) return { kind: 'duplicate', mark };
    }
    const isActive = change.isActive ? 1 : 0;
    const data = JSON.stringify(change.data);
    const written =
      change.expected === null
        ? sql.create.run(change.key, isActive, data)
        : sql.replace.run(isActive, data, change.key, Number(change.expected));
    if (written.changes === 0) return { kind: 'conflict' };
    for (const entry of change.journal) {
      sql.journal.run(entry.rollout, entry.at, entry.sequence, JSON.stringify(entry.data));
    }
    for (const { id, key, startedAt, endedAt, data: summary } of change.archive) {
      sql.archive.run(id, key, startedAt, endedAt, JSON.stringify(summary));
    }
    return { kind: 'committed', revision: String(Number(change.expected ?? 0) + 1) };
  }

  return {
    load: (key) => attempt(() => storedOf(sql.load.all(key))[0] ?? null),
    listActive: ({ after, limit } = everything) => attempt(() => storedOf(sql.listActive.all(after ?? '', limit))),
    listAll: ({ after, limit } = everything) => attempt(() => storedOf(sql.listAll.all(after ?? '', limit))),
    commit: (change) =>
      attempt(() =>
        inTransaction(
          database,
          () => apply(change),
          (result) => result.kind === 'committed',
        ),
      ),
    isMarked: (mark) => attempt(() => sql.isMarked.get(mark) !== undefined),
    readRollout: (id) => attempt(() => z.array(rolloutRow).parse(sql.readRollout.all(id))[0] ?? null),
    listRollouts: (limit) => attempt(() => z.array(rolloutRow).parse(sql.listRollouts.all(limit))),
    listJournal: (rollout, limit) => attempt(() => z.array(journalRow).parse(sql.listJournal.all(rollout, limit))),
    close: () => attempt(() => database.close()),
  };
}

function storedOf(rows: unknown[]): Stored[] {
  return z
    .array(recordRow)
    .parse(rows)
    .map((row) => ({ ...row, revision: String(row.revision) }));
}

function open(path: string, busyMs: number): DatabaseSync {
  const database = new DatabaseSync(path, { timeout: busyMs });
  try {
    useWriteAheadLog(database, busyMs);
    inTransaction(
      database,
      () => migrate(database, path),
      () => true,
    );
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

/**
 * The first process to open a file turns it to WAL, and SQLite tells others that open it in this moment that it is busy
 * without waiting as it does elsewhere. So they wait here.
 */
function useWriteAheadLog(database: DatabaseSync, busyMs: number): void {
  const pauseMs = 20;
  for (let waitedMs = 0; ; waitedMs += pauseMs) {
    try {
      database.exec('PRAGMA journal_mode = WAL');
      return;
    } catch (error) {
      if (primaryCode(error) !== BUSY || waitedMs >= busyMs) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, pauseMs);
    }
  }
}

function migrate(database: DatabaseSync, path: string): void {
  const { user_version: version } = versionRow.parse(database.prepare('PRAGMA user_version').get());
  if (version === 0) database.exec(schema);
  else if (version !== SCHEMA_VERSION) {
    throw new PermanentError(
      'failedPrecondition',
      `${path} has schema version ${version}, expected ${SCHEMA_VERSION}: update this software, or use another file`,
    );
  }
}

/** Takes the writers' turn at once: a reader that turned writer halfway could find its snapshot outdated. */
function inTransaction<T>(database: DatabaseSync, act: () => T, isKept: (result: T) => boolean): T {
  database.exec('BEGIN IMMEDIATE');
  try {
    const result = act();
    database.exec(isKept(result) ? 'COMMIT' : 'ROLLBACK');
    return result;
  } finally {
    if (database.isTransaction) database.exec('ROLLBACK');
  }
}

/** SQLite's primary result codes. @see https://www.sqlite.org/rescode.html */
const BUSY = 5;
const LOCKED = 6;
const CONSTRAINT = 19;

function translating<T>(path: string, act: () => T): T {
  try {
    return act();
  } catch (error) {
    if (error instanceof PermanentError) throw error;
    const code = primaryCode(error);
    if (code === BUSY || code === LOCKED) {
      const message = `${path}: another process held it for too long; try again`;
      throw new TransientError('unavailable', message, { cause: error });
    }
    const message = `${path}: ${messageOf(error)}`;
    throw new PermanentError(code === CONSTRAINT ? 'alreadyExists' : 'internal', message, { cause: error });
  }
}

/** Null when the error is not SQLite's. Its extended codes keep the primary one in their lowest byte. */
function primaryCode(error: unknown): number | null {
  const parsed = sqliteErrorSchema.safeParse(error);
  return parsed.success ? parsed.data.errcode & 0xff : null;
}
