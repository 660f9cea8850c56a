/** What does google.monitoring.v3.MetricService answer? Reading the predictions' metrics, writing and reading one's own. */
import { z } from 'zod';
import { type BeforeCall, type GrpcService, toTimestamp, unaryService } from '../grpc.ts';
import { fields, parse, worldHandlers } from '../vertex/handlers.ts';
import { createTimeSeries, customSeries } from '../world/custom-metrics.ts';
import { predictionMetrics, predictionSeries } from '../world/metrics.ts';
import { projectOf } from '../world/names.ts';
import type { PointValue, TimeSeries } from '../world/state.ts';
import { type World, WorldError } from '../world/world.ts';
import { aggregate } from './aggregate.ts';
import { parseFilter } from './filter.ts';

/** Google's least alignment; not held against a world that runs faster than real time. */
const alignmentSecondsMin = 60;
const pageSizeMax = 100_000;

const noAggregation = {
  alignmentPeriodSeconds: 0,
  perSeriesAligner: 'ALIGN_NONE',
  crossSeriesReducer: 'REDUCE_NONE',
  groupByFields: [],
};
const listSchema = z.strictObject({
  name: z.string('name is required'),
  filter: z.string('filter is required'),
  interval: z
    .strictObject({ startTime: fields.time.optional(), endTime: fields.time })
    .transform(({ startTime, endTime }) => ({ startAt: startTime ?? endTime, endAt: endTime }))
    .refine(({ startAt, endAt }) => startAt <= endAt, 'the interval ends before it begins'),
  aggregation: z
    .strictObject({
      alignmentPeriod: fields.duration.optional(),
      perSeriesAligner: z.string().default('ALIGN_NONE'),
      crossSeriesReducer: z.string().default('REDUCE_NONE'),
      groupByFields: fields.texts,
    })
    .transform(({ alignmentPeriod, ...rest }) => ({ ...rest, alignmentPeriodSeconds: alignmentPeriod ?? 0 }))
    .default(noAggregation),
  view: z.enum(['FULL', 'HEADERS']).default('FULL'),
  pageSize: fields.int,
  pageToken: z.string().regex(/^\d+$/, 'is no page token').default('0'),
});

const labelled = z.strictObject({ type: z.string('type is required'), labels: fields.labels });
/** Of the ways to name buckets, explicit bounds. */
const distributionSchema = z
  .strictObject({
    count: z.coerce.number().default(0),
    mean: z.number().default(0),
    sumOfSquaredDeviation: z.number().default(0),
    bucketOptions: z.strictObject({
      options: z.literal('explicitBuckets'),
      explicitBuckets: z.strictObject({ bounds: z.array(z.number()).default([]) }),
    }),
    bucketCounts: z.array(z.coerce.number()).default([]),
  })
  .refine(
    ({ count, bucketCounts }) => bucketCounts.reduce((total, inBucket) => total + inBucket, 0) === count,
    'the bucket_counts do not add up to count',
  );
const valueSchema = z.union([
  z.strictObject({ value: z.literal('boolValue'), boolValue: fields.flag }),
  z.strictObject({ value: z.literal('int64Value'), int64Value: z.coerce.number().default(0) }),
  z.strictObject({ value: z.literal('doubleValue'), doubleValue: z.number().default(0) }),
  z.strictObject({ value: z.literal('distributionValue'), distributionValue: distributionSchema }),
]);
const createSchema = z.strictObject({
  name: z.string('name is required'),
  timeSeries: z
    .array(
      z.strictObject({
        metric: labelled,
        resource: labelled.default({ type: 'global', labels: {} }),
        metricKind: z.enum(['GAUGE', 'DELTA', 'CUMULATIVE']).default('GAUGE'),
        valueType: z.string().optional(),
        unit: fields.text,
        description: fields.text,
        points: z.array(
          z.strictObject({
            interval: z.strictObject({ startTime: fields.time.optional(), endTime: fields.time }),
            value: valueSchema,
          }),
        ),
      }),
    )
    .default([]),
});

/** Returns the service over a world. */
export function metricService(world: World, timeScale: number, before?: BeforeCall): GrpcService {
  const { context } = world;
  const handlers = worldHandlers(world, {
    ListTimeSeries(request) {
      const { name, filter, interval, aggregation, view, pageSize, pageToken } = parse(listSchema, request);
      if (timeScale === 1 && aggregation.alignmentPeriodSeconds > 0) checkPeriod(aggregation.alignmentPeriodSeconds);
      const { metricType, matches } = parseFilter(filter);
      const series = seriesOf(world, projectOf(context, name), metricType).filter(matches);
      const found = aggregate(series, interval, aggregation);
      if (view === 'HEADERS') return { timeSeries: found.map((one) => toTimeSeries({ ...one, points: [] })) };
      return pageOfPoints(found, Number(pageToken), pageSize);
    },
    CreateTimeSeries(request) {
      const { name, timeSeries } = parse(createSchema, request);
      const project = projectOf(context, name);
      createTimeSeries(
        context,
        timeSeries.map((one) => fromTimeSeries(project, one)),
      );
      return {};
    },
  });
  return unaryService('google.monitoring.v3.MetricService', handlers, before);
}

