/**
 * What did the owner of a model ask for? The parsed policy: every default filled in, every unit in its name.
 * The YAML that people write is in document.ts; this is what the machine reads and what a rollout's snapshot keeps.
 */
import { z } from 'zod';

const seconds = z.number().min(0);
const ratio = z.number().min(0).max(1);

const stepSchema = z.strictObject({
  percent: z.int().min(1).max(100),
  holdSeconds: seconds,
  /** True: a person must approve before the step is left. */
  approval: z.boolean(),
});

/** A time without answers has an end, and this says what the end is. */
const boundedWaitSchema = z.strictObject({ afterSeconds: seconds, outcome: z.enum(['pause', 'rollBack']) });

/** Where a check's numbers come from. `{endpoint}` and `{window}` in a query stand for the endpoint's id and its seconds. */
const signalSourceSchema = z.discriminatedUnion('kind', [
  /** Cloud Monitoring: filters that each name one metric type; `of` counts the trials, requests where it is null. */
  z.strictObject({ kind: z.literal('filter'), filter: z.string(), of: z.string().nullable() }),
  /** The same by PromQL; each result has a label `deployed_model_id`. */
  z.strictObject({ kind: z.literal('promql'), query: z.string(), of: z.string().nullable() }),
  /** Reported in evidence messages under the check's name: outcomes that clients learn, features that a proxy samples. */
  z.strictObject({ kind: z.literal('reported') }),
  /** BigQuery's table of request-response logs; `value` is a path such as `instances.distance` or `predictions`. */
  z.strictObject({ kind: z.literal('requestLog'), table: z.string(), value: z.string() }),
  /** Vertex AI Model Monitoring: the greatest deviation of a feature, or of any where it is null, in the resource named. */
  z.strictObject({ kind: z.literal('modelMonitoring'), resource: z.string(), feature: z.string().nullable() }),
]);

/** What is asked of a check's numbers. Only the first three are tests with a guarantee, and may roll back. */
const checkRuleSchema = z.discriminatedUnion('kind', [
  /** Hits of trials: not above the ceiling, and not above stable's by more than the margin. */
  z.strictObject({ kind: z.literal('rate'), maxRatio: ratio, marginRatio: ratio }),
  /** Values in a histogram: the canary's quantile is at most so many times stable's. */
  z.strictObject({
    kind: z.literal('quantile'),
    quantileRatio: z.number().gt(0).lt(1),
    maxRatio: z.number().min(1),
  }),
  /** Values in a histogram: the canary's lie at most so far from stable's. */
  z.strictObject({ kind: z.literal('drift'), maxDistance: ratio }),
  /** The latest value: beyond the limit the share does not rise. */
  z.strictObject({ kind: z.literal('limit'), max: z.number() }),
]);

const checkSchema = z.strictObject({
  name: z.string().min(1),
  from: signalSourceSchema,
  rule: checkRuleSchema,
  /** Judged and shown, never acted on. */
  dryRun: z.boolean(),
});

const analysisSchema = z.strictObject({
  /** How long a request takes to show in the metrics. Evidence is read up to now minus this. */
  metricLagSeconds: seconds,
  /** Chance that a canary no worse than stable is rolled back, over the whole rollout. */
  falseRollbackRatio: z.number().gt(0).lt(1),
  /** Fewer canary requests than this since the step took effect are inconclusive. */
  minRequests: z.int().min(1),
  errorRate: z.strictObject({
    /** Absolute ceiling of the error ratio. */
    maxRatio: ratio,
    /** How much worse than stable is still fine, as a difference of ratios. */
    marginRatio: ratio,
    dryRun: z.boolean(),
  }),
  latency: z
    .strictObject({ quantileRatio: z.number().gt(0).lt(1), maxRatio: z.number().min(1), dryRun: z.boolean() })
    .nullable(),
  drift: z.strictObject({ maxDistance: ratio, dryRun: z.boolean() }).nullable(),
  /** The owner's own; names are unique. */
  checks: z.array(checkSchema),
  inconclusive: boundedWaitSchema,
  noData: boundedWaitSchema,
  incident: z.enum(['pause', 'rollBack', 'ignore']),
});

const deploySchema = z.strictObject({
  machineType: z.string().min(1),
  minReplicas: z.int().min(1),
  maxReplicas: z.int().min(1),
  accelerator: z.strictObject({ type: z.string().min(1), count: z.int().min(1) }).nullable(),
  autoscaling: z.array(z.strictObject({ metric: z.string().min(1), targetPercent: z.int().min(1).max(100) })),
  serviceAccount: z.string().nullable(),
  deadlineSeconds: seconds,
});

/** Minutes are counted from Monday 00:00 in the zone's local time; a window may wrap over the end of the week. */
const freezeWindowSchema = z.strictObject({
  fromMinuteOfWeek: z
    .int()
    .min(0)
    .max(7 * 1440),
  toMinuteOfWeek: z
    .int()
    .min(0)
    .max(7 * 1440),
  timeZone: z.string().min(1),
  /** The window as its owner wrote it, for messages. */
  text: z.string(),
});

export const policySchema = z.strictObject({
  name: z.string().min(1),
  match: z.union([
    z.strictObject({ kind: z.literal('any') }),
    z.strictObject({ kind: z.literal('model'), model: z.string() }),
    z.strictObject({ kind: z.literal('labels'), labels: z.record(z.string(), z.string()) }),
  ]),
  /** `projects/P/locations/L/endpoints/E` */
  endpoint: z.string(),
  strategy: z.enum(['canary', 'blueGreen', 'shadow']),
  /** Ascending, ending at 100. */
  steps: z.array(stepSchema).min(1),
  analysis: analysisSchema,
  exposure: z.strictObject({ maxExcessErrors: z.number().min(0) }),
  deploy: deploySchema,
  keepStableSeconds: seconds,
  keepFailedCanarySeconds: seconds,
  onNewBlessing: z.enum(['replace', 'queue']),
  freeze: z.array(freezeWindowSchema),
});

export type Policy = z.infer<typeof policySchema>;
export type Step = z.infer<typeof stepSchema>;
export type AnalysisPolicy = z.infer<typeof analysisSchema>;
export type CheckPolicy = z.infer<typeof checkSchema>;
export type CheckRule = z.infer<typeof checkRuleSchema>;
export type DeployPolicy = z.infer<typeof deploySchema>;
export type FreezeWindow = z.infer<typeof freezeWindowSchema>;
