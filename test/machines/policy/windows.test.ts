import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { FreezeWindow } from '../../../machines/policy/policy.ts';
import { isAlwaysFrozen, isFrozen, parseFreezeWindow, thawAt } from '../../../machines/policy/windows.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const EXAMPLE = '"Fri 16:00 – Mon 08:00 Europe/Zurich"';
const WEEK_MINUTES = 7 * 1440;

function window(text: string): FreezeWindow {
  const parsed = parseFreezeWindow(text);
  if (parsed.kind === 'invalid') throw new Error(parsed.message);
  return parsed.window;
}

/** The oracle's clock: the rules of law, not the tables of Intl. Offsets from UTC in minutes. */
const offsetMinutes: Record<string, (at: number) => number> = {
  UTC: () => 0,
  'Europe/Zurich': (at) => {
    const year = new Date(at).getUTCFullYear();
    return at >= lastSunday(year, 2) + HOUR && at < lastSunday(year, 9) + HOUR ? 120 : 60;
  },
  'America/New_York': (at) => {
    const year = new Date(at).getUTCFullYear();
    const begins = firstSunday(year, 2) + 7 * 24 * HOUR + 7 * HOUR;
    return at >= begins && at < firstSunday(year, 10) + 6 * HOUR ? -240 : -300;
  },
};

function firstSunday(year: number, month: number): number {
  const first = Date.UTC(year, month, 1);
  return first + ((7 - new Date(first).getUTCDay()) % 7) * 24 * HOUR;
}

function lastSunday(year: number, month: number): number {
  return firstSunday(year, month + 1) - 7 * 24 * HOUR;
}

function oracleIsFrozen({ fromMinuteOfWeek: from, toMinuteOfWeek: to, timeZone }: FreezeWindow, at: number): boolean {
  const offset = offsetMinutes[timeZone];
  if (offset === undefined) throw new Error(`the oracle does not know ${timeZone}`);
  // 5 January 1970 was a Monday.
  const local = Math.floor(at / MINUTE) + offset(at) - 4 * 1440;
  const minute = ((local % WEEK_MINUTES) + WEEK_MINUTES) % WEEK_MINUTES;
  const length = (to - from + WEEK_MINUTES) % WEEK_MINUTES || WEEK_MINUTES;
  return (minute - from + WEEK_MINUTES) % WEEK_MINUTES < length;
}

function oracleThawAt(windows: FreezeWindow[], at: number): number | null {
  for (let minute = 0; minute <= 8 * 1440; minute += 1) {
    const now = minute === 0 ? at : Math.floor(at / MINUTE) * MINUTE + minute * MINUTE;
    if (!windows.some((each) => oracleIsFrozen(each, now))) return now;
  }
  return null;
}

const timeZones = Object.keys(offsetMinutes);
const windowIn = (timeZone: string) =>
  fc
    .record({ from: fc.nat(WEEK_MINUTES - 1), length: fc.integer({ min: 1, max: WEEK_MINUTES - 1 }) })
    .map(({ from, length }): FreezeWindow => {
      const toMinuteOfWeek = (from + length) % WEEK_MINUTES || WEEK_MINUTES;
      return { fromMinuteOfWeek: from, toMinuteOfWeek, timeZone, text: '' };
    });
const anyWindow = fc.constantFrom(...timeZones).chain(windowIn);
/** Instants of ten years, half of them within two days of a change of clocks in Zurich or New York. */
const anyInstant = fc.oneof(
  fc.integer({ min: Date.UTC(2020, 0, 1), max: Date.UTC(2030, 0, 1) }),
  fc
    .record({
      year: fc.integer({ min: 2020, max: 2029 }),
      change: fc.constantFrom(
        (year: number) => lastSunday(year, 2),
        (year: number) => lastSunday(year, 9),
        (year: number) => firstSunday(year, 2) + 7 * 24 * HOUR,
        (year: number) => firstSunday(year, 10),
      ),
      away: fc.integer({ min: -48 * HOUR, max: 48 * HOUR }),
    })
    .map(({ year, change, away }) => change(year) + away),
);

