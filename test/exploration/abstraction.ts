/**
 * When are two rollouts the same? When nothing that the statechart reads tells them apart. Each is replaced by one that
 * stands for all like it: what no claim and no later update reads is dropped, and each wait is either over or about to
 * be. Waits on different clocks may end in any order, so what is found holds for policies of any durations.
 *
 * Not dropped by proof but by reading; explore.test.ts holds it against rollouts that live in real time.
 */
import { addEvidence, emptyTally } from '../../machines/analysis/tally.ts';
import type { Verdict } from '../../machines/analysis/verdict.ts';
import { isFrozen } from '../../machines/policy/windows.ts';
import { beginContext, type Context } from '../../machines/rollout/context.ts';
import { stateOf } from '../../machines/rollout/describe.ts';
import { machineLimits } from '../../machines/rollout/limits.ts';
import { currentStep } from '../../machines/rollout/moment.ts';
import { type StoredRollout, snapshotSchemaVersion } from '../../machines/rollout/snapshot.ts';
import type { RolloutState } from '../../machines/rollout/view.ts';
import { seen } from './evidence.ts';
import { cases } from './policies.ts';

/** A rollout and the moment at which it is looked at. */
export interface Situation {
  value: StoredRollout['value'];
  context: Context;
  at: number;
}

export function rolloutOf({ value, context }: Pick<Situation, 'value' | 'context'>): StoredRollout {
  return { schema: snapshotSchemaVersion, value, context };
}

/** A Wednesday, outside every freeze window, and a Saturday, inside. */
export const openAt = Date.UTC(2026, 0, 7, 12);
export const frozenAt = Date.UTC(2026, 0, 10, 12);
const hourMs = 3_600_000;

/** The name of our operation, and the number of the desired split once there is one. */
export const ourOperation = 'operations/ours';
const generation = 5;

/** A wait: since when, and after how long something else is true. Claims read `≥`, so "over" begins at the limit itself. */
interface Clock {
  name: string;
  /** Ascending; empty where nobody waits. */
  limitsMs: number[];
  sinceAt: number;
  /** How old it is before the first limit. */
  youngMs: number;
  set: (context: Context, sinceAt: number) => Context;
}

/** The rollout that stands for all like this one, and the key that they share. */
export function representative(situation: Situation): { key: string; situation: Situation } {
  const { value } = situation;
  const at = readsFreeze(situation) && isFrozenIn(situation) ? frozenAt : openAt;
  let context = essence(situation, at);
  for (const { limitsMs, sinceAt, youngMs, set } of clocksOf(situation)) {
    const level = limitsMs.filter((limitMs) => situation.at - sinceAt >= limitMs).length;
    context = set(context, at - (limitsMs[level - 1] ?? youngMs));
  }
  context = withEvidenceSince(context, at);
  return { key: keyOf(value, context, at), situation: { value, context, at } };
}

/** What is the same for all rollouts by one policy tells none apart. */
function keyOf({ progress, pause }: Situation['value'], context: Context, at: number): string {
  const { policy, blessing: _, tally, ...rest } = context;
  const told = Object.entries(rest).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([
    policy.name,
    at === frozenAt,
    progress,
    pause,
    tally.effectAt,
    told.map(([, value]) => value),
  ]);
}

/** Every way in which time can pass: one wait reaches its next limit, or a freeze window begins or ends. */
export function timePasses(situation: Situation): { label: string; situation: Situation }[] {
  const { context, at, value } = situation;
  const waits = clocksOf(situation).flatMap(({ name, limitsMs, sinceAt, set }) => {
    const next = limitsMs.find((limitMs) => at - sinceAt < limitMs);
    if (next === undefined) return [];
    return [{ label: `time: ${name}`, situation: { value, at, context: set(context, at - next) } }];
  });
  if (!readsFreeze(situation)) return waits;
  const [label, later] = at === openAt ? (['time: freeze', frozenAt] as const) : (['time: thaw', openAt] as const);
  return [...waits, { label, situation: { value, at: later, context: shifted(situation, later - at) } }];
}

