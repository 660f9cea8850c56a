/** Is the canary proven worse? All checks' e-values together against 1/α, and the numbers behind them. */
import type { AnalysisPolicy } from '../policy/policy.ts';
import { type Bet, type Check, countOf, isBet, partOf, valuesOf } from './checks.ts';
import { distanceOf, driftLog } from './drift.ts';
import { logWeighted } from './evalue.ts';
import { quantileMs, type VariantCounts } from './evidence.ts';
import { worseLog } from './hit-test.ts';
import { claimOf, seen } from './said.ts';
import { odds } from './sentences.ts';
import { comparison, runningOf, type Source, type Tally, type TallyState, latestValueOf } from './tally.ts';
import type { Reason } from './verdict.ts';

/**
 * All checks together: Σ w_k E_k ≥ 1/α, weights fixed by the policy alone, which holds whatever the checks have to do with
 * one another (Vovk and Wang 2021). Of two sources, judged apart, each has half of α. The reason names the check that says
 * most.
 */
export function provenWorse(state: TallyState, source: Source, checks: Check[], policy: AnalysisPolicy): Reason | null {
  const tally = state[source];
  const { log, most } = oddsOfWorse(tally, checks, policy);
  const limit = oddsLimit(state, policy);
  if (log < limit || most === null) return null;
  const text = `${seen(tally, most)}: odds ${odds(log)} : 1 that ${claimOf(most)}; the limit is ${odds(limit)} : 1.`;
  const numbers = { odds: Math.min(Math.exp(log), 1e12), oddsLimit: Math.exp(limit) };
  return { check: most.name, kind: 'unhealthy', text, numbers: { ...numbersOf(tally, most), ...numbers } };
}

/** The logarithm of the weighted mean of the checks' e-values, and the check that says most. */
export function oddsOfWorse(tally: Tally, checks: Check[], policy: AnalysisPolicy): { log: number; most: Bet | null } {
  const weighted = checks
    .filter(isBet)
    .map((check) => ({ check, weight: partOf(check, checks), log: logOf(tally, check, policy) }));
  const [most] = weighted.toSorted((a, b) => b.log + Math.log(b.weight) - a.log - Math.log(a.weight));
  return most === undefined ? { log: 0, most: null } : { log: logWeighted(weighted), most: most.check };
}

function logOf(tally: Tally, check: Bet, policy: AnalysisPolicy): number {
  if (check.rule.kind !== 'drift') return worseLog(runningOf(tally, check).hits);
  return largeDriftLog(tally, check, check.rule.maxDistance, policy);
}

/** Counted over the rollout, as the e-values are: a new step must not lower the limit that they are held against. */
function oddsLimit({ monitoring, proxy }: TallyState, { falseRollbackRatio }: AnalysisPolicy): number {
  const sources = [monitoring, proxy].filter(({ rollout }) => rollout.canary.requests > 0).length;
  return Math.log(Math.max(1, sources) / falseRollbackRatio);
}

/** Drift counts only where it is also large enough to matter: with much traffic the least difference would be proven. */
function largeDriftLog(tally: Tally, check: Check, maxDistance: number, { minRequests }: AnalysisPolicy): number {
  const { distance, canaryCount, stableCount } = driftOf(tally, check);
  const log = driftLog(valuesOf(check, tally.step.canary), valuesOf(check, comparison(tally)));
  const isLarge = distance > maxDistance && Math.min(canaryCount, stableCount) >= minRequests;
  return isLarge ? log : Math.min(log, 0);
}

export function driftOf(tally: Tally, check: Check) {
  return distanceOf(valuesOf(check, tally.step.canary), valuesOf(check, comparison(tally)));
}

/** Odds of the proxy's at which Monitoring's word alone does not raise a share. */
const contradictionOdds = 10;

/** The faster source may decide, and the slower must not raise a share against its word without a hint of proof. */
export function contradiction({ proxy }: TallyState, checks: Check[], policy: AnalysisPolicy): Reason | null {
  const { log, most } = oddsOfWorse(proxy, checks, policy);
  if (log < Math.log(contradictionOdds) || most === null) return null;
  const text = `The proxy does not agree: ${seen(proxy, most)}: odds ${odds(log)} : 1 that ${claimOf(most)}. The share waits.`;
  return { check: 'sources', kind: 'inconclusive', text, numbers: { odds: Math.exp(log), contradictionOdds } };
}

/** The numbers of the check's sentence, units in the names. */
export function numbersOf(tally: Tally, check: Check): Record<string, number | null> {
  const { canary } = tally.step;
  const stable = comparison(tally);
  const { rule } = check;
  switch (rule.kind) {
    case 'rate': {
      const [ours, theirs] = [countOf(check, canary, null), countOf(check, stable, null)];
      const [hits, trials] = check.name === 'errorRate' ? ['Errors', 'Requests'] : ['Hits', 'Trials'];
      return {
        [`canary${hits}`]: ours.hits,
        [`canary${trials}`]: ours.trials,
        [`stable${hits}`]: theirs.hits,
        [`stable${trials}`]: theirs.trials,
        marginRatio: rule.marginRatio,
      };
    }
    case 'quantile': {
      const quantileOf = (side: VariantCounts) => quantileMs(valuesOf(check, side), rule.quantileRatio);
      const unit = check.unit === 'ms' ? 'Ms' : '';
      return {
        [`canary${unit}`]: quantileOf(canary),
        [`stable${unit}`]: quantileOf(stable),
        [`above${unit}`]: runningOf(tally, check).above,
        quantileRatio: rule.quantileRatio,
        maxRatio: rule.maxRatio,
      };
    }
    case 'drift': {
      const { distance, canaryCount, stableCount } = driftOf(tally, check);
      return { distance, maxDistance: rule.maxDistance, canaryCount, stableCount };
    }
    case 'limit':
      return { value: latestValueOf(tally, check), max: rule.max };
  }
}
