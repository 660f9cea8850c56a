/**
 * What Google answers, when it breaks its own contract: unknown enums, missing fields, splits that sum to 99, other bytes
 * than any message has. Behind the real adapters and clients stands a server that says whatever it is told to.
 */
import { once } from 'node:events';
import { createServer } from 'node:http';
import fc from 'fast-check';
import { z } from 'zod';
import { type GrpcService, serveGrpc, StatusError, unaryService } from '../../../emulator/grpc.ts';
import { evidenceSchema } from '../../../machines/analysis/evidence.ts';
import type { CheckPolicy } from '../../../machines/policy/policy.ts';
import { assertSplit } from '../../../machines/rollout/split.ts';
import { parseEnvironment } from '../../../functions/engine/environment.ts';
import { PermanentError, TransientError } from '../../../functions/engine/errors.ts';
import type { Ports } from '../../../functions/engine/ports.ts';
import { wire as wireUp } from '../../../functions/wiring.ts';
import { damaged, damagedJson, jsonOf } from '../arbitraries.ts';
import type { Door, OpenDoor } from '../run.ts';
import { captured, endpoint, model, parent, policyFor, startAt } from '../world.ts';
import { portOf } from '../../port.ts';

type Reply =
  | { kind: 'value'; value: unknown }
  /** A good message whose bytes were damaged. */
  | { kind: 'bytes'; at: number; byte: number; isCut: boolean }
  | { kind: 'status'; code: number; details: string }
  /** Over HTTP. */
  | { kind: 'text'; code: number; text: string };

export interface Told {
  /** Whose answer it is; all others answer well. */
  method: string;
  reply: Reply;
}

const seconds = (at: number) => ({ seconds: String(at / 1000), nanos: 0 });
const operation = { name: `${endpoint}/operations/7`, done: true, response: { typeUrl: 'x', value: Buffer.alloc(3) } };
const goodEndpoint = {
  name: endpoint,
  etag: 'e1',
  trafficSplit: { 1: 90, 2: 10 },
  deployedModels: ['1', '2'].map((id) => ({
    id,
    model,
    modelVersionId: id,
    displayName: 'd',
    dedicatedResources: { minReplicaCount: 1, maxReplicaCount: 2, machineSpec: { machineType: 'n1-standard-2' } },
    status: { availableReplicaCount: 1 },
  })),
};
const series = (value: object) => ({
  resource: { type: 'aiplatform.googleapis.com/Endpoint', labels: { location: 'us-central1', endpoint_id: '1' } },
  metric: { type: 'm', labels: { deployed_model_id: '2', response_code: '200' } },
  metricKind: 'DELTA',
  points: [{ interval: { startTime: seconds(startAt), endTime: seconds(startAt + 60_000) }, value }],
});
const job = `${parent}/modelDeploymentMonitoringJobs/3`;
const monitor = `${parent}/modelMonitors/4`;

