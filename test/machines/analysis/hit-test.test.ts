import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  addPast,
  addWindow,
  addWindows,
  allowedRate,
  excessAtMost,
  excessGrid,
  type HitTest,
  hitTestSchema,
  isSuspect,
  noHitTest,
  worseLog,
} from '../../../machines/analysis/hit-test.ts';
import { nth } from '../../../machines/nth.ts';

const allowance = { margin: 0.005, floor: 0, ceiling: 0.05 };
const proof = Math.log(100);
const pair = (canary: [number, number], stable: [number, number], seconds = 60) => ({
  canary: { hits: canary[0], trials: canary[1] },
  stable: { hits: stable[0], trials: stable[1] },
  seconds,
});

/** An hour of stable at 1 %. */
const known = Array.from({ length: 60 }).reduce<HitTest>(
  (test) => addPast(test, { hits: 12, trials: 1200 }, 60),
  noHitTest,
);

function after(test: HitTest, windows: number, one: ReturnType<typeof pair>): HitTest {
  let next = test;
  for (let i = 0; i < windows; i += 1) next = addWindow(next, one, allowance);
  return next;
}

describe('what is allowed', () => {
  it('is stable and the margin, but not above the ceiling unless stable is', () => {
    expect(allowedRate(0.01, allowance)).toBeCloseTo(0.015);
    expect(allowedRate(0.048, allowance)).toBeCloseTo(0.05);
    expect(allowedRate(0.2, allowance)).toBeCloseTo(0.2);
    expect(allowedRate(0.01, { margin: 0, floor: 0.05, ceiling: 1 })).toBe(0.05);
  });
});