describe('freeze windows', () => {
  test('are read with a hyphen or a dash, over the end of the week, and in their own zone', () => {
    const weekend = { fromMinuteOfWeek: 4 * 1440 + 960, toMinuteOfWeek: 480, timeZone: 'Europe/Zurich' };
    expect(window('Fri 16:00 – Mon 08:00 Europe/Zurich')).toMatchObject(weekend);
    expect(window('fri 16:00-mon 8:00  Europe/Zurich')).toMatchObject(weekend);
    expect(window('Sat 00:00 - Sun 24:00 UTC')).toMatchObject({
      fromMinuteOfWeek: 5 * 1440,
      toMinuteOfWeek: WEEK_MINUTES,
    });
    expect(window('Tue 09:00 – 17:30 UTC')).toMatchObject({ fromMinuteOfWeek: 1980, toMinuteOfWeek: 2490 });
  });

  test.each([
    ['weekend', EXAMPLE],
    ['Fri 16:00 – Mon 08:00', EXAMPLE],
    ['Friday 16:00 – Mon 08:00 UTC', 'Fri'],
    ['Fri 16:00 – Mno 08:00 UTC', null],
    ['Fri 25:00 – Mon 08:00 UTC', null],
    ['Fri 16:60 – Mon 08:00 UTC', null],
    ['Fri 24:01 – Mon 08:00 UTC', null],
    ['Fri 16:00 – Mon 08:00 Europe/Zurch', 'Europe/Zurich'],
    ['Fri 16:00 – Fri 16:00 UTC', null],
    ['Mon 20:00 – 08:00 UTC', '"Mon 20:00 – Tue 08:00 UTC"'],
    ['Sun 20:00 – Sun 08:00 UTC', '"Sun 20:00 – Mon 08:00 UTC"'],
  ])('"%s" is refused, with what to write where it is plain', (text, instead) => {
    const parsed = parseFreezeWindow(text);
    expect(parsed).toMatchObject({ kind: 'invalid', instead });
  });

  test('hold exactly when the wall clock of their zone says so, in weeks with a change of clocks too', () => {
    fc.assert(
      fc.property(anyWindow, anyInstant, (each, at) => {
        expect(isFrozen([each], at) !== null).toBe(oracleIsFrozen(each, at));
      }),
      { numRuns: 500 },
    );
  });

  test('thaw at the very minute that a minute-by-minute search finds', () => {
    fc.assert(
      fc.property(fc.array(anyWindow, { minLength: 1, maxLength: 3 }), anyInstant, (windows, at) => {
        expect(thawAt(windows, at)).toBe(oracleThawAt(windows, at) ?? at + 8 * 24 * HOUR);
      }),
      { numRuns: 300 },
    );
  });

  test('a night whose end the change of clocks skips thaws when the clocks have changed', () => {
    const night = window('Sat 22:00 – Sun 02:30 Europe/Zurich');
    // On 29 March 2026 02:00 becomes 03:00, at 01:00 UTC.
    expect(thawAt([night], Date.UTC(2026, 2, 28, 23))).toBe(Date.UTC(2026, 2, 29, 1));
  });

  test('an hour that is repeated is frozen both times', () => {
    const hour = window('Sun 02:00 – Sun 03:00 Europe/Zurich');
    // On 25 October 2026 03:00 becomes 02:00, at 01:00 UTC.
    expect(thawAt([hour], Date.UTC(2026, 9, 25, 0, 30))).toBe(Date.UTC(2026, 9, 25, 2));
  });

  test('that add up to the whole week are found out, and ask to be looked at again in eight days', () => {
    const halves = [window('Mon 00:00 – Fri 00:00 UTC'), window('Fri 00:00 – Mon 00:00 UTC')];
    expect(isAlwaysFrozen(halves)).toBe(true);
    expect(isAlwaysFrozen([window('Mon 00:00 – Sun 24:00 UTC')])).toBe(true);
    expect(isAlwaysFrozen(halves.slice(1))).toBe(false);
    expect(isAlwaysFrozen([])).toBe(false);
    expect(thawAt(halves, 0)).toBe(8 * 24 * HOUR);
  });
});