/** By service, what each method answers when all is well. */
const good: Record<string, Record<string, object>> = {
  'google.cloud.aiplatform.v1.EndpointService': {
    GetEndpoint: goodEndpoint,
    UpdateEndpoint: goodEndpoint,
    DeployModel: operation,
    UndeployModel: operation,
    MutateDeployedModel: operation,
  },
  'google.cloud.aiplatform.v1.ModelService': {
    GetModel: {
      name: `${model}@2`,
      versionId: '2',
      versionAliases: ['blessed'],
      labels: { a: 'b' },
      versionUpdateTime: seconds(startAt),
    },
  },
  'google.longrunning.Operations': {
    GetOperation: { ...operation, error: { code: 8, message: 'no' } },
    CancelOperation: {},
  },
  'google.monitoring.v3.MetricService': {
    ListTimeSeries: {
      timeSeries: [
        series({ int64Value: '100' }),
        series({
          distributionValue: {
            count: '3',
            bucketOptions: { explicitBuckets: { bounds: [1, 2] } },
            bucketCounts: ['1', '1', '1'],
          },
        }),
      ],
      nextPageToken: '',
    },
  },
  'google.cloud.scheduler.v1.CloudScheduler': {
    GetJob: { name: 'j', state: 'ENABLED' },
    PauseJob: { name: 'j', state: 'PAUSED' },
    ResumeJob: { name: 'j', state: 'ENABLED' },
  },
  'google.cloud.aiplatform.v1.JobService': {
    GetModelDeploymentMonitoringJob: {
      name: job,
      endpoint,
      modelDeploymentMonitoringObjectiveConfigs: [
        {
          deployedModelId: '2',
          objectiveConfig: { predictionDriftDetectionConfig: { defaultDriftThreshold: { value: 0.3 } } },
        },
      ],
    },
    SearchModelDeploymentMonitoringStatsAnomalies: {
      monitoringStats: [
        {
          objective: 'RAW_FEATURE_DRIFT',
          deployedModelId: '2',
          featureStats: [
            {
              featureDisplayName: 'distance',
              predictionStats: [
                { distributionDeviation: 0.2, startTime: seconds(startAt), endTime: seconds(startAt + 60_000) },
              ],
            },
          ],
        },
      ],
    },
  },
  'google.cloud.aiplatform.v1beta1.ModelMonitoringService': {
    GetModelMonitor: { name: monitor, modelMonitoringTarget: { vertexModel: { model, modelVersionId: '2' } } },
    SearchModelMonitoringStats: {
      monitoringStats: [
        {
          tabularStats: {
            statsName: 'f',
            dataPoints: [
              {
                currentStats: { distributionValue: { distributionDeviation: 0.1 } },
                createTime: seconds(startAt + 60_000),
              },
            ],
          },
        },
      ],
    },
  },
};
const prometheus = {
  status: 'success',
  data: {
    resultType: 'matrix',
    result: [{ metric: { deployed_model_id: '2', le: '+Inf' }, values: [[startAt / 1000 + 60, '7']] }],
  },
};
const bigquery = { jobComplete: true, rows: [{ f: ['1', '2', '0', '0', '3', '5'].map((v) => ({ v })) }] };

const replicas = z.int().nullable();
const endpointView = z.object({
  name: z.string().min(1),
  etag: z.string(),
  split: z.record(z.string(), z.number()).transform(assertSplit),
  deployedModels: z.array(
    z.object({
      id: z.string().min(1),
      model: z.string().min(1),
      versionId: z.string(),
      displayName: z.string(),
      minReplicas: replicas,
      maxReplicas: replicas,
      availableReplicas: replicas,
    }),
  ),
});
const started = z.object({ operation: z.string().min(1) });
const version = z
  .object({
    model: z.string().min(1),
    versionId: z.string().min(1),
    aliases: z.array(z.string()),
    labels: z.record(z.string(), z.string()),
    updatedAt: z.number(),
  })
  .nullable();

const check = (name: string, from: CheckPolicy['from'], rule: CheckPolicy['rule']): CheckPolicy => ({
  name,
  from,
  rule,
  dryRun: false,
});
const rate = { kind: 'rate', maxRatio: 0.1, marginRatio: 0.01 } as const;
const quantile = { kind: 'quantile', quantileRatio: 0.9, maxRatio: 1.2 } as const;
const limit = { kind: 'limit', max: 1 } as const;
const query = {
  endpoint,
  window: { fromAt: startAt, toAt: startAt + 120_000 },
  sinceAt: startAt,
  periodMs: 60_000,
  models: [
    { id: '2', model, versionId: '2' },
    { id: '1', model, versionId: '1' },
  ],
  checks: [
    check('a', { kind: 'filter', filter: 'metric.type="custom"', of: null }, rate),
    check('b', { kind: 'promql', query: 'up{x="{endpoint}"}[{window}]', of: null }, rate),
    check('c', { kind: 'promql', query: 'buckets', of: null }, quantile),
    check('d', { kind: 'requestLog', table: 'p.d.t', value: 'predictions' }, quantile),
    check('e', { kind: 'modelMonitoring', resource: job, feature: null }, limit),
    check('f', { kind: 'modelMonitoring', resource: monitor, feature: null }, limit),
  ],
};
const order = {
  deployedModelId: '2',
  model,
  versionId: '2',
  displayName: 'd',
  deploy: policyFor('p', endpoint).deploy,
};