describe('evidence that the canary is worse', () => {
  it('is nothing before the first window, and then what the formulas give by hand', () => {
    expect(worseLog(noHitTest)).toBe(0);
    expect(worseLog(addWindow(noHitTest, pair([8, 200], [10, 1000]), allowance))).toBeCloseTo(1.78937146068, 8);
    expect(worseLog(addWindow(noHitTest, pair([20, 200], [10, 1000]), allowance))).toBeCloseTo(4 + Math.log(0.9), 8);
  });

  it('grows in a minute of short windows no more than a burst may, and no further by cutting them finer', () => {
    const proven = after(known, 60, pair([3, 300], [3, 300], 5));
    const burst = (windows: number, one: ReturnType<typeof pair>): number =>
      worseLog(after(proven, windows, one)) - worseLog(proven);
    // Besides, what is bet on a start in this minute.
    const starts = 0.3;
    expect(burst(12, pair([5, 50], [0, 50], 5))).toBeLessThan(5 + 4 + starts);
    expect(burst(60, pair([1, 10], [0, 10], 1))).toBeLessThan(5 + 4 + starts);
    expect(burst(12, pair([25, 50], [0, 50], 5))).toBeLessThan(2 * 5 + 4 + starts);
  });

  it('proves in a short time no more by two tests that a burst hits alike, and no less by one of two', () => {
    const bad = pair([30, 200], [0, 1900], 5);
    const told = { test: known, pair: bad, allowance, part: 0.5 };
    const proven = (tests: HitTest[]) => Math.log(tests.reduce((sum, test) => sum + 0.5 * Math.exp(worseLog(test)), 0));
    const alone = worseLog(addWindow(known, bad, allowance));
    expect(alone).toBeLessThan(proof);
    expect(proven(addWindows([told, told], 0).tests)).toBeCloseTo(alone);
    const good = { ...told, pair: pair([1, 200], [19, 1900], 5) };
    const [ofTwo = noHitTest, other = noHitTest] = addWindows([told, good], 0).tests;
    expect(proven([ofTwo, other])).toBeCloseTo(alone, 1);
    expect(worseLog(ofTwo)).toBeCloseTo(alone + Math.log(2), 1);
    const standing = [{ log: Math.log(60), weight: 0.5 }];
    expect(worseLog(nth(addWindows([told], 0, standing).tests, 0))).toBeGreaterThan(alone + Math.log(2));
    expect(worseLog(nth(addWindows([told], alone, standing).tests, 0))).toBeLessThan(alone);
    expect(worseLog(after(addWindow(known, bad, allowance), 2, bad))).toBeGreaterThan(proof);
  });

  it('holds tests together as long as the store is empty, by whichever it was emptied', () => {
    const bad = { pair: pair([30, 200], [0, 1900], 5), allowance, part: 0.5 };
    const good = { ...bad, pair: pair([2, 200], [19, 1900], 5) };
    const { tests, spent } = addWindows(
      [
        { ...bad, test: known },
        { ...good, test: known },
      ],
      0,
    );
    const next = addWindows(
      [
        { ...good, test: nth(tests, 0) },
        { ...bad, test: nth(tests, 1) },
      ],
      spent,
    );
    expect(worseLog(nth(next.tests, 1)) + Math.log(0.5)).toBeLessThan(proof);
  });

  it('is not drowned by that of a test that says more and is noisier', () => {
    const past = (hits: (minute: number) => number) =>
      Array.from({ length: 60 }).reduce<HitTest>(
        (test, _, i) => addPast(test, { hits: hits(i), trials: 11_400 }, 60),
        noHitTest,
      );
    // Stable is slow in waves, so what the canary's slow answers say is divided by fifty.
    let [errors, slow, spent] = [past(() => 114), past((minute) => (minute % 3 === 0 ? 1000 : 100)), 0];
    for (let minute = 0; minute < 3; minute += 1) {
      const told = [
        { test: errors, pair: pair([18, 600], [114, 11_400]), allowance, part: 0.7 },
        {
          test: slow,
          pair: pair([540, 600], [456, 11_400]),
          allowance: { margin: 0, floor: 0.05, ceiling: 1 },
          part: 0.3,
        },
      ];
      const next = addWindows(told, spent);
      [errors, slow, spent] = [nth(next.tests, 0), nth(next.tests, 1), next.spent];
    }
    expect(worseLog(errors) + Math.log(0.7)).toBeGreaterThan(proof);
    expect(worseLog(slow) + Math.log(0.3)).toBeLessThan(proof);
  });

  it('proves a canary that fails always within its first seconds', () => {
    expect(worseLog(after(known, 1, pair([5, 5], [1, 95], 5)))).toBeGreaterThan(proof);
  });

  it('takes a request that failed with its three retries for one failure, which is never a proof', () => {
    for (const trials of [4, 5, 7, 12])
      expect(worseLog(addWindow(known, pair([4, trials], [0, 95], 5), allowance))).toBeLessThan(proof);
    const quiet = after(known, 12, pair([0, 5], [1, 95], 5));
    expect(worseLog(addWindow(quiet, pair([4, 5], [1, 95], 5), allowance))).toBeLessThan(proof);
  });

  it('takes a window without stable for a quiet one while the canary has few requests too', () => {
    const quiet = after(known, 3, pair([1, 1], [0, 0], 5));
    expect(worseLog(quiet)).toBeGreaterThan(proof);
    expect(isSuspect(quiet)).toBe(false);
  });

  it('is suspect within seconds where nobody is left to compare with, which proves nothing, and not beside stable', () => {
    const alone = after(after(known, 12, pair([6, 600], [6, 600], 5)), 1, pair([30, 100], [0, 0], 5));
    expect(isSuspect(alone)).toBe(true);
    expect(worseLog(alone)).toBeLessThan(0);
    expect(isSuspect(after(alone, 1, pair([30, 100], [30, 100], 5)))).toBe(false);
    expect(isSuspect(after(known, 1000, pair([2, 100], [0, 0], 5)))).toBe(false);
  });

  it('never passes 1/α in one minute, however bad, and does in two', () => {
    const failing = pair([60, 60], [11, 1140]);
    expect(worseLog(after(known, 1, failing))).toBeLessThan(proof);
    expect(worseLog(after(known, 2, failing))).toBeGreaterThan(proof);
    expect(worseLog(after(known, 1, pair([480, 480], [90, 9120], 480)))).toBeGreaterThan(proof);
  });

  it('stays small for a canary that is as good, and for an outage that both share', () => {
    expect(worseLog(after(known, 50, pair([3, 300], [9, 900])))).toBeLessThan(0);
    expect(worseLog(after(known, 10, pair([90, 300], [270, 900])))).toBeLessThan(0);
  });

  it('is patient where nobody is left to compare with: five minutes may be an outage, ten are the canary’s', () => {
    const proven = after(known, 10, pair([6, 600], [6, 600]));
    const failing = pair([360, 1200], [0, 0]);
    expect(worseLog(after(proven, 5, failing))).toBeLessThan(proof);
    expect(worseLog(after(proven, 10, failing))).toBeGreaterThan(proof);
    const quick = pair([30, 100], [0, 0], 5);
    expect(worseLog(after(proven, 60, quick))).toBeLessThan(proof);
    expect(worseLog(after(proven, 120, quick))).toBeGreaterThan(proof);
  });

  it('is not blinded at 100 % by how stable’s last windows looked', () => {
    const unlucky = after(after(known, 10, pair([6, 600], [6, 600])), 5, pair([6, 600], [30, 600]));
    expect(worseLog(after(unlucky, 12, pair([360, 1200], [0, 0])))).toBeGreaterThan(proof);
  });

  it('grows with the canary’s errors and not with stable’s', () => {
    const trials = fc.integer({ min: 1, max: 500 });
    fc.assert(
      fc.property(trials, trials, fc.nat(500), fc.nat(500), fc.nat(500), (n, m, a, b, c) => {
        const [few, many] = [Math.min(a, b, n), Math.min(Math.max(a, b), n)];
        const at = (hits: number) => worseLog(addWindow(known, pair([hits, n], [Math.min(c, m), m]), allowance));
        expect(at(many)).toBeGreaterThanOrEqual(at(few) - 1e-9);
      }),
    );
  });
});

