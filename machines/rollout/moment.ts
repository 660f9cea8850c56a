/** What do claims and updates read? A rollout's context together with the event at hand, and what follows from both. */
import { suspicionCheck } from '../analysis/judge.ts';
import type { FreezeWindow, Step } from '../policy/policy.ts';
import { isFrozen } from '../policy/windows.ts';
import type { Context } from './context.ts';
import type { RolloutEvent } from './events.ts';
import { isEmptySplit, type Split, withoutCanary } from './split.ts';

export interface Moment {
  context: Context;
  event: RolloutEvent;
}

export function freezeOf({ context, event }: Moment): FreezeWindow | null {
  return isFrozen(context.policy.freeze, event.at);
}

/** The bounded wait that has run out: `noData` or `inconclusive` since the step took effect or a person resumed. */
export function exhaustedWait(moment: Moment): {
  kind: 'noData' | 'inconclusive';
  outcome: 'pause' | 'rollBack';
} | null {
  const { context, event } = moment;
  if (context.effectAt === null || context.promotedAt !== null || context.ending !== null) return null;
  const kind = waitingFor(moment);
  if (kind === null) return null;
  const { afterSeconds, outcome } = context.policy.analysis[kind];
  return event.at >= context.waitingSince + afterSeconds * 1000 ? { kind, outcome } : null;
}

/** What a step waits for by itself. A healthy verdict that has gone stale is no data, unless a person or a window holds. */
function waitingFor(moment: Moment): 'noData' | 'inconclusive' | null {
  const { context } = moment;
  const verdict = context.verdicts.monitoring;
  if (verdict === null) return 'noData';
  if (verdict.kind === 'noData' || verdict.kind === 'inconclusive') return verdict.kind;
  const isHeld = freezeOf(moment) !== null || (currentStep(context)?.approval === true && !context.isApproved);
  return verdict.kind === 'healthy' && !isHeld && !isFresh(moment) ? 'noData' : null;
}

/** The verdict rests on evidence of just now: no older than the lag and a hold, or a minute where the hold is shorter. */
export function isFresh({ context, event }: Moment): boolean {
  const verdict = context.verdicts.monitoring;
  const { metricLagSeconds } = context.policy.analysis;
  const freshSeconds = metricLagSeconds + Math.max(holdSecondsOf(context), 60);
  return verdict !== null && verdict.toAt >= event.at - freshSeconds * 1000;
}

/** A verdict that asks for a share at which stable serves beside the canary. */
export function isDoubted(context: Context): boolean {
  return doubt(context) !== null;
}

/** The replicas that are to be held next, or, going back, given back next. */
export function owedReserve(context: Context): Context['reserved'][number] | null {
  const owed = context.ending === null ? context.reserved.find(({ isHeld }) => !isHeld) : context.reserved[0];
  return owed ?? null;
}

export function currentStep(context: Context): Step | null {
  return context.policy.steps[context.stepIndex] ?? null;
}

/** How long the current step holds its share; not at all before the first. */
export function holdSecondsOf(context: Context): number {
  return currentStep(context)?.holdSeconds ?? 0;
}

/** The canary's share as it was last confirmed; 0 before any was. */
export function confirmedPercent({ traffic, canaryId }: Context): number {
  return traffic.confirmed?.[canaryId] ?? 0;
}

/** The canary's share at a step; none before the first. */
export function percentAt({ policy }: Context, stepIndex: number): number {
  return policy.steps[stepIndex]?.percent ?? 0;
}

/** The split to go back to; none before the endpoint was read. */
export function stableOf({ stable }: Pick<Context, 'stable'>): Split {
  return stable ?? {};
}

/** True when the canary has a share, or may have one. */
export function canaryMayServe({ traffic, canaryId }: Context): boolean {
  return [traffic.desired, ...(traffic.confirmed === null ? [] : [traffic.confirmed])].some(
    (split) => (split[canaryId] ?? 0) > 0,
  );
}

/**
 * What stable is when somebody else made this split: all but the canary, in proportion (law 11). A split that leaves
 * nothing but the canary says nothing of stable, so the recorded one stands.
 */
export function stableWithin(context: Context, found: Split): Split {
  const rest = withoutCanary(found, context.canaryId);
  return isEmptySplit(rest) ? stableOf(context) : rest;
}

/** Why the waiting ended: how long it was, and what was seen. */
export function impatience(moment: Moment): string {
  // A doubt may lower the share in this very moment, and with it end the wait that is spoken of.
  const kind = exhaustedWait(moment)?.kind ?? 'noData';
  const verdict = moment.context.verdicts.monitoring;
  const seen =
    verdict?.reasons.flatMap(({ text, dryRun }) => (dryRun === true ? [] : [text])).join(' ') ??
    'Monitoring shows no request of the canary.';
  const minutes = Math.round((moment.event.at - moment.context.waitingSince) / 6000) / 10;
  return `No conclusion after ${minutes} minutes (${kind}): ${seen}`;
}

/** The sentence of the verdict that doubts; null where none does. */
export function doubt({ verdicts }: Context): string | null {
  const reasons = [verdicts.monitoring, verdicts.proxy].flatMap((verdict) => verdict?.reasons ?? []);
  return reasons.find(({ check }) => check === suspicionCheck)?.text ?? null;
}
