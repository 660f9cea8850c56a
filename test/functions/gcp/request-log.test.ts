import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { bigqueryApi } from '../../../emulator/bigquery/bigquery.ts';
import { createRequestLog, type RequestLog } from '../../../emulator/bigquery/request-log.ts';
import { createFaults, type Faults } from '../../../emulator/faults.ts';
import { createEndpoint } from '../../../emulator/world/endpoints.ts';
import { createWorld, timingsFor } from '../../../emulator/world/world.ts';
import { parseEnvironment } from '../../../functions/engine/environment.ts';
import { type Clients, googleClients } from '../../../functions/gcp/clients.ts';
import { requestLogSignals } from '../../../functions/gcp/request-log.ts';
import type { SignalAnswer, SignalQuery } from '../../../functions/gcp/signals.ts';
import { signalsSchema } from '../../../machines/analysis/evidence.ts';
import type { CheckPolicy } from '../../../machines/policy/policy.ts';
import { portOf } from '../../port.ts';

const parent = 'projects/demo/locations/us-central1';
const table = 'demo.logs.requests';
const minuteMs = 60_000;
const fromAt = Date.parse('2026-01-01T00:00:00Z');

const drift: CheckPolicy['rule'] = { kind: 'drift', maxDistance: 0.3 };

function check(value: string, { name = 'distance', from = table, rule = drift } = {}): CheckPolicy {
  return { name, from: { kind: 'requestLog', table: from, value }, rule, dryRun: false };
}

function query(checks: CheckPolicy[], { endpoint = '1', minutes = 2, ids = ['101', '102'] } = {}): SignalQuery {
  return {
    endpoint: `${parent}/endpoints/${endpoint}`,
    window: { fromAt, toAt: fromAt + minutes * minuteMs },
    sinceAt: fromAt,
    periodMs: minuteMs,
    models: ids.map((id) => ({ id, model: `${parent}/models/delays`, versionId: id })),
    checks,
  };
}

/** What lies in each bin that has something, by its upper bound. */
function bins(answer: SignalAnswer | undefined, minute: number, id: string, name = 'distance'): Record<string, number> {
  const signals = signalsSchema.parse(answer?.periods.get(fromAt + minute * minuteMs)?.[id] ?? {});
  const signal = signals[name];
  if (signal === undefined || !('bounds' in signal)) return {};
  const pairs = signal.counts.map((count, i) => [String(signal.bounds[i] ?? 'above'), count] as const);
  return Object.fromEntries(pairs.filter(([, count]) => count > 0));
}

let server: Server | null = null;
let clients: Clients | null = null;

/** The reader over the real clients, asking whoever listens. */
async function readerOf(listener: RequestListener) {
  server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const port = portOf(server);
  clients = googleClients(
    parseEnvironment({
      GOOGLE_CLOUD_PROJECT: 'demo',
      ROLLOUT_LOCATION: 'us-central1',
      BIGQUERY_EMULATOR_HOST: `127.0.0.1:${port}`,
    }),
  );
  return requestLogSignals(clients);
}

afterEach(async () => {
  await clients?.close();
  server?.close();
  server?.closeAllConnections();
});

