/** Where is a rollout, in one word, and what does a person want to see of it? */
import { nth } from '../nth.ts';
import type { VariantCounts } from '../analysis/evidence.ts';
import { quantileMs } from '../analysis/evidence.ts';
import type { Context } from './context.ts';
import { confirmedPercent, holdSecondsOf, stableOf } from './moment.ts';
import type { StoredRollout } from './snapshot.ts';
import type { Split } from './split.ts';
import type { RolloutState, RolloutView, VariantView } from './view.ts';

export function stateOf({ value }: StoredRollout): RolloutState {
  const { progress } = value;
  if (typeof progress === 'string') return progress;
  if ('rollingBack' in progress) return 'rollingBack';
  const { forward } = progress;
  if (typeof forward === 'string') return forward;
  if ('preparing' in forward) return 'preparing';
  if ('moving' in forward) return forward.moving;
  if ('observing' in forward) return 'observing';
  return forward.analysing === 'awaitingApproval' ? 'awaitingApproval' : 'analysing';
}

type Place = string | { [name: string]: Place };

/** Where exactly, for the journal: `forward.observing.keeping, paused`. */
export function placeOf({ value }: StoredRollout): string {
  const { progress } = value;
  const path = (node: Place): string =>
    typeof node === 'string'
      ? node
      : Object.entries(node)
          .map(([name, child]) => `${name}.${path(child)}`)
          .join();
  return value.pause === 'paused' ? `${path(progress)}, paused` : path(progress);
}

/** The share of a rollout's canary, as it was last confirmed. */
export function percentOf({ context }: StoredRollout): number {
  return confirmedPercent(context);
}

export function viewOf(rollout: StoredRollout): RolloutView {
  const { context } = rollout;
  const state = stateOf(rollout);
  return {
    id: context.id,
    endpoint: context.endpoint,
    model: context.model,
    versionId: context.versionId,
    policy: context.policy.name,
    state,
    isFinal: context.endedAt !== null,
    paused: context.paused,
    stepIndex: context.stepIndex < 0 ? null : context.stepIndex,
    steps: context.policy.steps,
    percent: percentOf(rollout),
    variants: variantsOf(context),
    verdicts: [context.verdicts.monitoring, context.verdicts.proxy].filter((verdict) => verdict !== null),
    reason: context.ending?.reason ?? context.paused?.reason ?? context.reason,
    by: context.ending?.by ?? context.blessing.by,
    next: nextOf(rollout),
    startedAt: context.startedAt,
    updatedAt: lastChangeOf(context),
    endedAt: context.endedAt,
  };
}

/** Canary first. Counts are of the source that has seen more since the step took effect; the two are never added. */
function variantsOf(context: Context): VariantView[] {
  const { monitoring, proxy } = context.tally;
  const total = ({ step }: typeof proxy): number => step.canary.requests + step.stable.requests;
  const { step } = total(proxy) > total(monitoring) ? proxy : monitoring;
  const requests = step.canary.requests + step.stable.requests;
  const quantileRatio = context.policy.analysis.latency?.quantileRatio ?? 0.95;
  const split: Split = context.traffic.confirmed ?? stableOf(context);
  const variant = (
    role: VariantView['role'],
    counts: VariantCounts,
    ids: { id: string; model: string; versionId: string }[],
  ): VariantView => ({
    role,
    deployedModelId: ids.map(({ id }) => id).join(', '),
    model: nth(ids, 0).model,
    versionId: ids.map(({ versionId }) => versionId).join(', '),
    intendedPercent: ids.reduce((sum, { id }) => sum + (split[id] ?? 0), 0),
    observedPercent: requests === 0 ? null : (100 * counts.requests) / requests,
    requests: counts.requests,
    errors: counts.errors,
    latencyMs: quantileMs(counts.latencyMs, quantileRatio),
  });
  const canary = { id: context.canaryId, model: context.model, versionId: context.versionId };
  const stable = context.stableModels.length === 0 ? [] : [variant('stable', step.stable, context.stableModels)];
  return [variant('canary', step.canary, [canary]), ...stable];
}

/** The next moment at which something is due by itself. */
function nextOf(rollout: StoredRollout): RolloutView['next'] {
  const { context } = rollout;
  const { analysis, deploy, keepStableSeconds } = context.policy;
  const heldSeconds = Math.max(holdSecondsOf(context), analysis.metricLagSeconds);
  switch (stateOf(rollout)) {
    case 'deploying':
    case 'warming':
      return after(context.deployOrderedAt, deploy.deadlineSeconds, 'deployment deadline');
    case 'analysing':
    case 'awaitingApproval':
      return after(context.effectAt, heldSeconds, 'hold ends, if healthy');
    case 'observing':
      if (context.promotedAt !== null) return after(context.promotedAt, keepStableSeconds, 'stable is undeployed');
      return after(context.effectAt, heldSeconds, 'last hold ends, if healthy');
    case 'rollingBack':
      return after(context.keepUntil, 0, 'canary is undeployed');
    default:
      return after(context.retryAt, 0, 'next try');
  }
}

function lastChangeOf(context: Context): number {
  const verdicts = [context.verdicts.monitoring, context.verdicts.proxy].map((verdict) => verdict?.at ?? 0);
  return Math.max(context.startedAt, context.waitingSince, context.endedAt ?? 0, context.paused?.at ?? 0, ...verdicts);
}

function after(since: number | null, seconds: number, what: string): RolloutView['next'] {
  return since === null ? null : { at: since + seconds * 1000, what };
}
