/**
 * What is asked of the canary? Errors, latency, drift and the owner's own, as checks of one shape: a signal is read from a
 * variant's counts, and a rule says what is fine. One more check is one more entry in a policy.
 */
import type { AnalysisPolicy, CheckPolicy, CheckRule } from '../policy/policy.ts';
import type { Count } from './evalue.ts';
import { countIn, type Histogram, noHistogram, type Signal, type VariantCounts } from './evidence.ts';
import type { Allowance } from './hit-test.ts';

export interface Check {
  name: string;
  rule: CheckRule;
  /** What is bet on it; relative to the others'. */
  weight: number;
  isDryRun: boolean;
  /** `ms`, or empty. */
  unit: string;
  /** Monitoring's evidence brings the numbers; else whoever samples or reports. */
  isMeasured: boolean;
  read: (variant: VariantCounts) => Signal | undefined;
}

/** A check that can be proven. A limit's one value cannot: nothing is bet on it. */
export type Bet = Check & { rule: Exclude<CheckRule, { kind: 'limit' }> };

export function isBet(check: Check): check is Bet {
  return check.rule.kind !== 'limit';
}

/** Errors are what most canaries fail by, so most is bet on them. */
const errorWeight = 5;
const otherWeight = 2;

/** The policy's checks, errors first. */
export function checksOf(policy: AnalysisPolicy): Check[] {
  const { errorRate, latency, drift, checks } = policy;
  return [
    {
      name: 'errorRate',
      rule: { kind: 'rate', maxRatio: errorRate.maxRatio, marginRatio: errorRate.marginRatio },
      weight: errorWeight,
      isDryRun: errorRate.dryRun,
      unit: '',
      isMeasured: true,
      read: ({ errors, requests }) => ({ hits: errors, trials: requests }),
    },
    ...(latency === null ? [] : [latencyCheck(latency)]),
    ...(drift === null ? [] : [driftCheck(drift)]),
    ...checks.map(ownCheck),
  ];
}

function latencyCheck({ quantileRatio, maxRatio, dryRun }: NonNullable<AnalysisPolicy['latency']>): Check {
  return {
    name: 'latency',
    rule: { kind: 'quantile', quantileRatio, maxRatio },
    weight: otherWeight,
    isDryRun: dryRun,
    unit: 'ms',
    isMeasured: true,
    read: ({ latencyMs }) => latencyMs,
  };
}

function driftCheck({ maxDistance, dryRun }: NonNullable<AnalysisPolicy['drift']>): Check {
  return {
    name: 'drift',
    rule: { kind: 'drift', maxDistance },
    weight: otherWeight,
    isDryRun: dryRun,
    unit: '',
    isMeasured: false,
    read: ({ predictions }) => predictions,
  };
}

function ownCheck({ name, rule, dryRun, from }: CheckPolicy): Check {
  return {
    name,
    rule,
    weight: otherWeight,
    isDryRun: dryRun,
    unit: '',
    isMeasured: from.kind !== 'reported',
    read: ({ signals }) => signals?.[name],
  };
}

/** What part of all bets is on a check. A dry run is judged by itself. @param all of the policy's checks */
export function partOf({ weight, isDryRun }: Check, all: readonly Check[]): number {
  if (isDryRun) return 1;
  const acting = all.filter((check) => isBet(check) && !check.isDryRun);
  return weight / acting.reduce((sum, check) => sum + check.weight, 0);
}

/** The variant's values, for rules about values; empty where the signal is none. */
export function valuesOf(check: Check, variant: VariantCounts): Histogram {
  const signal = check.read(variant);
  return signal !== undefined && 'bounds' in signal ? signal : noHistogram;
}

/** The variant's latest value, for a limit; null where it has none. */
export function latestOf(check: Check, variant: VariantCounts): number | null {
  const signal = check.read(variant);
  return signal !== undefined && 'value' in signal ? signal.value : null;
}

/**
 * Hits of trials, for rules that count them: a rate's own, or the values surely above a bound.
 * @param above a quantile's bound; null while it is not known
 */
export function countOf(check: Check, variant: VariantCounts, above: number | null): Count {
  if (check.rule.kind === 'rate') {
    const signal = check.read(variant);
    return signal !== undefined && 'hits' in signal ? signal : { hits: 0, trials: 0 };
  }
  const values = valuesOf(check, variant);
  return { hits: above === null ? 0 : countAbove(values, above), trials: countIn(values) };
}

/** How often is still fine: as the rate says, or as many as lie above a quantile anyway. */
export function allowanceOf(rule: Extract<CheckRule, { kind: 'rate' | 'quantile' }>): Allowance {
  if (rule.kind === 'rate') return { margin: rule.marginRatio, floor: 0, ceiling: rule.maxRatio };
  return { margin: 0, floor: 1 - rule.quantileRatio, ceiling: 1 };
}

/** How many were surely above the bound: a bucket that straddles it counts as not. */
export function countAbove({ bounds, counts }: Histogram, bound: number): number {
  return counts.reduce(
    (sum, count, i) => ((bounds[i - 1] ?? Number.NEGATIVE_INFINITY) >= bound ? sum + count : sum),
    0,
  );
}
