/**
 * What is there? The whole state of the emulated project as plain data, so that it can be saved, dumped and compared.
 * Instants are milliseconds since the epoch; names carry the project's number, as Google answers them.
 */
import { z } from 'zod';
import { worldErrorCodes } from './errors.ts';

const count = z.int().min(0);
const strings = z.record(z.string(), z.string());

const containerSpecSchema = z.strictObject({
  imageUri: z.string(),
  command: z.array(z.string()),
  args: z.array(z.string()),
  env: z.array(z.strictObject({ name: z.string(), value: z.string() })),
  ports: z.array(z.strictObject({ containerPort: z.int() })),
  /** Empty: Vertex's default route. */
  predictRoute: z.string(),
  healthRoute: z.string(),
  /** Null: the world's own deadline. */
  deploymentTimeoutSeconds: z.number().nullable(),
});

const modelVersionSchema = z.strictObject({
  versionId: z.string(),
  aliases: z.array(z.string()),
  displayName: z.string(),
  description: z.string(),
  versionDescription: z.string(),
  labels: strings,
  /** Null: uploaded without a container; it cannot be deployed. */
  containerSpec: containerSpecSchema.nullable(),
  artifactUri: z.string(),
  createdAt: z.number(),
  updatedAt: z.number(),
  etag: z.string(),
});

const modelSchema = z.strictObject({
  name: z.string(),
  createdAt: z.number(),
  /** The id of the next version; ids are not used twice. */
  nextVersionId: z.int(),
  /** Oldest first. */
  versions: z.array(modelVersionSchema),
});

const resourcesSchema = z.strictObject({
  kind: z.enum(['dedicated', 'automatic']),
  /** Empty for automatic resources. */
  machineType: z.string(),
  acceleratorType: z.string(),
  acceleratorCount: count,
  minReplicaCount: z.int().min(1),
  maxReplicaCount: z.int().min(1),
  /** 0: as many as the minimum. */
  requiredReplicaCount: count,
  autoscalingMetricSpecs: z.array(z.strictObject({ metricName: z.string(), target: z.int() })),
  spot: z.boolean(),
});

const deployedModelSchema = z.strictObject({
  id: z.string(),
  model: z.string(),
  versionId: z.string(),
  displayName: z.string(),
  createdAt: z.number(),
  resources: resourcesSchema,
  serviceAccount: z.string(),
  disableContainerLogging: z.boolean(),
  enableAccessLogging: z.boolean(),
  phase: z.enum(['deploying', 'deployed', 'undeploying']),
  /** What the container reported last; `starting` until it has once been healthy. */
  health: z.enum(['starting', 'healthy', 'unhealthy']),
  statusMessage: z.string(),
  statusAt: z.number(),
});

const splitSchema = z.record(z.string(), z.number());

const requestLoggingSchema = z.strictObject({
  isEnabled: z.boolean(),
  /** In (0, 1]. */
  samplingRate: z.number(),
  /** `PROJECT.DATASET.TABLE` */
  table: z.string(),
});

const endpointSchema = z.strictObject({
  name: z.string(),
  displayName: z.string(),
  description: z.string(),
  labels: strings,
  split: splitSchema,
  etag: z.string(),
  createdAt: z.number(),
  updatedAt: z.number(),
  /** Null: never configured. */
  requestLogging: requestLoggingSchema.nullable().default(null),
  deployedModels: z.array(deployedModelSchema),
});

const workSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('createEndpoint'), endpoint: endpointSchema }),
  z.strictObject({ kind: z.literal('deleteEndpoint'), endpoint: z.string() }),
  z.strictObject({ kind: z.literal('deploy'), endpoint: z.string(), deployedModelId: z.string(), split: splitSchema }),
  z.strictObject({ kind: z.literal('undeploy'), endpoint: z.string(), deployedModelId: z.string() }),
  z.strictObject({
    kind: z.literal('mutate'),
    endpoint: z.string(),
    deployedModelId: z.string(),
    resources: resourcesSchema,
    disableContainerLogging: z.boolean(),
  }),
  z.strictObject({ kind: z.literal('uploadModel'), model: z.string(), version: modelVersionSchema }),
  z.strictObject({ kind: z.literal('deleteModel'), model: z.string() }),
  z.strictObject({ kind: z.literal('deleteModelVersion'), model: z.string(), versionId: z.string() }),
]);

const operationSchema = z.strictObject({
  name: z.string(),
  work: workSchema,
  startedAt: z.number(),
  updatedAt: z.number(),
  /** When the work is done, if nothing holds it up. */
  dueAt: z.number(),
  /** When it has failed if it is not done; only deployments have one. */
  deadlineAt: z.number().nullable(),
  /** Name of the DeploymentStage; empty for other work. */
  stage: z.string(),
  isDone: z.boolean(),
  error: z.strictObject({ code: z.enum(worldErrorCodes), message: z.string() }).nullable(),
  /** What deploy and mutate answer. */
  deployedModel: deployedModelSchema.nullable(),
});

export const latenciesSchema = z.strictObject({
  count,
  sumMs: z.number(),
  sumOfSquares: z.number(),
  /** By index of the bucket; buckets that are absent are empty. */
  buckets: z.record(z.string(), count),
});

