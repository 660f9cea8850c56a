import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { distanceOf } from '../../../machines/analysis/drift.ts';

describe('the distance of two histograms', () => {
  const counts = fc.array(fc.nat(1000), { minLength: 3, maxLength: 3 });

  it('is the worked value of the docstring', () => {
    const { distance } = distanceOf({ bounds: [1], counts: [8, 2] }, { bounds: [1], counts: [2, 8] });
    // JSD((0.8, 0.2), (0.2, 0.8)) = 1 - H(0.8) = 0.27807 bits; the bias is (1)(0.1 + 0.1) / (8 ln 2) = 0.03607.
    expect(distance).toBeCloseTo(0.27807 - 0.03607, 4);
  });

  it('is 0 for alike and near 1 for disjoint samples, whatever their sizes', () => {
    expect(distanceOf({ bounds: [1], counts: [500, 500] }, { bounds: [1], counts: [50, 50] }).distance).toBe(0);
    expect(distanceOf({ bounds: [1], counts: [5000, 0] }, { bounds: [1], counts: [0, 500] }).distance).toBeGreaterThan(
      0.99,
    );
  });

  it('is symmetric and lies in 0..1', () => {
    fc.assert(
      fc.property(counts, counts, (a, b) => {
        const [left, right] = [
          { bounds: [1, 2], counts: a },
          { bounds: [1, 2], counts: b },
        ];
        const { distance } = distanceOf(left, right);
        expect(distance).toBeGreaterThanOrEqual(0);
        expect(distance).toBeLessThanOrEqual(1);
        expect(distanceOf(right, left).distance).toBeCloseTo(distance, 12);
      }),
    );
  });

  it('compares on the bounds that both have', () => {
    const { distance } = distanceOf({ bounds: [1, 2, 3], counts: [10, 10, 10, 10] }, { bounds: [2], counts: [20, 20] });
    expect(distance).toBe(0);
  });
});
