import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type RunningEmulator, startEmulator } from '../../emulator/start.ts';
import {
  type Clients,
  createEndpoint,
  deploy,
  failure,
  googleClients,
  post,
  project,
  uploadVersion,
} from './google-clients.ts';

const ENDPOINT_SERVICE = 'google.cloud.aiplatform.v1.EndpointService';
const code = { invalid: 3, exhausted: 8, aborted: 10, unavailable: 14 };

let emulator: RunningEmulator;
let clients: Clients;
let endpoint: string;

beforeAll(async () => {
  emulator = await startEmulator({ timeScale: 3600 });
  clients = googleClients(emulator);
  endpoint = await createEndpoint(clients, '4001');
});
afterEach(() => control('DELETE', '/faults'));
afterAll(async () => {
  await clients.close();
  await emulator.close();
});

async function control(method: string, path: string, body?: unknown): Promise<{ status: number; json: unknown }> {
  const response = await fetch(`http://${emulator.hosts.control}${path}`, {
    method,
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  return { status: response.status, json: await response.json() };
}

const read = async () => (await clients.endpoints.getEndpoint({ name: endpoint }))[0];
const rename = (displayName: string) =>
  clients.endpoints.updateEndpoint({
    endpoint: { name: endpoint, displayName },
    updateMask: { paths: ['display_name'] },
  });

describe('faults', () => {
  test('a call fails as often as its rule says, and nothing is done', async () => {
    await control('POST', '/faults', [{ method: `${ENDPOINT_SERVICE}/UpdateEndpoint`, code: 'UNAVAILABLE', times: 2 }]);
    expect(await failure(rename('a'))).toMatchObject({ code: code.unavailable });
    expect(await failure(rename('b'))).toMatchObject({ code: code.unavailable });
    expect((await read()).displayName).toBe('4001');
    await rename('c');
    expect((await read()).displayName).toBe('c');
  });

  test('a reply is lost after the work is done', async () => {
    const rule = { method: '*/UpdateEndpoint', code: 'ABORTED', afterWork: true, times: 1 };
    await control('POST', '/faults', [rule]);
    expect(await failure(rename('done'))).toMatchObject({ code: code.aborted });
    expect((await read()).displayName).toBe('done');
  });

  test('a glob takes in all services, and latency delays a call', async () => {
    await control('POST', '/faults', [{ method: 'google.cloud.*/Get*', latencyMs: 60 }]);
    const startedAt = performance.now();
    await read();
    expect(performance.now() - startedAt).toBeGreaterThan(50);
    await control('DELETE', '/faults');
    await control('POST', '/faults', [{ method: 'google.monitoring.v3.*', code: 'RESOURCE_EXHAUSTED' }]);
    const interval = { endTime: { seconds: 1 } };
    const metrics = clients.metrics.listTimeSeries(
      { name: `projects/${project}`, filter: 'metric.type="x"', interval },
      { retry: null },
    );
    expect(await failure(metrics)).toMatchObject({ code: code.exhausted });
  });

  test('predictions fail by rule as well', async () => {
    await control('POST', '/faults', [{ method: '*PredictionService/RawPredict', code: 'UNAVAILABLE', times: 1 }]);
    const answer = await post(emulator, endpoint, 'rawPredict', {});
    expect(answer.json).toMatchObject({ error: { code: 503, status: 'UNAVAILABLE' } });
  });

  test('stuck operations go on when the fault ends', async () => {
    await control('POST', '/faults', [{ stuckOperations: true }]);
    const parent = endpoint.replace(/\/endpoints.*/, '');
    const [operation] = await clients.endpoints.createEndpoint({
      parent,
      endpoint: { displayName: 'x' },
      endpointId: 'x',
    });
    const { timings } = emulator.world.context;
    expect(timings.createMs).toBeLessThan(5);
    expect((await clients.endpoints.checkCreateEndpointProgress(operation.name ?? '')).done).toBe(false);
    await control('DELETE', '/faults');
    await operation.promise();
  });

  test('metrics in a gap are not shown while the gap stands', async () => {
    await uploadVersion(clients, 'echo');
    await deploy(clients, endpoint, '11', 'echo', { 0: 100 });
    await post(emulator, endpoint, 'predict', { instances: [{}] });
    const { sampleMs, metricLagMs } = emulator.world.context.timings;
    const visibleAt = Date.now() + sampleMs + metricLagMs;
    const filter = 'metric.type="aiplatform.googleapis.com/prediction/online/response_count"';
    const seen = async () => {
      const interval = { startTime: { seconds: 1 }, endTime: { seconds: Math.ceil(Date.now() / 1000) + 60 } };
      const [found] = await clients.metrics.listTimeSeries({ name: `projects/${project}`, filter, interval });
      return found.length;
    };
    await expect.poll(() => Date.now()).toBeGreaterThan(visibleAt);
    expect(await seen()).toBe(1);
    await control('POST', '/faults', [{ metricGap: true }]);
    expect(await seen()).toBe(0);
    await control('POST', '/faults', [{ metricGap: false }]);
    expect(await seen()).toBe(1);
    await control('POST', '/faults', [{ metricGap: { fromMs: Date.now() - 60_000, toMs: Date.now() + 60_000 } }]);
    expect(await seen()).toBe(0);
  });

  test('what is no rule is refused, and nothing is added', async () => {
    for (const bad of [
      {},
      [{ method: 'x', code: 'NONSENSE' }],
      [{ methods: 'x' }],
      [{ method: 'x', afterWork: true }],
      '{',
    ]) {
      expect((await control('POST', '/faults', bad)).status).toBe(400);
    }
    expect((await control('GET', '/faults')).json).toEqual([]);
  });
});

describe('control', () => {
  test('counts calls by method', async () => {
    await control('DELETE', '/calls');
    await read();
    await read();
    await failure(clients.endpoints.getEndpoint({ name: 'nonsense' }));
    const { json } = await control('GET', '/calls');
    expect(json).toMatchObject({ total: 3, methods: { [`${ENDPOINT_SERVICE}/GetEndpoint`]: { count: 3 } } });
  });

  test('shows its health and the world, and refuses the rest', async () => {
    expect(await control('GET', '/healthz')).toEqual({ status: 200, json: { status: 'ok' } });
    const { json } = await control('GET', '/world');
    expect(json).toMatchObject({ endpoints: expect.any(Object), models: expect.any(Object) });
    expect((await control('PUT', '/world', {})).status).toBe(404);
  });
});
