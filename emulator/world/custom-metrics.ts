/** What did others write to Monitoring? Series under custom.googleapis.com, with the rules of CreateTimeSeries. */
import type { WorldContext } from './context.ts';
import { WorldError } from './errors.ts';
import type { TimeSeries } from './state.ts';

const PREFIXES = ['custom.googleapis.com/', 'workload.googleapis.com/', 'external.googleapis.com/'];
const seriesPerCallMax = 200;
const pointAgeMsMax = 25 * 3_600_000;
const pointAheadMsMax = 5 * 60_000;
/** Per series; older points are forgotten. */
const pointsMax = 10_000;

/**
 * Writes one new point to each series. All are checked before any is written: INVALID_ARGUMENT names the first that
 * breaks a rule.
 */
export function createTimeSeries(context: WorldContext, written: TimeSeries[]): void {
  if (written.length === 0 || written.length > seriesPerCallMax) {
    throw new WorldError('INVALID_ARGUMENT', `Expected 1 to ${seriesPerCallMax} time series, got ${written.length}.`);
  }
  const keys = written.map((series) => seriesKey(series));
  for (const [i, series] of written.entries()) {
    const key = keys[i] ?? '';
    if (keys.indexOf(key) !== i)
      refuse(i, 'is the same series as an earlier one; a call adds one point to each series');
    checkSeries(context, series, context.state.customSeries[key], i);
  }
  for (const [i, series] of written.entries()) {
    const existing = (context.state.customSeries[keys[i] ?? ''] ??= { ...series, points: [] });
    existing.points.push(...series.points);
    if (existing.points.length > pointsMax) existing.points.shift();
  }
  context.emit({ kind: 'changed' });
}

/** Returns the series of a type that were written to a project; null when the project has no such type. */
export function customSeries(context: WorldContext, project: string, metricType: string): TimeSeries[] | null {
  const found = customSeriesOf(context, project).filter(({ metric }) => metric.type === metricType);
  return found.length === 0 ? null : found;
}

/** Returns all series that were written to a project. */
export function customSeriesOf(context: WorldContext, project: string): TimeSeries[] {
  return Object.values(context.state.customSeries).filter((series) => series.project === project);
}

function checkSeries(context: WorldContext, series: TimeSeries, existing: TimeSeries | undefined, i: number): void {
  if (!PREFIXES.some((prefix) => series.metric.type.startsWith(prefix))) {
    refuse(i, `has the metric type "${series.metric.type}"; expected one under ${PREFIXES.join(', ')}`);
  }
  const [point] = series.points;
  if (point === undefined || series.points.length > 1) refuse(i, `has ${series.points.length} points; expected one`);
  const ageMs = context.now() - point.endAt;
  if (ageMs > pointAgeMsMax) refuse(i, 'has a point that is older than 25 hours');
  if (ageMs < -pointAheadMsMax) refuse(i, 'has a point more than 5 minutes in the future');
  if (series.metricKind === 'GAUGE' ? point.startAt !== point.endAt : point.startAt >= point.endAt) {
    refuse(i, `has a point whose interval does not fit a ${series.metricKind}`);
  }
  if (existing === undefined) return;
  if (existing.valueType !== series.valueType || existing.metricKind !== series.metricKind) {
    refuse(i, `is a ${series.metricKind} ${series.valueType}, but was a ${existing.metricKind} ${existing.valueType}`);
  }
  const newestEndAt = existing.points.at(-1)?.endAt ?? Number.NEGATIVE_INFINITY;
  if (point.endAt <= newestEndAt) refuse(i, 'has a point that is not newer than the last one');
}

function refuse(index: number, reason: string): never {
  throw new WorldError('INVALID_ARGUMENT', `timeSeries[${index}] ${reason}.`);
}

function seriesKey({ project, metric, resource }: TimeSeries): string {
  return JSON.stringify([project, metric.type, sorted(metric.labels), resource.type, sorted(resource.labels)]);
}

function sorted(labels: Record<string, string>): [string, string][] {
  return Object.entries(labels).toSorted(([a], [b]) => (a < b ? -1 : 1));
}
