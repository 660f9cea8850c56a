import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  assertSplit,
  isSameSplit,
  type Split,
  splitWithCanary,
  withoutCanary,
} from '../../../machines/rollout/split.ts';

const stableSplit: fc.Arbitrary<Split> = fc
  .array(fc.integer({ min: 1, max: 100 }), { minLength: 1, maxLength: 5 })
  .map((weights) => withoutCanary(Object.fromEntries(weights.map((weight, i) => [String(i + 1), weight])), '77'));

describe('a split', () => {
  it('gives the canary exactly its percentage and sums to 100 (law 1)', () => {
    fc.assert(
      fc.property(stableSplit, fc.integer({ min: 0, max: 100 }), (stable, percent) => {
        const split = assertSplit(splitWithCanary(stable, '77', percent));
        expect(split['77'] ?? 0).toBe(percent);
        expect(Object.values(split).reduce((a, b) => a + b, 0)).toBe(100);
      }),
    );
  });

  it('keeps each share within one point of its proportion', () => {
    fc.assert(
      fc.property(stableSplit, fc.integer({ min: 1, max: 99 }), (stable, percent) => {
        const split = splitWithCanary(stable, '77', percent);
        for (const [id, share] of Object.entries(stable))
          expect(Math.abs((split[id] ?? 0) - (share * (100 - percent)) / 100)).toBeLessThan(1);
      }),
    );
  });

  it('is the recorded stable one again when the canary goes to 0 (law 4)', () => {
    fc.assert(
      fc.property(stableSplit, (stable) => {
        expect(isSameSplit(splitWithCanary(stable, '77', 0), stable)).toBe(true);
      }),
    );
  });

  it('breaks ties by id, so that everybody gets the same answer', () => {
    expect(splitWithCanary({ 2: 50, 1: 50 }, '77', 5)).toEqual({ 1: 48, 2: 47, 77: 5 });
    expect(splitWithCanary({ 9: 50, 10: 50 }, '77', 5)).toEqual({ 10: 48, 9: 47, 77: 5 });
  });

  it('of an endpoint with nothing else is all or nothing', () => {
    expect(splitWithCanary({}, '77', 5)).toEqual({ 77: 100 });
    expect(splitWithCanary({}, '77', 0)).toEqual({});
  });

  it('that is none is refused, with the split in the message', () => {
    expect(() => assertSplit({ 1: 60, 2: 39 })).toThrow('{"1":60,"2":39}');
    expect(() => assertSplit({ 1: 99.5, 2: 0.5 })).toThrow(RangeError);
    expect(assertSplit({})).toEqual({});
  });
});
