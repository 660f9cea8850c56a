/** What does google.cloud.aiplatform.v1.JobService answer? Its part of Model Monitoring v1 alone. */
import { z } from 'zod';
import { type BeforeCall, type GrpcService, page, toTimestamp, unaryService } from '../grpc.ts';
import { createMonitoringJob, findMonitoringJob, listMonitoringJobs } from '../world/model-monitoring.ts';
import type { JobDeviation, MonitoringJob } from '../world/state.ts';
import { type World, WorldError } from '../world/world.ts';
import { fields, parse, worldHandlers } from './handlers.ts';

const intervalSecondsMin = 3_600;

const nameSchema = z.strictObject({ name: z.string('name is required') });
const createSchema = z.strictObject({
  parent: z.string('parent is required'),
  modelDeploymentMonitoringJob: z.strictObject({
    displayName: z.string('display_name is required'),
    endpoint: z.string('endpoint is required'),
    labels: fields.labels,
    modelDeploymentMonitoringObjectiveConfigs: z
      .array(
        z.strictObject({
          deployedModelId: z.string('deployed_model_id is required'),
          objectiveConfig: z.record(z.string(), z.json(), 'expected an objective_config with a threshold'),
        }),
      )
      .min(1),
    modelDeploymentMonitoringScheduleConfig: z.strictObject({ monitorInterval: fields.duration }),
    loggingSamplingStrategy: z.strictObject({
      randomSampleConfig: z.strictObject({ sampleRate: z.number().gt(0).max(1) }),
    }),
  }),
});
const listSchema = z.strictObject({
  parent: z.string('parent is required'),
  pageSize: fields.int,
  pageToken: fields.text,
});
const searchSchema = z.strictObject({
  modelDeploymentMonitoringJob: z.string('model_deployment_monitoring_job is required'),
  deployedModelId: z.string('deployed_model_id is required'),
  featureDisplayName: fields.text,
  objectives: z.array(z.strictObject({ type: z.string('objectives.type is required') })).min(1),
  startTime: fields.time.default(Number.NEGATIVE_INFINITY),
  endTime: fields.time.default(Number.POSITIVE_INFINITY),
  pageSize: fields.int,
  pageToken: fields.text,
});

/** Returns the service over a world. */
export function jobService(world: World, before?: BeforeCall): GrpcService {
  const { context } = world;
  const handlers = worldHandlers(world, {
    CreateModelDeploymentMonitoringJob(request) {
      const { parent, modelDeploymentMonitoringJob: job } = parse(createSchema, request);
      const { displayName, endpoint, labels } = job;
      const { monitorInterval } = job.modelDeploymentMonitoringScheduleConfig;
      const settings = {
        displayName,
        endpoint,
        labels,
        objectives: job.modelDeploymentMonitoringObjectiveConfigs.map(({ deployedModelId, objectiveConfig }) => ({
          deployedModelId,
          config: objectiveConfig,
        })),
        monitorIntervalSeconds: Math.ceil(monitorInterval / intervalSecondsMin) * intervalSecondsMin,
        sampleRatio: job.loggingSamplingStrategy.randomSampleConfig.sampleRate,
      };
      return toJob(createMonitoringJob(context, parent, settings));
    },
    GetModelDeploymentMonitoringJob(request) {
      return toJob(findMonitoringJob(context, parse(nameSchema, request).name));
    },
    ListModelDeploymentMonitoringJobs(request) {
      const parsed = parse(listSchema, request);
      const { items, nextPageToken } = page(listMonitoringJobs(context, parsed.parent), parsed);
      return { modelDeploymentMonitoringJobs: items.map(toJob), nextPageToken };
    },
    SearchModelDeploymentMonitoringStatsAnomalies(request) {
      const asked = parse(searchSchema, request);
      const job = findMonitoringJob(context, asked.modelDeploymentMonitoringJob);
      if (!job.objectives.some(({ deployedModelId }) => deployedModelId === asked.deployedModelId)) {
        throw new WorldError('NOT_FOUND', `${job.name} does not monitor the DeployedModel ${asked.deployedModelId}.`);
      }
      const found = job.deviations.filter(
        ({ deployedModelId, objective, feature, toMs }) =>
          deployedModelId === asked.deployedModelId &&
          asked.objectives.some(({ type }) => type === objective) &&
          (asked.featureDisplayName === '' || asked.featureDisplayName === feature) &&
          toMs >= asked.startTime &&
          toMs <= asked.endTime,
      );
      const { items, nextPageToken } = page(found, asked);
      return { monitoringStats: toStats(asked.deployedModelId, items), nextPageToken };
    },
  });
  return unaryService('google.cloud.aiplatform.v1.JobService', handlers, before);
}

function toJob(job: MonitoringJob): object {
  return {
    name: job.name,
    displayName: job.displayName,
    endpoint: job.endpoint,
    labels: job.labels,
    state: 'JOB_STATE_RUNNING',
    scheduleState: 'OFFLINE',
    modelDeploymentMonitoringObjectiveConfigs: job.objectives.map(({ deployedModelId, config }) => ({
      deployedModelId,
      objectiveConfig: config,
    })),
    modelDeploymentMonitoringScheduleConfig: { monitorInterval: { seconds: job.monitorIntervalSeconds } },
    loggingSamplingStrategy: { randomSampleConfig: { sampleRate: job.sampleRatio } },
    createTime: toTimestamp(job.createdAt),
    updateTime: toTimestamp(job.createdAt),
  };
}

/** By objective, then by feature, as Vertex groups them. */
function toStats(deployedModelId: string, deviations: JobDeviation[]): object[] {
  const byObjective = Map.groupBy(deviations, ({ objective }) => objective);
  return [...byObjective].map(([objective, ofObjective]) => ({
    objective,
    deployedModelId,
    featureStats: [...Map.groupBy(ofObjective, ({ feature }) => feature)].map(([featureDisplayName, stats]) => ({
      featureDisplayName,
      predictionStats: stats.map(({ deviation, fromMs, toMs }) => ({
        distributionDeviation: deviation,
        startTime: toTimestamp(fromMs),
        endTime: toTimestamp(toMs),
      })),
    })),
  }));
}
