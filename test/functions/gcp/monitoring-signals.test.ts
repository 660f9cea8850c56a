import { afterEach, beforeEach, expect, test } from 'vitest';
import { unaryService } from '../../../emulator/grpc.ts';
import { findEndpoint } from '../../../emulator/world/endpoints.ts';
import { recordPrediction } from '../../../emulator/world/metrics.ts';
import { parseEnvironment } from '../../../functions/engine/environment.ts';
import { googleClients } from '../../../functions/gcp/clients.ts';
import { filterSignals } from '../../../functions/gcp/monitoring-signals.ts';
import type { SignalQuery } from '../../../functions/gcp/signals.ts';
import { signalsSchema } from '../../../machines/analysis/evidence.ts';
import type { CheckPolicy, CheckRule } from '../../../machines/policy/policy.ts';
import { endpoint, type LocalVertex, model, parent, serve, startLocalVertex } from './local-vertex.ts';

const minuteMs = 60_000;
const rate: CheckRule = { kind: 'rate', maxRatio: 0.1, marginRatio: 0.01 };
const quantile: CheckRule = { kind: 'quantile', quantileRatio: 0.95, maxRatio: 1.2 };
const limit: CheckRule = { kind: 'limit', max: 1 };

let vertex: LocalVertex;
let fromAt: number;

beforeEach(async () => {
  vertex = await startLocalVertex();
  fromAt = vertex.world.context.now();
});

afterEach(() => vertex.close());

const custom = (name: string) => `custom.googleapis.com/bookings/${name}`;

function check(name: string, filter: string, rule: CheckRule, of: string | null = null): CheckPolicy {
  return { name, from: { kind: 'filter', filter, of }, rule, dryRun: false };
}

/** About the first minutes after `fromAt`. */
function query(checks: CheckPolicy[], minutes = 1, at = endpoint): SignalQuery {
  const models = ['101', '102'].map((id) => ({ id, model, versionId: '1' }));
  const window = { fromAt, toAt: fromAt + minutes * minuteMs };
  return { endpoint: at, window, sinceAt: fromAt, periodMs: minuteMs, models, checks };
}

interface Point {
  type: string;
  labels: Record<string, string>;
  kind: 'GAUGE' | 'CUMULATIVE' | 'DELTA';
  /** Milliseconds after `fromAt`. */
  startMs?: number;
  endMs: number;
  value: object;
}

async function write({ type, labels, kind, startMs, endMs, value }: Point): Promise<void> {
  const client = await vertex.clients.metrics();
  const at = (ms: number) => ({ seconds: Math.floor((fromAt + ms) / 1000), nanos: 0 });
  const interval = { ...(startMs === undefined ? {} : { startTime: at(startMs) }), endTime: at(endMs) };
  await client.createTimeSeries({
    name: 'projects/demo',
    timeSeries: [
      {
        metric: { type, labels },
        resource: { type: 'global', labels: {} },
        metricKind: kind,
        points: [{ interval, value }],
      },
    ],
  });
}

/** A counter since `fromAt`, for each minute what it has counted so far. */
async function count(type: string, labels: Record<string, string>, totals: number[]): Promise<void> {
  for (const [i, total] of totals.entries()) {
    await write({
      type,
      labels,
      kind: 'CUMULATIVE',
      startMs: 0,
      endMs: (i + 1) * minuteMs,
      value: { int64Value: total },
    });
  }
}

async function read(...queries: SignalQuery[]) {
  const answers = await filterSignals(vertex.clients).read(queries);
  for (const { periods } of answers) {
    for (const variants of periods.values()) for (const one of Object.values(variants)) signalsSchema.parse(one);
  }
  return answers.map(({ periods, notes }) => ({
    periods: Object.fromEntries([...periods].map(([endAt, variants]) => [(endAt - fromAt) / minuteMs, variants])),
    notes,
  }));
}

const labels = (id: string, more: Record<string, string> = {}) => ({
  endpoint_id: '1',
  deployed_model_id: id,
  ...more,
});
const filter = (name: string) => `metric.type="${custom(name)}"`;

test('a rate counts hits of trials by two filters, for each period and variant, whatever else the series differ in', async () => {
  await count(custom('shown'), labels('101'), [100, 300]);
  await count(custom('cancelled'), labels('101', { reason: 'price' }), [1, 3]);
  await count(custom('cancelled'), labels('101', { reason: 'time' }), [4, 4]);
  await count(custom('shown'), labels('102'), [50]);
  vertex.advance(10 * minuteMs);
  const [answer] = await read(query([check('cancelled', filter('cancelled'), rate, filter('shown'))], 2));
  expect(answer).toEqual({
    periods: {
      1: { 101: { cancelled: { hits: 5, trials: 100 } }, 102: { cancelled: { hits: 0, trials: 50 } } },
      2: { 101: { cancelled: { hits: 2, trials: 200 } } },
    },
    notes: [],
  });
});