/** Freeze windows hold back rises, and matter from when the next may come. */
function readsFreeze({ value, context }: Situation): boolean {
  if (context.policy.freeze.length === 0 || context.ending !== null || context.endedAt !== null) return false;
  const state = stateOf(rolloutOf({ value, context }));
  return !['preparing', 'deploying'].includes(state) && context.promotedAt === null;
}

function isFrozenIn({ context, at }: Situation): boolean {
  return at === frozenAt || (at !== openAt && isFrozen(context.policy.freeze, at) !== null);
}

/** The same rollout as long after its beginnings, on another day. */
function shifted(situation: Situation, byMs: number): Context {
  const verdict = situation.context.verdicts.monitoring;
  let context =
    verdict === null ? situation.context : withVerdict(situation.context, { ...verdict, toAt: verdict.toAt + byMs });
  for (const { sinceAt, set } of clocksOf(situation)) context = set(context, sinceAt + byMs);
  return withEvidenceSince(context, situation.at + byMs);
}

function clocksOf(situation: Situation): Clock[] {
  const { context, value } = situation;
  const state = stateOf(rolloutOf(situation));
  const { policy, operation, verdicts, promotedAt, deployOrderedAt, effectAt } = context;
  const clocks: Clock[] = [
    clock('waiting', context.waitingSince, waitLimits(state, context), (to, sinceAt) => ({
      ...to,
      waitingSince: sinceAt,
    })),
  ];
  const isWeighing = state === 'analysing' || state === 'awaitingApproval' || isHolding(value);
  const holdMs = (currentStep(context)?.holdSeconds ?? 0) * 1000;
  if (effectAt !== null) {
    const limitsMs = isWeighing ? [holdMs] : [];
    clocks.push({
      ...clock('hold', effectAt, limitsMs, (to, sinceAt) => ({ ...to, effectAt: sinceAt })),
      youngMs: isWeighing ? holdMs - 1 : hourMs,
    });
  }
  const healthy = verdicts.monitoring?.kind === 'healthy' && isWeighing ? verdicts.monitoring : null;
  if (healthy !== null && effectAt !== null) {
    const staleMs = policy.analysis.metricLagSeconds * 1000 + Math.max(holdMs, 60_000) + 1;
    // Evidence is younger than the share it judges: it grows stale only after the hold is over.
    const limitsMs = situation.at - effectAt >= holdMs ? [staleMs] : [];
    const set = (to: Context, sinceAt: number): Context => withVerdict(to, { ...healthy, toAt: sinceAt });
    clocks.push({ ...clock('evidence', healthy.toAt, limitsMs, set), youngMs: 0 });
  }
  if (deployOrderedAt !== null) {
    const limitsMs = state === 'deploying' || state === 'warming' ? [policy.deploy.deadlineSeconds * 1000] : [];
    clocks.push(clock('deployment', deployOrderedAt, limitsMs, (to, sinceAt) => ({ ...to, deployOrderedAt: sinceAt })));
  }
  if (operation !== null) {
    const limitsMs = [machineLimits.operationSecondsMax * 1000];
    const set = (to: Context, sinceAt: number): Context =>
      to.operation === null ? to : { ...to, operation: { ...to.operation, startedAt: sinceAt } };
    clocks.push(clock('operation', operation.startedAt, limitsMs, set));
  }
  if (promotedAt !== null) {
    const limitsMs = isKeeping(value) ? [policy.keepStableSeconds * 1000] : [];
    clocks.push(clock('keep', promotedAt, limitsMs, (to, sinceAt) => ({ ...to, promotedAt: sinceAt })));
  }
  return clocks;
}

function clock(name: string, sinceAt: number, limitsMs: number[], set: Clock['set']): Clock {
  return { name, sinceAt, limitsMs, youngMs: (limitsMs[0] ?? 1) - 1, set };
}

