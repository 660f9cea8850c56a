import { describe, expect, it } from 'vitest';
import { type Climb, mayClimb } from '../../../machines/analysis/climb.ts';
import { addPast, addWindow, type HitTest, noHitTest } from '../../../machines/analysis/hit-test.ts';

const allowance = { margin: 0.005, floor: 0, ceiling: 0.05 };
const climb: Climb = {
  nextPercent: 25,
  requestsPerSecond: 20,
  actSeconds: 300,
  falseRollbackRatio: 0.01,
  maxExcessErrors: 200,
};

function after(windows: number, canary: number, errors: number): HitTest {
  let test = noHitTest;
  for (let i = 0; i < 60; i += 1) test = addPast(test, { hits: 12, trials: 1200 }, 60);
  const window = { canary: { hits: errors, trials: canary }, stable: { hits: 11, trials: 1140 }, seconds: 60 };
  for (let i = 0; i < windows; i += 1) test = addWindow(test, window, allowance);
  return test;
}

describe('a climb', () => {
  it('is not allowed before anything is known', () => {
    const answer = mayClimb(after(0, 0, 0), allowance, climb);
    expect(answer).toMatchObject({ isAllowed: false, excessAtMost: 1, blindRequests: 1500 });
    // ln(100) / KL(1 || 0.015) is 1.1 requests, and 4 times as many may be blind.
    expect(answer.blindRequestsMax).toBeCloseTo(4.39, 1);
  });

  it('is allowed when what would be served blind is in proportion to what finding an excess takes', () => {
    const [early, later] = [mayClimb(after(1, 60, 0), allowance, climb), mayClimb(after(8, 100, 1), allowance, climb)];
    expect(early.isAllowed).toBe(false);
    expect(later.isAllowed).toBe(true);
    expect(later.blindRequests).toBeLessThanOrEqual(later.blindRequestsMax);
    expect(later.excessAtMost).toBeLessThan(early.excessAtMost);
  });

  it('to 100 % asks for more: a fault there is found only with patience', () => {
    const test = after(10, 60, 1);
    const half = mayClimb(test, allowance, { ...climb, nextPercent: 50 });
    const full = mayClimb(test, allowance, { ...climb, nextPercent: 100 });
    expect(full.blindRequests).toBe(20 * (300 + 480));
    expect(full.blindRequests).toBeGreaterThan(2 * half.blindRequests);
    expect(full.isAllowed).toBe(false);
  });

  it('is held by the budget of errors, beyond those that are allowed anyway', () => {
    const test = after(20, 60, 1);
    const free = mayClimb(test, allowance, climb);
    expect(free.excessErrors).toBeGreaterThan(1);
    expect(mayClimb(test, allowance, { ...climb, maxExcessErrors: 1 }).isAllowed).toBe(false);
  });

  it('is always allowed once the excess is known to be within the margin', () => {
    const sure = mayClimb(after(60, 600, 6), allowance, {
      ...climb,
      nextPercent: 100,
      requestsPerSecond: 1e6,
      maxExcessErrors: 0,
    });
    expect(sure).toMatchObject({ isAllowed: true, excessErrors: 0 });
  });
});