describe('the bound on the canary’s excess', () => {
  it('is 1 beforehand, falls to the margin for a good canary, and does not for one that is worse', () => {
    expect(excessAtMost(known, 0.005, 0.05)).toBe(1);
    const bounds = [1, 5, 20, 60].map((n) => excessAtMost(after(known, n, pair([6, 600], [6, 600])), 0.005, 0.05));
    expect(bounds).toEqual(bounds.toSorted((a, b) => b - a));
    expect(bounds.at(-1)).toBeCloseTo(0.005);
    expect(excessAtMost(after(known, 60, pair([18, 600], [6, 600])), 0.005, 0.05)).toBeGreaterThan(0.02);
  });

  it('falls in an outage that both share too: the split still tells', () => {
    expect(excessAtMost(after(known, 20, pair([180, 600], [180, 600])), 0.005, 0.05)).toBeLessThan(0.05);
  });

  it('never falls by more errors of the canary’s', () => {
    fc.assert(
      fc.property(fc.integer({ min: 50, max: 500 }), fc.nat(100), fc.nat(100), (n, a, b) => {
        const at = (hits: number) =>
          excessAtMost(addWindow(known, pair([Math.min(hits, n), n], [10, 1000]), allowance), 0.005, 0.05);
        expect(at(Math.max(a, b))).toBeGreaterThanOrEqual(at(Math.min(a, b)));
      }),
    );
  });

  it('is sought on margins from the policy’s own to 1', () => {
    expect(excessGrid(0.005)[0]).toBeCloseTo(0.005);
    expect(excessGrid(0.005).at(-1)).toBe(1);
    expect(excessGrid(0)[0]).toBeCloseTo(0.0005);
  });
});

describe('what is kept', () => {
  it('may be of a version with fewer alternatives: the others say nothing yet', () => {
    const all = after(known, 12, pair([30, 100], [0, 0], 5));
    const first = (logs: number[]): number[] => logs.slice(0, 1);
    const nothing = (logs: number[]): number[] => logs.map((log, i) => (i === 0 ? log : 0));
    const fewer = { ...all, split: first(all.split), bar: first(all.bar), alone: first(all.alone) };
    const padded = { ...all, split: nothing(all.split), bar: nothing(all.bar), alone: nothing(all.alone) };
    expect(worseLog(fewer)).toBe(worseLog(padded));
    expect([isSuspect(fewer), isSuspect({ ...all, alone: [1] })]).toEqual([isSuspect(padded), false]);
    expect(addWindow(fewer, pair([0, 5], [0, 95], 5), allowance).bar).toHaveLength(all.bar.length);
  });

  it('survives JSON whatever was seen, and does not grow', () => {
    const big = fc.constantFrom(0, 1, 7, 1e3, 1e6, 1e9);
    const window = fc.tuple(big, big, big, big, fc.constantFrom(1, 5, 60, 86_400));
    fc.assert(
      fc.property(
        fc.array(window, { minLength: 1, maxLength: 20 }),
        fc.constantFrom(0, 0.005, 1),
        fc.constantFrom(0, 0.05, 1),
        (windows, margin, ceiling) => {
          let test: HitTest = noHitTest;
          for (const [a, n, b, m, seconds] of windows)
            test = addWindow(test, pair([Math.min(a, n), n], [Math.min(b, m), m], seconds), {
              margin,
              floor: 0,
              ceiling,
            });
          const stored: unknown = JSON.parse(JSON.stringify(test));
          expect(hitTestSchema.parse(stored)).toEqual(test);
          expect(JSON.stringify(test).length).toBeLessThan(3000);
          expect(Number.isNaN(worseLog(test))).toBe(false);
          expect(excessAtMost(test, margin, 0.05)).toBeGreaterThanOrEqual(0);
        },
      ),
    );
  });
});
