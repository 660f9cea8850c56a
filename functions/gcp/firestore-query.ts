/**
 * Which documents does a collection hold? Asked over REST: what a proxy's first answer and a tick over nothing need of
 * Firestore is this one question, and its client takes longer to load than all else that they do.
 *
 * @see https://cloud.google.com/firestore/docs/reference/rest/v1/projects.databases.documents/runQuery
 */
import { z } from 'zod';
import { limits } from '../engine/limits.ts';
import type { RecordClients } from './clients.ts';
import { ask } from './rest.ts';
import { call, parseReply } from './status.ts';

export interface CollectionQuery {
  collection: string;
  /** The field that is asked for. */
  field: string;
  /** Only documents where this field is true. */
  where?: string;
  /** Only documents after this id. */
  after?: string | null;
  limit?: number;
}

export interface FoundDocument {
  id: string;
  /** Text as text; anything else, which nobody of ours wrote, as Firestore's `Value` in JSON. Undefined where there is none. */
  value: unknown;
  /** When it was last written: seconds since the epoch, a point, and nanoseconds without leading zeros. */
  revision: string;
}

const textSchema = z.object({ stringValue: z.string() }).transform(({ stringValue }) => stringValue);

const replySchema = z.array(
  z.object({
    // What fails after the first document cannot change the status of the answer.
    error: z.object({ code: z.number(), message: z.string() }).optional(),
    // Absent where the element says only how far the query has come.
    document: z
      .object({
        name: z.string(),
        fields: z.record(z.string(), z.union([textSchema, z.unknown()])).default({}),
        updateTime: z.iso.datetime(),
      })
      .optional(),
  }),
);

/** The documents of a collection, ascending by id. Throws a TransientError or a PermanentError. */
export function queryCollection(
  clients: Pick<RecordClients, 'firestoreRest'>,
  { collection, field, where, after = null, limit }: CollectionQuery,
): Promise<FoundDocument[]> {
  const name = `List ${collection}`;
  return call(name, limits.callDeadlineMs, async () => {
    const { documents, ...rest } = await clients.firestoreRest();
    const structuredQuery = {
      select: { fields: [{ fieldPath: field }] },
      from: [{ collectionId: collection }],
      ...(where !== undefined && {
        where: { fieldFilter: { field: { fieldPath: where }, op: 'EQUAL', value: { booleanValue: true } } },
      }),
      // Ordered by id, which every index ends with, so that none is to be made for it.
      orderBy: [{ field: { fieldPath: '__name__' }, direction: 'ASCENDING' }],
      ...(after !== null && {
        startAt: { values: [{ referenceValue: `${documents}/${collection}/${after}` }], before: false },
      }),
      ...(limit !== undefined && { limit }),
    };
    const reply = await ask(rest, `/v1/${documents}:runQuery`, { structuredQuery }, limits.callDeadlineMs);
    return parseReply(name, replySchema, reply).flatMap(({ document, error }) => {
      if (error !== undefined) throw Object.assign(new Error(error.message), { status: error.code });
      if (document === undefined) return [];
      const { name: path, fields, updateTime } = document;
      return [{ id: path.slice(path.lastIndexOf('/') + 1), value: fields[field], revision: revisionOf(updateTime) }];
    });
  });
}

/** Of a time such as `2026-01-31T12:00:00.123456Z`. */
function revisionOf(time: string): string {
  const [, seconds = '', fraction = ''] = /^([^.Z]+)(?:\.(\d+))?Z$/.exec(time) ?? [];
  return `${Date.parse(`${seconds}Z`) / 1000}.${Number(fraction.padEnd(9, '0'))}`;
}
