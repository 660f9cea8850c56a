import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { closest } from '../../../machines/policy/closest.ts';
import {
  formatDuration,
  formatPercent,
  parseDurationSeconds,
  parsePercentRatio,
} from '../../../machines/policy/units.ts';

describe('durations', () => {
  test.each([
    ['0s', 0],
    ['500ms', 0.5],
    ['5s', 5],
    ['90s', 90],
    ['10m', 600],
    ['1h30m', 5400],
    ['2h', 7200],
    ['1d', 86_400],
    ['1d1h1m1s1ms', 90_061.001],
  ])('%s is %d seconds', (text, seconds) => {
    expect(parseDurationSeconds(text)).toBe(seconds);
  });

  test.each(['', '10', 'm', '-5s', '1.5h', '5 m', '30m1h', '5M', '1w', '367d', `${'9'.repeat(400)}d`])(
    '"%s" is no duration',
    (text) => {
      expect(parseDurationSeconds(text)).toBeNull();
    },
  );

  test('what is written is read back, to the millisecond', () => {
    expect(formatDuration(0)).toBe('0s');
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 366 * 86_400_000 }), (ms) => {
        expect(parseDurationSeconds(formatDuration(ms / 1000))).toBe(ms / 1000);
      }),
    );
  });
});

describe('percents', () => {
  test.each([
    ['0%', 0],
    ['0.5%', 0.005],
    ['5%', 0.05],
    ['95 %', 0.95],
    ['100%', 1],
  ])('%s is the ratio %d', (text, ratio) => {
    expect(parsePercentRatio(text)).toBe(ratio);
  });

  test.each(['', '5', '%', '-1%', '101%', '1e1%', '.5%', 'NaN%'])('"%s" is no percent', (text) => {
    expect(parsePercentRatio(text)).toBeNull();
  });

  test('what is written is read back', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 1000 }), (perMille) => {
        expect(parsePercentRatio(formatPercent(perMille / 1000))).toBeCloseTo(perMille / 1000, 12);
      }),
    );
  });
});

test('a near word is the one that was meant, and a far one is not guessed', () => {
  const known = ['machineType', 'minReplicas', 'maxReplicas'];
  expect(closest('machine_type', known)).toBe('machineType');
  expect(closest('minReplica', known)).toBe('minReplicas');
  expect(closest('maxreplicsa', known)).toBe('maxReplicas');
  expect(closest('colour', known)).toBeNull();
});

test('of two near words the nearer is meant, wherever it stands', () => {
  expect(closest('pase', ['phrase', 'pause'])).toBe('pause');
  expect(closest('pase', ['pause', 'phrase'])).toBe('pause');
});
