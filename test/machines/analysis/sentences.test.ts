import { describe, expect, it } from 'vitest';
import { count, fraction, odds, part, percent, points } from '../../../machines/analysis/sentences.ts';

describe('a number that people read', () => {
  it('has three digits, and its unit', () => {
    expect(percent(0.012345)).toBe('1.23 %');
    expect(points(0.005)).toBe('0.5 points');
    expect(count(1_234_567)).toBe('1,234,567');
  });

  it('is of nothing without a ratio', () => {
    expect(fraction({ hits: 31, trials: 412 })).toBe('31 errors in 412 requests (7.52 %)');
    expect(fraction({ hits: 0, trials: 0 })).toBe('0 errors in 0 requests');
    expect(part({ hits: 31, trials: 412 })).toBe('31 of 412 (7.52 %)');
    expect(part({ hits: 0, trials: 0 })).toBe('0 of 0');
  });

  it('is over a trillion, and no longer, where more digits would say nothing', () => {
    expect(odds(Math.log(100.9))).toBe('101');
    expect(odds(27)).toBe('532,000,000,000');
    expect(odds(27.1)).toBe('over a trillion');
    expect(count(1e12)).toBe('1,000,000,000,000');
    expect(count(1e12 + 1)).toBe('over a trillion');
  });
});
