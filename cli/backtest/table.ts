/**
 * How do rows of counts become windows? For formats in which every row tells of one series and one span of time: finds
 * the length of the windows, points that are there twice, and counters that only rise.
 */
import { addCounts, type Histogram, noCounts, type VariantCounts } from '../../machines/analysis/evidence.ts';
import { formatDuration } from '../../machines/policy/units.ts';
import { roughly } from '../text.ts';
import { type Findings, type RecordedWindow, VARIANTS_MAX, WINDOWS_MAX } from './recording.ts';
import { shownAt } from './values.ts';

export interface Row {
  place: string;
  /** Rows of one series are about the same thing at different times. */
  series: string;
  variant: string;
  /** When the row's span ends; or begins, in a table that is `stampedAt: 'begin'`. */
  at: number;
  counts: VariantCounts;
}

export interface TableOptions {
  file: string;
  stampedAt: 'begin' | 'end';
  /** Rows are expected in order of time; Cloud Monitoring's points come newest first. */
  isOrdered: boolean;
  /** Counts since the beginning of the series, and not since the row before. */
  isCumulative: (series: string) => boolean;
  /** Null: the distance between the rows. */
  windowMs: number | null;
}

/** Rows are aggregates, some hundred bytes each in memory; more of them than this are requests and belong in a log. */
const ROWS_MAX = 300_000;
/** So many rows in a row that never fall are no traffic: the odds against it are astronomical. */
const RISING_MIN = 20;

export interface Table {
  add(row: Row): void;
  /** The windows in any order, and how long each is. What is wrong is in the findings. */
  finish(): { windows: RecordedWindow[]; windowMs: number };
}

export function createTable(options: TableOptions, findings: Findings): Table {
  const series = new Map<string, Map<number, Row>>();
  const newest = new Map<string, Row>();
  let rows = 0;
  return {
    add(row) {
      const known = series.get(row.series) ?? new Map<number, Row>();
      series.set(row.series, known);
      const twin = known.get(row.at);
      if (twin !== undefined) {
        if (JSON.stringify(twin.counts) === JSON.stringify(row.counts)) {
          findings.note('a copy of an earlier point was left out', row.place);
        } else {
          findings.refuse(
            row.place,
            `expected one point at ${shownAt(row.at)}, got another with other counts; the first is ${twin.place}`,
          );
        }
        return;
      }
      const before = newest.get(row.series);
      if (before !== undefined && row.at < before.at && options.isOrdered) {
        findings.note('a row is earlier than the one before it, and was sorted in', row.place);
      } else newest.set(row.series, row);
      rows += 1;
      if (rows === ROWS_MAX + 1) {
        findings.refuse(
          row.place,
          `expected at most ${ROWS_MAX} rows; give longer windows, or the requests themselves as jsonl`,
        );
        findings.settle();
      }
      known.set(row.at, row);
    },
    finish() {
      const sorted = [...series].map(([name, points]) => {
        const ordered = [...points.values()].toSorted((a, b) => a.at - b.at);
        if (options.isCumulative(name)) return ordered;
        suspectCounter(ordered, findings);
        return ordered;
      });
      const windowMs = lengthOf(options, sorted.flat(), findings);
      if (windowMs === null) return { windows: [], windowMs: 0 };
      const rowsOfSpans = [...series.keys()].flatMap((name, i) => {
        const ordered = sorted[i] ?? [];
        return options.isCumulative(name) ? differences(ordered, windowMs, findings) : ordered;
      });
      return { windows: windowsOf(options, rowsOfSpans, windowMs, findings), windowMs };
    },
  };
}

/**
 * How long a window is: as asked, or else the smallest distance between two rows. Null when there is no such length:
 * a row's span must never be longer than its window, nor lie across two.
 */
