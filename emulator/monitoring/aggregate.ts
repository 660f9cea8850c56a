/** What remains of time series after alignment and reduction? Pure; the part of Monitoring's aggregation named below. */
import { addDistributions, percentileOf, subtractDistributions } from '../world/latencies.ts';
import type { PointValue, TimeSeries } from '../world/state.ts';
import { WorldError } from '../world/world.ts';
import { labelReader } from './filter.ts';

export interface Aggregation {
  /** 0: absent. */
  alignmentPeriodSeconds: number;
  /** ALIGN_NONE, ALIGN_DELTA for DELTA and CUMULATIVE metrics, ALIGN_NEXT_OLDER and ALIGN_MEAN for GAUGE. */
  perSeriesAligner: string;
  /** REDUCE_NONE, REDUCE_SUM, or REDUCE_PERCENTILE_* for distributions. */
  crossSeriesReducer: string;
  groupByFields: string[];
}

export interface Interval {
  /** Exclusive. */
  startAt: number;
  /** Inclusive. */
  endAt: number;
}

type Point = TimeSeries['points'][number];

const percentiles: Record<string, number> = {
  REDUCE_PERCENTILE_99: 0.99,
  REDUCE_PERCENTILE_95: 0.95,
  REDUCE_PERCENTILE_50: 0.5,
  REDUCE_PERCENTILE_05: 0.05,
};

/**
 * Returns the series with the points that end in the interval, newest first, aligned and reduced as asked; series
 * without points are left out. Alignment periods end where the interval ends. Throws INVALID_ARGUMENT for aggregations
 * that Monitoring refuses, UNIMPLEMENTED for those that only the emulator lacks.
 */
export function aggregate(series: TimeSeries[], interval: Interval, aggregation: Aggregation): TimeSeries[] {
  // What a counter counted in the window is known only with the point before it.
  const counted = aggregation.perSeriesAligner === 'ALIGN_DELTA' ? series.map(toDeltas) : series;
  const inWindow = counted.map((one) => ({
    ...one,
    points: one.points.filter(({ endAt }) => endAt > interval.startAt && endAt <= interval.endAt),
  }));
  const aligned = inWindow.map((one) => align(one, interval, aggregation));
  return reduce(aligned, aggregation)
    .filter(({ points }) => points.length > 0)
    .map((one) => ({ ...one, points: one.points.toSorted((a, b) => b.endAt - a.endAt) }));
}

/** What each aligner takes (after toDeltas), and what it makes of the values of a period, oldest first. */
const aligners: Record<
  string,
  { metricKind: TimeSeries['metricKind']; combine: (values: PointValue[]) => PointValue }
> = {
  ALIGN_DELTA: { metricKind: 'DELTA', combine: sum },
  ALIGN_NEXT_OLDER: { metricKind: 'GAUGE', combine: newest },
  ALIGN_MEAN: { metricKind: 'GAUGE', combine: mean },
};

/** What a CUMULATIVE metric counted from point to point; after a reset, which a new start tells, from the reset on. */
export function toDeltas(series: TimeSeries): TimeSeries {
  if (series.metricKind !== 'CUMULATIVE') return series;
  const points = series.points.map((point, i): Point => {
    const before = series.points[i - 1];
    if (before === undefined || before.startAt !== point.startAt) return point;
    return { startAt: before.endAt, endAt: point.endAt, value: subtract(point.value, before.value) };
  });
  return { ...series, metricKind: 'DELTA', points };
}

function align(series: TimeSeries, interval: Interval, aggregation: Aggregation): TimeSeries {
  const { perSeriesAligner: aligner, crossSeriesReducer: reducer, alignmentPeriodSeconds: seconds } = aggregation;
  if (aligner === 'ALIGN_NONE') {
    if (reducer === 'REDUCE_NONE') return series;
    throw new WorldError('INVALID_ARGUMENT', `${reducer} needs a per_series_aligner other than ALIGN_NONE.`);
  }
  const fits = aligners[aligner];
  if (fits === undefined) {
    const known = Object.keys(aligners).join(', ');
    throw new WorldError('UNIMPLEMENTED', `The emulator aligns with ${known} only, not with ${aligner}.`);
  }
  if (series.metricKind !== fits.metricKind) {
    throw new WorldError('INVALID_ARGUMENT', `${aligner} does not fit the ${series.metricKind} ${series.metric.type}.`);
  }
  if (seconds <= 0) throw new WorldError('INVALID_ARGUMENT', `${aligner} needs an alignment_period.`);
  const periodMs = seconds * 1000;
  const byPeriod = Map.groupBy(series.points, ({ endAt }) => Math.floor((interval.endAt - endAt) / periodMs));
  const points = Array.from(byPeriod, ([period, inPeriod]): Point => {
    const endAt = interval.endAt - period * periodMs;
    const startAt = fits.metricKind === 'GAUGE' ? endAt : endAt - periodMs;
    return { startAt, endAt, value: fits.combine(inPeriod.map(({ value }) => value)) };
  });
  return { ...series, points };
}

