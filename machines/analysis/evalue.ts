/**
 * How sure can we be, however often we look? Building blocks of e-processes: each is non-negative and has mean at most 1
 * under its null at every stopping time, so it exceeds 1/α with probability at most α (Ville 1939). All in logarithms, all
 * sums over windows, so that a window costs the same on the first day and on the thirtieth.
 */

/** How often something happened: `hits` of `trials`. Errors of requests, slow ones of requests. */
export interface Count {
  hits: number;
  trials: number;
}

/** An alternative to the null, as a multiple of its edge, and how much is bet on it. The weights of a grid sum to 1. */
export interface Alternative {
  factor: number;
  weight: number;
}

/**
 * Dense near the edge, where the factor decides how soon a small excess is seen, and sparse above, where every hit tells.
 * Most is bet on twice to four times as many. The same grid for both tests.
 */
export const alternatives: readonly Alternative[] = [
  { factor: 1.15, weight: 0.12 },
  { factor: 1.35, weight: 0.16 },
  { factor: 1.7, weight: 0.19 },
  { factor: 2.3, weight: 0.18 },
  { factor: 3.5, weight: 0.13 },
  { factor: 6, weight: 0.09 },
  { factor: 12, weight: 0.06 },
  { factor: 40, weight: 0.04 },
  { factor: 1000, weight: 0.03 },
];

/**
 * One window of the split test. Null: p_c ≤ r · p_s. Given that something was hit, it was the canary's with probability at
 * most w0 = r n_c / (r n_c + n_s); a moving baseline and a shared outage cancel, because both variants share them.
 * Gives e_c ln(w/w0) + e_s ln((1-w)/(1-w0)) for w = θ r n_c / (θ r n_c + n_s) (after Lindon and Malek 2022, eq. 6).
 * A supermartingale for binomial counts, θ ≥ 1: E exp ≤ exp(n_c p_c (w/w0-1) + n_s p_s ((1-w)/(1-w0)-1)) ≤ 1. For θ < 1 the
 * null is p_c ≥ r · p_s.
 * @param ratio r, known before the window
 * @example canary 1 of 5, stable 0 of 95, r = 1, θ = 1000: ln(0.98137/0.05) = 2.9769
 */
export function splitGain(canary: Count, stable: Count, ratio: number, factor: number): number {
  if (canary.trials === 0 || stable.trials === 0) return 0;
  const expected = ratio * canary.trials;
  const odds = factor * expected;
  const total = (expected + stable.trials) / (odds + stable.trials);
  return canary.hits * Math.log(factor * total) + stable.hits * Math.log(total);
}

/**
 * One window of the Bernoulli test. Null: p ≤ q0 for θ above 1, p ≥ q0 for θ below 1.
 * Gives e ln(q/q0) + (n-e) ln((1-q)/(1-q0)) for q = θ q0 (Wald 1945, eq. 3:1), held half-way below 1.
 * @param edge q0, in (0, 1)
 * @example 2 of 10 against q0 = 0.05 with θ = 4: 2 ln 4 + 8 ln(0.8/0.95) = 1.3978
 */
export function rateGain({ hits, trials }: Count, edge: number, factor: number): number {
  const q = Math.min(factor * edge, (1 + edge) / 2);
  return hits * Math.log(q / edge) + (trials - hits) * Math.log((1 - q) / (1 - edge));
}

/** What a start at the beginning has of all weight; the rest is for whatever begins later. */
const firstStart = 0.8;

/**
 * What is bet on a change just before a window: 0.8 on the first, and 0.2 · (G(t) - G(t + seconds)) on it and every later
 * one, G(t) = 1/(1 + t/60). All starts together sum to 1 however time is cut; after a week a start still has e^-20.
 * @param sinceSeconds t, how much time the windows before it covered
 */
export function startWeight(sinceSeconds: number, seconds: number): number {
  const later = (1 - firstStart) * (1 / (1 + sinceSeconds / 60) - 1 / (1 + (sinceSeconds + seconds) / 60));
  return sinceSeconds === 0 ? firstStart + later : later;
}

/**
 * Carries e-processes on by one window: S ← (S + w) · exp(gain), in logarithms, w the weight of a start just before it. A
 * mixture over when the canary went wrong (Shiryaev 1963, Roberts 1966), so good weeks do not hide a bad minute: under the
 * null its mean is at most Σ w ≤ 1, at every stopping time.
 * @param logs empty before the first window
 */
export function carryOn(logs: readonly number[], gains: readonly number[], weight: number): number[] {
  const start = Math.log(weight);
  return gains.map((gain, i) => {
    const log = logs[i];
    return (log === undefined ? start : logAdd(log, start)) + gain;
  });
}

/** The logarithm of a weighted mean; the weights are fixed beforehand and sum to at most 1 (Vovk and Wang 2021, prop. 3.1). */
export function logWeighted(parts: readonly { log: number; weight: number }[]): number {
  const highest = Math.max(...parts.map(({ log }) => log));
  return highest + Math.log(parts.reduce((sum, { log, weight }) => sum + weight * Math.exp(log - highest), 0));
}

/** Kullback-Leibler divergence of Bernoulli(p) from Bernoulli(q), in nats: what one request tells at the most. */
export function divergence(p: number, q: number): number {
  return term(p, q) + term(1 - p, 1 - q);
}

function term(p: number, q: number): number {
  return p === 0 ? 0 : p * Math.log(p / q);
}

/** ln(e^a + e^b). */
export function logAdd(a: number, b: number): number {
  const [high, low] = a > b ? [a, b] : [b, a];
  return high + Math.log1p(Math.exp(low - high));
}