test('without a filter for trials they are requests, of the endpoint that asks alone', async () => {
  const record = {
    endpoint: findEndpoint(vertex.world.context, endpoint),
    responseCode: 200,
    instances: 1,
    latencyMs: 9,
  };
  for (let i = 0; i < 20; i++) recordPrediction(vertex.world.context, { ...record, deployedModelId: '101' });
  await count(custom('refused'), labels('101'), [3]);
  vertex.advance(10 * minuteMs);
  const [answer] = await read(query([check('refused', filter('refused'), rate)]));
  expect(answer).toEqual({ periods: { 1: { 101: { refused: { hits: 3, trials: 20 } } } }, notes: [] });
});

test("metrics of Vertex's endpoints are narrowed to those that ask, in one call for all of them", async () => {
  const record = {
    endpoint: findEndpoint(vertex.world.context, endpoint),
    responseCode: 503,
    instances: 1,
    latencyMs: 9,
  };
  recordPrediction(vertex.world.context, { ...record, deployedModelId: '101' });
  vertex.advance(10 * minuteMs);
  const hits = 'metric.type="aiplatform.googleapis.com/prediction/online/error_count"';
  const checks = [check('errors', hits, rate)];
  const answers = await read(query(checks), query(checks, 1, `${parent}/endpoints/2`));
  expect(answers.map(({ periods }) => periods)).toEqual([{ 1: { 101: { errors: { hits: 1, trials: 1 } } } }, {}]);
  expect(vertex.faults.calls().total).toBe(2);
});

test('a filter that many checks and endpoints ask is listed once', async () => {
  await count(custom('shown'), labels('101'), [100]);
  vertex.advance(10 * minuteMs);
  vertex.faults.clearCalls();
  const checks = ['a', 'b', 'c'].map((name) => check(name, filter('shown'), rate, filter('shown')));
  const [first, second] = await read(query(checks), query(checks, 1, `${parent}/endpoints/2`));
  expect(first?.periods).toMatchObject({ 1: { 101: { a: { hits: 100, trials: 100 }, c: { hits: 100 } } } });
  expect(second?.periods).toEqual({});
  expect(vertex.faults.calls().total).toBe(1);
});

test('distributions feed quantiles and drift, counted from point to point', async () => {
  const distribution = (counts: number[]) => ({
    distributionValue: {
      count: counts.reduce((sum, value) => sum + value, 0),
      mean: 1,
      bucketOptions: { explicitBuckets: { bounds: [10, 20] } },
      bucketCounts: counts,
    },
  });
  const point = { type: custom('price'), labels: labels('102'), kind: 'CUMULATIVE', startMs: 0 } as const;
  await write({ ...point, endMs: minuteMs, value: distribution([1, 2, 3]) });
  await write({ ...point, endMs: 2 * minuteMs, value: distribution([1, 7, 4]) });
  vertex.advance(10 * minuteMs);
  const [answer] = await read(query([check('price', filter('price'), quantile)], 2));
  expect(answer).toEqual({
    periods: {
      1: { 102: { price: { bounds: [10, 20], counts: [1, 2, 3] } } },
      2: { 102: { price: { bounds: [10, 20], counts: [0, 5, 1] } } },
    },
    notes: [],
  });
});

test('a limit reads the newest value of a gauge, and of several series the greatest', async () => {
  const gauge = (instance: string, endMs: number, doubleValue: number) =>
    write({ type: custom('queue'), labels: labels('101', { instance }), kind: 'GAUGE', endMs, value: { doubleValue } });
  await gauge('a', 10_000, 9);
  await gauge('a', 50_000, -2.5);
  await gauge('b', 20_000, -3);
  vertex.advance(10 * minuteMs);
  const [answer] = await read(query([check('queue', filter('queue'), limit)]));
  expect(answer).toEqual({ periods: { 1: { 101: { queue: { value: -2.5 } } } }, notes: [] });
});

