import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createRequestLog } from '../../emulator/bigquery/request-log.ts';
import { type RunningEmulator, startEmulator } from '../../emulator/start.ts';
import { parseEnvironment } from '../../functions/engine/environment.ts';
import { type Clients as OwnClients, googleClients as ownClients } from '../../functions/gcp/clients.ts';
import { requestLogSignals } from '../../functions/gcp/request-log.ts';
import type { SignalAnswer } from '../../functions/gcp/signals.ts';
import {
  type Clients,
  createEndpoint,
  deploy,
  failure,
  googleClients,
  parent,
  post,
  project,
  uploadVersion,
} from './google-clients.ts';

const INVALID_ARGUMENT = 3;
const hourMs = 3_600_000;

let emulator: RunningEmulator;
let clients: Clients;
let own: OwnClients;
let endpoint: string;
/** What the injected random answers. */
let unit = 0;
/** Each test logs to a table of its own. */
let table = '';
let tests = 0;

beforeAll(async () => {
  emulator = await startEmulator({ timeScale: 3600, random: () => unit });
  clients = googleClients(emulator);
  own = ownClients(
    parseEnvironment({ GOOGLE_CLOUD_PROJECT: project, ROLLOUT_LOCATION: 'us-central1', ...emulator.environment }),
  );
  endpoint = await createEndpoint(clients, '2001');
  await uploadVersion(clients, 'echo');
  await deploy(clients, endpoint, '11', 'echo@1', { 0: 100 });
});
beforeEach(() => {
  tests += 1;
  unit = 0;
  table = `${project}.logs.requests_${tests}`;
});
afterAll(async () => {
  await clients.close();
  await own.close();
  await emulator.close();
});

async function configure(outputUri: string, samplingRate = 1, enabled = true) {
  const [updated] = await clients.endpoints.updateEndpoint({
    endpoint: {
      name: endpoint,
      predictRequestResponseLoggingConfig: { enabled, samplingRate, bigqueryDestination: { outputUri } },
    },
    updateMask: { paths: ['predict_request_response_logging_config'] },
  });
  return updated.predictRequestResponseLoggingConfig;
}

/** What the reader of request logs finds in the hour before and after now. */
async function read(value: string): Promise<SignalAnswer | undefined> {
  const now = emulator.world.context.now();
  const [answer] = await requestLogSignals(own).read([
    {
      endpoint,
      window: { fromAt: now - hourMs, toAt: now + hourMs },
      sinceAt: now - hourMs,
      periodMs: 2 * hourMs,
      models: [{ id: '11', model: `${parent}/models/echo`, versionId: '1' }],
      checks: [
        {
          name: 'it',
          from: { kind: 'requestLog', table, value },
          rule: { kind: 'drift', maxDistance: 0.3 },
          dryRun: false,
        },
      ],
    },
  ]);
  return answer;
}

/** How many numbers were logged at a value. */
async function logged(value: string): Promise<number> {
  const answer = await read(value);
  expect(answer?.notes).toEqual([]);
  const [models] = answer?.periods.values() ?? [];
  const signal = models?.['11']?.['it'];
  return signal !== undefined && 'counts' in signal ? signal.counts.reduce((sum, count) => sum + count, 0) : 0;
}

