/**
 * Is the canary as good as stable? Each check looks at one thing and gives a reason with its numbers; the verdict is
 * the worst of them. Pure: the same tally and policy, the same verdict.
 */
import type { AnalysisPolicy } from '../policy/policy.ts';
import { distanceOf } from './drift.ts';
import { quantileMs, type VariantCounts } from './evidence.ts';
import type { Counts, Source, TallyState } from './tally.ts';
import type { Reason, Verdict } from './verdict.ts';

interface Trial {
  canary: VariantCounts;
  stable: VariantCounts;
  policy: AnalysisPolicy;
}

/** A check answers null when the policy or the source does not ask it. */
type Check = (trial: Trial) => Reason | null;

const checks: Check[] = [checkErrors, checkLatency, checkDrift];

/**
 * Judges one source's tally of the current step; the source must have reported.
 * `noData` is no request at all since the step took effect; fewer than the policy's least are `inconclusive`.
 */
export function judge(state: TallyState, source: Source, policy: AnalysisPolicy, at: number): Verdict {
  const { step, rollout } = state[source];
  const trial = { canary: step.canary, stable: comparison(step, rollout, policy), policy };
  const covered = Object.entries(state.covered).flatMap(([name, window]) =>
    (name === 'monitoring') === (source === 'monitoring') ? [window] : [],
  );
  const reasons = reasonsOf(trial);
  return {
    kind: worst(reasons),
    source,
    at,
    fromAt: Math.min(...covered.map(({ fromAt }) => fromAt)),
    toAt: Math.max(...covered.map(({ toAt }) => toAt)),
    reasons,
  };
}

function reasonsOf(trial: Trial): Reason[] {
  const { canary, policy } = trial;
  if (canary.requests === 0) {
    const text = 'The canary has not answered a request since the step took effect.';
    return [{ check: 'requests', kind: 'noData', text, numbers: { canaryRequests: 0 } }];
  }
  if (canary.requests < policy.minRequests) {
    const text = `The canary has answered ${canary.requests} requests since the step took effect; ${policy.minRequests} are needed.`;
    const numbers = { canaryRequests: canary.requests, minRequests: policy.minRequests };
    return [{ check: 'requests', kind: 'inconclusive', text, numbers }];
  }
  return checks.map((check) => check(trial)).filter((reason) => reason !== null);
}

/**
 * Errors: an absolute ceiling, and a margin over stable. When stable is above the ceiling as well, both are the
 * victims of an outage: rolling back would not help, so the answer is inconclusive.
 */
function checkErrors({ canary, stable, policy }: Trial): Reason {
  const { maxRatio, marginRatio } = policy.errorRate;
  const canaryRatio = canary.errors / canary.requests;
  const stableRatio = stable.requests >= policy.minRequests ? stable.errors / stable.requests : null;
  const numbers = {
    canaryErrors: canary.errors,
    canaryRequests: canary.requests,
    stableErrors: stable.errors,
    stableRequests: stable.requests,
    canaryRatio,
    stableRatio,
    maxRatio,
    marginRatio,
  };
  const seen = `Canary ${fraction(canary)}, stable ${fraction(stable)}`;
  const reason = (kind: Reason['kind'], text: string): Reason => ({ check: 'errorRate', kind, text, numbers });
  const isAboveMargin = stableRatio !== null && canaryRatio > stableRatio + marginRatio;
  if (canaryRatio > maxRatio && stableRatio !== null && stableRatio > maxRatio && !isAboveMargin) {
    return reason(
      'inconclusive',
      `${seen}: both above the ceiling of ${percent(maxRatio)}, which is an outage and not the canary.`,
    );
  }
  if (canaryRatio > maxRatio) return reason('unhealthy', `${seen}: above the ceiling of ${percent(maxRatio)}.`);
  if (isAboveMargin) return reason('unhealthy', `${seen}: worse by more than the margin of ${percent(marginRatio)}.`);
  if (stableRatio === null && stable.requests > 0) {
    return reason(
      'inconclusive',
      `${seen}: stable has fewer than the ${policy.minRequests} requests that a comparison needs.`,
    );
  }
  return reason('healthy', `${seen}: within ${percent(maxRatio)} and the margin of ${percent(marginRatio)}.`);
}

