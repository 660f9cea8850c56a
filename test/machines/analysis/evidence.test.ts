import { describe, expect, it } from 'vitest';
import {
  addCounts,
  evidenceSchema,
  greatestIn,
  histogramSchema,
  noCounts,
  quantileMs,
  type Signal,
  signalSchema,
  signalsSchema,
  type VariantCounts,
  variantCountsSchema,
} from '../../../machines/analysis/evidence.ts';

const isTaken = (schema: { safeParse: (data: unknown) => { success: boolean } }, data: unknown): boolean =>
  schema.safeParse(data).success;

const withSignal = (signal: Signal): VariantCounts => ({ ...noCounts, signals: { one: signal } });
const added = (a: Signal, b: Signal): Signal | undefined => addCounts(withSignal(a), withSignal(b)).signals?.['one'];

describe('what is evidence', () => {
  it('is a histogram with ascending bounds, and a count more than bounds', () => {
    expect(isTaken(histogramSchema, { bounds: [1, 2], counts: [1, 0, 3] })).toBe(true);
    expect(isTaken(histogramSchema, { bounds: [1, 2], counts: [1, 0] })).toBe(false);
    expect(isTaken(histogramSchema, { bounds: [2, 2], counts: [1, 0, 3] })).toBe(false);
    expect(isTaken(histogramSchema, { bounds: [2, 1], counts: [1, 0, 3] })).toBe(false);
  });

  it('is no more errors than requests, and no more hits than trials', () => {
    expect(isTaken(variantCountsSchema, { ...noCounts, requests: 3, errors: 3 })).toBe(true);
    expect(isTaken(variantCountsSchema, { ...noCounts, requests: 3, errors: 4 })).toBe(false);
    expect(isTaken(signalSchema, { hits: 3, trials: 3 })).toBe(true);
    expect(isTaken(signalSchema, { hits: 4, trials: 3 })).toBe(false);
    expect(isTaken(signalSchema, { hits: 2, trials: 3 })).toBe(true);
  });

  it('is of 32 signals at most, and of a window that does not end before it begins', () => {
    const signals = (n: number) => Object.fromEntries(Array.from({ length: n }, (_, i) => [`s${i}`, { value: i }]));
    expect([1, 32, 33].map((n) => isTaken(signalsSchema, signals(n)))).toEqual([true, true, false]);
    const over = (fromAt: number, toAt: number) => ({ source: 'a', window: { fromAt, toAt }, variants: {} });
    expect([over(1, 2), over(2, 2), over(3, 2)].map((one) => isTaken(evidenceSchema, one))).toEqual([
      true,
      true,
      false,
    ]);
  });
});

describe('evidence of two windows', () => {
  it('adds signals: hits and trials, histograms, and of two values the greater', () => {
    expect(added({ hits: 1, trials: 10 }, { hits: 2, trials: 30 })).toEqual({ hits: 3, trials: 40 });
    expect(added({ bounds: [5], counts: [1, 2] }, { bounds: [5], counts: [3, 4] })).toEqual({
      bounds: [5],
      counts: [4, 6],
    });
    expect(added({ value: 7 }, { value: 4 })).toEqual({ value: 7 });
    expect(added({ value: 4 }, { value: 7 })).toEqual({ value: 7 });
  });

  it('takes the later of two signals that are of different kinds', () => {
    const kinds: Signal[] = [{ hits: 1, trials: 2 }, { bounds: [5], counts: [1, 2] }, { value: 3 }];
    for (const a of kinds) for (const b of kinds) if (a !== b) expect(added(a, b)).toEqual(b);
  });

  it('has the signals of either, and none where neither has', () => {
    const one = withSignal({ value: 1 });
    expect(addCounts(one, noCounts).signals).toEqual({ one: { value: 1 } });
    expect(addCounts(noCounts, one).signals).toEqual({ one: { value: 1 } });
    expect(addCounts(noCounts, noCounts)).not.toHaveProperty('signals');
  });

  it('knows its greatest number, wherever that is', () => {
    expect(greatestIn({ ...noCounts, requests: 9 })).toBe(9);
    expect(greatestIn({ ...noCounts, latencyMs: { bounds: [1], counts: [4, 6] } })).toBe(10);
    expect(greatestIn({ ...noCounts, predictions: { bounds: [1], counts: [7, 6] } })).toBe(13);
    expect(greatestIn(withSignal({ hits: 1, trials: 12 }))).toBe(12);
    expect(greatestIn(withSignal({ bounds: [1], counts: [1, 2] }))).toBe(3);
    expect(greatestIn(withSignal({ value: 99 }))).toBe(0);
  });
});

describe('a quantile', () => {
  it('is the bound of the bucket that it lies in; none without values, or above the last bound', () => {
    const values = { bounds: [10, 20], counts: [5, 4, 1] };
    expect([0.5, 0.51, 0.9, 0.95].map((ratio) => quantileMs(values, ratio))).toEqual([10, 20, 20, null]);
    expect(quantileMs({ bounds: [10], counts: [0, 0] }, 0.5)).toBeNull();
  });
});
