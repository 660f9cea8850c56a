import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  alternatives,
  carryOn,
  divergence,
  logWeighted,
  rateGain,
  splitGain,
  startWeight,
} from '../../../machines/analysis/evalue.ts';

const count = (hits: number, trials: number) => ({ hits, trials });

/** The chance of k hits in n trials, by the recurrence. */
function binomial(n: number, p: number): number[] {
  const chances = [(1 - p) ** n];
  for (let k = 1; k <= n; k += 1) chances.push(((chances[k - 1] ?? 0) * (n - k + 1) * p) / (k * (1 - p)));
  return chances;
}

describe('the split', () => {
  it('gives what mpmath 1.3.0 gives', () => {
    expect(splitGain(count(1, 5), count(0, 95), 1, 1000)).toBeCloseTo(2.9769105193134, 9);
    expect(splitGain(count(7, 60), count(11, 1140), 1.5, 2.3)).toBeCloseTo(4.19478075575551, 9);
  });

  it('has mean at most 1 for every canary that is allowed: summed over all outcomes', () => {
    const ratio = fc.double({ min: 0.01, max: 0.3, noNaN: true });
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 8 }),
        fc.integer({ min: 1, max: 12 }),
        ratio,
        fc.double({ min: 1, max: 3, noNaN: true }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.constantFrom(...alternatives),
        (canaries, stables, stableRate, allowed, part, { factor }) => {
          const [hits, others] = [binomial(canaries, stableRate * allowed * part), binomial(stables, stableRate)];
          const mean = hits
            .flatMap((p, k) =>
              others.map((q, j) => p * q * Math.exp(splitGain(count(k, canaries), count(j, stables), allowed, factor))),
            )
            .reduce((a, b) => a + b, 0);
          expect(mean).toBeLessThanOrEqual(1 + 1e-9);
        },
      ),
    );
  });

  it('does not care how windows are cut while the ratio stands', () => {
    const part = fc.tuple(fc.integer({ min: 1, max: 99 }), fc.nat(9));
    fc.assert(
      fc.property(
        fc.array(part, { minLength: 1, maxLength: 9 }),
        fc.double({ min: 1, max: 20, noNaN: true }),
        (parts, r) => {
          // The same share in every window, as while a step lasts.
          const gains = parts.map(([n, e]) => splitGain(count(e, n), count(1, 3 * n), r, 2.3));
          const n = parts.reduce((sum, [each]) => sum + each, 0);
          const e = parts.reduce((sum, [, each]) => sum + each, 0);
          const whole = splitGain(count(e, n), count(parts.length, 3 * n), r, 2.3);
          expect(gains.reduce((a, b) => a + b, 0)).toBeCloseTo(whole, 6);
        },
      ),
    );
  });

  it('is the same seen from the other side: swapping the variants turns ratio and factor over', () => {
    const n = fc.integer({ min: 1, max: 500 });
    const r = fc.double({ min: 0.2, max: 5, noNaN: true });
    fc.assert(
      fc.property(n, n, fc.nat(9), fc.nat(9), r, r, (a, b, x, y, ratio, factor) => {
        const forth = splitGain(count(x, a), count(y, b), ratio, factor);
        expect(splitGain(count(y, b), count(x, a), 1 / ratio, 1 / factor)).toBeCloseTo(forth, 8);
      }),
    );
  });

  it('says nothing where a variant is missing', () => {
    expect(splitGain(count(5, 5), count(0, 0), 1, 2)).toBe(0);
    expect(splitGain(count(0, 0), count(5, 5), 1, 2)).toBe(0);
  });
});

describe('the rate against an edge', () => {
  it('gives what mpmath 1.3.0 gives', () => {
    expect(rateGain(count(2, 10), 0.05, 4)).toBeCloseTo(1.39778666682651, 9);
    expect(rateGain(count(50, 50), 0.015, 1000)).toBeCloseTo(176.072325490687, 7);
    expect(rateGain(count(3, 400), 0.02, 0.5)).toBeCloseTo(1.95104992953531, 9);
  });

  it('has mean at most 1 below the edge for what is worse, and above it for what is better', () => {
    const rate = fc.double({ min: 0.001, max: 0.9, noNaN: true });
    const part = fc.double({ min: 0, max: 1, noNaN: true });
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 30 }),
        rate,
        part,
        fc.constantFrom(...alternatives),
        (n, edge, p, { factor }) => {
          const mean = (chances: number[], by: number) =>
            chances.reduce((sum, chance, k) => sum + chance * Math.exp(rateGain(count(k, n), edge, by)), 0);
          expect(mean(binomial(n, edge * p), factor)).toBeLessThanOrEqual(1 + 1e-9);
          expect(mean(binomial(n, edge + (0.99 - edge) * Math.max(0, p)), 1 / factor)).toBeLessThanOrEqual(1 + 1e-6);
        },
      ),
    );
  });
});

describe('a mixture over when it began', () => {
  it('bets 0.8 on the beginning and never more than 1 in all, however time is cut', () => {
    expect(startWeight(0, 60)).toBeCloseTo(0.9, 12);
    expect(startWeight(60, 60)).toBeCloseTo(1 / 30, 12);
    expect(startWeight(600, 5)).toBeCloseTo(0.000136705399863295, 12);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 3600 }), { minLength: 1, maxLength: 50 }), (windows) => {
        let since = 0;
        let sum = 0;
        for (const seconds of windows) {
          sum += startWeight(since, seconds);
          since += seconds;
        }
        expect(sum).toBeLessThanOrEqual(1);
        expect(sum).toBeCloseTo(startWeight(0, since), 9);
      }),
    );
  });

  it('carries on as mpmath 1.3.0 does', () => {
    let logs: number[] = [];
    for (const [i, gain] of [1.5, -0.5, 2].entries()) logs = carryOn(logs, [gain], startWeight(60 * i, 60));
    expect(logs[0]).toBeCloseTo(2.9096036232935, 10);
  });

  it('forgets good weeks: what begins late is proven after them too', () => {
    let logs = carryOn([], [0], startWeight(0, 60));
    for (let i = 1; i < 10_000; i += 1) logs = carryOn(logs, [-1], startWeight(60 * i, 60));
    for (let i = 0; i < 8; i += 1) logs = carryOn(logs, [4], startWeight(60 * (10_000 + i), 60));
    expect(logs[0]).toBeGreaterThan(Math.log(100));
  });
});

describe('sums of e-values', () => {
  it('have weights that sum to 1', () => {
    expect(alternatives.reduce((sum, { weight }) => sum + weight, 0)).toBeCloseTo(1, 12);
    expect(
      logWeighted([
        { log: 1000, weight: 0.5 },
        { log: -1000, weight: 0.5 },
      ]),
    ).toBeCloseTo(1000 - Math.LN2, 9);
  });

  it('divergence is what mpmath 1.3.0 gives, zeros included', () => {
    expect(divergence(0.03, 0.015)).toBeCloseTo(0.0059092128323778, 12);
    expect(divergence(1, 0.015)).toBeCloseTo(4.19970507787993, 10);
    expect(divergence(0, 0.2)).toBeCloseTo(0.22314355131421, 12);
  });
});
