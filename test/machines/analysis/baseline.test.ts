import { describe, expect, it } from 'vitest';
import {
  addToBaseline,
  clumping,
  type Baseline,
  correlation,
  highRate,
  isUpset,
  lowRate,
  noBaseline,
  overdispersion,
  pastRate,
} from '../../../machines/analysis/baseline.ts';

const count = (hits: number, trials = 1000) => ({ hits, trials });

function fed(minutes: number[], trials = 1000): Baseline {
  return minutes.reduce((baseline, hits) => addToBaseline(baseline, count(hits, trials), 60), noBaseline);
}

const steady = fed(Array.from({ length: 60 }, (_, i) => 10 + (i % 3) - 1));

describe('what stable is like', () => {
  it('is half a hit beforehand, and what was seen afterwards', () => {
    expect(pastRate(noBaseline)).toBe(0.5);
    expect(pastRate(steady)).toBeCloseTo(0.01, 4);
    expect(highRate(noBaseline, count(0, 0))).toBe(0);
  });

  it('follows an outage upwards at once, and comes down with the window after the last few', () => {
    const during = addToBaseline(steady, count(300), 60);
    expect(highRate(steady, count(300))).toBeGreaterThan(0.28);
    expect(highRate(during, count(10))).toBeGreaterThan(0.04);
    const after = [10, 10, 10, 10, 10].reduce((next, hits) => addToBaseline(next, count(hits), 60), during);
    expect(highRate(after, count(10))).toBeLessThan(0.012);
  });

  it('does not take an outage for its nature', () => {
    const outage = Array.from({ length: 10 }, () => 300);
    expect(pastRate(outage.reduce((next, hits) => addToBaseline(next, count(hits), 60), steady))).toBeLessThan(0.02);
  });

  it('takes what lasts for its nature, in time', () => {
    const lasting = Array.from({ length: 600 }, () => 30);
    expect(pastRate(lasting.reduce((next, hits) => addToBaseline(next, count(hits), 60), steady))).toBeGreaterThan(
      0.025,
    );
  });

  it('may be lower than its past where its last windows are', () => {
    expect(lowRate(steady)).toBeCloseTo(0.0096, 3);
    const better = [0, 0, 0, 0, 0].reduce((next, hits) => addToBaseline(next, count(hits), 60), steady);
    expect(lowRate(better)).toBeLessThan(0.001);
  });

  it('is upset when it is far above its past, and not by one hit where there were none', () => {
    expect(isUpset(steady, count(300), 0.015)).toBe(true);
    expect(isUpset(steady, count(14), 0.015)).toBe(false);
    expect(isUpset(fed(Array.from({ length: 60 }, () => 0)), count(1), 0.005)).toBe(false);
  });
});

describe('how much stable moves', () => {
  it('is the worked value of the docstring', () => {
    const spread = { beyondChance: 100, trials: 50_000, minutes: 50 };
    expect(correlation({ ...noBaseline, spread })).toBeCloseTo(0.0018, 12);
  });

  it('is nothing where minutes differ by chance, and much where they come in bursts', () => {
    expect(correlation(steady)).toBe(0);
    const bursts = fed(Array.from({ length: 60 }, (_, i) => (i % 20 === 19 ? 100 : 7)));
    expect(correlation(bursts)).toBeGreaterThan(0.005);
    expect(overdispersion(bursts, count(1, 50), count(9, 950), 60)).toBeGreaterThan(2);
    // Five seconds of a burst are part of one, however few requests they hold.
    const short = overdispersion(bursts, count(1, 4), count(1, 79), 5);
    expect(short).toBeCloseTo(overdispersion(bursts, count(12, 48), count(12, 948), 60), 1);
  });

  it('is measured by the minute, whatever the windows are', () => {
    const minutes = Array.from({ length: 60 }, (_, i) => (i % 20 === 19 ? 96 : 12));
    const cut = minutes
      .flatMap((hits) => Array.from({ length: 12 }, () => hits / 12))
      .reduce((next, hits) => addToBaseline(next, count(hits, 1000 / 12), 5), noBaseline);
    expect(correlation(cut)).toBeCloseTo(correlation(fed(minutes)), 2);
  });
});

describe('how many hits come together', () => {
  /** Sixty minutes of twelve windows of 95 requests, in which `hits` says how many of a window failed. */
  const windows = (hits: (i: number) => number) =>
    Array.from({ length: 720 }, (_, i) => i).reduce(
      (next, i) => addToBaseline(next, count(hits(i), 95), 5),
      noBaseline,
    );

  it('is one where they come by themselves, or all windows are a minute long', () => {
    expect(clumping(windows(() => 1))).toBe(1);
    expect(clumping(fed(Array.from({ length: 60 }, (_, i) => (i % 2) * 40)))).toBe(1);
    expect(clumping(noBaseline)).toBe(1);
  });

  it('is nearly four where each failure comes with three retries', () => {
    // One window in four has four hits: 3 clumps a minute, whose windows vary (16 · 3 - 12) / 11 = 3.27 times as chance would.
    const clumped = windows((i) => (i % 4 === 0 ? 4 : 0));
    expect(clumping(clumped)).toBeGreaterThan(2.9);
    expect(clumping(clumped)).toBeLessThan(3.3);
    expect(overdispersion(clumped, count(0, 5), count(1, 95), 5)).toBeCloseTo(clumping(clumped), 12);
  });

  it('is not a rate that moves from minute to minute, which varies a window of the canary less', () => {
    const moving = windows((i) => (Math.floor(i / 12) % 2 === 0 ? 3 : 0));
    expect(clumping(moving)).toBe(1);
    expect(overdispersion(moving, count(0, 5), count(1, 95), 5)).toBeGreaterThan(1.5);
  });
});
