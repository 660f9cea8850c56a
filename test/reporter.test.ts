import { describe, expect, test } from 'vitest';
import { isGood, summaryOf } from './reporter.ts';

describe('the last line', () => {
  test('names what passed and what failed', () => {
    expect(summaryOf({ passed: 412, failed: 0, skipped: 0 })).toBe('412 passed, 0 failed');
  });

  test('names what was skipped, where something was', () => {
    expect(summaryOf({ passed: 3, failed: 1, skipped: 2 })).toBe('3 passed, 1 failed, 2 skipped');
  });
});

describe('a run', () => {
  test('is good when something passed and nothing failed', () => {
    expect(isGood({ passed: 1, failed: 0, skipped: 0 }, true)).toBe(true);
  });

  test('without a single test is not good', () => {
    expect(isGood({ passed: 0, failed: 0, skipped: 0 }, false)).toBe(false);
  });

  test('that skips may be good at a desk, and never in CI', () => {
    expect(isGood({ passed: 9, failed: 0, skipped: 1 }, false)).toBe(true);
    expect(isGood({ passed: 9, failed: 0, skipped: 1 }, true)).toBe(false);
  });
});
