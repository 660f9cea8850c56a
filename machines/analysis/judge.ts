/**
 * Is the canary as good as stable? The verdict on one source's tally, with reasons and numbers. Worse is proven by an
 * e-value that passes 1/α, whenever anybody looks; good enough for the next share by a bound on the harm it could do.
 * Pure: the same tally and question, the same verdict.
 */
import type { AnalysisPolicy } from '../policy/policy.ts';
import { total } from './baseline.ts';
import { type Check, checksOf } from './checks.ts';
import type { Count } from './evalue.ts';
import { type Case, fitness, type Question } from './fitness.ts';
import { isSuspect } from './hit-test.ts';
import { contradiction, numbersOf, provenWorse } from './proof.ts';
import { seen } from './said.ts';
import { mismatchLog } from './sample-ratio.ts';
import { count, fraction, percent } from './sentences.ts';
import { runningOf, type Source, type Tally, type TallyState } from './tally.ts';
import type { Reason, Verdict } from './verdict.ts';

/** The reason that asks for a share at which stable serves beside the canary. */
export const suspicionCheck = 'suspicion';

/** Shares may differ by so much of the smaller one before anybody is told, however sure it is. */
const mismatchMin = 0.2;

/** Judges one source's tally; the source must have reported since the step took effect. */
export function judge(state: TallyState, source: Source, policy: AnalysisPolicy, question: Question): Verdict {
  const covered = Object.entries(state.covered).flatMap(([name, window]) =>
    (name === 'monitoring') === (source === 'monitoring') ? [window] : [],
  );
  const reasons = reasonsFor({ state, source, policy, question });
  return {
    kind: worst(reasons),
    source,
    at: question.at,
    fromAt: Math.min(...covered.map(({ fromAt }) => fromAt)),
    toAt: Math.max(...covered.map(({ toAt }) => toAt)),
    reasons,
  };
}

function reasonsFor(asked: Case): Reason[] {
  const { state, source, policy, question } = asked;
  const tally = state[source];
  const checks = checksOf(policy);
  const dryRuns = checks.filter(({ isDryRun }) => isDryRun).flatMap((check) => dryRun(asked, check));
  const acting = checks.filter(({ isDryRun }) => !isDryRun);
  const worse = provenWorse(state, source, acting, policy);
  if (worse !== null) return [worse, ...dryRuns];
  const few = fewRequests(tally, policy);
  const suspected = suspicion(tally, acting);
  if (few !== null) return [few, ...suspected, ...dryRuns];
  const reasons = [
    policy.errorRate.dryRun ? null : aboveCeiling(tally, policy),
    ...suspected,
    mismatch(tally, policy, question),
    source === 'monitoring' ? contradiction(state, acting, policy) : null,
    ...acting.map((check) => fitness(asked, check)),
    acting.length === 0 ? nobodyActs : null,
  ];
  return [...reasons.filter((reason) => reason !== null), ...dryRuns];
}

const nobodyActs: Reason = {
  check: 'checks',
  kind: 'inconclusive',
  text: 'Every check is a dry run: only a person can raise the share.',
  numbers: {},
};

/** Judged like any other, with all of α for itself; what it says is marked, and nobody acts on it. */
function dryRun(asked: Case, check: Check): Reason[] {
  const reason = provenWorse(asked.state, asked.source, [check], asked.policy) ?? fitness(asked, check);
  return reason === null ? [] : [{ ...reason, text: `Dry run: ${reason.text}`, dryRun: true }];
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

/**
 * Above the ceiling just now, and not proven worse: the share waits. With stable above it too it is an outage, which a rollback
 * would not mend. Alone it counts as it was counted, whatever all windows have come to: an outage that stable met harder
 * says that the canary is no worse, and would go on to say so when stable is well again.
 */
function aboveCeiling(tally: Tally, { errorRate, minRequests }: AnalysisPolicy): Reason | null {
  const { baseline } = runningOf(tally, { name: 'errorRate' }).hits;
  const [canary, stable] = [total(tally.recent.slice(-tally.windows)), total(baseline.recent)];
  const isAbove = ({ hits, trials }: Count): boolean => hits > errorRate.maxRatio * trials;
  if (!isAbove(canary)) return null;
  const isOutage = stable.trials >= minRequests && isAbove(stable);
  const numbers = {
    canaryErrors: canary.hits,
    canaryRequests: canary.trials,
    stableErrors: stable.hits,
    stableRequests: stable.trials,
  };
  const ceiling = `above the ceiling of ${percent(errorRate.maxRatio)}`;
  const text = isOutage
    ? `Lately canary ${fraction(canary)}, stable ${fraction(stable)}: both ${ceiling}, which is an outage and not the canary.`
    : `Lately canary ${fraction(canary)}: ${ceiling}, though not proven to be worse than stable.`;
  return { check: isOutage ? 'outage' : 'ceiling', kind: 'inconclusive', text, numbers };
}

/** Nobody is left to compare with, and the canary is far worse than stable was: the share before would tell whose fault it is. */
function suspicion(tally: Tally, checks: Check[]): Reason[] {
  const check = checks.find((one) => isSuspect(runningOf(tally, one).hits));
  if (check === undefined) return [];
  const text = `${seen(tally, check)} before: far worse, and nobody is left to compare with. It may be an outage.`;
  return [{ check: suspicionCheck, kind: 'inconclusive', text, numbers: numbersOf(tally, check) }];
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

function worst(reasons: Reason[]): Verdict['kind'] {
  const order: Verdict['kind'][] = ['unhealthy', 'noData', 'inconclusive', 'healthy'];
  return order.find((kind) => reasons.some((reason) => reason.kind === kind && reason.dryRun !== true)) ?? 'noData';
}
