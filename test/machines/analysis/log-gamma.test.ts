import { describe, expect, it } from 'vitest';
import { logBeta, logGamma } from '../../../machines/analysis/log-gamma.ts';

/** Golden values by mpmath 1.3.0, 30 digits. */
describe('the logarithm of the gamma function', () => {
  it.each([
    [0.5, 0.5723649429247],
    [1, 0],
    [3.7, 1.42807232666539],
    [8, 8.52516136106541],
    [1000.25, 5906.94726827112],
    [1e6, 12815504.5691476],
  ])('of %d agrees with mpmath', (x, expected) => {
    expect(Math.abs(logGamma(x) - expected)).toBeLessThan(1e-9 * Math.max(1, Math.abs(expected)));
  });

  it('gives the beta function as mpmath does', () => {
    expect(logBeta(130, 70)).toBeCloseTo(-130.477830610551, 8);
    expect(logBeta(2.5, 0.75)).toBeCloseTo(-0.447838109204511, 9);
  });
});
