/** What do claims and updates read? A rollout's context together with the event at hand, and what follows from both. */
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
export function exhaustedWait({
  context,
  event,
}: Moment): { kind: 'noData' | 'inconclusive'; outcome: 'pause' | 'rollBack' } | null {
  if (context.effectAt === null || context.promotedAt !== null || context.ending !== null) return null;
  const kind = context.verdicts.monitoring?.kind ?? 'noData';
  if (kind !== 'noData' && kind !== 'inconclusive') return null;
  const { afterSeconds, outcome } = context.policy.analysis[kind];
  return event.at >= context.waitingSince + afterSeconds * 1000 ? { kind, outcome } : null;
}

export function currentStep(context: Context): Step | null {
  return context.policy.steps[context.stepIndex] ?? null;
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
  return isEmptySplit(rest) ? (context.stable ?? {}) : rest;
}
