/**
 * How is a rollout kept between two calls? A small JSON form with a schema number, parsed whenever it is loaded.
 * The number rises with every change of its shape; code that meets a newer one stops politely.
 */
import { type AnyActorScope, createActor, fromTransition, type SnapshotFrom } from 'xstate';
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
  const snapshot = rolloutMachine.getInitialSnapshot(inert, input);
  // v8 ignore if -- nothing in the first state can fail, which the types of XState do not know
  if (snapshot.status === 'error') throw new Error('the statechart failed to start', { cause: snapshot.error });
  return stored(snapshot);
}

/** The rollout after the event; the very same object when no arrow took it, or an arrow changed nothing. */
export function stepRollout(rollout: StoredRollout, event: RolloutEvent): StoredRollout {
  const before = restored(rollout);
  const after = rolloutMachine.transition(before, event, inert);
  if (after === before) return rollout;
  const next = stored(after);
  return isSame(next, rollout) ? rollout : next;
}

/** What the rollout's state owes the world; null when it is over. */
export function dutyOf(rollout: StoredRollout): Duty | null {
  return shapeOf(rollout).duty;
}

/**
 * Where XState reports to, and where nobody listens. Its own `transition` makes one anew for every event, with an actor that
 * starts the machine without an input and fails at it: that took as long as the event itself.
 */
const nobody = createActor(fromTransition(() => null, null));
const nothing = (): void => {};
const inert: AnyActorScope = {
  self: nobody,
  system: nobody.system,
  id: '',
  sessionId: '',
  logger: nothing,
  defer: nothing,
  stopChild: nothing,
  emit: nothing,
  actionExecutor: nothing,
};

/** What of a snapshot follows from its state alone. */
interface Shape {
  /** With the context of whichever rollout was first in this state. */
  snapshot: Snapshot;
  value: StoredRollout['value'];
  duty: Duty | null;
}

/** Of each state that was met, a few dozen in all: to resolve one takes XState longer than most events. */
const shapes = new Map<string, Shape>();

function shapeOf({ value, context }: Pick<Snapshot, 'value' | 'context'>): Shape {
  const key = JSON.stringify(value);
  const known = shapes.get(key);
  if (known !== undefined) return known;
  const snapshot = rolloutMachine.resolveState({ value, context });
  const owing = Object.values(snapshot.getMeta()).find((meta) => meta !== undefined);
  const shape = { snapshot, value: valueSchema.parse(value), duty: owing?.owes ?? null };
  shapes.set(key, shape);
  return shape;
}

function restored(rollout: StoredRollout): Snapshot {
  return { ...shapeOf(rollout).snapshot, context: rollout.context };
}

/** The context is parsed when it is stored and when it is loaded, not at every event between. */
function stored(snapshot: Snapshot): StoredRollout {
  return { schema: snapshotSchemaVersion, value: shapeOf(snapshot).value, context: snapshot.context };
}

/** Most of a context is left alone by most events, and is the very same object then. */
function isSame(a: StoredRollout, b: StoredRollout): boolean {
  return isAlike(a.value, b.value) && isAlike(a.context, b.context);
}

/** True when both are the same as JSON, but for the order of keys. */
function isAlike(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  const [before, after] = [Object.entries(a), new Map(Object.entries(b))];
  return (
    Array.isArray(a) === Array.isArray(b) &&
    before.length === after.size &&
    before.every(([name, value]) => after.has(name) && isAlike(value, after.get(name)))
  );
}