const metricSlotSchema = z.strictObject({
  startAt: z.number(),
  endAt: z.number(),
  responses: z.record(z.string(), count),
  errors: count,
  predictions: count,
  latencies: latenciesSchema,
});

const variantMetricsSchema = z.strictObject({
  endpoint: z.string(),
  endpointDisplayName: z.string(),
  deployedModelId: z.string(),
  modelDisplayName: z.string(),
  /** Oldest first. */
  slots: z.array(metricSlotSchema),
});

const pointValueSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('int64'), value: z.number() }),
  z.strictObject({ kind: z.literal('double'), value: z.number() }),
  z.strictObject({ kind: z.literal('bool'), value: z.boolean() }),
  z.strictObject({
    kind: z.literal('distribution'),
    count,
    mean: z.number(),
    sumOfSquaredDeviation: z.number(),
    bounds: z.array(z.number()),
    /** One entry more than `bounds`. */
    counts: z.array(count),
  }),
]);

const timeSeriesSchema = z.strictObject({
  project: z.string(),
  metric: z.strictObject({ type: z.string(), labels: strings }),
  resource: z.strictObject({ type: z.string(), labels: strings }),
  metricKind: z.enum(['GAUGE', 'DELTA', 'CUMULATIVE']),
  valueType: z.enum(['BOOL', 'INT64', 'DOUBLE', 'DISTRIBUTION']),
  unit: z.string(),
  /** Oldest first. */
  points: z.array(z.strictObject({ startAt: z.number(), endAt: z.number(), value: pointValueSchema })),
});

/** JSON as its creator gave it, without fields that hold their default: the world does not act on it. */
const given = z.record(z.string(), z.json());

export const jobDeviationSchema = z.strictObject({
  deployedModelId: z.string(),
  objective: z.enum(['RAW_FEATURE_SKEW', 'RAW_FEATURE_DRIFT']).default('RAW_FEATURE_DRIFT'),
  feature: z.string(),
  deviation: z.number(),
  fromMs: z.number(),
  toMs: z.number(),
});

export const monitorDeviationSchema = z.strictObject({
  objective: z.enum(['raw-feature-drift', 'prediction-output-drift']).default('raw-feature-drift'),
  feature: z.string(),
  deviation: z.number(),
  /** When the statistics were made. */
  atMs: z.number(),
});

const monitoringJobSchema = z.strictObject({
  name: z.string(),
  displayName: z.string(),
  endpoint: z.string(),
  labels: strings,
  objectives: z.array(z.strictObject({ deployedModelId: z.string(), config: given })),
  monitorIntervalSeconds: z.number(),
  sampleRatio: z.number(),
  createdAt: z.number(),
  deviations: z.array(jobDeviationSchema),
});

const modelMonitorSchema = z.strictObject({
  name: z.string(),
  displayName: z.string(),
  model: z.string(),
  versionId: z.string(),
  /** Its schema, objective and baseline. */
  settings: given,
  createdAt: z.number(),
  deviations: z.array(monitorDeviationSchema),
});

export const worldStateSchema = z.strictObject({
  /** The last number given to an id, an etag or an operation. */
  counter: z.int(),
  /** The id of each project whose id has been seen, by its number. */
  projectIds: strings,
  endpoints: z.record(z.string(), endpointSchema),
  models: z.record(z.string(), modelSchema),
  operations: z.record(z.string(), operationSchema),
  metrics: z.record(z.string(), variantMetricsSchema),
  customSeries: z.record(z.string(), timeSeriesSchema),
  monitoringJobs: z.record(z.string(), monitoringJobSchema).default({}),
  modelMonitors: z.record(z.string(), modelMonitorSchema).default({}),
});

export type ContainerSpec = z.infer<typeof containerSpecSchema>;
export type ModelVersion = z.infer<typeof modelVersionSchema>;
export type Model = z.infer<typeof modelSchema>;
export type Resources = z.infer<typeof resourcesSchema>;
export type DeployedModel = z.infer<typeof deployedModelSchema>;
export type Split = z.infer<typeof splitSchema>;
export type RequestLogging = z.infer<typeof requestLoggingSchema>;
export type Endpoint = z.infer<typeof endpointSchema>;
export type Work = z.infer<typeof workSchema>;
export type Operation = z.infer<typeof operationSchema>;
export type Latencies = z.infer<typeof latenciesSchema>;
export type MetricSlot = z.infer<typeof metricSlotSchema>;
export type VariantMetrics = z.infer<typeof variantMetricsSchema>;
export type PointValue = z.infer<typeof pointValueSchema>;
export type TimeSeries = z.infer<typeof timeSeriesSchema>;
export type JobDeviation = z.infer<typeof jobDeviationSchema>;
export type MonitorDeviation = z.infer<typeof monitorDeviationSchema>;
export type MonitoringJob = z.infer<typeof monitoringJobSchema>;
export type ModelMonitor = z.infer<typeof modelMonitorSchema>;
export type WorldState = z.infer<typeof worldStateSchema>;

export const emptyState = (): WorldState => ({
  counter: 0,
  projectIds: {},
  endpoints: {},
  models: {},
  operations: {},
  metrics: {},
  customSeries: {},
  monitoringJobs: {},
  modelMonitors: {},
});