function seriesOf(world: World, project: string, metricType: string): TimeSeries[] {
  if (metricType in predictionMetrics) return predictionSeries(world.context, project, metricType);
  const custom = customSeries(world.context, project, metricType);
  if (custom === null) {
    const known = Object.keys(predictionMetrics).join(', ');
    throw new WorldError(
      'NOT_FOUND',
      `Cannot find the metric type "${metricType}". The emulator has ${known}, and what was written to it.`,
    );
  }
  return custom;
}

function checkPeriod(seconds: number): void {
  if (seconds >= alignmentSecondsMin) return;
  throw new WorldError('INVALID_ARGUMENT', `The alignment_period is ${seconds} s; expected at least 60 s.`);
}

/** In the full view the page size counts points, so a page may end within a series. */
function pageOfPoints(series: TimeSeries[], start: number, pageSize: number): object {
  const end = start + Math.min(pageSize || pageSizeMax, pageSizeMax);
  let seen = 0;
  const timeSeries: object[] = [];
  for (const one of series) {
    const points = one.points.slice(Math.max(0, start - seen), Math.max(0, end - seen));
    if (points.length > 0) timeSeries.push(toTimeSeries({ ...one, points }));
    seen += one.points.length;
  }
  return { timeSeries, nextPageToken: seen > end ? String(end) : '' };
}

function toTimeSeries({ metric, resource, metricKind, valueType, unit, points }: TimeSeries): object {
  return {
    metric,
    resource,
    metricKind,
    valueType,
    unit,
    points: points.map(({ startAt, endAt, value }) => ({
      interval: { startTime: toTimestamp(startAt), endTime: toTimestamp(endAt) },
      value: toTypedValue(value),
    })),
  };
}

function toTypedValue(value: PointValue): object {
  switch (value.kind) {
    case 'int64':
      return { int64Value: String(value.value) };
    case 'double':
      return { doubleValue: value.value };
    case 'bool':
      return { boolValue: value.value };
    case 'distribution':
      return {
        distributionValue: {
          count: String(value.count),
          mean: value.mean,
          sumOfSquaredDeviation: value.sumOfSquaredDeviation,
          bucketOptions: { explicitBuckets: { bounds: value.bounds } },
          bucketCounts: value.counts.map(String),
        },
      };
  }
}

type WrittenSeries = z.infer<typeof createSchema>['timeSeries'][number];

function fromTimeSeries(project: string, series: WrittenSeries): TimeSeries {
  const points = series.points.map(({ interval, value }) => ({
    startAt: interval.startTime ?? interval.endTime,
    endAt: interval.endTime,
    value: fromTypedValue(value),
  }));
  const kind = points[0]?.value.kind ?? 'int64';
  const valueType = valueTypes[kind];
  if (series.valueType !== undefined && series.valueType !== valueType) {
    throw new WorldError(
      'INVALID_ARGUMENT',
      `${series.metric.type} is ${series.valueType}, but its point is ${valueType}.`,
    );
  }
  const { metric, resource, metricKind, unit } = series;
  return { project, metric, resource, metricKind, valueType, unit, points };
}

const valueTypes = { int64: 'INT64', double: 'DOUBLE', bool: 'BOOL', distribution: 'DISTRIBUTION' } as const;

function fromTypedValue(value: z.infer<typeof valueSchema>): PointValue {
  switch (value.value) {
    case 'boolValue':
      return { kind: 'bool', value: value.boolValue };
    case 'int64Value':
      return { kind: 'int64', value: value.int64Value };
    case 'doubleValue':
      return { kind: 'double', value: value.doubleValue };
    case 'distributionValue': {
      const { count, mean, sumOfSquaredDeviation, bucketOptions, bucketCounts } = value.distributionValue;
      const { bounds } = bucketOptions.explicitBuckets;
      const counts = Array.from({ length: bounds.length + 1 }, (_, i) => bucketCounts[i] ?? 0);
      return { kind: 'distribution', count, mean, sumOfSquaredDeviation, bounds, counts };
    }
  }
}