describe('request-response logging', () => {
  test('has the instances and predictions of what was answered', async () => {
    await configure(`bq://${table}`);
    await post(emulator, endpoint, 'predict', { instances: [{ distance: 3 }, { distance: 30 }] });
    expect(await logged('instances.distance')).toBe(2);
    // The model of this test answers with words.
    expect((await read('predictions'))?.notes).toEqual([expect.stringContaining('2 of 2 values at predictions')]);
  });

  test('has raw requests, but neither streams nor failures', async () => {
    await configure(`bq://${table}`);
    await post(emulator, endpoint, 'rawPredict', { instances: [{ distance: 3 }] });
    await post(emulator, endpoint, 'streamRawPredict', { instances: [{ distance: 3, chunks: 2 }] });
    for (const method of ['predict', 'rawPredict']) {
      await post(emulator, endpoint, method, { instances: [{ distance: 3, answer: 500 }] });
    }
    expect(await logged('instances.distance')).toBe(1);
  });

  test('is sampled', async () => {
    await configure(`bq://${table}`, 0.4);
    for (unit of [0.1, 0.39, 0.4, 0.9]) await post(emulator, endpoint, 'predict', { instances: [1] });
    expect(await logged('instances')).toBe(2);
  });

  test('can be turned off, and then what was logged stays', async () => {
    await configure(`bq://${table}`);
    await post(emulator, endpoint, 'predict', { instances: [1] });
    await configure(`bq://${table}`, 1, false);
    await post(emulator, endpoint, 'predict', { instances: [1] });
    expect(await logged('instances')).toBe(1);
  });

  test.each([
    ['bq://p-1', 'bq://p-1.logging_delays_2001.request_response_logging'],
    ['bq://p-1.d', 'bq://p-1.d.request_response_logging'],
    ['bq://p-1.d.t-2', 'bq://p-1.d.t-2'],
  ])('names the table where the caller does not: %s', async (outputUri, full) => {
    const { displayName } = await clients.endpoints.getEndpoint({ name: endpoint }).then(([found]) => found);
    const expected = full.replace('delays', (displayName ?? '').replaceAll(/\W/g, '_'));
    expect(await configure(outputUri)).toEqual({
      enabled: true,
      samplingRate: 1,
      bigqueryDestination: { outputUri: expected },
    });
  });

  test.each([
    ['gs://bucket', 1],
    ['bq://', 1],
    ['bq://p.d.t.x', 1],
    ['bq://p.d.t', 0],
    ['bq://p.d.t', 1.5],
  ])('is refused at %s with a rate of %d, and nothing changes', async (outputUri, samplingRate) => {
    await configure(`bq://${table}`);
    expect(await failure(configure(outputUri, samplingRate))).toMatchObject({ code: INVALID_ARGUMENT });
    const [found] = await clients.endpoints.getEndpoint({ name: endpoint });
    expect(found.predictRequestResponseLoggingConfig?.bigqueryDestination?.outputUri).toBe(`bq://${table}`);
  });

  test('can be asked for when the endpoint is created', async () => {
    const [operation] = await clients.endpoints.createEndpoint({
      parent,
      endpointId: '2002',
      endpoint: {
        displayName: 'two',
        predictRequestResponseLoggingConfig: {
          enabled: true,
          samplingRate: 0.5,
          bigqueryDestination: { outputUri: `bq://${table}` },
        },
      },
    });
    const [created] = await operation.promise();
    expect(created.predictRequestResponseLoggingConfig).toMatchObject({ enabled: true, samplingRate: 0.5 });
  });
});

describe('the REST API', () => {
  const ask = (path: string, body: unknown, method = 'POST') =>
    fetch(`http://${emulator.hosts.predict}/bigquery/v2/${path}`, {
      method,
      ...(method === 'POST' && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    }).then((response) => response.json());
  const queries = `projects/${project}/queries`;

  test.each([
    ['another query', queries, { query: 'SELECT 1', useLegacySql: false }, 400, 'invalidQuery'],
    ['no query', queries, { useLegacySql: false }, 400, 'invalid'],
    ['legacy SQL', queries, { query: 'SELECT 1' }, 400, 'invalid'],
    ['no JSON', queries, '{', 400, 'parseError'],
    ['too much', queries, 'x'.repeat(1_000_001), 413, 'uploadTooLarge'],
    ['another method', `projects/${project}/jobs`, {}, 404, 'notFound'],
  ])('refuses %s as BigQuery does', async (_, path, body, code, reason) => {
    expect(await ask(path, body)).toMatchObject({ error: { code, errors: [{ reason }] } });
  });

  test('leaves every other path to the predictions', async () => {
    const { status, json } = await post(emulator, endpoint, 'bigquery', {});
    expect([status, json]).toMatchObject([501, { error: { status: 'UNIMPLEMENTED' } }]);
  });
});

describe('a request log', () => {
  const request = { endpoint: 'e', deployedModelId: '1', requestPayload: ['12345'], responsePayload: ['67890'] };

  test('forgets its oldest rows, by number and by size', () => {
    let now = 0;
    const few = createRequestLog({ now: () => ++now, rowsMax: 2 });
    const small = createRequestLog({ now: () => ++now, charsMax: 25 });
    for (const log of [few, small]) for (const name of ['a', 'b', 'a']) log.add(name, request);
    expect(few.rows('a').map(({ loggedAt }) => loggedAt)).toEqual([3]);
    expect(small.rows('b').map(({ loggedAt }) => loggedAt)).toEqual([5]);
    expect(small.rows('a').map(({ loggedAt }) => loggedAt)).toEqual([6]);
  });

  test('does not take a row that is larger than all it may hold', () => {
    const log = createRequestLog({ now: () => 1, charsMax: 9 });
    log.add('a', request);
    expect(log.rows('a')).toEqual([]);
  });
});
