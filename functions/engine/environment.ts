/**
 * Which world is this process in? Environment variables, parsed once; all problems are reported together.
 * An empty variable is an absent one. Without an emulator host, the real service is meant.
 */
import { z } from 'zod';
import { nth } from '../../machines/nth.ts';

// To write code for each schema takes a new process longer than it saves: few values come to each.
z.config({ jitless: true });

const hostPort = z.string().regex(/^[^\s:/]+:\d{1,5}$/, 'expected host:port, such as localhost:8085');
const optionalHostPort = hostPort.optional();

const environmentSchema = z.object({
  GOOGLE_CLOUD_PROJECT: z.string({ error: 'is required: the project that holds the endpoints' }).min(1),
  ROLLOUT_LOCATION: z
    .string({ error: 'is required: the region of the endpoints, such as us-central1' })
    .regex(/^[a-z0-9-]+$/, 'expected a region such as us-central1'),
  ROLLOUT_STORE: z
    .string()
    .regex(/^(firestore|sqlite:.+)$/, 'expected "firestore" or "sqlite:PATH"')
    .default('firestore'),
  ROLLOUT_POLICIES: z.string().optional(),
  ROLLOUT_TICK_JOB: z.string().default('rollout-ticks'),
  ROLLOUT_PROXY_KEYS: z
    .string()
    .regex(/^[^:,\s]+:[0-9a-f]{64}(,[^:,\s]+:[0-9a-f]{64})*$/, 'expected name:sha256-hex, separated by commas')
    .optional(),
  ROLLOUT_PROXY_CONFIG: z.string().optional(),
  REDIS_URL: z.url().optional(),
  PUBSUB_EMULATOR_HOST: optionalHostPort,
  FIRESTORE_EMULATOR_HOST: optionalHostPort,
  VERTEX_EMULATOR_HOST: optionalHostPort,
  VERTEX_PREDICT_EMULATOR_HOST: optionalHostPort,
  MONITORING_EMULATOR_HOST: optionalHostPort,
  MONITORING_REST_EMULATOR_HOST: optionalHostPort,
  BIGQUERY_EMULATOR_HOST: optionalHostPort,
  SCHEDULER_EMULATOR_HOST: optionalHostPort,
});

export interface Environment {
  project: string;
  location: string;
  store: { kind: 'firestore' } | { kind: 'sqlite'; path: string };
  /** Folder of policy YAML; null: policies are Firestore documents. */
  policiesFolder: string | null;
  tickJob: string;
  /** Proxy keys by name, each the SHA-256 of the key in lower-case hex. */
  proxyKeys: { name: string; sha256: string }[];
  /** JSON, or `@` and the path of a file; functions/proxy/config.ts says what is in it. */
  proxyConfig: string | null;
  redisUrl: string | null;
  /** `host:port` of each emulator; null means the real service. */
  emulators: {
    pubsub: string | null;
    firestore: string | null;
    vertex: string | null;
    vertexPredict: string | null;
    monitoring: string | null;
    /** PromQL, which Monitoring answers over HTTP alone. */
    monitoringRest: string | null;
    bigquery: string | null;
    scheduler: string | null;
  };
}

/** Parses the process environment. Throws one Error that names every bad variable, so that all can be mended at once. */
export function parseEnvironment(variables: Record<string, string | undefined>): Environment {
  const present = Object.fromEntries(
    Object.entries(variables).filter(([, value]) => value !== undefined && value !== ''),
  );
  const parsed = environmentSchema.safeParse(present);
  if (!parsed.success) {
    const problems = parsed.error.issues.map((issue) => `  ${issue.path.join('.')}: ${issue.message}`);
    throw new Error(`The environment is not usable:\n${problems.join('\n')}`);
  }
  const env = parsed.data;
  return {
    project: env.GOOGLE_CLOUD_PROJECT,
    location: env.ROLLOUT_LOCATION,
    store:
      env.ROLLOUT_STORE === 'firestore'
        ? { kind: 'firestore' }
        : { kind: 'sqlite', path: env.ROLLOUT_STORE.slice('sqlite:'.length) },
    policiesFolder: env.ROLLOUT_POLICIES ?? null,
    tickJob: env.ROLLOUT_TICK_JOB,
    proxyKeys: (env.ROLLOUT_PROXY_KEYS?.split(',') ?? []).map((pair) => {
      const parts = pair.split(':');
      return { name: nth(parts, 0), sha256: nth(parts, 1) };
    }),
    proxyConfig: env.ROLLOUT_PROXY_CONFIG ?? null,
    redisUrl: env.REDIS_URL ?? null,
    emulators: {
      pubsub: env.PUBSUB_EMULATOR_HOST ?? null,
      firestore: env.FIRESTORE_EMULATOR_HOST ?? null,
      vertex: env.VERTEX_EMULATOR_HOST ?? null,
      vertexPredict: env.VERTEX_PREDICT_EMULATOR_HOST ?? null,
      monitoring: env.MONITORING_EMULATOR_HOST ?? null,
      monitoringRest: env.MONITORING_REST_EMULATOR_HOST ?? null,
      bigquery: env.BIGQUERY_EMULATOR_HOST ?? null,
      scheduler: env.SCHEDULER_EMULATOR_HOST ?? null,
    },
  };
}
