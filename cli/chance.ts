/**
 * How many of so many, and how sure is that? Exact draws of counts, from one at a time to a million at once: inversion where
 * the mean is small, Hörmann's transformed rejection above, in a constant number of steps. Nothing here approximates by a normal.
 */
import type { Random } from '../emulator/models/random.ts';
import { logGamma } from '../machines/analysis/log-gamma.ts';

/** Below this mean, counting up is quicker than rejecting. */
const inversionMeanMax = 10;
/** The rejection accepts at least every second try; a source of chance that never lets it is broken. */
const triesMax = 10_000;

/** How many of `n` trials succeed, each with probability `p`. Binomial: BINV, or BTRS (Hörmann 1993, fig. 4). */
export function drawBinomial(random: Random, n: number, p: number): number {
  if (n <= 0 || p <= 0) return 0;
  if (p >= 1) return n;
  if (p > 0.5) return n - drawBinomial(random, n, 1 - p);
  return n * p < inversionMeanMax ? invertBinomial(random, n, p) : rejectBinomial(random, n, p);
}

/** How many events in a time that has `mean` on average. Poisson: inversion, or PTRS (Hörmann 1993, p. 40). */
export function drawPoisson(random: Random, mean: number): number {
  if (mean <= 0) return 0;
  return mean < inversionMeanMax ? invertPoisson(random, mean) : rejectPoisson(random, mean);
}

function invertBinomial(random: Random, n: number, p: number): number {
  const odds = p / (1 - p);
  let chance = (1 - p) ** n;
  let left = random();
  let k = 0;
  while (left > chance && k < n) {
    left -= chance;
    k += 1;
    chance *= ((n - k + 1) / k) * odds;
  }
  return k;
}

function rejectBinomial(random: Random, n: number, p: number): number {
  const deviation = Math.sqrt(n * p * (1 - p));
  const b = 1.15 + 2.53 * deviation;
  const a = -0.0873 + 0.0248 * b + 0.01 * p;
  const mode = Math.floor((n + 1) * p);
  const atMode = logGamma(mode + 1) + logGamma(n - mode + 1);
  for (let tries = 0; tries < triesMax; tries += 1) {
    const u = random() - 0.5;
    const v = random();
    const us = 0.5 - Math.abs(u);
    const k = Math.floor(((2 * a) / us + b) * u + n * p + 0.5);
    if (us >= 0.07 && v <= 0.92 - 4.2 / b) return k;
    if (k < 0 || k > n) continue;
    const height = Math.log((v * (2.83 + 5.1 / b) * deviation) / (a / (us * us) + b));
    const bound = atMode - logGamma(k + 1) - logGamma(n - k + 1) + (k - mode) * Math.log(p / (1 - p));
    if (height <= bound) return k;
  }
  throw new Error(`no binomial draw of ${n} at ${p} in ${triesMax} tries; the random source is broken`);
}

function invertPoisson(random: Random, mean: number): number {
  let chance = Math.exp(-mean);
  let left = random();
  let k = 0;
  while (left > chance && chance > 0) {
    left -= chance;
    k += 1;
    chance *= mean / k;
  }
  return k;
}

function rejectPoisson(random: Random, mean: number): number {
  const b = 0.931 + 2.53 * Math.sqrt(mean);
  const a = -0.059 + 0.02483 * b;
  const inverseAlpha = 1.1239 + 1.1328 / (b - 3.4);
  for (let tries = 0; tries < triesMax; tries += 1) {
    const u = random() - 0.5;
    const v = random();
    const us = 0.5 - Math.abs(u);
    const k = Math.floor(((2 * a) / us + b) * u + mean + 0.43);
    if (us >= 0.07 && v <= 0.9277 - 3.6224 / (b - 2)) return k;
    if (k < 0 || (us < 0.013 && v > us)) continue;
    const height = Math.log((v * inverseAlpha) / (a / (us * us) + b));
    if (height <= k * Math.log(mean) - mean - logGamma(k + 1)) return k;
  }
  throw new Error(`no Poisson draw around ${mean} in ${triesMax} tries; the random source is broken`);
}

/**
 * Clopper and Pearson's upper bound (1934): the largest ratio that would give `hits` or fewer of `trials` with a chance
 * of at least 5 %. One-sided: 95 % of such bounds lie above the truth.
 * @example 0 of 100 gives 1 - 0.05^(1/100) = 0.0295; 3 of 100 gives 0.0757
 */
export function upperBound(hits: number, trials: number): number {
  if (hits >= trials) return 1;
  let [low, high] = [hits / trials, 1];
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2;
    if (chanceOfAtMost(hits, trials, middle) > 0.05) low = middle;
    else high = middle;
  }
  return high;
}

function chanceOfAtMost(hits: number, trials: number, ratio: number): number {
  let sum = 0;
  for (let k = 0; k <= hits; k++) sum += Math.exp(logChance(trials, ratio, k));
  return sum;
}

function logChance(n: number, ratio: number, k: number): number {
  const ways = logGamma(n + 1) - logGamma(k + 1) - logGamma(n - k + 1);
  return ways + k * Math.log(ratio) + (n - k) * Math.log1p(-ratio);
}
