/** Are draws and bounds what they say? Checked against closed forms and the definition itself. */
import { describe, expect, test } from 'vitest';
import { drawBinomial, upperBound } from '../../cli/backtest/binomial.ts';
import { divide, thinTo } from '../../cli/backtest/sides.ts';
import { seededRandom } from '../../emulator/models/random.ts';

describe('Clopper and Pearson’s upper bound', () => {
  // With k = 0 it solves (1 - p)^n = 0.05; with 1 of 2, 1 - p² = 0.05.
  test.each([
    [0, 100, 1 - 0.05 ** (1 / 100)],
    [0, 1, 0.95],
    [1, 1, 1],
    [5, 5, 1],
    [1, 2, Math.sqrt(0.95)],
  ])('%i of %i', (hits, trials, expected) => {
    expect(upperBound(hits, trials)).toBeCloseTo(expected, 8);
  });

  test('is the ratio at which so few would have a chance of 5 %', () => {
    // P(X ≤ 1 | n = 10, p) = q^10 + 10 p q^9
    const p = upperBound(1, 10);
    expect((1 - p) ** 10 + 10 * p * (1 - p) ** 9).toBeCloseTo(0.05, 8);
  });
});

describe('binomial draws', () => {
  test.each([
    [10, 0.3],
    [1000, 0.05],
    [100_000, 0.5],
    [1_000_000_000, 0.01],
    [7, 0.999],
  ])('of %i at %f have the mean and the variance they should', (n, ratio) => {
    const random = seededRandom(3);
    const draws = Array.from({ length: 2000 }, () => drawBinomial(random, n, ratio));
    const [mean, variance] = [n * ratio, n * ratio * (1 - ratio)];
    const average = draws.reduce((a, b) => a + b, 0) / draws.length;
    const spread = draws.reduce((a, b) => a + (b - average) ** 2, 0) / draws.length;
    expect(Math.abs(average - mean) / Math.sqrt(variance / draws.length)).toBeLessThan(4);
    expect(spread / variance).toBeGreaterThan(0.8);
    expect(spread / variance).toBeLessThan(1.25);
    expect(draws.every((draw) => Number.isInteger(draw) && draw >= 0 && draw <= n)).toBe(true);
  });

  test('follow the distribution value by value', () => {
    const random = seededRandom(5);
    const draws = Array.from({ length: 8000 }, () => drawBinomial(random, 3, 0.5));
    const chi = [1000, 3000, 3000, 1000].reduce((sum, expected, k) => {
      const seen = draws.filter((draw) => draw === k).length;
      return sum + (seen - expected) ** 2 / expected;
    }, 0);
    // 99.9 % point of χ² with 3 degrees of freedom
    expect(chi).toBeLessThan(16.3);
  });

  test('of nothing, never and always are certain', () => {
    const random = seededRandom(1);
    expect([drawBinomial(random, 0, 0.5), drawBinomial(random, 9, 0), drawBinomial(random, 9, 1)]).toEqual([0, 0, 9]);
  });
});

describe('sides', () => {
  const counts = (requests: number, errors: number) => ({
    requests,
    errors,
    latencyMs: { bounds: [10], counts: [requests - 7, 7] },
  });

  test('dividing loses and invents nothing', () => {
    const all = counts(1000, 50);
    const { canary, stable } = divide(seededRandom(2), { canary: counts(0, 0), stable: all }, 25);
    expect(canary.requests + stable.requests).toBe(1000);
    expect(canary.errors + stable.errors).toBe(50);
    expect(canary.latencyMs.counts.map((count, i) => count + (stable.latencyMs.counts[i] ?? 0))).toEqual([993, 7]);
    expect(canary.errors).toBeLessThanOrEqual(canary.requests);
  });

  test('thinning takes from the canary when it had too much, and from stable when it had too little', () => {
    const sides = { canary: counts(5000, 50), stable: counts(5000, 50) };
    const less = thinTo(seededRandom(2), sides, 0.5, 10);
    expect(less.stable).toEqual(sides.stable);
    expect(less.canary.requests / (less.canary.requests + less.stable.requests)).toBeCloseTo(0.1, 1);
    const more = thinTo(seededRandom(2), sides, 0.5, 90);
    expect(more.canary).toEqual(sides.canary);
    expect(more.stable.requests).toBeLessThan(700);
  });
});
