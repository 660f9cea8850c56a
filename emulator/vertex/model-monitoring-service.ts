/** What does google.cloud.aiplatform.v1beta1.ModelMonitoringService answer? Model Monitoring v2: monitors and their statistics. */
import { z } from 'zod';
import { type BeforeCall, type GrpcService, packAny, page, toTimestamp, unaryService } from '../grpc.ts';
import { createModelMonitor, findModelMonitor } from '../world/model-monitoring.ts';
import type { ModelMonitor, MonitorDeviation } from '../world/state.ts';
import type { World } from '../world/world.ts';
import { fields, parse, worldHandlers } from './handlers.ts';

const V1BETA1 = 'google.cloud.aiplatform.v1beta1';

const nameSchema = z.strictObject({ name: z.string('name is required') });
const createSchema = z.strictObject({
  parent: z.string('parent is required'),
  modelMonitorId: fields.text,
  modelMonitor: z.strictObject({
    displayName: fields.text,
    modelMonitoringTarget: z.strictObject({
      source: z.literal('vertexModel', 'model_monitoring_target.vertex_model is required'),
      vertexModel: z.strictObject({
        model: z.string('vertex_model.model is required'),
        modelVersionId: z.string('vertex_model.model_version_id is required'),
      }),
    }),
    modelMonitoringSchema: z.json().optional(),
    trainingDataset: z.json().optional(),
    defaultObjective: z.literal('tabularObjective').optional(),
    tabularObjective: z.json().optional(),
  }),
});
const searchSchema = z.strictObject({
  modelMonitor: z.string('model_monitor is required'),
  statsFilter: z
    .strictObject({
      filter: z.literal('tabularStatsFilter').optional(),
      tabularStatsFilter: z.strictObject({ statsName: fields.text, objectiveType: fields.text }).optional(),
    })
    .default({}),
  /** From its beginning up to, and without, its end. */
  timeInterval: z
    .strictObject({
      startTime: fields.time.default(Number.NEGATIVE_INFINITY),
      endTime: fields.time.default(Number.POSITIVE_INFINITY),
    })
    .default({ startTime: Number.NEGATIVE_INFINITY, endTime: Number.POSITIVE_INFINITY }),
  pageSize: fields.int,
  pageToken: fields.text,
});

/** Returns the service over a world. */
export function modelMonitoringService(world: World, before?: BeforeCall): GrpcService {
  const { context } = world;
  const handlers = worldHandlers(world, {
    /** Vertex takes seconds. Here the monitor is there at once: the operation is answered as done, and is not kept. */
    CreateModelMonitor(request) {
      const { parent, modelMonitorId, modelMonitor } = parse(createSchema, request);
      const { displayName, modelMonitoringTarget, defaultObjective: _, ...settings } = modelMonitor;
      const { model, modelVersionId: versionId } = modelMonitoringTarget.vertexModel;
      const given = z.record(z.string(), z.json()).parse(settings);
      const monitor = createModelMonitor(
        context,
        parent,
        { displayName, model, versionId, settings: given },
        modelMonitorId,
      );
      return {
        name: `${monitor.name}/operations/${context.nextNumber()}`,
        metadata: packAny(`${V1BETA1}.CreateModelMonitorOperationMetadata`, {}),
        done: true,
        response: packAny(`${V1BETA1}.ModelMonitor`, toMonitor(monitor)),
      };
    },
    GetModelMonitor(request) {
      return toMonitor(findModelMonitor(context, parse(nameSchema, request).name));
    },
    SearchModelMonitoringStats(request) {
      const asked = parse(searchSchema, request);
      const { statsName = '', objectiveType = '' } = asked.statsFilter.tabularStatsFilter ?? {};
      const { startTime, endTime } = asked.timeInterval;
      const found = findModelMonitor(context, asked.modelMonitor).deviations.filter(
        ({ objective, feature, atMs }) =>
          (objectiveType === '' || objectiveType === objective) &&
          (statsName === '' || statsName === feature) &&
          atMs >= startTime &&
          atMs < endTime,
      );
      const { items, nextPageToken } = page(toStats(found), asked);
      return { monitoringStats: items, nextPageToken };
    },
  });
  return unaryService(`${V1BETA1}.ModelMonitoringService`, handlers, before);
}

function toMonitor({ name, displayName, model, versionId, settings, createdAt }: ModelMonitor): object {
  return {
    ...settings,
    name,
    displayName,
    modelMonitoringTarget: { vertexModel: { model, modelVersionId: versionId } },
    createTime: toTimestamp(createdAt),
    updateTime: toTimestamp(createdAt),
  };
}

/** By objective and feature, each newest first. */
function toStats(deviations: MonitorDeviation[]): object[] {
  const series = Map.groupBy(deviations, ({ objective, feature }) => JSON.stringify([objective, feature]));
  return [...series.values()].map((points) => ({
    tabularStats: {
      statsName: points[0]?.feature ?? '',
      objectiveType: points[0]?.objective ?? '',
      dataPoints: points
        .toSorted((a, b) => b.atMs - a.atMs)
        .map(({ deviation, atMs }) => ({
          currentStats: { distributionValue: { distributionDeviation: deviation } },
          createTime: toTimestamp(atMs),
          algorithm: 'jensen_shannon_divergence',
        })),
    },
  }));
}
