/** Do divided and thinned sides keep what they were made of? */
import { describe, expect, test } from 'vitest';
import { divide, thinTo } from '../../../cli/backtest/sides.ts';
import { seededRandom } from '../../../emulator/models/random.ts';

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
