import { afterEach, beforeEach, expect, test } from 'vitest';
import { unaryService } from '../../../emulator/grpc.ts';
import { createEndpoint, findEndpoint } from '../../../emulator/world/endpoints.ts';
import { recordPrediction } from '../../../emulator/world/metrics.ts';
import { parseEnvironment } from '../../../functions/engine/environment.ts';
import { googleClients } from '../../../functions/gcp/clients.ts';
import { monitoringMetrics } from '../../../functions/gcp/metrics.ts';
import { evidenceSchema, quantileMs, UNATTRIBUTED } from '../../../machines/analysis/evidence.ts';
import { endpoint, type LocalVertex, parent, serve, startLocalVertex } from './local-vertex.ts';

const minuteMs = 60_000;

let vertex: LocalVertex;
/** A full minute, after the world was made. */
let fromAt: number;

beforeEach(async () => {
  vertex = await startLocalVertex();
  fromAt = vertex.world.context.now();
});

afterEach(() => vertex.close());

function predict(at: string, deployedModelId: string, responseCode: number, latencyMs: number, times: number): void {
  const { context } = vertex.world;
  for (let i = 0; i < times; i++) {
    recordPrediction(context, {
      endpoint: findEndpoint(context, at),
      deployedModelId,
      responseCode,
      instances: 1,
      latencyMs,
    });
  }
}

test('requests, errors and latencies are counted by variant; a 4xx is a request and no error', async () => {
  predict(endpoint, '101', 200, 20, 90);
  predict(endpoint, '101', 503, 20, 4);
  predict(endpoint, '101', 400, 20, 6);
  predict(endpoint, '102', 200, 200, 10);
  vertex.advance(10 * minuteMs);
  const window = { fromAt, toAt: fromAt + 5 * minuteMs };
  const [evidence] = await monitoringMetrics(vertex.clients, vertex.environment).read([{ endpoint, window }]);
  expect(evidenceSchema.parse(evidence)).toMatchObject({
    window,
    source: 'monitoring',
    variants: { 101: { requests: 100, errors: 4 }, 102: { requests: 10, errors: 0 } },
  });
  expect(Object.keys(evidence?.variants ?? {})).toEqual(['101', '102']);
  const p95 = (id: string) => quantileMs(evidence?.variants[id]?.latencyMs ?? { bounds: [], counts: [0] }, 0.95) ?? 0;
  expect(p95('101')).toBeGreaterThanOrEqual(20);
  expect(p95('101')).toBeLessThan(40);
  expect(p95('102')).toBeGreaterThanOrEqual(200);
  expect(p95('102')).toBeLessThan(400);
});

test('what lies before the window or after it is not counted', async () => {
  predict(endpoint, '101', 200, 20, 1);
  vertex.advance(minuteMs);
  predict(endpoint, '101', 200, 20, 10);
  vertex.advance(minuteMs);
  predict(endpoint, '101', 200, 20, 100);
  vertex.advance(10 * minuteMs);
  const window = { fromAt: fromAt + minuteMs, toAt: fromAt + 2 * minuteMs };
  const [evidence] = await monitoringMetrics(vertex.clients, vertex.environment).read([{ endpoint, window }]);
  expect(evidence?.variants['101']?.requests).toBe(10);
});

test('a window that is no whole number of seconds is cut at its beginning, never widened', async () => {
  predict(endpoint, '101', 200, 20, 5);
  vertex.advance(10 * minuteMs);
  const asked = { fromAt: fromAt - 300, toAt: fromAt + minuteMs };
  const [evidence] = await monitoringMetrics(vertex.clients, vertex.environment).read([{ endpoint, window: asked }]);
  expect(evidence?.window).toEqual({ fromAt, toAt: fromAt + minuteMs });
  expect(evidence?.variants['101']?.requests).toBe(5);
});

test('many endpoints with one window share two calls; each gets its own answer, in order', async () => {
  createEndpoint(vertex.world.context, parent, { displayName: 'two', description: '', labels: {} }, '2');
  createEndpoint(vertex.world.context, parent, { displayName: 'three', description: '', labels: {} }, '3');
  vertex.advance(minuteMs);
  fromAt = vertex.world.context.now();
  const [second, third] = [`${parent}/endpoints/2`, `${parent}/endpoints/3`];
  predict(endpoint, '7', 200, 20, 1);
  predict(second, '7', 200, 20, 2);
  vertex.advance(10 * minuteMs);
  const window = { fromAt, toAt: fromAt + minuteMs };
  const queries = [third, second, endpoint].map((name) => ({ endpoint: name, window }));
  const evidence = await monitoringMetrics(vertex.clients, vertex.environment).read(queries);
  expect(evidence.map(({ variants }) => variants['7']?.requests ?? null)).toEqual([null, 2, 1]);
  expect(evidence[0]?.variants).toEqual({});
  expect(vertex.faults.calls().total).toBe(2);
});