test('a metric that does not fit its rule, or does not exist, gives a note and no signal; other checks are read', async () => {
  await count(custom('shown'), labels('101'), [100]);
  await write({
    type: custom('queue'),
    labels: labels('101'),
    kind: 'GAUGE',
    endMs: 10_000,
    value: { doubleValue: 1 },
  });
  vertex.advance(10 * minuteMs);
  const [answer] = await read(
    query([
      check('gauge as counter', filter('queue'), rate, filter('shown')),
      check('counter as gauge', filter('shown'), limit),
      check('counter as histogram', filter('shown'), quantile),
      check('missing', filter('none'), rate, filter('shown')),
      check('no filter', 'everything', rate, filter('shown')),
      check('fine', filter('shown'), rate, filter('shown')),
    ]),
  );
  expect(answer?.periods).toEqual({ 1: { 101: { fine: { hits: 100, trials: 100 } } } });
  expect(answer?.notes).toEqual([
    expect.stringMatching(/^Check "gauge as counter" could not be read: .*ALIGN_DELTA does not fit the GAUGE/),
    expect.stringMatching(/^Check "counter as gauge" could not be read: .*ALIGN_NEXT_OLDER does not fit/),
    expect.stringMatching(/^Check "counter as histogram": DeployedModel 101: .*no distribution.*left out/),
    expect.stringMatching(/^Check "missing" could not be read: .*Cannot find the metric type/),
    expect.stringMatching(/^Check "no filter" could not be read: .*not understood/),
  ]);
});

test('more hits than trials leave the period out for all variants, and no other period', async () => {
  await count(custom('shown'), labels('101'), [10, 30]);
  await count(custom('shown'), labels('102'), [10, 30]);
  await count(custom('cancelled'), labels('101'), [11, 12]);
  vertex.advance(10 * minuteMs);
  const [answer] = await read(query([check('cancelled', filter('cancelled'), rate, filter('shown'))], 2));
  expect(answer?.periods).toEqual({
    2: { 101: { cancelled: { hits: 1, trials: 20 } }, 102: { cancelled: { hits: 0, trials: 20 } } },
  });
  expect(answer?.notes).toEqual([expect.stringMatching(/"hits":11,"trials":10.*101.*hits cannot exceed trials/)]);
});

test('a series without an endpoint belongs to the endpoint that asks about its model; where two do, to none', async () => {
  await count(custom('shown'), { deployed_model_id: '101' }, [10]);
  await count(custom('shown'), { service: 'web' }, [1000]);
  vertex.advance(10 * minuteMs);
  const checks = [check('shown', filter('shown'), rate, filter('shown'))];
  const [alone] = await read(query(checks));
  expect(alone?.periods).toEqual({ 1: { 101: { shown: { hits: 10, trials: 10 } } } });
  expect(alone?.notes).toEqual([expect.stringContaining('a series without a label deployed_model_id counts for none')]);
  const both = await read(query(checks), query(checks, 1, `${parent}/endpoints/2`));
  expect(both.map(({ periods }) => periods)).toEqual([{}, {}]);
  for (const { notes } of both) expect(notes.join()).toContain('several endpoints have a DeployedModel 101');
});

test('{endpoint} in a filter is the id of the endpoint', async () => {
  await count(custom('shown'), labels('101'), [10]);
  vertex.advance(10 * minuteMs);
  const own = `${filter('shown')} AND metric.labels.endpoint_id="{endpoint}"`;
  const [answer] = await read(query([check('shown', own, rate, own)]));
  expect(answer?.periods).toEqual({ 1: { 101: { shown: { hits: 10, trials: 10 } } } });
});

test('a counter that goes down is a fault of its period for all variants', async () => {
  const series = (id: string, value: number) => ({
    resource: { type: 'global', labels: {} },
    metric: { labels: labels(id) },
    points: [
      {
        interval: { startTime: { seconds: fromAt / 1000 }, endTime: { seconds: (fromAt + minuteMs) / 1000 } },
        value: { int64Value: String(value) },
      },
    ],
  });
  const { host, close } = await serve([
    unaryService('google.monitoring.v3.MetricService', {
      ListTimeSeries: () => ({ timeSeries: [series('101', -4), series('102', 7)] }),
    }),
  ]);
  const environment = parseEnvironment({
    GOOGLE_CLOUD_PROJECT: 'demo',
    ROLLOUT_LOCATION: 'us-central1',
    MONITORING_EMULATOR_HOST: host,
  });
  const clients = googleClients(environment);
  const [answer] = await filterSignals(clients).read([query([check('shown', filter('shown'), rate, filter('shown'))])]);
  await clients.close();
  await close();
  expect([...(answer?.periods.keys() ?? [])]).toEqual([]);
  expect(answer?.notes).toEqual([expect.stringMatching(/^Check "shown": DeployedModel 101: .*got -4.*left out/)]);
});
