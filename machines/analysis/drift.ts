/** How far apart are two histograms? Jensen-Shannon, as Vertex Model Monitoring measures numbers. */
import { nth } from '../nth.ts';
import { addHistograms, coarsen, type Histogram } from './evidence.ts';
import { mismatchLog } from './sample-ratio.ts';

/**
 * The Jensen-Shannon divergence (base 2, from 0 for alike to 1 for disjoint) of two samples in common bins, less what
 * sampling alone makes of it: (bins in use - 1) · (1/n + 1/m) / (8 ln 2), first order in 1/n (Miller 1955). Never below 0.
 * @example bins [8, 2] and [2, 8] of ten each: 0.278 before the correction of 0.036, 0.242 after.
 */
export function distanceOf(
  a: Histogram,
  b: Histogram,
): { distance: number; bias: number; canaryCount: number; stableCount: number } {
  const { bounds } = addHistograms(a, b);
  const [left, right] = [coarsen(a, bounds), coarsen(b, bounds)];
  const [n, m] = [sum(left), sum(right)];
  if (n === 0 || m === 0) return { distance: 0, bias: 1, canaryCount: n, stableCount: m };
  let divergence = 0;
  let binsInUse = 0;
  for (const [i, count] of left.entries()) {
    const p = count / n;
    const q = nth(right, i) / m;
    const middle = (p + q) / 2;
    if (middle > 0) binsInUse += 1;
    divergence += half(p, middle) + half(q, middle);
  }
  const bias = ((binsInUse - 1) * (1 / n + 1 / m)) / (8 * Math.LN2);
  return { distance: Math.max(0, divergence - bias), bias, canaryCount: n, stableCount: m };
}

/**
 * The logarithm of the e-value against "which variant predicted it does not depend on the bin": per bin a beta-binomial
 * mixture around the canary's overall share, multiplied over bins. The share is taken from the same sample, which only
 * brings the bins nearer to it.
 */
export function driftLog(canary: Histogram, stable: Histogram): number {
  const { bounds } = addHistograms(canary, stable);
  const [left, right] = [coarsen(canary, bounds), coarsen(stable, bounds)];
  const [n, m] = [sum(left), sum(right)];
  if (n === 0 || m === 0) return 0;
  return left.reduce((log, count, i) => log + mismatchLog(count, nth(right, i), n / (n + m)), 0);
}

function half(share: number, middle: number): number {
  return share === 0 ? 0 : (share / 2) * Math.log2(share / middle);
}

function sum(counts: number[]): number {
  return counts.reduce((a, b) => a + b, 0);
}
