/** How many of n, each with chance p? Exact draws, and how large p may be when k of n were seen. */
import type { Random } from '../../emulator/models/random.ts';

/**
 * Draws a binomial number by inversion from its mode outwards, about √(n p (1-p)) steps. Exact up to rounding.
 * @param ratio in 0..1
 */
export function drawBinomial(random: Random, n: number, ratio: number): number {
  if (n === 0 || ratio <= 0) return 0;
  if (ratio >= 1) return n;
  const mode = Math.min(n, Math.floor((n + 1) * ratio));
  const odds = ratio / (1 - ratio);
  const chance = Math.exp(logChance(n, ratio, mode));
  let rest = random() - chance;
  let [low, high] = [mode, mode];
  let [lowChance, highChance] = [chance, chance];
  while (rest > 0 && (low > 0 || high < n)) {
    if (high < n) {
      highChance *= ((n - high) / (high + 1)) * odds;
      high += 1;
      rest -= highChance;
      if (rest <= 0) return high;
    }
    if (low > 0) {
      lowChance *= low / ((n - low + 1) * odds);
      low -= 1;
      rest -= lowChance;
      if (rest <= 0) return low;
    }
    // What rounding has left over of 1 lies nowhere.
    if (highChance + lowChance < 1e-300) break;
  }
  return mode;
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
  return logFactorial(n) - logFactorial(k) - logFactorial(n - k) + k * Math.log(ratio) + (n - k) * Math.log1p(-ratio);
}

/** ln n!, by Stirling's series from 16 up; good to 1e-12. */
function logFactorial(n: number): number {
  if (n < 16) {
    let product = 1;
    for (let i = 2; i <= n; i++) product *= i;
    return Math.log(product);
  }
  const series = 1 / (12 * n) - 1 / (360 * n ** 3) + 1 / (1260 * n ** 5);
  return (n + 0.5) * Math.log(n) - n + 0.5 * Math.log(2 * Math.PI) + series;
}
