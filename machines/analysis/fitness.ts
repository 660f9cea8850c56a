/** Does a check let the share rise, or at the last step the rollout end? By evidence of its own, and never without any. */
import type { AnalysisPolicy } from '../policy/policy.ts';
import { allowanceOf, type Check, countOf } from './checks.ts';
import { mayClimb } from './climb.ts';
import type { Allowance } from './hit-test.ts';
import { driftOf, numbersOf } from './proof.ts';
import { climbed, seen } from './said.ts';
import { count } from './sentences.ts';
import { runningOf, latestValueOf, type Source, type Tally, type TallyState } from './tally.ts';
import type { Reason } from './verdict.ts';

/** What is asked: is the share fine as it is, and may it rise to the next one? */
export interface Question {
  at: number;
  /** The canary's share now, in percent. */
  percent: number;
  /** The share that comes next; null at the last step, which ends when it could be taken again. */
  nextPercent: number | null;
  maxExcessErrors: number;
}

/** Of whose evidence, by which policy, and what is asked. */
export interface Case {
  state: TallyState;
  source: Source;
  policy: AnalysisPolicy;
  question: Question;
}

/** Seconds until a proxy's evidence acts: its interval, the delivery and the write. */
const proxySeconds = 15;

/** Null where a proxy has no numbers: of its word alone only rollbacks come, so it owes none. */
export function fitness(asked: Case, check: Check): Reason | null {
  const tally = tallyFor(asked, check);
  if (hasNumbers(tally, check)) return answerOf(asked, tally, check);
  if (asked.source === 'proxy') return null;
  const whose = check.isMeasured ? 'Monitoring has' : 'nobody has sampled or reported';
  const text = `${check.name}: ${whose} ${check.isMeasured ? 'no' : 'any'} numbers of the canary since the step took effect.`;
  return { check: check.name, kind: 'inconclusive', text, numbers: { canaryNumbers: 0 } };
}

/** Monitoring raises the share; what it does not measure itself, such as predictions, it takes from the proxy's word. */
function tallyFor({ state, source }: Case, check: Check): Tally {
  return source === 'proxy' || check.isMeasured || hasNumbers(state.monitoring, check) ? state[source] : state.proxy;
}

function hasNumbers(tally: Tally, check: Check): boolean {
  if (check.rule.kind === 'limit') return latestValueOf(tally, check) !== null;
  return countOf(check, tally.step.canary, null).trials > 0;
}

function answerOf(asked: Case, tally: Tally, check: Check): Reason | null {
  switch (check.rule.kind) {
    case 'rate':
      return climb(asked, tally, check, allowanceOf(check.rule));
    case 'quantile':
      return runningOf(tally, check).above === null ? null : climb(asked, tally, check, allowanceOf(check.rule));
    case 'drift':
      return near(asked.policy, tally, check, check.rule.maxDistance);
    case 'limit':
      return below(tally, check, check.rule.max);
  }
}

/** As climb.ts says, by the check's hits. */
function climb({ state, source, policy, question }: Case, tally: Tally, check: Check, allowance: Allowance): Reason {
  const { seenMs, windows } = state[source];
  const seconds = Math.max(1, seenMs / 1000);
  const slowest = policy.metricLagSeconds + (2 * seconds) / Math.max(1, windows);
  const running = runningOf(tally, check);
  const trials = [tally.step.canary, tally.step.stable].map((side) => countOf(check, side, running.above).trials);
  const next = {
    nextPercent: question.nextPercent ?? 100,
    requestsPerSecond: trials.reduce((sum, one) => sum + one, 0) / seconds,
    actSeconds: state.proxy.windows > 0 ? Math.min(slowest, proxySeconds) : slowest,
    falseRollbackRatio: policy.falseRollbackRatio,
    maxExcessErrors: question.maxExcessErrors,
  };
  const { isAllowed, ...measures } = mayClimb(running.hits, allowance, next);
  return {
    check: check.name,
    kind: isAllowed ? 'healthy' : 'inconclusive',
    text: `${seen(tally, check)}; ${climbed(measures, next.nextPercent, next.maxExcessErrors)}`,
    numbers: { ...numbersOf(tally, check), maxExcessErrors: next.maxExcessErrors, ...measures },
  };
}

/** Drift that is large, though not proven, is a reason to wait; so are too few values to say. */
function near({ minRequests }: AnalysisPolicy, tally: Tally, check: Check, maxDistance: number): Reason {
  const { distance, bias, canaryCount, stableCount } = driftOf(tally, check);
  const isTelling = Math.min(canaryCount, stableCount) >= minRequests && bias <= maxDistance / 2;
  const few = `${check.name}: ${count(canaryCount)} values of the canary and ${count(stableCount)} of stable are too few to compare`;
  return {
    check: check.name,
    kind: isTelling && distance <= maxDistance ? 'healthy' : 'inconclusive',
    text: `${isTelling ? seen(tally, check) : few}.`,
    numbers: numbersOf(tally, check),
  };
}

function below(tally: Tally, check: Check, max: number): Reason {
  const value = latestValueOf(tally, check);
  const kind = value !== null && value <= max ? 'healthy' : 'inconclusive';
  return { check: check.name, kind, text: `${seen(tally, check)}.`, numbers: numbersOf(tally, check) };
}
