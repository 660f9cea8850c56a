import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener } from 'node:http';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { prometheusApi } from '../../../emulator/monitoring/prometheus.ts';
import { findEndpoint } from '../../../emulator/world/endpoints.ts';
import { recordPrediction } from '../../../emulator/world/metrics.ts';
import { type Clients, googleClients } from '../../../functions/gcp/clients.ts';
import { promqlSignals } from '../../../functions/gcp/promql-signals.ts';
import type { SignalQuery } from '../../../functions/gcp/signals.ts';
import { signalsSchema } from '../../../machines/analysis/evidence.ts';
import type { CheckPolicy, CheckRule } from '../../../machines/policy/policy.ts';
import { endpoint, type LocalVertex, model, parent, startLocalVertex } from './local-vertex.ts';

const minuteMs = 60_000;
const rate: CheckRule = { kind: 'rate', maxRatio: 0.1, marginRatio: 0.01 };
const quantile: CheckRule = { kind: 'quantile', quantileRatio: 0.95, maxRatio: 1.2 };
const limit: CheckRule = { kind: 'limit', max: 1 };
const responses = 'aiplatform_googleapis_com:prediction_online_response_count';
const counted = (more = '') =>
  `sum by (deployed_model_id) (increase(${responses}{endpoint_id="{endpoint}"${more}}[{window}]))`;

let vertex: LocalVertex;
let fromAt: number;
/** What was asked, in order. */
let asked: URLSearchParams[];
let stop: (() => Promise<void>)[];

beforeEach(async () => {
  vertex = await startLocalVertex();
  fromAt = vertex.world.context.now();
  asked = [];
  stop = [];
});

afterEach(async () => {
  for (const end of stop) await end();
  await vertex.close();
});

/** Clients whose PromQL is answered by a server of the test's. */
async function clientsOf(listener: RequestListener): Promise<Clients> {
  const server = createServer(listener);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' ? (address?.port ?? 0) : 0;
  const emulators = { ...vertex.environment.emulators, monitoringRest: `127.0.0.1:${port}` };
  const clients = googleClients({ ...vertex.environment, emulators });
  stop.push(
    () => clients.close(),
    async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  );
  return clients;
}

/** The emulator's own API. */
function emulated(): Promise<Clients> {
  const api = prometheusApi(vertex.world, vertex.faults.beforeCall);
  return clientsOf((request, response) => {
    if (!api(request, response)) response.writeHead(404).end();
  });
}

