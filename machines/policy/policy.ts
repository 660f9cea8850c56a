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
  }),
  latency: z.strictObject({ quantileRatio: z.number().gt(0).lt(1), maxRatio: z.number().min(1) }).nullable(),
  drift: z.strictObject({ maxDistance: ratio }).nullable(),
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
export type DeployPolicy = z.infer<typeof deploySchema>;
export type FreezeWindow = z.infer<typeof freezeWindowSchema>;
