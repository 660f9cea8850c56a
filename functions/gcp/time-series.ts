/**
 * What does a Cloud Monitoring filter say, period by period? One listing through all its pages, every point of it checked:
 * what cannot be so is a fault, which says whose periods it spoils, and never a number.
 */
import { z } from 'zod';
import type { EvidenceWindow, Histogram } from '../../machines/analysis/evidence.ts';
import { PermanentError, TransientError } from '../engine/errors.ts';
import { limits } from '../engine/limits.ts';
import type { Clients } from './clients.ts';
import { distributionSchema, histogramOf } from './distribution.ts';
import { call, parseReply } from './status.ts';

export interface SeriesRequest {
  project: string;
  filter: string;
  /** In whole seconds, and a whole number of periods. */
  window: EvidenceWindow;
  periodMs: number;
  aligner: 'ALIGN_DELTA' | 'ALIGN_NEXT_OLDER';
  /** Empty: the series as they are; else they are summed by these. */
  groupByFields: string[];
  deadlineMs: number;
}

export interface SeriesLabels {
  metric: Record<string, string>;
  resourceType: string;
  resource: Record<string, string>;
}

export interface SeriesPoint<Value> {
  labels: SeriesLabels;
  /** The end of the period that it counts for. */
  endAt: number;
  value: Value;
}

export interface SeriesFault {
  labels: SeriesLabels;
  text: string;
  /** Ends of the periods in which nothing about this endpoint can be told any more; empty where no harm is done. */
  spoils: number[];
}

export interface CheckedSeries<Value> {
  points: SeriesPoint<Value>[];
  faults: SeriesFault[];
}

/** Reads a point's value, or says in words what was got and what was expected. */
export type ValueReader<Value> = (value: TypedValue) => Value | string;

const seriesSchema = z.object({
  resource: z.object({ type: z.string().default(''), labels: z.record(z.string(), z.string()) }),
  metric: z.object({ labels: z.record(z.string(), z.string()) }).nullish(),
  /** Each is checked by itself: one that is bad does not hide the others. */
  points: z.array(z.unknown()),
});

const timeSchema = z
  .object({ seconds: z.coerce.number().nullish(), nanos: z.number().nullish() })
  .transform(({ seconds, nanos }) => (seconds ?? 0) * 1000 + (nanos ?? 0) / 1e6);

const typedValueSchema = z.object({
  /** Text, so that none is rounded. */
  int64Value: z.union([z.string(), z.number()]).nullish(),
  doubleValue: z
    .union([z.number(), z.nan(), z.literal([Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])])
    .nullish(),
  distributionValue: z.unknown().optional(),
});

const pointSchema = z.object({
  interval: z.object({ startTime: timeSchema.nullish(), endTime: timeSchema }),
  value: typedValueSchema,
});

/** With `autoPaginate: false` the client gives [items, next request, response]. */
const pageSchema = z.tuple([
  z.array(seriesSchema).nullable(),
  z.unknown(),
  z.object({
    nextPageToken: z.string().nullish(),
    executionErrors: z.array(z.object({ message: z.string() })).nullish(),
  }),
]);

type TypedValue = z.output<typeof typedValueSchema>;
type Series = z.output<typeof seriesSchema>;

/** Lists a filter's series and checks their points. Throws as call() does, also where the answer says it is incomplete. */
export async function readSeries<Value extends number | Histogram>(
  clients: Clients,
  request: SeriesRequest,
  valueOf: ValueReader<Value>,
): Promise<CheckedSeries<Value>> {
  return checked(await list(clients, request), request, valueOf);
}

/** Ends of a window's periods, ascending. */
export function periodEnds({ fromAt, toAt }: EvidenceWindow, periodMs: number): number[] {
  return Array.from({ length: Math.round((toAt - fromAt) / periodMs) }, (_, i) => fromAt + (i + 1) * periodMs);
}

/** An instant as text; what a bad reply takes for one may be none. */
export function instant(at: number): string {
  const date = new Date(at);
  return Number.isNaN(date.getTime()) ? `${at} ms` : date.toISOString();
}

/** A count of events: whole, not negative, and small enough to be exact. */
export function countOf({ int64Value, doubleValue }: TypedValue): number | string {
  const value = int64Value ?? doubleValue;
  if (value === null || value === undefined) return 'it has no number, and a count was expected';
  const count = Number(value);
  if (Number.isSafeInteger(count) && count >= 0) return count;
  return `got ${value}, expected a whole number from 0 to 2^53`;
}

