/** Do the variants get the shares that were intended? A beta-binomial mixture, safe to look at after every window. */

import { logBeta } from './log-gamma.ts';

/** How sure the mixture is of the intended share beforehand, in requests. */
const strength = 100;

/**
 * The logarithm of the e-value against "each request goes to the canary with probability `intended`": the likelihood
 * under Beta(k p, k (1-p)), k = 100, over that under p (Lindon and Malek 2022, two cells).
 * @example 80 of 100 at an intended 0.5: ln B(130, 70) - ln B(50, 50) + 100 ln 2 = 8.840
 */
export function mismatchLog(canary: number, stable: number, intended: number): number {
  const [a, b] = [strength * intended, strength * (1 - intended)];
  return (
    logBeta(a + canary, b + stable) - logBeta(a, b) - canary * Math.log(intended) - stable * Math.log(1 - intended)
  );
}
