/**
 * How is a rollout kept between two calls? A small JSON form with a schema number, parsed whenever it is loaded.
 * The number rises with every change of its shape; code that meets a newer one stops politely.
 */
import { initialTransition, type SnapshotFrom, transition } from 'xstate';
import { z } from 'zod';
import { contextSchema, type RolloutInput } from './context.ts';
import type { RolloutEvent } from './events.ts';
import { migratedRollout } from './migrations.ts';
import { type Duty, rolloutMachine } from './statechart.ts';

export const snapshotSchemaVersion = 2;

const progressSchema = z.union([
  z.enum(['promoted', 'rolledBack', 'aborted', 'failed', 'superseded']),
  z.strictObject({
    forward: z.union([
      z.enum(['deploying', 'warming']),
      z.strictObject({ preparing: z.enum(['inspecting', 'holdingReplicas']) }),
      z.strictObject({ moving: z.enum(['shifting', 'promoting']) }),
      z.strictObject({ analysing: z.enum(['watching', 'awaitingApproval']) }),
      z.strictObject({ observing: z.enum(['holding', 'keeping', 'retiring']) }),
    ]),
  }),
  z.strictObject({ rollingBack: z.enum(['restoring', 'cleaning']) }),
]);

const valueSchema = z.strictObject({ progress: progressSchema, pause: z.enum(['running', 'paused', 'ended']) });

export const storedRolloutSchema = z.strictObject({
  schema: z.literal(snapshotSchemaVersion),
  value: valueSchema,
  context: contextSchema,
});

export type StoredRollout = z.infer<typeof storedRolloutSchema>;
type Snapshot = SnapshotFrom<typeof rolloutMachine>;

/** Parses what was stored, by this version or an earlier one. */
export function parseRollout(data: unknown): z.ZodSafeParseResult<StoredRollout> {
  return storedRolloutSchema.safeParse(migratedRollout(data));
}

export function startRollout(input: RolloutInput): StoredRollout {
  const [snapshot] = initialTransition(rolloutMachine, input);
  if (snapshot.status === 'error') throw new Error('the statechart failed to start', { cause: snapshot.error });
  return stored(snapshot);
}

/** The rollout after the event; the very same object when no arrow took it, or an arrow changed nothing. */
export function stepRollout(rollout: StoredRollout, event: RolloutEvent): StoredRollout {
  const before = restored(rollout);
  const [after] = transition(rolloutMachine, before, event);
  if (after === before) return rollout;
  const next = stored(after);
  return isSame(next, rollout) ? rollout : next;
}

/** What the rollout's state owes the world; null when it is over. */
export function dutyOf(rollout: StoredRollout): Duty | null {
  return Object.values(restored(rollout).getMeta()).find((meta) => meta !== undefined)?.owes ?? null;
}

function restored({ value, context }: StoredRollout): Snapshot {
  return rolloutMachine.resolveState({ value, context });
}

/** The context is parsed when it is stored and when it is loaded, not at every event between. */
function stored({ value, context }: Snapshot): StoredRollout {
  return { schema: snapshotSchemaVersion, value: valueSchema.parse(value), context };
}

/** Most of a context is left alone by most events, and is the very same object then. */
function isSame(a: StoredRollout, b: StoredRollout): boolean {
  const before: Record<string, unknown> = b.context;
  const isKept = ([name, value]: [string, unknown]) => value === before[name] || isAlike(value, before[name]);
  return isAlike(a.value, b.value) && Object.entries(a.context).every(isKept);
}

function isAlike(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
