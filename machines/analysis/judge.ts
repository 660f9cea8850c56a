/**
 * Is the canary as good as stable? The verdict on one source's tally, with reasons and numbers. Worse is proven by an
 * e-value that passes 1/α, whenever anybody looks; good enough for the next share by a bound on the harm it could do.
 * Pure: the same tally and question, the same verdict.
 */
import type { AnalysisPolicy } from '../policy/policy.ts';
import { total } from './baseline.ts';
import { type ClimbAnswer, mayClimb } from './climb.ts';
import { distanceOf, driftLog } from './drift.ts';
import { type Count, logWeighted } from './evalue.ts';
import { type Histogram, noHistogram, quantileMs, type VariantCounts } from './evidence.ts';
import { worseLog } from './hit-test.ts';
import { mismatchLog } from './sample-ratio.ts';
import { count, fraction, odds, percent, points, round } from './sentences.ts';
import { errorAllowance, errorsOf, slowAllowance, type Source, type Tally, type TallyState } from './tally.ts';
import type { Reason, Verdict } from './verdict.ts';

/** What is asked: is the share fine as it is, and may it rise to the next one? */
export interface Question {
  at: number;
  /** The canary's share now, in percent. */
  percent: number;
  /** The share that comes next; null at the last step, which ends when it could be taken again. */
  nextPercent: number | null;
  maxExcessErrors: number;
}

/** Seconds until a proxy's evidence acts: its interval, the delivery and the write. */
const proxySeconds = 15;
/** Shares may differ by so much of the smaller one before anybody is told, however sure it is. */
const mismatchMin = 0.2;

/** Judges one source's tally; the source must have reported since the step took effect. */
export function judge(state: TallyState, source: Source, policy: AnalysisPolicy, question: Question): Verdict {
  const covered = Object.entries(state.covered).flatMap(([name, window]) =>
    (name === 'monitoring') === (source === 'monitoring') ? [window] : [],
  );
  const reasons = reasonsFor(state, state[source], policy, question);
  return {
    kind: worst(reasons),
    source,
    at: question.at,
    fromAt: Math.min(...covered.map(({ fromAt }) => fromAt)),
    toAt: Math.max(...covered.map(({ toAt }) => toAt)),
    reasons,
  };
}

function reasonsFor(state: TallyState, tally: Tally, policy: AnalysisPolicy, question: Question): Reason[] {
  const worse = proofOfWorse(state, tally, policy);
  if (worse !== null) return [worse];
  const few = fewRequests(tally, policy);
  if (few !== null) return [few];
  const asked = [
    outage(tally, policy),
    mismatch(tally, policy, question),
    ...climbs(state, tally, policy, question),
    drift(tally, policy),
  ];
  return asked.filter((reason) => reason !== null);
}

/**
 * All checks together: Σ w_k E_k ≥ 1/α, weights fixed by the policy alone, which holds whatever the checks have to do with
 * one another (Vovk and Wang 2021). Of two sources, judged apart, each has half of α. The reason names the check that says
 * most.
 */
function proofOfWorse(state: TallyState, tally: Tally, policy: AnalysisPolicy): Reason | null {
  // Counted over the rollout, as the e-values are: a new step must not lower the limit that they are held against.
  const sources = [state.monitoring, state.proxy].filter(({ rollout }) => rollout.canary.requests > 0).length;
  const checks = [
    { weight: 5, log: worseLog(tally.errors), prove: provenErrors },
    ...(policy.latency === null ? [] : [{ weight: 2, log: worseLog(tally.slow), prove: provenSlow }]),
    ...(policy.drift === null ? [] : [{ weight: 2, log: largeDriftLog(tally, policy), prove: provenDrift }]),
  ];
  const all = checks.reduce((sum, { weight }) => sum + weight, 0);
  const weighted = checks.map((check) => ({ ...check, weight: check.weight / all }));
  const log = logWeighted(weighted);
  const limit = Math.log(Math.max(1, sources) / policy.falseRollbackRatio);
  const [most] = weighted.toSorted((a, b) => b.log + Math.log(b.weight) - a.log - Math.log(a.weight));
  if (log < limit || most === undefined) return null;
  const numbers = { ...numbersOf(tally), odds: Math.min(Math.exp(log), 1e12), oddsLimit: Math.exp(limit) };
  const proof = most.prove(tally, policy);
  const text = `${proof.text}: odds ${odds(log)} : 1 that ${proof.claim}; the limit is ${odds(limit)} : 1.`;
  return { check: proof.check, kind: 'unhealthy', text, numbers: { ...numbers, ...proof.numbers } };
}

interface Proof {
  check: string;
  text: string;
  claim: string;
  numbers: Record<string, number | null>;
}

