/**
 * What is kept of an endpoint? One document: the active rollout, the one that waits, those that ended, and what is
 * still to be told. One document per endpoint is what makes "one active rollout per endpoint" a fact and not a hope.
 */
import { z } from 'zod';
import { policySchema } from '../policy/policy.ts';
import { verdictSchema } from '../analysis/verdict.ts';
import { happenings } from './announce.ts';
import { blessingSchema } from './context.ts';
import { migratedRecord } from './migrations.ts';
import { snapshotSchemaVersion, storedRolloutSchema } from './snapshot.ts';
import { rolloutStates } from './view.ts';

const notificationSchema = z.strictObject({
  /** `<rollout>/<sequence>`: the id of the CloudEvent, the same however often it is sent. */
  id: z.string(),
  what: z.enum(happenings),
  rollout: z.string(),
  endpoint: z.string(),
  model: z.string(),
  versionId: z.string(),
  state: z.enum(rolloutStates),
  percent: z.number(),
  reason: z.string(),
  by: z.string().nullable(),
  verdict: verdictSchema.nullable(),
  at: z.number(),
});

export const recordSchema = z.strictObject({
  schema: z.literal(snapshotSchemaVersion),
  endpoint: z.string(),
  active: storedRolloutSchema.nullable(),
  /** One place; the newest takes it. */
  queued: z.strictObject({ blessing: blessingSchema, policy: policySchema, queuedAt: z.number() }).nullable(),
  /** Newest first. */
  history: z.array(
    z.strictObject({
      rollout: z.string(),
      model: z.string(),
      versionId: z.string(),
      state: z.enum(rolloutStates),
      endedAt: z.number(),
    }),
  ),
  /** When the version of the newest rollout was blessed: what was blessed earlier comes too late. */
  newestBlessedAt: z.number().default(0),
  outbox: z.array(notificationSchema),
  /** Numbers journal entries and notifications. */
  sequence: z.int(),
});

export type EndpointRecord = z.infer<typeof recordSchema>;
export type OutboxNotification = z.infer<typeof notificationSchema>;

/** Parses what was stored, by this version or an earlier one. */
export function parseRecord(data: unknown): z.ZodSafeParseResult<EndpointRecord> {
  return recordSchema.safeParse(migratedRecord(data));
}

export function emptyRecord(endpoint: string): EndpointRecord {
  return {
    schema: snapshotSchemaVersion,
    endpoint,
    active: null,
    queued: null,
    history: [],
    newestBlessedAt: 0,
    outbox: [],
    sequence: 0,
  };
}

/** True while a tick must look at the record. */
export function isActiveRecord(record: EndpointRecord): boolean {
  return record.active !== null || record.queued !== null || record.outbox.length > 0;
}