/** What is counted from `waitingSince`. A pause stops it where nobody but the controller could go on. */
function waitLimits(state: RolloutState, { policy, paused, promotedAt, effectAt }: Context): number[] {
  const { prepareSecondsMax, shiftSecondsMax } = machineLimits;
  switch (state) {
    case 'preparing':
      return paused === null ? [prepareSecondsMax * 1000] : [];
    case 'shifting':
    case 'promoting':
      return paused === null ? [shiftSecondsMax * 1000] : [];
    case 'analysing':
    case 'awaitingApproval':
    case 'observing': {
      if (promotedAt !== null || effectAt === null) return [];
      const { noData, inconclusive } = policy.analysis;
      const limits = [noData, inconclusive].filter(({ outcome }) => paused === null || outcome === 'rollBack');
      return [...new Set(limits.map(({ afterSeconds }) => afterSeconds * 1000))].toSorted((a, b) => a - b);
    }
    default:
      return [];
  }
}

/** What is read later on, and nothing else. Moments are left to the clocks. */
function essence(situation: Situation, at: number): Context {
  const { context, value } = situation;
  const isBack = context.ending !== null;
  const isOver = context.endedAt !== null;
  const plain: Context = {
    ...context,
    startedAt: at,
    waitingSince: at,
    attempts: countsAttempts(situation) ? Math.min(context.attempts, machineLimits.removeAttemptsMax) : 0,
    retryAt: null,
    lastProblem: null,
    keepUntil: null,
    retiringAt: context.retiringAt === null ? null : at,
    deployOrderedAt: context.deployOrderedAt === null ? null : at,
    promotedAt: context.promotedAt === null ? null : at,
    operation: context.operation === null ? null : { ...context.operation, name: ourOperation, startedAt: at },
    removed: [...new Set(context.removed)].toSorted(),
    paused: context.paused === null ? null : { at, by: 'x', reason: 'x' },
    heldBy: context.heldBy === null ? null : 'x',
    reason: 'x',
    endedAt: isOver ? at : null,
    traffic: traffic(context),
    tally: { ...knownStable(context), effectAt: context.tally.effectAt === null ? null : at - hourMs },
    verdicts: {
      monitoring: verdictIn(situation, at),
      proxy: isRetiring(value) || isBack ? null : unhealthyOnly(context.verdicts.proxy),
    },
    isApproved: context.isApproved && currentStep(context)?.approval === true,
  };
  if (isRetiring(value)) {
    // Stable is not gone back to any more.
    const held = plain.reserved.filter(({ isHeld }) => !isHeld);
    return { ...plain, stable: { 1: 100 }, traffic: { ...noTraffic, generation }, reserved: held };
  }
  if (!isBack && !isOver) return plain;
  const target = plain.operation?.kind === 'deploy' ? context.canaryId : (plain.operation?.target ?? '');
  const isCancelled = plain.operation?.kind === 'deploy' && plain.operation.isCancelled;
  return {
    ...beginContext({
      id: context.id,
      endpoint: context.endpoint,
      canaryId: context.canaryId,
      blessing: context.blessing,
      at,
      policy: cases[0]?.policy ?? context.policy,
    }),
    // Going back the policy is read no more, and of traffic only whether it was ever shifted.
    stable: { 1: 100 },
    traffic: { ...noTraffic, generation: isRestoring(value) ? plain.traffic.generation : 0 },
    ending: context.ending === null ? null : { ...context.ending, at, by: null, reason: 'x', verdict: null },
    endedAt: plain.endedAt,
    paused: plain.paused,
    reason: 'x',
    ...(isOver
      ? {}
      : {
          attempts: plain.attempts,
          deployOrderedAt: plain.deployOrderedAt,
          operation: plain.operation === null ? null : { ...plain.operation, target, isCancelled },
          removed: plain.removed.filter((id) => id === context.canaryId),
          reserved: plain.reserved,
        }),
  };
}