function provenErrors(tally: Tally, { errorRate: { marginRatio } }: AnalysisPolicy): Proof {
  const claim = `it is worse by more than ${points(marginRatio)}`;
  return { check: 'errorRate', text: seenErrors(tally), claim, numbers: { marginRatio } };
}

function provenSlow(tally: Tally, policy: AnalysisPolicy): Proof {
  const claim = `it is more than ${policy.latency?.maxRatio} times slower`;
  return {
    check: 'latency',
    text: seenLatency(tally, policy),
    claim,
    numbers: { slowAboveMs: tally.slowAboveMs, ...latencyNumbers(tally, policy) },
  };
}

function provenDrift(tally: Tally, policy: AnalysisPolicy): Proof {
  const { distance } = driftOf(tally);
  return { check: 'drift', text: seenDrift(distance, policy), claim: 'they differ', numbers: { distance } };
}

function fewRequests(tally: Tally, { minRequests }: AnalysisPolicy): Reason | null {
  const { requests } = tally.step.canary;
  if (requests >= minRequests) return null;
  const check = 'requests';
  const since = 'since the step took effect';
  if (requests === 0) {
    const text = `The canary has not answered a request ${since}.`;
    return { check, kind: 'noData', text, numbers: { canaryRequests: 0 } };
  }
  const text = `The canary has answered ${requests} requests ${since}; ${minRequests} are needed.`;
  return { check, kind: 'inconclusive', text, numbers: { canaryRequests: requests, minRequests } };
}

/** Both above the ceiling just now, and the canary not proven worse: an outage that a rollback would not mend. */
function outage({ errors, recent }: Tally, { errorRate, minRequests }: AnalysisPolicy): Reason | null {
  const [canary, stable] = [total(recent), total(errors.baseline.recent)];
  const isAbove = ({ hits, trials }: Count): boolean => hits > errorRate.maxRatio * trials;
  if (stable.trials < minRequests || !isAbove(stable) || !isAbove(canary)) return null;
  const text = `Lately canary ${fraction(canary)}, stable ${fraction(stable)}: both above the ceiling of ${percent(errorRate.maxRatio)}, which is an outage and not the canary.`;
  const numbers = {
    canaryErrors: canary.hits,
    canaryRequests: canary.trials,
    stableErrors: stable.hits,
    stableRequests: stable.trials,
  };
  return { check: 'outage', kind: 'inconclusive', text, numbers };
}

/** The shares observed are not those intended: the split is not in effect, or counts are missing. */
function mismatch({ step }: Tally, policy: AnalysisPolicy, { percent: share }: Question): Reason | null {
  const { canary, stable } = step;
  const requests = canary.requests + stable.requests;
  const [observed, intended] = [canary.requests / requests, share / 100];
  if (share <= 0 || share >= 100) return null;
  if (mismatchLog(canary.requests, stable.requests, intended) < Math.log(1 / policy.falseRollbackRatio)) return null;
  if (Math.abs(observed - intended) < mismatchMin * Math.min(intended, 1 - intended)) return null;
  const text = `The canary was meant to get ${share} % of the requests and got ${percent(observed)} of ${count(requests)}: the split is not in effect, or counts are missing.`;
  return { check: 'sampleRatio', kind: 'inconclusive', text, numbers: { intended, observed, requests } };
}

/** May the share rise, or at the last step the rollout end? As climb.ts says, by errors and, where asked for, by latency. */
function climbs(state: TallyState, tally: Tally, policy: AnalysisPolicy, question: Question): Reason[] {
  const { nextPercent, maxExcessErrors } = question;
  const seconds = tally.seenMs / 1000;
  const slowest = policy.metricLagSeconds + (2 * seconds) / Math.max(1, tally.windows);
  const climb = {
    nextPercent: nextPercent ?? 100,
    requestsPerSecond: (tally.step.canary.requests + tally.step.stable.requests) / Math.max(1, seconds),
    actSeconds: state.proxy.windows > 0 ? Math.min(slowest, proxySeconds) : slowest,
    falseRollbackRatio: policy.falseRollbackRatio,
    maxExcessErrors,
  };
  const errors = mayClimb(tally.errors, errorAllowance(policy), climb);
  const slow = mayClimb(tally.slow, slowAllowance(policy), climb);
  const reason = (check: string, text: string, answer: ClimbAnswer, numbers: Reason['numbers']): Reason => {
    const { isAllowed, ...measures } = answer;
    return {
      check,
      kind: isAllowed ? 'healthy' : 'inconclusive',
      text: `${text}; ${climbText(answer, climb.nextPercent, maxExcessErrors)}`,
      numbers: { ...numbers, ...measures },
    };
  };
  return [
    reason('errorRate', seenErrors(tally), errors, { ...numbersOf(tally), maxExcessErrors }),
    ...(policy.latency === null || tally.slowAboveMs === null
      ? []
      : [reason('latency', seenLatency(tally, policy), slow, latencyNumbers(tally, policy))]),
  ];
}

