/** What did Monitoring see of the predictions? Counts per DeployedModel and sample, shown some time after their end. */
import type { WorldContext } from './context.ts';
import { addLatency, noLatencies, toDistribution } from './latencies.ts';
import { partsOf } from './names.ts';
import type { Endpoint, MetricSlot, PointValue, TimeSeries, VariantMetrics } from './state.ts';

/** Per DeployedModel; at Google's 60 s a point this is a week. */
const slotsMax = 10_000;

const PREFIX = 'aiplatform.googleapis.com/prediction/online/';
const ENDPOINT_RESOURCE = 'aiplatform.googleapis.com/Endpoint';

export interface PredictionRecord {
  endpoint: Endpoint;
  deployedModelId: string;
  /** What the caller got, as an HTTP status. */
  responseCode: number;
  /** Instances in the request; a raw request counts as one. */
  instances: number;
  latencyMs: number;
}

/** Counts one prediction in the sample that is under way. */
export function recordPrediction(context: WorldContext, record: PredictionRecord): void {
  const { endpoint, deployedModelId } = record;
  const key = `${endpoint.name}#${deployedModelId}`;
  const deployed = endpoint.deployedModels.find((candidate) => candidate.id === deployedModelId);
  const metrics: VariantMetrics = (context.state.metrics[key] ??= {
    endpoint: endpoint.name,
    endpointDisplayName: endpoint.displayName,
    deployedModelId,
    modelDisplayName: deployed?.displayName ?? '',
    slots: [],
  });
  const slot = currentSlot(context, metrics);
  const code = String(record.responseCode);
  slot.responses[code] = (slot.responses[code] ?? 0) + 1;
  if (record.responseCode >= 400) slot.errors += 1;
  slot.predictions += record.instances;
  addLatency(slot.latencies, record.latencyMs);
}

/** Metric types of predictions, each with its kind of value. */
export const predictionMetrics: Record<string, { valueType: 'INT64' | 'DISTRIBUTION'; unit: string }> = {
  [`${PREFIX}response_count`]: { valueType: 'INT64', unit: '1' },
  [`${PREFIX}error_count`]: { valueType: 'INT64', unit: '1' },
  [`${PREFIX}prediction_count`]: { valueType: 'INT64', unit: '1' },
  [`${PREFIX}prediction_latencies`]: { valueType: 'DISTRIBUTION', unit: 'ms' },
};

/** Returns the series of a prediction metric in a project, with the points that are visible now. */
export function predictionSeries(context: WorldContext, project: string, metricType: string): TimeSeries[] {
  return Object.values(context.state.metrics)
    .filter((metrics) => partsOf(metrics.endpoint).project === project)
    .flatMap((metrics) => seriesOf(context, metrics, metricType))
    .filter(({ points }) => points.length > 0);
}

function seriesOf(context: WorldContext, metrics: VariantMetrics, metricType: string): TimeSeries[] {
  const slots = metrics.slots.filter((slot) => isVisible(context, slot));
  switch (metricType) {
    case `${PREFIX}response_count`: {
      const codes = new Set(slots.flatMap((slot) => Object.keys(slot.responses)));
      return [...codes].map((code) =>
        toSeries(metrics, metricType, { response_code: code }, slots, (slot) => int64(slot.responses[code] ?? 0)),
      );
    }
    case `${PREFIX}error_count`:
      return [toSeries(metrics, metricType, {}, slots, (slot) => int64(slot.errors))];
    case `${PREFIX}prediction_count`:
      return [toSeries(metrics, metricType, {}, slots, (slot) => int64(slot.predictions))];
    case `${PREFIX}prediction_latencies`:
      return [
        toSeries(metrics, metricType, { latency_type: 'total' }, slots, (slot) =>
          slot.latencies.count === 0 ? null : toDistribution(slot.latencies),
        ),
      ];
    default:
      return [];
  }
}

/** Points without a count are left out, as a service that has nothing to say writes no point. */
function toSeries(
  metrics: VariantMetrics,
  type: string,
  labels: Record<string, string>,
  slots: MetricSlot[],
  valueOf: (slot: MetricSlot) => PointValue | null,
): TimeSeries {
  const { project, location, id } = partsOf(metrics.endpoint);
  return {
    project,
    metric: {
      type,
      labels: {
        deployed_model_id: metrics.deployedModelId,
        model_display_name: metrics.modelDisplayName,
        endpoint_display_name: metrics.endpointDisplayName,
        spot: 'false',
        ...labels,
      },
    },
    resource: { type: ENDPOINT_RESOURCE, labels: { resource_container: project, location, endpoint_id: id } },
    metricKind: 'DELTA',
    valueType: predictionMetrics[type]?.valueType ?? 'INT64',
    unit: predictionMetrics[type]?.unit ?? '1',
    points: slots.flatMap((slot) => {
      const value = valueOf(slot);
      return value === null ? [] : [{ startAt: slot.startAt, endAt: slot.endAt, value }];
    }),
  };
}

function int64(value: number): PointValue | null {
  return value === 0 ? null : { kind: 'int64', value };
}

function isVisible(context: WorldContext, slot: MetricSlot): boolean {
  const isInGap = context.conditions.metricGaps.some((gap) => slot.endAt > gap.fromAt && slot.endAt <= gap.toAt);
  return !isInGap && slot.endAt + context.timings.metricLagMs <= context.now();
}

function currentSlot(context: WorldContext, metrics: VariantMetrics): MetricSlot {
  const { sampleMs } = context.timings;
  const startAt = Math.floor(context.now() / sampleMs) * sampleMs;
  const last = metrics.slots.at(-1);
  if (last !== undefined && last.startAt >= startAt) return last;
  const slot: MetricSlot = {
    startAt,
    endAt: startAt + sampleMs,
    responses: {},
    errors: 0,
    predictions: 0,
    latencies: noLatencies(),
  };
  metrics.slots.push(slot);
  if (metrics.slots.length > slotsMax) metrics.slots.shift();
  return slot;
}
