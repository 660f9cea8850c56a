import { describe, expect, test } from 'vitest';
import { nextFireAt, parseCron } from '../../../emulator/scheduler/cron.ts';

/** The next three times a line fires after an instant, as UTC. */
function fires(line: string, after: string, timeZone = 'UTC'): string[] {
  const cron = parseCron(line);
  const times: string[] = [];
  let at = Date.parse(after);
  for (let count = 0; count < 3; count += 1) {
    at = nextFireAt(cron, at, timeZone);
    times.push(new Date(at).toISOString().slice(0, 16));
  }
  return times;
}

describe('a cron line fires', () => {
  test.each([
    ['* * * * *', '2026-03-04T05:06:07Z', ['2026-03-04T05:07', '2026-03-04T05:08', '2026-03-04T05:09']],
    ['*/10 * * * *', '2026-03-04T05:50:00Z', ['2026-03-04T06:00', '2026-03-04T06:10', '2026-03-04T06:20']],
    ['5,20-21 3 * * *', '2026-12-31T03:20:59Z', ['2026-12-31T03:21', '2027-01-01T03:05', '2027-01-01T03:20']],
    ['50/5 0 * * *', '2026-01-01T00:00:00Z', ['2026-01-01T00:50', '2026-01-01T00:55', '2026-01-02T00:50']],
    ['0 9 * * mon-fri', '2026-10-02T09:00:00Z', ['2026-10-05T09:00', '2026-10-06T09:00', '2026-10-07T09:00']],
    ['0 0 * JAN 7', '2026-01-05T00:00:00Z', ['2026-01-11T00:00', '2026-01-18T00:00', '2026-01-25T00:00']],
    ['0 0 29 2 *', '2096-03-01T00:00:00Z', ['2104-02-29T00:00', '2108-02-29T00:00', '2112-02-29T00:00']],
  ])('%s', (line, after, expected) => {
    expect(fires(line, after)).toEqual(expected);
  });

  test('on either day when both days are given', () => {
    expect(fires('0 0 13 * 5', '2026-02-01T00:00:00Z')).toEqual([
      '2026-02-06T00:00',
      '2026-02-13T00:00',
      '2026-02-20T00:00',
    ]);
    expect(fires('0 0 1 * 1', '2026-07-28T00:00:00Z')).toEqual([
      '2026-08-01T00:00',
      '2026-08-03T00:00',
      '2026-08-10T00:00',
    ]);
  });

  test('by the local clock, through the change to summer time', () => {
    expect(fires('30 8 * * *', '2026-03-28T00:00:00Z', 'Europe/Zurich')).toEqual([
      '2026-03-28T07:30',
      '2026-03-29T06:30',
      '2026-03-30T06:30',
    ]);
    // 02:30 does not come on the day the clocks go forward.
    expect(fires('30 2 * * *', '2026-03-28T00:00:00Z', 'Europe/Zurich')[1]).toBe('2026-03-30T00:30');
    expect(fires('0 0 * * *', '2026-06-01T00:00:00Z', 'Asia/Kolkata')[0]).toBe('2026-06-01T18:30');
  });
});

test.each([
  '',
  '* * * *',
  '* * * * * *',
  '60 * * * *',
  '* 24 * * *',
  '* * 0 * *',
  '* * * 13 *',
  '* * * * 8',
  '*/0 * * * *',
])('the line "%s" is refused', (line) => {
  expect(() => parseCron(line)).toThrow(/Expected/);
});

test.each([
  '5-1 * * * *',
  '1-2-3 * * * *',
  'x * * * *',
  '*-5 * * * *',
  '0x10 * * * *',
  '1e1 * * * *',
  '1, * * * *',
  '-1 * * * *',
  '1/2/3 * * * *',
  '* * * * funday',
])('the field in "%s" is refused', (line) => {
  expect(() => parseCron(line)).toThrow(/as number, \*, range, list or step/);
});

test('a date that never comes and a zone that does not exist are refused', () => {
  expect(() => nextFireAt(parseCron('0 0 30 2 *'), 0, 'UTC')).toThrow('never does');
  expect(() => nextFireAt(parseCron('* * * * *'), 0, 'Mars/Olympus')).toThrow(/time zone/i);
});