function climbText(answer: ClimbAnswer, nextPercent: number, budget: number): string {
  const known = `at most ${points(answer.excessAtMost)} more than stable`;
  const blind = `${nextPercent} % would serve ${count(Math.round(answer.blindRequests))} requests before evidence could act`;
  if (answer.blindRequests > answer.blindRequestsMax)
    return `${known}: ${blind}, ${count(Math.round(answer.blindRequestsMax))} are in proportion.`;
  return `${known}: ${blind}, with ${round(answer.excessErrors)} errors too many at most; the budget is ${budget}.`;
}

/** For people, and as a reason to wait: drift that is large, though not proven. */
function drift(tally: Tally, policy: AnalysisPolicy): Reason | null {
  const { drift: asked, minRequests } = policy;
  if (asked === null || tally.step.canary.predictions === undefined) return null;
  const { distance, bias, canaryCount, stableCount } = driftOf(tally);
  if (Math.min(canaryCount, stableCount) < minRequests || bias > asked.maxDistance / 2) return null;
  return {
    check: 'drift',
    kind: distance > asked.maxDistance ? 'inconclusive' : 'healthy',
    text: `${seenDrift(distance, policy)}.`,
    numbers: { distance, maxDistance: asked.maxDistance, canaryCount, stableCount },
  };
}

/** Drift counts only where it is also large enough to matter: with much traffic the least difference would be proven. */
function largeDriftLog(tally: Tally, { drift: asked, minRequests }: AnalysisPolicy): number {
  const { distance, canaryCount, stableCount, log } = driftOf(tally);
  const isLarge = asked !== null && distance > asked.maxDistance && Math.min(canaryCount, stableCount) >= minRequests;
  return isLarge ? log : Math.min(log, 0);
}

function driftOf(tally: Tally) {
  const [canary, stable] = [tally.step.canary.predictions ?? noHistogram, comparison(tally).predictions ?? noHistogram];
  return { ...distanceOf(canary, stable), log: driftLog(canary, stable) };
}

/** Stable's counts of the step, or all that is known of it where it took nothing in the step. */
function comparison({ step, rollout }: Tally): VariantCounts {
  return step.stable.requests > 0 ? step.stable : rollout.stable;
}

function worst(reasons: Reason[]): Verdict['kind'] {
  const order: Verdict['kind'][] = ['unhealthy', 'noData', 'inconclusive', 'healthy'];
  return order.find((kind) => reasons.some((reason) => reason.kind === kind)) ?? 'noData';
}

function numbersOf(tally: Tally): Record<string, number> {
  const { canary } = tally.step;
  const stable = comparison(tally);
  return {
    canaryErrors: canary.errors,
    canaryRequests: canary.requests,
    stableErrors: stable.errors,
    stableRequests: stable.requests,
  };
}

function seenErrors(tally: Tally): string {
  return `Canary ${fraction(errorsOf(tally.step.canary))}, stable ${fraction(errorsOf(comparison(tally)))}`;
}

function seenLatency(tally: Tally, { latency }: AnalysisPolicy): string {
  const quantileRatio = latency?.quantileRatio ?? 0.95;
  const takes = ({ bounds, counts }: Histogram): string => {
    const ms = quantileMs({ bounds, counts }, quantileRatio);
    return ms === null ? `more than ${bounds.at(-1) ?? 0} ms` : `${round(ms)} ms`;
  };
  const [canary, stable] = [takes(tally.step.canary.latencyMs), takes(comparison(tally).latencyMs)];
  return `At the ${percent(quantileRatio)} quantile canary takes ${canary}, stable ${stable}`;
}

function latencyNumbers(tally: Tally, { latency }: AnalysisPolicy): Record<string, number | null> {
  const quantileRatio = latency?.quantileRatio ?? 0.95;
  return {
    canaryMs: quantileMs(tally.step.canary.latencyMs, quantileRatio),
    stableMs: quantileMs(comparison(tally).latencyMs, quantileRatio),
    quantileRatio,
    maxRatio: latency?.maxRatio ?? null,
  };
}

function seenDrift(distance: number, { drift: asked }: AnalysisPolicy): string {
  return `The canary's predictions lie ${round(distance)} from stable's (Jensen-Shannon; at most ${asked?.maxDistance} is fine)`;
}