/** What the engine asks by each method, and what it is promised. */
const asks: Record<string, { ask: (ports: Ports) => Promise<unknown>; promised: z.ZodType }> = {
  GetEndpoint: { ask: ({ endpoints }) => endpoints.read(endpoint), promised: endpointView },
  UpdateEndpoint: { ask: ({ endpoints }) => endpoints.writeSplit(endpoint, { 1: 100 }, 'e1'), promised: endpointView },
  DeployModel: { ask: ({ endpoints }) => endpoints.deploy(endpoint, order), promised: started },
  UndeployModel: { ask: ({ endpoints }) => endpoints.undeploy(endpoint, '2'), promised: started },
  MutateDeployedModel: { ask: ({ endpoints }) => endpoints.resize(endpoint, '2', 3), promised: started },
  GetOperation: {
    ask: ({ endpoints }) => endpoints.readOperation(operation.name),
    promised: z.object({
      name: z.string(),
      done: z.boolean(),
      stage: z.string(),
      error: z.object({ code: z.string(), message: z.string() }).nullable(),
    }),
  },
  CancelOperation: { ask: ({ endpoints }) => endpoints.cancelOperation(operation.name), promised: z.undefined() },
  GetModel: { ask: ({ models }) => models.readAlias(model, 'blessed'), promised: version },
  GetJob: { ask: ({ schedule }) => schedule.isPaused(), promised: z.boolean() },
  PauseJob: { ask: ({ schedule }) => schedule.pause(), promised: z.undefined() },
  ResumeJob: { ask: ({ schedule }) => schedule.resume(), promised: z.undefined() },
};
const metrics = {
  ask: ({ metrics: port }: Ports) => port.read([query]),
  promised: z.array(z.array(evidenceSchema)).length(1),
};

/** Google's replies. */
export function googleDoor(): Door<Told> {
  const bytes = fc.record({
    kind: fc.constant('bytes' as const),
    at: fc.nat({ max: 999 }),
    byte: fc.nat({ max: 255 }),
    isCut: fc.boolean(),
  });
  const refusal = fc.record({
    kind: fc.constant('status' as const),
    code: fc.constantFrom(...Array.from({ length: 18 }, (_, i) => i + 1)),
    details: fc.string({ maxLength: 40 }),
  });
  const overGrpc = fc
    .constantFrom(...Object.values(good).flatMap((methods) => Object.entries(methods)))
    .chain(([method, value]) => {
      const values = damaged(fc.constant(value)).map((one): Reply => ({ kind: 'value', value: one }));
      const reply = fc.oneof(
        { weight: 8, arbitrary: values },
        { weight: 3, arbitrary: bytes },
        { weight: 1, arbitrary: refusal },
      );
      return fc.record({ method: fc.constant(method), reply });
    });
  const overHttp = fc
    .constantFrom(['prometheus', prometheus] as const, ['bigquery', bigquery] as const)
    .chain(([method, value]) =>
      fc
        .tuple(
          fc.constantFrom(200, 200, 200, 200, 204, 301, 400, 404, 429, 500, 503),
          damagedJson(fc.constant<unknown>(value)),
        )
        .map(([code, text]): Told => ({ method, reply: { kind: 'text', code, text } })),
    );
  return {
    name: 'google',
    inputs: fc.oneof({ weight: 8, arbitrary: overGrpc }, { weight: 2, arbitrary: overHttp }),
    open,
  };
}