test('a window shorter than Cloud Monitoring can align over is not read, and holds nothing', async () => {
  const real = { ...vertex.environment, emulators: { ...vertex.environment.emulators, monitoring: null } };
  const window = { fromAt, toAt: fromAt + 59_999 };
  const [evidence] = await monitoringMetrics(vertex.clients, real).read([{ endpoint, window }]);
  expect(evidence).toEqual({ window: { fromAt: window.toAt, toAt: window.toAt }, source: 'monitoring', variants: {} });
  expect(vertex.faults.calls().total).toBe(0);
});

test('nothing is asked when nothing is to be known', async () => {
  expect(await monitoringMetrics(vertex.clients, vertex.environment).read([])).toEqual([]);
  expect(vertex.faults.calls().total).toBe(0);
});

test('a service that is away is a transient error, and no empty evidence', async () => {
  vertex.faults.add([{ method: '*/ListTimeSeries', code: 'UNAVAILABLE' }]);
  const window = { fromAt, toAt: fromAt + minuteMs };
  const reading = monitoringMetrics(vertex.clients, vertex.environment).read([{ endpoint, window }]);
  await expect(reading).rejects.toMatchObject({ name: 'TransientError', code: 'unavailable' });
});

/** A Monitoring that answers what a test says; `ask` gives the request and the number of the call of its metric. */
async function withReplies<T>(
  answer: (filter: string, pageToken: unknown) => object,
  use: (metrics: ReturnType<typeof monitoringMetrics>) => Promise<T>,
): Promise<T> {
  const { host, close } = await serve([
    unaryService('google.monitoring.v3.MetricService', {
      ListTimeSeries: ({ filter, pageToken }) => answer(String(filter), pageToken),
    }),
  ]);
  const environment = parseEnvironment({
    GOOGLE_CLOUD_PROJECT: 'demo',
    ROLLOUT_LOCATION: 'us-central1',
    MONITORING_EMULATOR_HOST: host,
  });
  const clients = googleClients(environment);
  try {
    return await use(monitoringMetrics(clients, environment));
  } finally {
    await clients.close();
    await close();
  }
}

const resource = { labels: { location: 'us-central1', endpoint_id: '1' } };
const responses = (labels: Record<string, string>, ...values: number[]) => ({
  resource,
  metric: { labels },
  points: values.map((value) => ({ value: { int64Value: String(value) } })),
});

test('all pages and all points are added up, and codes come as numbers or as classes', async () => {
  const pages: Record<string, object> = {
    '': {
      timeSeries: [responses({ deployed_model_id: '101', response_code: '2xx' }, 10, 20)],
      nextPageToken: 'next',
    },
    next: {
      timeSeries: [
        responses({ deployed_model_id: '101', response_code: '5xx' }, 3),
        responses({ deployed_model_id: '101', response_code: '429' }, 4),
        responses({ response_code: '500' }, 5),
      ],
    },
  };
  const evidence = await withReplies(
    (filter, pageToken) => (filter.includes('response_count') ? (pages[String(pageToken)] ?? {}) : {}),
    (metrics) => metrics.read([{ endpoint, window: { fromAt: 0, toAt: minuteMs } }]),
  );
  const noLatencies = { bounds: [], counts: [0] };
  expect(evidence[0]?.variants).toEqual({
    101: { requests: 37, errors: 3, latencyMs: noLatencies },
    [UNATTRIBUTED]: { requests: 5, errors: 5, latencyMs: noLatencies },
  });
});

test('an answer that says it is incomplete is not judged', async () => {
  const reading = withReplies(
    () => ({ timeSeries: [], executionErrors: [{ code: 4, message: 'a shard did not answer' }] }),
    (metrics) => metrics.read([{ endpoint, window: { fromAt: 0, toAt: minuteMs } }]),
  );
  await expect(reading).rejects.toMatchObject({ name: 'TransientError', code: 'unavailable' });
  await expect(reading).rejects.toThrow(/incomplete: a shard did not answer/);
});

test('pages without an end are an error', async () => {
  const reading = withReplies(
    () => ({ timeSeries: [], nextPageToken: 'again' }),
    (metrics) => metrics.read([{ endpoint, window: { fromAt: 0, toAt: minuteMs } }]),
  );
  await expect(reading).rejects.toMatchObject({ name: 'PermanentError', code: 'internal' });
});
