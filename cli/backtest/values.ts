/** What does a cell or a field say? Instants, counts and histograms from text or JSON; what is none of them is refused. */
import type { Histogram } from '../../machines/analysis/evidence.ts';
import { clean } from '../text.ts';

/** A value that cannot be used, as a sentence: what was expected, what was got, what to do. */
export class BadValue extends Error {
  override readonly name = 'BadValue';
}

/** A million requests a second for a week; above it, a number is no count of requests. */
const COUNT_MAX = 1e12;
/** Epoch seconds have fewer digits until the year 5138, epoch milliseconds more since 1973. */
const EPOCH_MS_MIN = 1e11;
/** A number before 1973 is a counter or a year. */
const EPOCH_SECONDS_MIN = 1e8;
const INSTANT = /^\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?: ?UTC|Z|[+-]\d\d:?\d\d))?$/;

/** Milliseconds since the epoch of an ISO instant with its zone, a day, or epoch seconds or milliseconds. */
export function instantOf(value: unknown): number {
  const number = typeof value === 'string' && /^\d{9,14}(\.\d+)?$/.test(value) ? Number(value) : value;
  if (typeof number === 'number' && Number.isFinite(number) && number >= EPOCH_SECONDS_MIN && number < 1e14) {
    return Math.round(number < EPOCH_MS_MIN ? number * 1000 : number);
  }
  if (typeof value === 'string' && INSTANT.test(value)) {
    const at = Date.parse(value.replace(/ ?UTC$/, 'Z').replace(' ', 'T'));
    if (!Number.isNaN(at) && at >= 0) return at;
  }
  throw new BadValue(`expected an instant with its zone, such as 2026-03-01T12:00:00Z, got ${got(value)}`);
}

/** A whole number of requests, from digits or a JSON number. */
export function countOf(name: string, value: unknown): number {
  const number = typeof value === 'string' && /^[+-]?[\d.]+(e[+-]?\d+)?$/i.test(value) ? Number(value) : value;
  if (typeof number !== 'number' || !Number.isFinite(number)) {
    throw new BadValue(`expected a whole number of ${name}, got ${got(value)}`);
  }
  if (number < 0) throw new BadValue(`expected 0 or more ${name}, got ${number}`);
  if (!Number.isInteger(number)) {
    throw new BadValue(`expected a whole number of ${name}, got ${number}; a rate or a sample cannot be counted`);
  }
  if (number > COUNT_MAX) throw new BadValue(`expected at most ${COUNT_MAX.toExponential(0)} ${name}, got ${number}`);
  return number;
}

/** A name of a variant: not empty, and short enough to print. */
export function variantOf(value: unknown): string {
  const text = typeof value === 'number' ? String(value) : value;
  const name = typeof text === 'string' ? clean(text).trim() : '';
  // A name such as `constructor` is already there in every object.
  if (name !== '' && name.length <= 200 && !(name in {})) return name;
  throw new BadValue(`expected the name of a variant, got ${got(value)}`);
}

/** A histogram from counts of all that took at most so long, as Prometheus writes them. */
export function fromCumulative(bounds: number[], atMost: number[], total: number): Histogram {
  const counts = [...atMost, total].map((value, i, all) => {
    const before = all[i - 1] ?? 0;
    if (value >= before) return value - before;
    const name = i < bounds.length ? `le_${bounds[i]}` : 'requests';
    throw new BadValue(
      `expected ${name} to be at least le_${bounds[i - 1]} (${before}), got ${value}: a column counts all that took at most so long`,
    );
  });
  return { bounds, counts };
}

export function shownAt(at: number): string {
  return new Date(at).toISOString().replace('.000Z', 'Z');
}

export function got(value: unknown): string {
  const text = typeof value === 'string' ? `"${value}"` : (JSON.stringify(value) ?? 'nothing');
  return clean(text.length > 60 ? `${text.slice(0, 60)}…` : text);
}
