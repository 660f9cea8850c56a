import { describe, expect, it } from 'vitest';
import { mismatchLog } from '../../../machines/analysis/sample-ratio.ts';

describe('the evidence that the split is not as intended', () => {
  it('agrees with mpmath 1.3.0', () => {
    expect(mismatchLog(80, 20, 0.5)).toBeCloseTo(8.83960492232961, 8);
    expect(mismatchLog(52, 948, 0.05)).toBeCloseTo(-1.1932254538576, 8);
  });

  it('has mean 1 under the intended split, whatever is looked at', () => {
    for (const [n, share] of [
      [1, 0.05],
      [12, 0.25],
      [40, 0.5],
    ] as const) {
      let mean = 0;
      let ways = 1;
      for (let k = 0; k <= n; k += 1) {
        mean += ways * share ** k * (1 - share) ** (n - k) * Math.exp(mismatchLog(k, n - k, share));
        ways = (ways * (n - k)) / (k + 1);
      }
      expect(mean).toBeCloseTo(1, 8);
    }
  });
});
