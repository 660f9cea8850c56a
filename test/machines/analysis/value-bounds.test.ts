import { describe, expect, it } from 'vitest';
import { valueBounds } from '../../../machines/analysis/value-bounds.ts';

/** The same for every instance, for ever: histograms with other bounds cannot be added without loss. */
describe('the bounds that predictions are counted by', () => {
  it('are 1, 2 and 5 of every power of ten from a thousandth to half a million, a million, and the same below zero', () => {
    const small = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500];
    const large = [1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000];
    const ladder = [...small, ...large];
    expect(valueBounds.filter((bound) => bound < 0)).toEqual(ladder.map((bound) => -bound).toReversed());
    expect(ladder.filter((bound) => !valueBounds.includes(bound))).toEqual([]);
  });

  it('are every twentieth from 0 to 1, where chances lie, and finer near 1', () => {
    expect(valueBounds.filter((bound) => bound >= 0.05 && bound <= 0.95).map((bound) => bound.toFixed(2))).toEqual(
      Array.from({ length: 19 }, (_, i) => ((i + 1) / 20).toFixed(2)),
    );
    expect(valueBounds.filter((bound) => bound > 0.95 && bound < 2)).toEqual([0.98, 0.99, 0.995, 0.998, 0.999, 1]);
  });

  it('ascend, each once, and have a nought', () => {
    expect(valueBounds).toHaveLength(77);
    expect(valueBounds.toSorted((a, b) => a - b)).toEqual(valueBounds);
    expect(new Set(valueBounds).size).toBe(valueBounds.length);
    expect(valueBounds).toContain(0);
  });
});