describe('over the emulator', () => {
  let now: number;
  let log: RequestLog;
  let faults: Faults;
  let signals: ReturnType<typeof requestLogSignals>;

  beforeEach(async () => {
    now = fromAt - 10 * minuteMs;
    const world = createWorld({ now: () => now, timings: timingsFor(1) });
    faults = createFaults(world.context.conditions, () => now);
    log = createRequestLog({ now: () => now });
    const requestLogging = { enabled: true, samplingRate: 1, outputUri: `bq://${table}` };
    for (const id of ['1', '2']) {
      const settings = { displayName: id, description: '', labels: {}, requestLogging };
      createEndpoint(world.context, parent, settings, id);
    }
    now = fromAt;
    world.advance();
    const api = bigqueryApi(world, log, faults.beforeCall);
    signals = await readerOf((request, response) => void api(request, response));
  });

  /** Logs one request so many seconds into the window. */
  function logged(
    seconds: number,
    id: string,
    instances: unknown[],
    predictions: unknown[] = [],
    endpoint = '1',
  ): void {
    now = fromAt + seconds * 1000;
    log.add(table, {
      endpoint: `projects/123/locations/us-central1/endpoints/${endpoint}`,
      deployedModelId: id,
      requestPayload: instances.map((instance) => JSON.stringify(instance)),
      responsePayload: predictions.map((prediction) => JSON.stringify(prediction)),
    });
  }

  test('each DeployedModel has a histogram for each period', async () => {
    logged(1, '101', [{ distance: 3 }, { distance: 4 }, { distance: 30 }]);
    logged(2, '102', [{ distance: 300 }]);
    logged(61, '101', [{ distance: 0.4 }]);
    const [answer] = await signals.read([query([check('instances.distance')])]);
    expect(answer?.notes).toEqual([]);
    expect(bins(answer, 1, '101')).toEqual({ 5: 2, 50: 1 });
    expect(bins(answer, 1, '102')).toEqual({ 500: 1 });
    expect(bins(answer, 2, '101')).toEqual({ 0.4: 1 });
    expect(bins(answer, 2, '102')).toEqual({});
  });

  test('a window is half-open, and so is each of its periods', async () => {
    for (const seconds of [0, 60, 120, 121]) logged(seconds, '101', [{ distance: seconds }]);
    const [answer] = await signals.read([query([check('instances.distance')])]);
    expect(bins(answer, 1, '101')).toEqual({ 100: 1 });
    expect(bins(answer, 2, '101')).toEqual({ 200: 1 });
    expect(answer?.periods.size).toBe(2);
  });

  test('the last period may be shorter, and ends with the window', async () => {
    logged(130, '101', [{ distance: 1 }]);
    const [answer] = await signals.read([query([check('instances.distance')], { minutes: 2.5 })]);
    expect(bins(answer, 2.5, '101')).toEqual({ 1: 1 });
  });

  test('a bin holds its upper bound, and the outermost bins hold the rest', async () => {
    logged(1, '101', [[0], [-0.001], [0.5], [0.500001], [1e6], [1e7], [-1e7]]);
    const [answer] = await signals.read([query([check('instances.0')])]);
    expect(bins(answer, 1, '101')).toEqual({
      '-1000000': 1,
      '-0.001': 1,
      '0': 1,
      '0.5': 1,
      '0.55': 1,
      '1000000': 1,
      above: 1,
    });
  });

  test('a raw request, logged as one text, is read like any other', async () => {
    logged(1, '101', [{ instances: [{ distance: 3 }, { distance: 30 }] }], [{ predictions: [[0.2], [0.9]] }]);
    const checks = [check('instances.distance'), check('predictions.0', { name: 'score' })];
    const [answer] = await signals.read([query(checks)]);
    expect(bins(answer, 1, '101')).toEqual({ 5: 1, 50: 1 });
    expect(bins(answer, 1, '101', 'score')).toEqual({ 0.2: 1, 0.9: 1 });
  });

  test('values that are no numbers are left out, and a note says how many', async () => {
    logged(1, '101', [{ distance: 3 }, { distance: '3' }, { distance: true }, {}, { distance: { km: 3 } }], [0.5]);
    const checks = [check('instances.distance'), check('predictions', { name: 'score' })];
    const [answer] = await signals.read([query(checks)]);
    expect(bins(answer, 1, '101')).toEqual({ 5: 1 });
    expect(answer?.notes).toEqual([
      expect.stringMatching(/^distance: 4 of 5 values at instances\.distance are no numbers/),
    ]);
  });

  test('all endpoints and checks that ask about one table in one window share a call', async () => {
    logged(1, '101', [{ distance: 3, hour: 8 }], [0.5], '1');
    logged(1, '101', [{ distance: 30, hour: 9 }], [0.7], '2');
    const quantile = { kind: 'quantile', quantileRatio: 0.9, maxRatio: 1.2 } as const;
    const checks = [
      check('instances.distance'),
      check('predictions', { name: 'score' }),
      { ...check('instances.distance', { name: 'far' }), rule: quantile },
    ];
    const answers = await signals.read([query(checks, { endpoint: '2' }), query(checks), query([])]);
    expect(answers.map((answer) => bins(answer, 1, '101'))).toEqual([{ 50: 1 }, { 5: 1 }, {}]);
    expect(answers.map((answer) => bins(answer, 1, '101', 'score'))).toEqual([{ 0.7: 1 }, { 0.5: 1 }, {}]);
    expect(answers.map((answer) => bins(answer, 1, '101', 'far'))).toEqual([{ 50: 1 }, { 5: 1 }, {}]);
    expect(faults.calls().total).toBe(1);
  });

  test('DeployedModels that were not asked about are not counted', async () => {
    logged(1, '101', [{ distance: 3 }]);
    logged(1, '7', [{ distance: 3 }], [], '2');
    const checks = [check('instances.distance')];
    const [first, second] = await signals.read([
      query(checks, { ids: ['7'] }),
      query(checks, { endpoint: '2', ids: ['101'] }),
    ]);
    expect([first?.periods.size, second?.periods.size]).toEqual([0, 0]);
  });

  test('nothing is asked when nothing is to be known', async () => {
    const checks = [check('instances.distance')];
    expect(await signals.read([])).toEqual([]);
    const nothing = { periods: new Map(), notes: [] };
    expect(await signals.read([query([]), query(checks, { minutes: 0 }), query(checks, { ids: [] })])).toEqual([
      nothing,
      nothing,
      nothing,
    ]);
    expect(faults.calls().total).toBe(0);
  });

  test.each([
    ["instances.distance') FROM x --", 'value'],
    ['instances."distance"', 'value'],
    ['instances.a\\b', 'value'],
    ['instances..distance', 'value'],
    ['instances.distance\n', 'value'],
    ['parameters.distance', 'value'],
    ['', 'value'],
  ])('the value %j is refused, not asked for', async (value) => {
    const [answer] = await signals.read([query([check(value)])]);
    expect(answer?.notes).toEqual([expect.stringMatching(/^distance: value .* is not "instances" or "predictions"/)]);
    expect(faults.calls().total).toBe(0);
  });

  test.each(['logs.requests', 'demo.logs.requests`; DROP TABLE x', 'demo.logs.*', 'demo.logs.requests\n', ''])(
    'the table %j is refused, not asked for',
    async (from) => {
      const [answer] = await signals.read([query([check('predictions', { from })])]);
      expect(answer?.notes).toEqual([expect.stringMatching(/^distance: table .* is not PROJECT\.DATASET\.TABLE/)]);
      expect(faults.calls().total).toBe(0);
    },
  );

  test.each([[{ kind: 'rate', maxRatio: 0.1, marginRatio: 0.01 } as const], [{ kind: 'limit', max: 3 } as const]])(
    'a rule that is not about a distribution becomes a note: $kind',
    async (rule) => {
      const [answer] = await signals.read([query([{ ...check('predictions'), rule }])]);
      expect(answer?.notes).toEqual([expect.stringContaining(`the rule "${rule.kind}"`)]);
      expect(faults.calls().total).toBe(0);
    },
  );

  test('a table that is not there becomes a note for each check, and the other tables are read', async () => {
    logged(1, '101', [{ distance: 3 }]);
    const checks = [check('instances.distance'), check('predictions', { name: 'score', from: 'demo.logs.none' })];
    const [answer] = await signals.read([query(checks)]);
    expect(bins(answer, 1, '101')).toEqual({ 5: 1 });
    expect(answer?.notes).toEqual([
      expect.stringMatching(/^score: .*Not found: Table demo:logs\.none.*; enable request-response logging/),
    ]);
  });

  test.each([
    ['PERMISSION_DENIED', /roles\/bigquery\.jobUser/],
    ['RESOURCE_EXHAUSTED', /quota/],
    ['UNAVAILABLE', /the next one is asked for/],
  ])('a refusal, %s, becomes a note that says what to do, after one call', async (code, advice) => {
    faults.add([{ method: '*JobService/Query', code }]);
    const [answer] = await signals.read([query([check('predictions')])]);
    expect(answer?.notes).toEqual([expect.stringMatching(advice)]);
    expect(faults.calls().total).toBe(1);
  });
});

