/** What does a rollout remember? Its context: JSON, versioned, parsed whenever it is loaded. */
import { z } from 'zod';
import { emptyTally, tallyStateSchema } from '../analysis/tally.ts';
import { verdictSchema } from '../analysis/verdict.ts';
import { type Policy, policySchema } from '../policy/policy.ts';

const splitSchema = z.record(z.string(), z.int().min(0).max(100));

const servingModelSchema = z.strictObject({ id: z.string(), model: z.string(), versionId: z.string() });

export const blessingSchema = z.strictObject({
  eventId: z.string(),
  model: z.string(),
  versionId: z.string(),
  /** When the version was blessed, as its event says; only ever compared with other blessings. */
  blessedAt: z.number(),
  by: z.string().nullable(),
});

const endingSchema = z.strictObject({
  state: z.enum(['rolledBack', 'aborted', 'failed', 'superseded']),
  at: z.number(),
  by: z.string().nullable(),
  reason: z.string(),
  /** The verdict that ended it, where one did. */
  verdict: verdictSchema.nullable(),
});

const operationSchema = z.strictObject({
  name: z.string(),
  kind: z.enum(['deploy', 'undeploy', 'resize']),
  /** The DeployedModel it is about. */
  target: z.string(),
  startedAt: z.number(),
  isCancelled: z.boolean(),
});

export const contextSchema = z.strictObject({
  id: z.string(),
  endpoint: z.string(),
  model: z.string(),
  versionId: z.string(),
  blessing: blessingSchema,
  policy: policySchema,
  /** The DeployedModel id, chosen by us: 1 to 10 digits. */
  canaryId: z.string().regex(/^[1-9]\d{0,9}$/),
  startedAt: z.number(),
  /** The split before the rollout; null until the endpoint was read. */
  stable: splitSchema.nullable(),
  stableModels: z.array(servingModelSchema),
  /** Stable's replicas that are held up for the rollout: `from` is the owner's least, `to` ours. */
  reserved: z.array(z.strictObject({ id: z.string(), from: z.number(), to: z.number(), isHeld: z.boolean() })),
  /** What the split is to be, what it was when last confirmed, and what it may be if a reply was lost. */
  traffic: z.strictObject({
    desired: splitSchema,
    confirmed: splitSchema.nullable(),
    attempted: z.array(splitSchema),
    generation: z.int(),
  }),
  /** Which step's share is desired; -1 before the first. */
  stepIndex: z.int(),
  /** How often 100 % was left to compare again, of which outages that stable shared do not count. */
  suspicions: z.int().min(0).default(0),
  /** Since when the desired share is in effect; null while it is not. */
  effectAt: z.number().nullable(),
  /** When the state's waiting began: entering it, or a person's resume. Bounds count from here. */
  waitingSince: z.number(),
  isApproved: z.boolean(),
  /** The first call of DeployModel; what was ordered may exist even when no reply came. */
  deployOrderedAt: z.number().nullable(),
  isReady: z.boolean(),
  operation: operationSchema.nullable(),
  /** DeployedModels already gone, or given up on. */
  removed: z.array(z.string()),
  /** Failed tries of the effect that is owed, and when the next is due. */
  attempts: z.int(),
  retryAt: z.number().nullable(),
  lastProblem: z.string().nullable(),
  tally: tallyStateSchema,
  verdicts: z.strictObject({ monitoring: verdictSchema.nullable(), proxy: verdictSchema.nullable() }),
  /** The freeze window that holds a proven step back, as its owner wrote it. */
  heldBy: z.string().nullable(),
  paused: z.strictObject({ at: z.number(), by: z.string(), reason: z.string() }).nullable(),
  /** A split that somebody else made; nothing is written while it stands. */
  foreign: z.strictObject({ split: splitSchema, models: z.array(servingModelSchema) }).nullable(),
  /** Until when a rolled-back canary stays deployed, for a person to look at. */
  keepUntil: z.number().nullable(),
  /** When the last step's hold ended and the version was proven. */
  promotedAt: z.number().nullable(),
  /** From here on stable is being removed: the point of no return, committed before the first removal is ordered. */
  retiringAt: z.number().nullable(),
  ending: endingSchema.nullable(),
  endedAt: z.number().nullable(),
  /** Why it is where it is: one sentence. */
  reason: z.string(),
});

export type Blessing = z.infer<typeof blessingSchema>;
export type Context = z.infer<typeof contextSchema>;

export interface RolloutInput {
  id: string;
  endpoint: string;
  canaryId: string;
  blessing: Blessing;
  policy: Policy;
  at: number;
}

export function beginContext({ id, endpoint, canaryId, blessing, policy, at }: RolloutInput): Context {
  return {
    id,
    endpoint,
    model: blessing.model,
    versionId: blessing.versionId,
    blessing,
    policy,
    canaryId,
    startedAt: at,
    stable: null,
    stableModels: [],
    reserved: [],
    traffic: { desired: {}, confirmed: null, attempted: [], generation: 0 },
    stepIndex: -1,
    suspicions: 0,
    effectAt: null,
    waitingSince: at,
    isApproved: false,
    deployOrderedAt: null,
    isReady: false,
    operation: null,
    removed: [],
    attempts: 0,
    retryAt: null,
    lastProblem: null,
    tally: emptyTally,
    verdicts: { monitoring: null, proxy: null },
    heldBy: null,
    paused: null,
    foreign: null,
    keepUntil: null,
    promotedAt: null,
    retiringAt: null,
    ending: null,
    endedAt: null,
    reason: `Version ${blessing.versionId} was blessed${blessing.by === null ? '' : ` by ${blessing.by}`}.`,
  };
}
