import { describe, expect, it } from 'vitest';
import { hodgesLehmann, isHigh, standardised } from './mann-whitney.ts';

const high = [0.01, 0.02, 0.02, 0.05, 0.03, 0, 0.04];
const low = [0.01, 0, 0.02, 0.01, 0, 0.02];

describe('the Mann-Whitney judge', () => {
  it('standardises the rank sum as scipy 1.17.1 does, ties included', () => {
    expect(standardised([10, 20, 30, 40, 50], [1, 2, 3, 4, 6], 0)).toBeCloseTo(2.5067182457620487, 6);
    expect(standardised(high, low, 0)).toBeCloseTo(1.5385226755304542, 6);
  });

  it('estimates the shift by the median of all differences', () => {
    expect(hodgesLehmann([10, 20, 30, 40, 50], [1, 2, 3, 4, 6])).toBe(27);
    expect(hodgesLehmann(high, low)).toBeCloseTo(0.01, 12);
  });

  it('calls a clear rise high, and neither the same values, nor a slight rise, nor no data', () => {
    const minutes = Array.from({ length: 10 }, (_, i) => 0.01 + i / 10_000);
    const risen = minutes.map((ratio) => 10 * ratio);
    expect(isHigh(risen, minutes)).toBe(true);
    expect(isHigh(minutes, minutes)).toBe(false);
    expect(isHigh(minutes, risen)).toBe(false);
    expect(
      isHigh(
        minutes.map((ratio) => ratio + 0.0002),
        minutes,
      ),
    ).toBe(false);
    expect(isHigh([], minutes)).toBe(false);
  });

  it('needs errors in most minutes over a baseline without any', () => {
    const ten = (ratio: number) => Array.from({ length: 10 }, () => ratio);
    const [none, ones] = [ten(0), ten(1)];
    expect(isHigh([...ones.slice(3), ...none.slice(7)], none)).toBe(false);
    expect(isHigh([...ones.slice(2), ...none.slice(8)], none)).toBe(true);
  });
});
