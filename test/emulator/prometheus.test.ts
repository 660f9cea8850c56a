import { afterAll, beforeAll, expect, test } from 'vitest';
import { type RunningEmulator, startEmulator } from '../../emulator/start.ts';
import { type Clients, googleClients, project } from './google-clients.ts';

let emulator: RunningEmulator;
let clients: Clients;

/** A full minute, which the emulator's clock stands at. */
const now = Date.parse('2026-03-01T12:00:00Z');

beforeAll(async () => {
  emulator = await startEmulator({ timeScale: 60, now: () => now });
  clients = googleClients(emulator);
  for (const [i, value] of [3, 5].entries()) {
    const endTime = { seconds: now / 1000 - 120 + i * 60, nanos: 0 };
    await clients.metrics.createTimeSeries({
      name: `projects/${project}`,
      timeSeries: [
        {
          metric: { type: 'custom.googleapis.com/queue', labels: { deployed_model_id: '7' } },
          resource: { type: 'global', labels: {} },
          points: [{ interval: { endTime }, value: { doubleValue: value } }],
        },
      ],
    });
  }
});

afterAll(async () => {
  await clients.close();
  await emulator.close();
});

async function ask(method: string, parameters: Record<string, string>, init?: RequestInit) {
  const url = `http://${emulator.environment['MONITORING_REST_EMULATOR_HOST']}/v1/projects/${project}/location/global/prometheus/api/v1/${method}`;
  const form = new URLSearchParams(parameters);
  const response = await (init === undefined
    ? fetch(`${url}?${form.toString()}`)
    : fetch(url, { ...init, body: form }));
  const body: unknown = await response.json();
  return { status: response.status, body };
}

const queue = 'max by (deployed_model_id) (custom_googleapis_com:queue)';
const seconds = (before: number) => String(now / 1000 - before);

test('an instant gives a vector, a range a matrix, by GET and by POST, beside the predictions', async () => {
  expect(await ask('query', { query: queue, time: new Date(now).toISOString() })).toEqual({
    status: 200,
    body: {
      status: 'success',
      data: { resultType: 'vector', result: [{ metric: { deployed_model_id: '7' }, value: [now / 1000, '5'] }] },
    },
  });
  const range = { query: queue, start: seconds(120), end: seconds(60), step: '60' };
  expect(await ask('query_range', range, { method: 'POST' })).toEqual({
    status: 200,
    body: {
      status: 'success',
      data: {
        resultType: 'matrix',
        result: [
          {
            metric: { deployed_model_id: '7' },
            values: [
              [now / 1000 - 120, '3'],
              [now / 1000 - 60, '5'],
            ],
          },
        ],
      },
    },
  });
});

test.each([
  ['query', { query: 'rate(x[5m])', time: '1' }, 'the emulator knows'],
  ['query', { time: '1' }, 'query is required'],
  ['query', { query: 'x', time: 'noon' }, 'time is no time'],
  ['query_range', { query: 'x', start: '9', end: '1', step: '1' }, 'end lies before start'],
  ['query_range', { query: 'x', start: '0', end: '99999', step: '1' }, 'more than 11000 steps'],
  ['series', { query: 'x' }, 'not series'],
])('%s of %j is refused in the form of Prometheus', async (method, parameters, reason) => {
  const { status, body } = await ask(method, parameters);
  expect(status).toBe(400);
  expect(body).toEqual({ status: 'error', errorType: 'bad_data', error: expect.stringContaining(reason) });
});

test('fault rules hold for it', async () => {
  const rule = [{ method: 'google.monitoring.v1.Prometheus/*', code: 'UNAVAILABLE', times: 1 }];
  await fetch(`http://${emulator.hosts.control}/faults`, { method: 'POST', body: JSON.stringify(rule) });
  expect(await ask('query', { query: queue, time: seconds(0) })).toMatchObject({
    status: 503,
    body: { status: 'error', errorType: 'unavailable' },
  });
});