/** One answer to everything. */
function always(body: string | object, status = 200): Promise<Clients> {
  return clientsOf((request, response) => {
    void (async () => {
      asked.push(new URLSearchParams(await bodyOf(request)));
      response.writeHead(status).end(typeof body === 'string' ? body : JSON.stringify(body));
    })();
  });
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

function check(name: string, text: string, rule: CheckRule, of: string | null = null): CheckPolicy {
  return { name, from: { kind: 'promql', query: text, of }, rule, dryRun: false };
}

function query(checks: CheckPolicy[], minutes = 1, at = endpoint): SignalQuery {
  const models = ['101', '102'].map((id) => ({ id, model, versionId: '1' }));
  const window = { fromAt, toAt: fromAt + minutes * minuteMs };
  return { endpoint: at, window, sinceAt: fromAt, periodMs: minuteMs, models, checks };
}

async function read(clients: Clients, ...queries: SignalQuery[]) {
  const answers = await promqlSignals(clients).read(queries);
  for (const { periods } of answers) {
    for (const variants of periods.values()) for (const one of Object.values(variants)) signalsSchema.parse(one);
  }
  return answers.map(({ periods, notes }) => ({
    periods: Object.fromEntries([...periods].map(([endAt, variants]) => [(endAt - fromAt) / minuteMs, variants])),
    notes,
  }));
}

function predict(deployedModelId: string, responseCode: number, latencyMs: number, times: number): void {
  const { context } = vertex.world;
  const record = { endpoint: findEndpoint(context, endpoint), deployedModelId, responseCode, instances: 1, latencyMs };
  for (let i = 0; i < times; i++) recordPrediction(context, record);
}

/** A matrix of one minute. */
const matrix = (...result: [labels: Record<string, string>, value: string][]) => ({
  status: 'success',
  data: {
    resultType: 'matrix',
    result: result.map(([metric, value]) => ({ metric, values: [[(fromAt + minuteMs) / 1000, value]] })),
  },
});
const of101 = { deployed_model_id: '101' };
const of102 = { deployed_model_id: '102' };

test('a rate counts hits of trials in every period, with one call for each query', async () => {
  predict('101', 200, 20, 8);
  predict('101', 429, 20, 2);
  predict('102', 200, 20, 5);
  vertex.advance(minuteMs);
  predict('101', 200, 20, 4);
  vertex.advance(10 * minuteMs);
  const checks = [check('throttled', counted(',response_code=~"4.."'), rate, counted())];
  const [answer] = await read(await emulated(), query(checks, 2));
  expect(answer).toEqual({
    periods: {
      1: { 101: { throttled: { hits: 2, trials: 10 } }, 102: { throttled: { hits: 0, trials: 5 } } },
      2: { 101: { throttled: { hits: 0, trials: 4 } } },
    },
    notes: [],
  });
  expect(vertex.faults.calls().total).toBe(2);
});

test('without trials they are the requests that Monitoring lists', async () => {
  predict('101', 429, 20, 2);
  predict('101', 200, 20, 8);
  vertex.advance(10 * minuteMs);
  const [answer] = await read(await emulated(), query([check('throttled', counted(',response_code="429"'), rate)]));
  expect(answer).toEqual({ periods: { 1: { 101: { throttled: { hits: 2, trials: 10 } } } }, notes: [] });
});

test('buckets feed quantiles: cumulative by le, rounded, and turned into counts of their own', async () => {
  predict('101', 200, 5, 3);
  predict('101', 200, 50, 2);
  vertex.advance(10 * minuteMs);
  const latency = 'aiplatform_googleapis_com:prediction_online_prediction_latencies_bucket';
  const text = `sum by (deployed_model_id, le) (increase(${latency}{endpoint_id="{endpoint}"}[{window}]))`;
  const [answer] = await read(await emulated(), query([check('slow', text, quantile)]));
  const histogram = answer?.periods[1]?.['101']?.['slow'];
  if (histogram === undefined || !('counts' in histogram)) throw new Error('Expected a histogram.');
  expect(histogram.counts.reduce((sum, count) => sum + count, 0)).toBe(5);
  expect(histogram.counts.filter((count) => count > 0)).toEqual([3, 2]);
  const le = (bound: string, value: string): [Record<string, string>, string] => [{ ...of101, le: bound }, value];
  const rough = await always(matrix(le('+Inf', '10.0000001'), le('10', '9.9999999'), le('5', '3.5')));
  const [rounded] = await read(rough, query([check('slow', text, quantile)]));
  expect(rounded).toEqual({ periods: { 1: { 101: { slow: { bounds: [5, 10], counts: [4, 6, 0] } } } }, notes: [] });
});

test('a limit reads a value', async () => {
  const [answer] = await read(await always(matrix([of101, '-0.25'])), query([check('lag', 'lag', limit)]));
  expect(answer).toEqual({ periods: { 1: { 101: { lag: { value: -0.25 } } } }, notes: [] });
});

test('{endpoint} and {window} are filled in; the same text of one window is asked once', async () => {
  const clients = await always(matrix([of101, '1']));
  const same = [check('a', 'q[{window}]', limit), check('b', 'q[{window}]', limit)];
  const own = [check('c', 'r{e="{endpoint}"}', limit)];
  await read(clients, query([...same, ...own], 3), query([...same, ...own], 3, `${parent}/endpoints/2`));
  const texts = asked.map((form) => form.get('query'));
  expect(texts).toHaveLength(3);
  expect(new Set(texts)).toEqual(new Set(['q[60s]', 'r{e="1"}', 'r{e="2"}']));
  const [first] = asked;
  expect([first?.get('start'), first?.get('end'), first?.get('step')]).toEqual([
    String((fromAt + minuteMs) / 1000),
    String((fromAt + 3 * minuteMs) / 1000),
    '60',
  ]);
});

test('results of another endpoint do not count', async () => {
  const clients = await always(matrix([{ ...of101, endpoint_id: '9' }, '1'], [{ ...of102, endpoint_id: '1' }, '2']));
  const [answer] = await read(clients, query([check('lag', 'lag', limit)]));
  expect(answer?.periods).toEqual({ 1: { 102: { lag: { value: 2 } } } });
});

test.each([
  ['NaN', 'got NaN'],
  ['+Inf', 'got +Inf'],
  ['-3', 'got -3'],
  ['1e300', 'got 1e300'],
  ['', 'expected a count'],
])('a count of "%s" leaves the period out for all variants', async (value, reason) => {
  const clients = await always(matrix([of101, value], [of102, '5']));
  const [answer] = await read(clients, query([check('bad', 'hits', rate, 'trials')]));
  expect(answer?.periods).toEqual({});
  expect(answer?.notes.join()).toMatch(/^Check "bad": DeployedModel 101: /);
  expect(answer?.notes.join()).toContain(reason);
});

test.each([
  [
    'that do not ascend',
    [
      ['5', '4'],
      ['10', '2'],
      ['+Inf', '9'],
    ],
    'do not ascend',
  ],
  ['without an end', [['5', '4']], 'lack le="+Inf"'],
  [
    'with a bound that is no number',
    [
      ['wide', '4'],
      ['+Inf', '9'],
    ],
    'le="wide"',
  ],
])('buckets %s are refused', async (_, buckets, reason) => {
  const clients = await always(
    matrix(...buckets.map(([le = '', value = '']): [Record<string, string>, string] => [{ ...of101, le }, value])),
  );
  const [answer] = await read(clients, query([check('price', 'price_bucket', quantile)]));
  expect(answer?.periods).toEqual({});
  expect(answer?.notes.join()).toContain(reason);
});

test('results for times that were not asked, and without a model, are dropped with a note', async () => {
  const reply = matrix([{}, '7'], [of101, '1']);
  reply.data.result[1]?.values.push([(fromAt + 30_000) / 1000, '99'], [1e300, '98']);
  const [answer] = await read(await always(reply), query([check('lag', 'lag', limit)]));
  expect(answer?.periods).toEqual({ 1: { 101: { lag: { value: 1 } } } });
  expect(answer?.notes).toHaveLength(3);
});

test('what is wrong about a model that nobody asks for spoils nothing', async () => {
  const foreign = { deployed_model_id: '999', endpoint_id: '1' };
  const [answer] = await read(
    await always(matrix([foreign, 'NaN'], [of101, '1'])),
    query([check('lag', 'lag', limit)]),
  );
  expect(answer).toEqual({ periods: { 1: { 101: { lag: { value: 1 } } } }, notes: [] });
});

test.each([
  [
    'an error in JSON',
    { status: 'error', errorType: 'bad_data', error: 'parse error at 3' },
    400,
    'bad_data: parse error at 3',
  ],
  ['a failure of the service', 'upstream is away', 503, 'HTTP 503'],
  ['what is no JSON', '{"status":', 200, 'HTTP 200'],
  ['another kind of result', { status: 'success', data: { resultType: 'scalar', result: [1, '2'] } }, 200, 'a matrix'],
])('%s is a note about the check', async (_, body, status, reason) => {
  const [answer] = await read(await always(body, status), query([check('lag', 'lag{', limit)]));
  expect(answer?.periods).toEqual({});
  expect(answer?.notes).toEqual([expect.stringMatching(/^Check "lag" could not be read: /)]);
  expect(answer?.notes.join()).toContain(reason);
});

test('a server that is away is a note, and other checks are read', async () => {
  const clients = await clientsOf((request, response) => {
    void (async () => {
      if ((await bodyOf(request)).includes('gone')) request.socket.destroy();
      else response.end(JSON.stringify(matrix([of101, '1'])));
    })();
  });
  const [answer] = await read(clients, query([check('a', 'gone', limit), check('b', 'here', limit)]));
  expect(answer?.periods).toEqual({ 1: { 101: { b: { value: 1 } } } });
  expect(answer?.notes).toEqual([expect.stringMatching(/^Check "a" could not be read: .*no answer/)]);
});

test('an answer that never ends is cut at its bound', async () => {
  const clients = await clientsOf((_, response) => {
    const more = (): void => {
      while (!response.destroyed && response.write('x'.repeat(64 * 1024)));
      response.once('drain', more);
    };
    more();
  });
  const [answer] = await read(clients, query([check('lag', 'lag', limit)]));
  expect(answer?.notes.join()).toMatch(/more than \d+ bytes/);
});