const noTraffic: Context['traffic'] = { desired: { 1: 100 }, confirmed: null, attempted: [], generation: 0 };

/** Of what was confirmed only the canary's share is read, and of generations only whether there was one. */
function traffic({ traffic: { desired, confirmed, generation: now }, canaryId }: Context): Context['traffic'] {
  const share = confirmed?.[canaryId] ?? 0;
  return {
    desired,
    confirmed: share === 0 ? null : { ...(share === 100 ? {} : { 1: 100 - share }), [canaryId]: share },
    attempted: [],
    generation: now === 0 ? 0 : generation,
  };
}

/** Refusals in a row are counted where too many are given up on; after a rollback's split too, for it goes on to clean. */
function countsAttempts({ value, context }: Situation): boolean {
  const { progress } = value;
  if (context.ending !== null) return context.endedAt === null;
  return isRetiring(value) || (typeof progress === 'object' && JSON.stringify(progress).includes('holdingReplicas'));
}

const tallies = new Map<string, Context['tally']>();

/** Stable is known from its past, and nothing else: what evidence says then depends on nothing but itself. */
function knownStable({ policy, canaryId }: Context): Context['tally'] {
  const known = tallies.get(policy.name);
  if (known !== undefined) return known;
  const past = seen('monitoring', openAt - hourMs, openAt, { 1: [900_000, 900] });
  const told = addEvidence(emptyTally, past, { canaryId, stableIds: ['1'] }, machineLimits, policy.analysis);
  const tally = { ...told, covered: {} };
  tallies.set(policy.name, tally);
  return tally;
}

/** No verdict and "no data" are one to every claim; where nothing is weighed only "unhealthy" is read. */
function verdictIn(situation: Situation, at: number): Verdict | null {
  const { context, value } = situation;
  const verdict = context.verdicts.monitoring;
  if (verdict === null || verdict.kind === 'noData' || context.ending !== null || isRetiring(value)) return null;
  const state = stateOf(rolloutOf(situation));
  const isWeighing = state === 'analysing' || state === 'awaitingApproval' || isHolding(value);
  if (!isWeighing) return unhealthyOnly(verdict);
  return { kind: verdict.kind, source: 'monitoring', at, fromAt: verdict.fromAt, toAt: at, reasons: [] };
}

function unhealthyOnly(verdict: Verdict | null): Verdict | null {
  return verdict?.kind === 'unhealthy' ? { ...verdict, reasons: [] } : null;
}

function withVerdict(context: Context, monitoring: Verdict): Context {
  return { ...context, verdicts: { ...context.verdicts, monitoring } };
}

/** The evidence of a verdict lies wholly after the share took effect. */
function withEvidenceSince(context: Context, at: number): Context {
  const { effectAt, tally, verdicts } = context;
  const verdict = verdicts.monitoring;
  if (effectAt === null)
    return tally.effectAt === null ? context : { ...context, tally: { ...tally, effectAt: at - hourMs } };
  const sinceAt = Math.min(effectAt, (verdict?.toAt ?? at) - 1);
  const since = { ...context, effectAt: sinceAt, tally: { ...tally, effectAt: sinceAt } };
  return verdict === null ? since : withVerdict(since, { ...verdict, at, fromAt: sinceAt });
}

function isObserving(value: Situation['value'], child: string): boolean {
  const { progress } = value;
  if (typeof progress === 'string' || !('forward' in progress) || typeof progress.forward === 'string') return false;
  return 'observing' in progress.forward && progress.forward.observing === child;
}

function isRestoring({ progress }: Situation['value']): boolean {
  return typeof progress === 'object' && 'rollingBack' in progress && progress.rollingBack === 'restoring';
}

function isHolding(value: Situation['value']): boolean {
  return isObserving(value, 'holding');
}

function isKeeping(value: Situation['value']): boolean {
  return isObserving(value, 'keeping');
}

function isRetiring(value: Situation['value']): boolean {
  return isObserving(value, 'retiring');
}