async function open(): Promise<OpenDoor<Told>> {
  let told: Told = { method: '', reply: { kind: 'value', value: {} } };
  const services = Object.entries(good).map(([name, methods]) => answering(name, methods, () => told));
  const grpc = await serveGrpc(0, services);
  const http = createServer((request, response) => {
    request.resume();
    const isPrometheus = request.url?.includes('/prometheus/') === true;
    const { reply } = told;
    const isMeant = told.method === (isPrometheus ? 'prometheus' : 'bigquery');
    const { code, text } =
      isMeant && reply.kind === 'text' ? reply : { code: 200, text: jsonOf(isPrometheus ? prometheus : bigquery) };
    response.writeHead(code, { 'content-type': 'application/json' }).end(code === 204 ? undefined : text);
  }).listen(0, '127.0.0.1');
  await once(http, 'listening');
  const port = portOf(http);
  const [grpcHost, httpHost] = [`127.0.0.1:${grpc.port}`, `127.0.0.1:${port}`];
  const environment = parseEnvironment({
    GOOGLE_CLOUD_PROJECT: 'demo',
    ROLLOUT_LOCATION: 'us-central1',
    ROLLOUT_STORE: 'sqlite::memory:',
    VERTEX_EMULATOR_HOST: grpcHost,
    MONITORING_EMULATOR_HOST: grpcHost,
    SCHEDULER_EMULATOR_HOST: grpcHost,
    MONITORING_REST_EMULATOR_HOST: httpHost,
    BIGQUERY_EMULATOR_HOST: httpHost,
  });
  const { ports } = wireUp(environment);
  // Clients are loaded when they are first asked, for which no input is to blame.
  for (const one of [...Object.values(asks), metrics]) await answerTo(ports, one);
  return {
    async admit(input) {
      told = input;
      const restore = captured([]);
      try {
        return [await answerTo(ports, asks[input.method] ?? metrics)];
      } finally {
        restore();
      }
    },
    async close() {
      await ports.store.close();
      http.closeAllConnections();
      http.close();
      await grpc.close();
    },
  };
}

/** What is promised, or one of our two errors that names the call. */
async function answerTo(
  ports: Ports,
  { ask, promised }: { ask: (ports: Ports) => Promise<unknown>; promised: z.ZodType },
): Promise<string> {
  let answer: unknown;
  try {
    answer = await ask(ports);
  } catch (error) {
    if (!(error instanceof TransientError || error instanceof PermanentError)) throw error;
    if (!/^[\w ]{4,}/.test(error.message)) throw new Error('An error that names no call', { cause: error });
    return error.name;
  }
  const parsed = promised.safeParse(answer);
  if (!parsed.success) throw new Error(`Not what was promised: ${parsed.error.message}; got ${jsonOf(answer)}`);
  return 'answered';
}

function answering(name: string, methods: Record<string, object>, told: () => Told): GrpcService {
  const handlers = Object.fromEntries(
    Object.entries(methods).map(([method, value]) => [
      method,
      (): object => {
        const { method: meant, reply } = told();
        if (meant !== method) return value;
        if (reply.kind === 'status') throw new StatusError(reply.code, reply.details);
        // What is no object at all, no server could send.
        if (reply.kind === 'value') return typeof reply.value === 'object' && reply.value !== null ? reply.value : {};
        const copy = { ...value };
        if (reply.kind === 'bytes') damages.set(copy, reply);
        return copy;
      },
    ]),
  );
  const [definition, implementation] = unaryService(name, handlers);
  const wired = Object.entries(definition).map(([method, one]) => {
    const responseSerialize = (value: object): Buffer => damagedBytes(one.responseSerialize, value);
    return [method, { ...one, responseSerialize }];
  });
  return [Object.fromEntries(wired), implementation];
}

const damages = new WeakMap<object, Extract<Reply, { kind: 'bytes' }>>();

function damagedBytes(serialize: (value: object) => Buffer, value: object): Buffer {
  const bytes = messageOf(serialize, value);
  const damage = damages.get(value);
  if (damage === undefined || bytes.length === 0) return bytes;
  const at = damage.at % bytes.length;
  if (damage.isCut) return bytes.subarray(0, at);
  const copy = Buffer.from(bytes);
  copy[at] = damage.byte;
  return copy;
}

/** A value that has no form on the wire, such as a text for a list, could not have been sent. */
function messageOf(serialize: (value: object) => Buffer, value: object): Buffer {
  try {
    return serialize(value);
  } catch {
    return Buffer.alloc(0);
  }
}
