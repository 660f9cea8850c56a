/** Is as much granted as was promised, and no more? */
import { describe, expect, it } from 'vitest';
import { createRate, createRetryBudget } from '../../../functions/proxy/rate.ts';

describe('a rate', () => {
  it('grants a minute at once, then an even pace, and says how long to wait', () => {
    let at = 0;
    const rate = createRate(60);
    const take = () => rate(at);
    expect(Array.from({ length: 60 }, take)).toEqual(Array(60).fill(0));
    expect(take()).toBeCloseTo(1000);
    at += 250;
    expect(take()).toBeCloseTo(750);
    at += 750;
    expect([take(), Math.round(take())]).toEqual([0, 1000]);
  });

  it('grants no more after an hour than after a minute, and nothing when the clock is set back', () => {
    let at = 0;
    const rate = createRate(2);
    const take = () => rate(at);
    at += 3_600_000;
    expect([take(), take(), take() > 0]).toEqual([0, 0, true]);
    at -= 3_600_000;
    expect(take()).toBeGreaterThan(0);
    at += 30_000;
    expect(take()).toBe(0);
  });
});

describe('a budget of retries', () => {
  it('grants one in ten, beside one at the start and what was saved', () => {
    const budget = createRetryBudget(0.1, 3);
    expect([budget.takeRetry(), budget.takeRetry()]).toEqual([true, false]);
    let granted = 0;
    for (let i = 0; i < 1000; i += 1) {
      budget.attempted();
      if (budget.takeRetry()) granted += 1;
    }
    expect(granted).toBeGreaterThanOrEqual(99);
    expect(granted).toBeLessThanOrEqual(100);
    for (let i = 0; i < 1000; i += 1) budget.attempted();
    expect(Array.from({ length: 5 }, () => budget.takeRetry())).toEqual([true, true, true, false, false]);
  });
});
