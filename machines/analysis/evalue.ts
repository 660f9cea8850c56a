/**
 * How sure can we be, however often we look? Building blocks of e-processes: each test statistic is non-negative and has
 * mean at most 1 under its null at every stopping time, so it exceeds 1/α with probability at most α (Ville 1939). All in
 * logarithms, all sums over windows, so that a window costs the same on the first day and on the thirtieth.
 */

/** How often something happened: `hits` of `trials`. Errors of requests, slow ones of requests. */
export interface Count {
  hits: number;
  trials: number;
}

/**
 * Alternatives of the split test, as multiples of the null's ratio: from "half as much again" to "only the canary fails".
 * The spread costs ln 8 nats at most, once.
 */
export const splitFactors = [1.5, 2, 3, 5, 10, 30, 100, 1000] as const;

/** Alternatives of the bar test, as multiples of the bar. */
export const barFactors = [1.5, 2, 4, 10, 40] as const;

/**
 * One window of the split test. Null: p_c ≤ r · p_s. Given that something was hit, it was the canary's with probability at
 * most w0 = r n_c / (r n_c + n_s); a moving baseline and a shared outage cancel, because both variants share them.
 * Adds e_c ln(w/w0) + e_s ln((1-w)/(1-w0)) for w = θ r n_c / (θ r n_c + n_s), per θ (after Lindon and Malek 2022, eq. 6).
 * A supermartingale for binomial counts: E[exp(increment)] ≤ exp(n_c p_c (w/w0-1) + n_s p_s ((1-w)/(1-w0)-1)) ≤ 1.
 * @param ratio r, from stable's past only; at least 1
 * @example canary 1 of 5, stable 0 of 95, r = 1, θ = 1000: ln(0.9814/0.05) = 2.977
 */
export function splitIncrements(
  canary: Count,
  stable: Count,
  ratio: number,
  factors: readonly number[] = splitFactors,
): number[] {
  if (canary.trials === 0 || stable.trials === 0) return factors.map(() => 0);
  const expected = ratio * canary.trials;
  const w0 = expected / (expected + stable.trials);
  return factors.map((factor) => {
    const w = (factor * expected) / (factor * expected + stable.trials);
    return canary.hits * Math.log(w / w0) + stable.hits * Math.log((1 - w) / (1 - w0));
  });
}

/**
 * One window of the Bernoulli test. Null: p ≤ q0 for factors above 1, p ≥ q0 for factors below 1.
 * Adds e ln(q/q0) + (n-e) ln((1-q)/(1-q0)) for q = factor · q0 (Wald 1945, eq. 3:1), capped below 1.
 * @param bar q0, in (0, 1)
 * @example 2 of 10 against q0 = 0.05 with factor 4: 2 ln 4 + 8 ln(0.8/0.95) = 1.398
 */
export function barIncrements({ hits, trials }: Count, bar: number, factors: readonly number[] = barFactors): number[] {
  return factors.map((factor) => {
    const q = Math.min(factor * bar, (1 + bar) / 2);
    return hits * Math.log(q / bar) + (trials - hits) * Math.log((1 - q) / (1 - bar));
  });
}

/** The logarithm of the mean of e-values, which is an e-value under any dependence (Vovk and Wang 2021, prop. 3.1). */
export function logMean(logs: readonly number[]): number {
  return logWeighted(logs.map((log) => ({ log, weight: 1 / logs.length })));
}

/** The logarithm of a weighted mean; the weights are fixed beforehand and sum to 1 at most. */
export function logWeighted(parts: readonly { log: number; weight: number }[]): number {
  const highest = Math.max(...parts.map(({ log }) => log));
  if (!Number.isFinite(highest)) return highest;
  return highest + Math.log(parts.reduce((sum, { log, weight }) => sum + weight * Math.exp(log - highest), 0));
}

/** Adds increments to running logarithms, element by element. */
export function accumulate(logs: readonly number[], increments: readonly number[]): number[] {
  return increments.map((increment, i) => (logs[i] ?? 0) + increment);
}

/** Kullback-Leibler divergence of Bernoulli(p) from Bernoulli(q), in nats: what one request tells at the most. */
export function divergence(p: number, q: number): number {
  return term(p, q) + term(1 - p, 1 - q);
}

function term(p: number, q: number): number {
  return p === 0 ? 0 : p * Math.log(p / q);
}