describe('over replies that BigQuery could give', () => {
  const json = (code: number, body: unknown) => ({ code, text: JSON.stringify(body) });
  const rows = (...cells: unknown[][]) => cells.map((row) => ({ f: row.map((v) => ({ v })) }));
  const error = (code: number, reason: string) =>
    json(code, { error: { code, message: 'no', errors: [{ reason, message: 'no' }] } });

  async function answerTo({ code, text }: { code: number; text: string }, bodies: unknown[] = []) {
    const signals = await readerOf((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        bodies.push(JSON.parse(Buffer.concat(chunks).toString('utf8')));
        response.writeHead(code, { 'content-type': 'application/json' }).end(text);
      });
    });
    const [answer] = await signals.read([query([check('predictions')])]);
    return answer;
  }

  test('the query is bounded in bytes and in time, and takes what varies as parameters', async () => {
    const bodies: unknown[] = [];
    await answerTo(json(200, { jobComplete: true }), bodies);
    expect(bodies).toEqual([
      expect.objectContaining({ maximumBytesBilled: '4294967296', jobTimeoutMs: '20000', timeoutMs: 20_000 }),
    ]);
    expect(bodies[0]).toMatchObject({
      queryParameters: expect.arrayContaining([
        expect.objectContaining({ name: 'from', parameterValue: { value: '1767225600000000' } }),
        expect.objectContaining({
          name: 'models',
          parameterValue: { arrayValues: [{ value: '101' }, { value: '102' }] },
        }),
      ]),
    });
  });

  test.each([
    ['no rows', json(200, { jobComplete: true }), []],
    ['a job that is not done', json(200, { jobComplete: false }), [/not done within 20000 ms/]],
    ['one page of several', json(200, { jobComplete: true, rows: [], pageToken: 'x' }), [/more rows than one reply/]],
    ['an empty object', json(200, {}), [/not what the API promises/]],
    ['null', json(200, null), [/not what the API promises/]],
    ['no JSON', { code: 200, text: '<html>' }, [/not what the API promises/]],
    ['a cell too few', json(200, { jobComplete: true, rows: rows(['1', '101', '0', '0', '0']) }), [/promises/]],
    ['a period beyond', json(200, { jobComplete: true, rows: rows(['1', '101', '2', '0', '0', '1']) }), [/promises/]],
    ['a bin beyond', json(200, { jobComplete: true, rows: rows(['1', '101', '0', '0', '999', '1']) }), [/promises/]],
    ['a negative count', json(200, { jobComplete: true, rows: rows(['1', '101', '0', '0', '0', '-1']) }), [/promises/]],
    ['a missing column', error(400, 'invalidQuery'), [/the one that Vertex AI logs/]],
    ['a query too dear', error(400, 'bytesBilledLimitExceeded'), [/more than 4 GiB: log a smaller sample/]],
    ['a reason of an object', error(400, 'toString'), [/the next one is asked for/]],
    ['a failure without a body', { code: 500, text: '' }, [/the next one is asked for/]],
  ])('%s: no signal, and a note where something is wrong', async (_, reply, notes) => {
    const answer = await answerTo(reply);
    expect(answer?.notes).toEqual(notes.map((note) => expect.stringMatching(note)));
    expect(answer?.periods).toEqual(new Map());
  });

  test('a service that hangs up becomes a note', async () => {
    const signals = await readerOf((request) => request.socket.destroy());
    const [answer] = await signals.read([query([check('predictions')])]);
    expect(answer?.notes).toEqual([expect.stringMatching(/^distance: no answer: /)]);
  });

  test('however long an error is, its note fits into evidence', async () => {
    const answer = await answerTo(json(400, { error: { code: 400, message: 'x'.repeat(5000), errors: [] } }));
    expect(answer?.notes[0]?.length).toBeLessThan(1000);
  });
});