export function gaugeOf({ int64Value, doubleValue }: TypedValue): number | string {
  const value = int64Value ?? doubleValue;
  if (value === null || value === undefined) return 'it has no number, and one was expected';
  const gauge = Number(value);
  return Number.isFinite(gauge) ? gauge : `got ${value}, expected a finite number`;
}

export function distributionOf({ distributionValue }: TypedValue): Histogram | string {
  if (distributionValue === null || distributionValue === undefined) {
    return 'it has no distribution, and one was expected';
  }
  const parsed = distributionSchema.safeParse(distributionValue);
  if (parsed.success) return histogramOf(parsed.data);
  return parsed.error.issues.map(({ path, message }) => [...path, message].join(': ')).join('; ');
}

async function list(clients: Clients, asked: SeriesRequest): Promise<Series[]> {
  const { project, filter, window, periodMs, aligner, groupByFields, deadlineMs } = asked;
  const name = `ListTimeSeries of projects/${project} (${filter})`;
  const request = {
    name: `projects/${project}`,
    filter,
    interval: { startTime: timestamp(window.fromAt), endTime: timestamp(window.toAt) },
    view: 'FULL' as const,
    aggregation: {
      alignmentPeriod: { seconds: periodMs / 1000 },
      perSeriesAligner: aligner,
      ...(groupByFields.length === 0 ? {} : { crossSeriesReducer: 'REDUCE_SUM' as const, groupByFields }),
    },
    pageSize: 100_000,
  };
  return call(name, deadlineMs, async (options) => {
    const client = await clients.metrics();
    const found: Series[] = [];
    let pageToken = '';
    for (let page = 0; page < limits.pagesMax; page++) {
      const reply = await client.listTimeSeries({ ...request, pageToken }, { ...options, autoPaginate: false });
      const [series, , response] = parseReply(name, pageSchema, reply);
      const [broken] = response.executionErrors ?? [];
      // Part of the answer would be judged as if it were all of it.
      if (broken !== undefined) throw new TransientError('unavailable', `${name}: incomplete: ${broken.message}`);
      found.push(...(series ?? []));
      pageToken = response.nextPageToken ?? '';
      if (pageToken === '') return found;
    }
    throw new PermanentError(
      'internal',
      `${name}: more than ${limits.pagesMax} pages; ask for fewer endpoints at once`,
    );
  });
}

function checked<Value extends number | Histogram>(
  series: Series[],
  { window, periodMs }: SeriesRequest,
  valueOf: ValueReader<Value>,
): CheckedSeries<Value> {
  const ends = periodEnds(window, periodMs);
  const faults: SeriesFault[] = [];
  /** By series and period, so that a point that comes twice counts once. */
  const points = new Map<string, SeriesPoint<Value>>();
  for (const { metric, resource, points: raw } of series) {
    const labels = { metric: metric?.labels ?? {}, resourceType: resource.type, resource: resource.labels };
    for (const one of raw) {
      const fault = (reason: string, spoils: number[]) => faults.push({ labels, text: reason, spoils });
      const parsed = pointSchema.safeParse(one);
      if (!parsed.success) {
        fault('a point without a time that can be read; no period can be told from it', ends);
        continue;
      }
      const { interval, value } = parsed.data;
      const { startTime, endTime: endAt } = interval;
      const at = `the point that ends at ${instant(endAt)}`;
      if (endAt <= window.fromAt || endAt > window.toAt) {
        fault(`${at} lies outside of the window that was asked for, and is dropped`, []);
        continue;
      }
      const periodEnd = ends.find((end) => endAt <= end) ?? window.toAt;
      if (endAt !== periodEnd || (startTime ?? endAt) < periodEnd - periodMs) {
        fault(`${at} is not one of the periods of ${periodMs / 1000} s that were asked for; its period is left out`, [
          periodEnd,
        ]);
        continue;
      }
      const read = valueOf(value);
      if (typeof read === 'string') {
        fault(`${at}: ${read}; its period is left out`, [endAt]);
        continue;
      }
      const key = JSON.stringify([sorted(labels.metric), resource.type, sorted(resource.labels), endAt]);
      const before = points.get(key);
      if (before === undefined) points.set(key, { labels, endAt, value: read });
      else if (JSON.stringify(before.value) === JSON.stringify(read)) fault(`${at} came twice, and counts once`, []);
      else fault(`${at} came twice with different values; neither is used, and its period is left out`, [endAt]);
    }
  }
  return { points: [...points.values()], faults };
}

function sorted(labels: Record<string, string>): [string, string][] {
  return Object.entries(labels).toSorted(([a], [b]) => (a < b ? -1 : 1));
}

function timestamp(at: number) {
  return { seconds: Math.floor(at / 1000), nanos: 0 };
}
