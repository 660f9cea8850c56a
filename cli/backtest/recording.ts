/**
 * What was recorded? Windows of counts by variant, in order of time, and what had to be left out or mended to get them.
 * Nothing that is wrong with a file is used silently: it is refused with its place, or mended with a note.
 */
import { coarsen, type Histogram, type VariantCounts } from '../../machines/analysis/evidence.ts';
import { clean, roughly } from '../text.ts';
import { CliError, exitCodes } from '../world.ts';
import { shownAt } from './values.ts';

/** Half-open (fromAt, toAt], in milliseconds since the epoch. */
export interface RecordedWindow {
  fromAt: number;
  toAt: number;
  variants: Record<string, VariantCounts>;
}

export interface Note {
  text: string;
  count: number;
  /** `file:line`, or the series and the point. */
  first: string;
}

export interface Recording {
  windowMs: number;
  /** Ascending, each `windowMs` long; windows without any request may be absent. */
  windows: RecordedWindow[];
  notes: Note[];
}

/** A month of minutes, or a week of quarters of a minute; each window is kept in memory. */
export const WINDOWS_MAX = 50_000;
/** The replay ticks through gaps; one longer than years of minutes is a clock that was wrong. */
const SPAN_WINDOWS_MAX = 500_000;
/** A service has a handful of variants; more is a column that means something else. */
export const VARIANTS_MAX = 32;
/** Beyond this many problems, the rest says nothing new. */
const PROBLEMS_MAX = 10;

export interface Findings {
  /** Says once what was mended, and how often. */
  note(text: string, place: string): void;
  /** Remembers why the file cannot be used. Throws a CliError when there is more than enough. */
  refuse(place: string, problem: string): void;
  /** Throws a CliError that names every problem, if there is one. */
  settle(): void;
  notes(): Note[];
}

export function createFindings(): Findings {
  const notes = new Map<string, Note>();
  const problems: string[] = [];
  const settle = (): void => {
    if (problems.length > 0) throw new CliError(problems.join('\n'), { exitCode: exitCodes.usage });
  };
  return {
    note(text, place) {
      const known = notes.get(text);
      if (known === undefined) notes.set(text, { text, count: 1, first: place });
      else known.count += 1;
    },
    refuse(place, problem) {
      problems.push(clean(`${place}: ${problem}`));
      if (problems.length < PROBLEMS_MAX) return;
      problems.push('… and perhaps more; mend these first.');
      settle();
    },
    settle,
    notes: () => [...notes.values()],
  };
}

/** Orders the windows, brings their histograms onto the bounds that all have, and notes the gaps. Throws a CliError. */
export function finishRecording(
  file: string,
  unordered: RecordedWindow[],
  windowMs: number,
  findings: Findings,
): Recording {
  findings.settle();
  const [first] = unordered;
  if (first === undefined) {
    throw new CliError(`${file}: expected at least one window of requests, got none`, { exitCode: exitCodes.usage });
  }
  const windows = unordered.toSorted((a, b) => a.fromAt - b.fromAt);
  const [firstAt, lastAt] = [windows[0]?.fromAt ?? 0, windows.at(-1)?.toAt ?? 0];
  if ((lastAt - firstAt) / windowMs > SPAN_WINDOWS_MAX) {
    findings.refuse(
      file,
      `expected at most ${SPAN_WINDOWS_MAX} windows from first to last, got ${shownAt(firstAt)} to ${shownAt(lastAt)}; mend the time that is wrong, or give a longer --window`,
    );
    findings.settle();
  }
  for (const [i, { fromAt }] of windows.entries()) {
    const before = windows[i - 1]?.toAt ?? fromAt;
    if (fromAt > before) {
      const gap = `nothing was recorded for ${roughly(fromAt - before)} from ${shownAt(before)}; the rule waited as it would have`;
      findings.note(gap, file);
    }
  }
  const shared = {
    latencyMs: sharedBounds(file, 'latencies', windows, (counts) => counts.latencyMs, findings),
    predictions: sharedBounds(file, 'predictions', windows, (counts) => counts.predictions, findings),
  };
  findings.settle();
  const mended = windows.map((window) => ({
    ...window,
    variants: Object.fromEntries(
      Object.entries(window.variants).map(([id, { predictions, ...counts }]) => [
        id,
        {
          ...counts,
          latencyMs: onto(counts.latencyMs, shared.latencyMs),
          ...(predictions && { predictions: onto(predictions, shared.predictions) }),
        },
      ]),
    ),
  }));
  return { windowMs, windows: mended, notes: findings.notes() };
}

/** Requests and errors of each variant over the whole recording. */
export function totalsOf(windows: RecordedWindow[]): { id: string; requests: number; errors: number }[] {
  const totals = new Map<string, { id: string; requests: number; errors: number }>();
  for (const [id, { requests, errors }] of windows.flatMap(({ variants }) => Object.entries(variants))) {
    const total = totals.get(id) ?? { id, requests: 0, errors: 0 };
    totals.set(id, { id, requests: total.requests + requests, errors: total.errors + errors });
  }
  return [...totals.values()].toSorted((a, b) => (a.id < b.id ? -1 : 1));
}

/** The bounds that all histograms have; null while there is none. Only those can be compared over all of the time. */
function sharedBounds(
  file: string,
  what: string,
  windows: RecordedWindow[],
  pick: (counts: VariantCounts) => Histogram | undefined,
  findings: Findings,
): number[] | null {
  let shared: number[] | null = null;
  for (const { toAt, variants } of windows) {
    for (const [id, counts] of Object.entries(variants)) {
      const bounds = pick(counts)?.bounds ?? [];
      if (bounds.length === 0 || bounds === shared) continue;
      if (shared === null) {
        shared = bounds;
        continue;
      }
      const common: number[] = shared.filter((bound) => bounds.includes(bound));
      if (common.length === shared.length && common.length === bounds.length) continue;
      const place = `${file}, variant ${id} at ${shownAt(toAt)}`;
      if (common.length === 0) {
        findings.refuse(
          place,
          `expected ${what} with bounds as before, got none of them; export one kind of histogram`,
        );
        return shared;
      }
      findings.note(
        `the histogram of ${what} has other bounds than before; only those that all have are compared`,
        place,
      );
      shared = common;
    }
  }
  return shared;
}

/** A histogram without buckets stays what it is: so many values, none of them known. */
function onto(histogram: Histogram, bounds: number[] | null): Histogram {
  if (bounds === null || histogram.bounds.length === 0) return histogram;
  return { bounds, counts: coarsen(histogram, bounds) };
}
