/**
 * When does a cron line fire next? Five fields, as in unix cron: minute, hour, day of month, month, day of week; lists,
 * ranges, steps and English names. As there, when both days are given, either will do.
 */

export interface Cron {
  minutes: Set<number>;
  hours: Set<number>;
  matchesDay(day: number, month: number, weekday: number): boolean;
}

const monthNames = ['', 'jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];
const weekdayNames = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'];
const minuteMs = 60_000;
/** Any eight years have a 29 February, also those around 2100. */
const searchHoursMax = 8 * 366 * 24;

/** Parses a cron line. Throws an Error that says what it expected. */
export function parseCron(line: string): Cron {
  const [minute = '', hour = '', day = '', month = '', weekday = '', ...rest] = line.trim().split(/\s+/);
  if (weekday === '' || rest.length > 0) {
    throw new Error(`Expected five fields, such as "*/10 * * * *", got "${line}".`);
  }
  const [days, months, weekdays] = [
    parseField(day, 1, 31),
    parseField(month, 1, 12, monthNames),
    parseField(weekday, 0, 7, weekdayNames),
  ];
  const isEither = !day.startsWith('*') && !weekday.startsWith('*');
  return {
    minutes: parseField(minute, 0, 59),
    hours: parseField(hour, 0, 23),
    matchesDay: (d, m, w) => {
      const isWeekday = weekdays.has(w) || (w === 0 && weekdays.has(7));
      return months.has(m) && (isEither ? days.has(d) || isWeekday : days.has(d) && isWeekday);
    },
  };
}

/** The first minute after an instant at which the line fires in a time zone. Throws when none is (30 February). */
export function nextFireAt(cron: Cron, afterMs: number, timeZone: string): number {
  const fields = { minute: 'numeric', hour: 'numeric', day: 'numeric', month: 'numeric', weekday: 'short' } as const;
  const format = new Intl.DateTimeFormat('en-US', { timeZone, hourCycle: 'h23', ...fields });
  let at = (Math.floor(afterMs / minuteMs) + 1) * minuteMs;
  for (let hours = 0; hours < searchHoursMax; hours += 1) {
    const local = Object.fromEntries(format.formatToParts(at).map(({ type, value }) => [type, value]));
    const minute = Number(local['minute']);
    const weekday = weekdayNames.indexOf(String(local['weekday']).toLowerCase());
    if (
      cron.hours.has(Number(local['hour'])) &&
      cron.matchesDay(Number(local['day']), Number(local['month']), weekday)
    ) {
      const next = Math.min(...[...cron.minutes].filter((value) => value >= minute));
      if (next < Infinity) return at + (next - minute) * minuteMs;
    }
    // From hour to hour of the local clock, so that summer time needs no care.
    at += (60 - minute) * minuteMs;
  }
  throw new Error('Expected a date that comes, got one that never does.');
}

function parseField(text: string, min: number, max: number, names: string[] = []): Set<number> {
  const values = new Set<number>();
  for (const part of text.toLowerCase().split(',')) {
    const match = /^(?:\*|(\d+|[a-z]+)(?:-(\d+|[a-z]+))?)(?:\/(\d+))?$/.exec(part);
    const [, from, to, step] = match ?? [];
    const toNumber = (value: string): number => (names.includes(value) ? names.indexOf(value) : Number(value));
    const first = from === undefined ? min : toNumber(from);
    // "5/10" is from 5 to the end.
    const last = from === undefined || (to === undefined && step !== undefined) ? max : toNumber(to ?? from);
    const stepBy = Number(step ?? 1);
    if (match === null || !(first >= min && first <= last && last <= max && stepBy >= 1)) {
      throw new Error(`Expected ${min} to ${max} as number, *, range, list or step, got "${text}".`);
    }
    for (let value = first; value <= last; value += stepBy) values.add(value);
  }
  return values;
}
