/**
 * May traffic rise now? Freeze windows such as "Fri 16:00 – Mon 08:00 Europe/Zurich": recurring, weekly, in local time.
 * A window holds while the wall clock of its zone stands in [from, to). An hour that daylight saving repeats is frozen
 * both times; one that it skips is not waited for. The clock is an argument; only the time-zone tables of Intl are used.
 */
import { nth } from '../nth.ts';
import { closest } from './closest.ts';
import { shown } from './fields.ts';
import type { FreezeWindow } from './policy.ts';

const DAYS = ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'] as const;
const WEEK_MINUTES = 7 * 1440;
const MINUTE_MS = 60_000;
const FORM = /^(\w+) (\d{1,2}):(\d{2}) ?[-–] ?(?:(\w+) )?(\d{1,2}):(\d{2}) (\S+)$/;
const EXAMPLE = '"Fri 16:00 – Mon 08:00 Europe/Zurich"';

/** Windows that do not add up to the whole week end within it; the eighth day covers a change of clocks. */
const SEARCH_MS = 8 * 1440 * MINUTE_MS;
/** Jumps lead from window to window; near a change of clocks they shrink to a minute, for at most the shift's length. */
const SEARCH_JUMPS_MAX = 5000;

export type ParsedWindow =
  | { kind: 'ok'; window: FreezeWindow }
  | { kind: 'invalid'; message: string; instead: string | null };

/** The first window that holds at an instant (milliseconds since the epoch); null when none does. */
export function isFrozen(windows: readonly FreezeWindow[], at: number): FreezeWindow | null {
  return windows.find((window) => contains(window, minuteOfWeek(window.timeZone, at))) ?? null;
}

/**
 * The next instant, from `at` on, at which no window holds; `at` itself when none holds now. Windows that cover the
 * whole week have none: then the answer is an instant 8 days on, at which to look again.
 */
export function thawAt(windows: readonly FreezeWindow[], at: number): number {
  let now = at;
  for (let jumps = 0; jumps < SEARCH_JUMPS_MAX && now < at + SEARCH_MS; jumps += 1) {
    const window = isFrozen(windows, now);
    if (window === null) return now;
    now = jumpTowardsEnd(window, now);
  }
  return at + SEARCH_MS;
}

/** True when the windows leave no moment of a week in which traffic may rise. */
export function isAlwaysFrozen(windows: readonly FreezeWindow[]): boolean {
  const monday = Date.UTC(2026, 0, 5);
  return isFrozen(windows, thawAt(windows, monday)) !== null;
}

/** Parses the text form. The second day may be left out for a window within one day: `Fri 16:00 – 20:00 UTC`. */
export function parseFreezeWindow(text: string): ParsedWindow {
  const found = FORM.exec(text.trim().replaceAll(/\s+/g, ' '));
  if (found === null) return invalid(`expected a window such as ${EXAMPLE}, got ${shown(text)}`, EXAMPLE);
  const [, fromDay = '', fromHour, fromMinute, toDay = fromDay, toHour, toMinute, zone = ''] = found;
  for (const day of [fromDay, toDay]) {
    if (dayIndex(day) !== -1) continue;
    return invalid(`expected a day (${DAYS.join(' ')}), got ${shown(day)}`, closest(day.slice(0, 3), DAYS));
  }
  const timeZone = canonicalTimeZone(zone);
  if (timeZone === null) {
    const near = closest(zone, Intl.supportedValuesOf('timeZone'));
    return invalid(`expected a time zone such as Europe/Zurich or UTC, got ${shown(zone)}`, near);
  }
  const from = minutes(dayIndex(fromDay), Number(fromHour), Number(fromMinute));
  const to = minutes(dayIndex(toDay), Number(toHour), Number(toMinute));
  if (from === null || to === null) return invalid(`expected times from 00:00 to 24:00, got ${shown(text)}`, null);
  if (from % WEEK_MINUTES === to % WEEK_MINUTES && !(from === 0 && to === WEEK_MINUTES)) {
    return invalid(`expected a window with a length, got one that begins where it ends: ${shown(text)}`, null);
  }
  if (dayIndex(fromDay) === dayIndex(toDay) && to < from) {
    const nextDay = nth(DAYS, (dayIndex(fromDay) + 1) % DAYS.length);
    const overnight = `"${fromDay} ${fromHour}:${fromMinute} – ${nextDay} ${toHour}:${toMinute} ${zone}"`;
    return invalid(`expected an end after the beginning, got ${shown(text)}`, overnight);
  }
  return { kind: 'ok', window: { fromMinuteOfWeek: from % WEEK_MINUTES, toMinuteOfWeek: to, timeZone, text } };
}

function jumpTowardsEnd(window: FreezeWindow, at: number): number {
  const now = Math.floor(at / MINUTE_MS) * MINUTE_MS;
  // Zero is the first minute of a window that is the whole week; no other stands at its own end.
  const remaining = modulo(window.toMinuteOfWeek - minuteOfWeek(window.timeZone, now), WEEK_MINUTES) || WEEK_MINUTES;
  const end = now + remaining * MINUTE_MS;
  const half = WEEK_MINUTES / 2;
  const overshoot = modulo(minuteOfWeek(window.timeZone, end) - window.toMinuteOfWeek + half, WEEK_MINUTES) - half;
  // The clocks went forward on the way: the window ended sooner. Step back by the shift, but never stand still.
  if (overshoot > 0) return Math.max(now + MINUTE_MS, end - overshoot * MINUTE_MS);
  // They stayed, and this is the end; or they went back, and the caller jumps again.
  return end;
}

function contains({ fromMinuteOfWeek: from, toMinuteOfWeek: to }: FreezeWindow, minute: number): boolean {
  return from < to ? from <= minute && minute < to : minute >= from || minute < to;
}

/** Formatters cost far more to make than to use; there are as many as zones in use. */
const clocks = new Map<string, Intl.DateTimeFormat>();

/** Minutes since Monday 00:00 on the zone's wall clock. */
function minuteOfWeek(timeZone: string, at: number): number {
  let clock = clocks.get(timeZone);
  if (clock === undefined) {
    clock = new Intl.DateTimeFormat('en-US', {
      timeZone,
      weekday: 'short',
      hour: '2-digit',
      minute: '2-digit',
      hourCycle: 'h23',
    });
    clocks.set(timeZone, clock);
  }
  const parts = new Map(clock.formatToParts(at).map(({ type, value }) => [type, value]));
  return dayIndex(String(parts.get('weekday'))) * 1440 + Number(parts.get('hour')) * 60 + Number(parts.get('minute'));
}

function canonicalTimeZone(name: string): string | null {
  try {
    return new Intl.DateTimeFormat('en-US', { timeZone: name }).resolvedOptions().timeZone;
  } catch {
    // A zone that Intl does not know is all that it refuses here.
    return null;
  }
}

function minutes(day: number, hour: number, minute: number): number | null {
  const isTime = hour < 24 ? minute < 60 : hour === 24 && minute === 0;
  return isTime ? day * 1440 + hour * 60 + minute : null;
}

function dayIndex(day: string): number {
  return DAYS.findIndex((name) => name.toLowerCase() === day.toLowerCase());
}

function modulo(value: number, by: number): number {
  return ((value % by) + by) % by;
}

function invalid(message: string, instead: string | null): ParsedWindow {
  return { kind: 'invalid', message, instead };
}