function reduce(series: TimeSeries[], { crossSeriesReducer: reducer, groupByFields }: Aggregation): TimeSeries[] {
  if (reducer === 'REDUCE_NONE') {
    if (groupByFields.length === 0) return series;
    throw new WorldError('INVALID_ARGUMENT', 'group_by_fields needs a cross_series_reducer.');
  }
  const ratio = percentiles[reducer];
  if (reducer !== 'REDUCE_SUM' && ratio === undefined) {
    throw new WorldError(
      'UNIMPLEMENTED',
      `The emulator reduces with REDUCE_SUM and REDUCE_PERCENTILE_*, not ${reducer}.`,
    );
  }
  const readers = groupByFields.map((field) => {
    const read = labelReader(field);
    if (read === null) throw new WorldError('INVALID_ARGUMENT', `group_by_fields has "${field}"; expected a label.`);
    return read;
  });
  const groups = Map.groupBy(series, (one) => JSON.stringify(readers.map((read) => read(one) ?? '')));
  return Array.from(groups.values(), (members) => reduceGroup(members, groupByFields, ratio ?? null));
}

/** Only the labels that were grouped by are the same for all members, so only they remain. */
function reduceGroup(members: TimeSeries[], groupByFields: string[], ratio: number | null): TimeSeries {
  const [first] = members;
  if (first === undefined) throw new RangeError('Expected a group with a member.');
  const byEnd = Map.groupBy(
    members.flatMap(({ points }) => points),
    ({ endAt }) => endAt,
  );
  const points = Array.from(byEnd.values(), (atOnce): Point => {
    const { startAt = 0, endAt = 0 } = atOnce[0] ?? {};
    const total = sum(atOnce.map(({ value }) => value));
    return { startAt, endAt, value: ratio === null ? total : percentile(total, ratio) };
  });
  return {
    ...first,
    metric: { type: first.metric.type, labels: kept(first.metric.labels, 'metric', groupByFields) },
    resource: { type: first.resource.type, labels: kept(first.resource.labels, 'resource', groupByFields) },
    valueType: ratio === null ? first.valueType : 'DOUBLE',
    points,
  };
}

function kept(labels: Record<string, string>, side: string, groupByFields: string[]): Record<string, string> {
  const names = groupByFields
    .filter((field) => field.startsWith(`${side}.`))
    .map((field) => field.split('.').at(-1) ?? '');
  return Object.fromEntries(Object.entries(labels).filter(([name]) => names.includes(name)));
}

function percentile(value: PointValue, ratio: number): PointValue {
  if (value.kind !== 'distribution') {
    throw new WorldError('INVALID_ARGUMENT', `REDUCE_PERCENTILE_* fits distributions, not ${value.kind} values.`);
  }
  return { kind: 'double', value: percentileOf(value, ratio) };
}

function sum(values: PointValue[]): PointValue {
  const [first, ...rest] = values;
  if (first === undefined) throw new RangeError('Expected a value to add to.');
  return rest.reduce(add, first);
}

function newest(values: PointValue[]): PointValue {
  const last = values.at(-1);
  if (last === undefined) throw new RangeError('Expected a value.');
  return last;
}

function mean(values: PointValue[]): PointValue {
  const numbers = values.map((value) => {
    if (value.kind === 'int64' || value.kind === 'double') return value.value;
    throw new WorldError('INVALID_ARGUMENT', `ALIGN_MEAN fits numbers, not ${value.kind} values.`);
  });
  return { kind: 'double', value: numbers.reduce((total, value) => total + value, 0) / numbers.length };
}

function subtract(a: PointValue, b: PointValue): PointValue {
  if (a.kind === 'distribution' && b.kind === 'distribution') return subtractDistributions(a, b);
  if (a.kind === 'int64' && b.kind === 'int64') return { kind: 'int64', value: a.value - b.value };
  if (a.kind === 'double' && b.kind === 'double') return { kind: 'double', value: a.value - b.value };
  throw new WorldError('INVALID_ARGUMENT', `Values of the kinds ${a.kind} and ${b.kind} cannot be subtracted.`);
}

function add(a: PointValue, b: PointValue): PointValue {
  if (a.kind === 'distribution' && b.kind === 'distribution') return addDistributions(a, b);
  if (a.kind === 'int64' && b.kind === 'int64') return { kind: 'int64', value: a.value + b.value };
  if (a.kind === 'double' && b.kind === 'double') return { kind: 'double', value: a.value + b.value };
  throw new WorldError('INVALID_ARGUMENT', `Values of the kinds ${a.kind} and ${b.kind} cannot be added.`);
}