/** Latency at the policy's quantile, as a ratio to stable's. Bucket bounds are compared, so the ratio is coarse. */
function checkLatency({ canary, stable, policy }: Trial): Reason | null {
  if (policy.latency === null) return null;
  const { quantileRatio, maxRatio } = policy.latency;
  const canaryMs = quantileMs(canary.latencyMs, quantileRatio);
  const stableMs = quantileMs(stable.latencyMs, quantileRatio);
  const numbers = { canaryMs, stableMs, quantileRatio, maxRatio };
  const isMeasured = total(canary.latencyMs) > 0 && total(stable.latencyMs) > 0;
  if (!isMeasured || (stableMs !== null && stableMs <= 0)) return null;
  const slowest = `more than ${canary.latencyMs.bounds.at(-1) ?? 0} ms`;
  if (stableMs === null) {
    const text = `At the ${percent(quantileRatio)} quantile stable takes longer than its histogram shows; nothing can be compared with it.`;
    return { check: 'latency', kind: 'inconclusive', text, numbers };
  }
  if (canaryMs === null) {
    const text = `At the ${percent(quantileRatio)} quantile the canary takes ${slowest}, stable ${round(stableMs)} ms; the limit is ${maxRatio} times.`;
    return { check: 'latency', kind: 'unhealthy', text, numbers };
  }
  const text = `At the ${percent(quantileRatio)} quantile the canary takes ${round(canaryMs)} ms, stable ${round(stableMs)} ms: ${round(canaryMs / stableMs)} times; the limit is ${maxRatio}.`;
  return { check: 'latency', kind: canaryMs / stableMs > maxRatio ? 'unhealthy' : 'healthy', text, numbers };
}

/** Drift of the predictions, where the policy asks and the source looked. */
function checkDrift({ canary, stable, policy }: Trial): Reason | null {
  if (policy.drift === null || canary.predictions === undefined || stable.predictions === undefined) return null;
  const { distance, canaryCount, stableCount } = distanceOf(canary.predictions, stable.predictions);
  if (Math.min(canaryCount, stableCount) < policy.minRequests) return null;
  const { maxDistance } = policy.drift;
  const text = `The canary's predictions lie ${round(distance)} from stable's (Jensen-Shannon); the limit is ${maxDistance}.`;
  const numbers = { distance, maxDistance, canaryCount, stableCount };
  return { check: 'drift', kind: distance > maxDistance ? 'unhealthy' : 'healthy', text, numbers };
}

/** Stable's counts of the step, or of the whole rollout where it took too little in the step to compare with. */
function comparison(step: Counts, rollout: Counts, policy: AnalysisPolicy): VariantCounts {
  return step.stable.requests >= policy.minRequests ? step.stable : rollout.stable;
}

function total({ counts }: VariantCounts['latencyMs']): number {
  return counts.reduce((sum, count) => sum + count, 0);
}

function worst(reasons: Reason[]): Verdict['kind'] {
  const order: Verdict['kind'][] = ['unhealthy', 'noData', 'inconclusive', 'healthy'];
  return order.find((kind) => reasons.some((reason) => reason.kind === kind)) ?? 'noData';
}

function fraction({ errors, requests }: VariantCounts): string {
  const count = `${errors.toLocaleString('en')} errors in ${requests.toLocaleString('en')} requests`;
  return requests === 0 ? count : `${count} (${percent(errors / requests)})`;
}

function percent(ratio: number): string {
  return `${round(ratio * 100)} %`;
}

function round(value: number): string {
  return Number(value.toPrecision(3)).toString();
}
