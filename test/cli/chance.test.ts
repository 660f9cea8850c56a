import { describe, expect, it } from 'vitest';
import { drawBinomial, drawPoisson, upperBound } from '../../cli/chance.ts';
import { seededRandom } from '../../emulator/models/random.ts';
import { logGamma } from '../../machines/analysis/log-gamma.ts';

const lives = 40_000;

function draws(draw: () => number) {
  const values = Array.from({ length: lives }, draw);
  const mean = values.reduce((a, b) => a + b, 0) / lives;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / lives;
  return { values, mean, variance };
}

/** The largest gap between the drawn and the true distribution function; Kolmogorov's 0.1 % bound is 1.95/√n, less for counts. */
function gap(values: number[], logMass: (k: number) => number): number {
  const most = values.reduce((a, b) => Math.max(a, b), 0);
  const seen = Array.from({ length: most + 1 }, () => 0);
  for (const value of values) seen[value] = (seen[value] ?? 0) + 1;
  let [drawn, known, widest] = [0, 0, 0];
  for (const [k, times] of seen.entries()) {
    drawn += times / values.length;
    known += Math.exp(logMass(k));
    widest = Math.max(widest, Math.abs(drawn - known));
  }
  return widest;
}

const chosen = (n: number, k: number) => logGamma(n + 1) - logGamma(k + 1) - logGamma(n - k + 1);

describe('a draw', () => {
  it.each([
    [60, 0.01],
    [1000, 0.3],
    [1140, 0.01],
    [200, 0.97],
    [1_000_000, 0.0005],
  ])('from Binomial(%d, %d) is distributed as it should be', (n, p) => {
    const random = seededRandom(7);
    const { values, mean, variance } = draws(() => drawBinomial(random, n, p));
    expect(Math.abs(mean - n * p)).toBeLessThan(4 * Math.sqrt((n * p * (1 - p)) / lives));
    expect(variance / (n * p * (1 - p))).toBeGreaterThan(0.96);
    expect(variance / (n * p * (1 - p))).toBeLessThan(1.04);
    expect(gap(values, (k) => chosen(n, k) + k * Math.log(p) + (n - k) * Math.log1p(-p))).toBeLessThan(0.00975);
  });

  it.each([0.3, 9.9, 10.1, 100, 30_000])('from Poisson(%d) is distributed as it should be', (mean) => {
    const random = seededRandom(8);
    const { values, mean: seen, variance } = draws(() => drawPoisson(random, mean));
    expect(Math.abs(seen - mean)).toBeLessThan(4 * Math.sqrt(mean / lives));
    expect(Math.abs(variance / mean - 1)).toBeLessThan(0.04);
    expect(gap(values, (k) => k * Math.log(mean) - mean - logGamma(k + 1))).toBeLessThan(0.00975);
  });

  it('from nothing is nothing, and from certainty everything', () => {
    const random = seededRandom(9);
    expect([drawBinomial(random, 0, 0.5), drawBinomial(random, 9, 0), drawBinomial(random, 9, 1)]).toEqual([0, 0, 9]);
    expect(drawPoisson(random, 0)).toBe(0);
  });
});

describe('Clopper and Pearson’s upper bound', () => {
  // With k = 0 it solves (1 - p)^n = 0.05; with 1 of 2, 1 - p² = 0.05.
  it.each([
    [0, 100, 1 - 0.05 ** (1 / 100)],
    [0, 1, 0.95],
    [1, 1, 1],
    [5, 5, 1],
    [1, 2, Math.sqrt(0.95)],
  ])('%i of %i', (hits, trials, expected) => {
    expect(upperBound(hits, trials)).toBeCloseTo(expected, 8);
  });

  it('is the ratio at which so few would have a chance of 5 %', () => {
    // P(X ≤ 1 | n = 10, p) = q^10 + 10 p q^9
    const p = upperBound(1, 10);
    expect((1 - p) ** 10 + 10 * p * (1 - p) ** 9).toBeCloseTo(0.05, 8);
  });
});