function lengthOf({ file, windowMs }: TableOptions, rows: Row[], findings: Findings): number | null {
  const times = [...new Set(rows.map(({ at }) => at))].toSorted((a, b) => a - b);
  const [first] = times;
  const least = times.reduce(
    (shortest, at, i) => Math.min(shortest, i === 0 ? shortest : at - (times[i - 1] ?? at)),
    Infinity,
  );
  if (first === undefined) return null;
  if (windowMs !== null) {
    if (least === Infinity || windowMs % least === 0) return windowMs;
    findings.refuse(
      file,
      `expected --window to be a multiple of ${roughly(least)}, in which the rows lie, got ${roughly(windowMs)}`,
    );
    return null;
  }
  if (least === Infinity) {
    findings.refuse(file, 'expected rows of at least two times, got one; say with --window how long its window is');
    return null;
  }
  const odd = rows.find(({ at }) => (at - first) % least !== 0);
  if (odd === undefined) return least;
  const ask = 'export with one alignment, or say with --window how long windows are to be';
  findings.refuse(
    odd.place,
    `expected a time in steps of ${roughly(least)} from ${shownAt(first)}, got ${shownAt(odd.at)}; ${ask}`,
  );
  return null;
}

function windowsOf(options: TableOptions, rows: Row[], windowMs: number, findings: Findings): RecordedWindow[] {
  const origin = rows.reduce((least, { at }) => Math.min(least, at), Number.POSITIVE_INFINITY);
  const windows = new Map<number, RecordedWindow>();
  const variants = new Set<string>();
  for (const { at, variant, counts, place } of rows) {
    const index =
      options.stampedAt === 'begin' ? Math.floor((at - origin) / windowMs) : Math.ceil((at - origin) / windowMs) - 1;
    const fromAt = origin + index * windowMs;
    const window = windows.get(fromAt) ?? { fromAt, toAt: fromAt + windowMs, variants: {} };
    window.variants[variant] = addCounts(window.variants[variant] ?? noCounts, counts);
    windows.set(fromAt, window);
    variants.add(variant);
    if (windows.size > WINDOWS_MAX || variants.size > VARIANTS_MAX) {
      const bound =
        windows.size > WINDOWS_MAX
          ? `${WINDOWS_MAX} windows; give --window more than ${formatDuration(windowMs / 1000)}`
          : `${VARIANTS_MAX} variants`;
      findings.refuse(place, `expected at most ${bound}`);
      return [];
    }
  }
  return [...windows.values()];
}

/** What each row adds to the one before. A counter that fell was reset: what it shows since then is counted. */
function differences(rows: Row[], windowMs: number, findings: Findings): Row[] {
  return rows.flatMap((row, i) => {
    const before = rows[i - 1];
    if (before === undefined) {
      findings.note('the first reading of a counter has none before it, and was left out', row.place);
      return [];
    }
    if (row.at - before.at > windowMs) {
      findings.note(
        'a counter was not read for longer than a window; what it grew by belongs to no window, and was left out',
        row.place,
      );
      return [];
    }
    const grown = minus(row.counts, before.counts);
    if (grown === null) findings.note('a counter was reset; what it shows since then was counted', row.place);
    return [{ ...row, counts: grown ?? row.counts }];
  });
}

/** Null when anything became less. */
function minus(now: VariantCounts, before: VariantCounts): VariantCounts | null {
  const isSameShape = JSON.stringify(now.latencyMs.bounds) === JSON.stringify(before.latencyMs.bounds);
  const latencyMs: Histogram = {
    bounds: now.latencyMs.bounds,
    counts: now.latencyMs.counts.map((value, i) => value - (before.latencyMs.counts[i] ?? 0)),
  };
  const requests = now.requests - before.requests;
  const errors = now.errors - before.errors;
  const hasFallen = requests < 0 || errors < 0 || errors > requests || latencyMs.counts.some((value) => value < 0);
  return hasFallen || !isSameShape ? null : { requests, errors, latencyMs };
}

/** A counter that only rises, read as if it were counts of windows, would count every request again and again. */
function suspectCounter(rows: Row[], findings: Findings): void {
  const totals = rows.map(({ counts }) => counts.requests);
  const [first] = rows;
  const isRising = totals.every((total, i) => i === 0 || total > (totals[i - 1] ?? 0));
  if (first === undefined || rows.length < RISING_MIN || !isRising) return;
  findings.refuse(
    first.place,
    `expected counts of single windows, got requests that rise in all ${rows.length} rows, as a counter does; if it is one, give --cumulative`,
  );
}
