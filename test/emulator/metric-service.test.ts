import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type RunningEmulator, startEmulator } from '../../emulator/start.ts';
import { recordPrediction } from '../../emulator/world/metrics.ts';
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

const code = { invalid: 3, notFound: 5, unimplemented: 12 };
const name = `projects/${project}`;
const TYPE = 'aiplatform.googleapis.com/prediction/online';
const minuteMs = 60_000;

/** The world's clock: real time, moved on by the tests. It starts a second into a minute. */
let offsetMs = minuteMs - (Date.now() % minuteMs) + 1_000;
const now = (): number => Date.now() + offsetMs;
const startAt = Math.floor(now() / minuteMs) * minuteMs;

let emulator: RunningEmulator;
let clients: Clients;

beforeAll(async () => {
  const timings = { sampleMs: minuteMs, metricLagMs: 3 * minuteMs };
  emulator = await startEmulator({ timeScale: 3600, now, timings });
  clients = googleClients(emulator);
  await uploadVersion(clients, 'echo');
  for (const [id, models] of [
    ['3001', { 0: 100 }],
    ['3002', {}],
  ] as const) {
    const endpoint = await createEndpoint(clients, id);
    await deploy(clients, endpoint, '11', 'echo@1', models);
  }
  // In the first minute: 3 good answers and one bad one of 3001/11 over HTTP.
  const [first] = await clients.endpoints.listEndpoints({ parent: `${name}/locations/us-central1` });
  const endpoint = first[0]?.name ?? '';
  for (let i = 0; i < 3; i++) await post(emulator, endpoint, 'predict', { instances: [{}, {}] });
  await post(emulator, endpoint, 'rawPredict', { instances: [{ answer: 503 }] });
  // In the second: hundred answers with latencies of 1 to 100 ms, and one of the other endpoint.
  offsetMs += minuteMs;
  const [world3001, world3002] = Object.values(emulator.world.context.state.endpoints);
  if (world3001 === undefined || world3002 === undefined) throw new Error('Expected two endpoints.');
  const record = { deployedModelId: '11', responseCode: 200, instances: 1 };
  for (let latencyMs = 1; latencyMs <= 100; latencyMs++) {
    recordPrediction(emulator.world.context, { ...record, endpoint: world3001, latencyMs });
  }
  recordPrediction(emulator.world.context, { ...record, endpoint: world3002, latencyMs: 1 });
  offsetMs += 10 * minuteMs;
});
afterAll(async () => {
  await clients.close();
  await emulator.close();
});

const at = (ms: number) => ({ seconds: Math.floor(ms / 1000), nanos: (ms % 1000) * 1e6 });

const filterOf = (metric: string, more = '') =>
  `metric.type="${TYPE}/${metric}" AND resource.type="aiplatform.googleapis.com/Endpoint" ` +
  `AND resource.labels.endpoint_id=one_of("3001","3002")${more}`;

async function list(request: object) {
  const interval = { startTime: at(startAt - minuteMs), endTime: at(startAt + 5 * minuteMs) };
  const [found] = await clients.metrics.listTimeSeries({ name, interval, view: 'FULL', ...request });
  return found;
}

type Reducer = 'REDUCE_SUM' | 'REDUCE_PERCENTILE_95' | 'REDUCE_PERCENTILE_99';

const summed = (seconds: number, groupByFields: string[], crossSeriesReducer: Reducer = 'REDUCE_SUM') => ({
  aggregation: {
    alignmentPeriod: { seconds },
    perSeriesAligner: 'ALIGN_DELTA' as const,
    crossSeriesReducer,
    groupByFields,
  },
});

const byModel = ['resource.label.endpoint_id', 'metric.label.deployed_model_id'];

describe('ListTimeSeries', () => {
  test('gives raw points, newest first, with the labels of Vertex', async () => {
    const found = await list({ filter: filterOf('response_count', ' AND metric.labels.response_code="200"') });
    const series = found.find(({ resource }) => resource?.labels?.['endpoint_id'] === '3001');
    expect(series?.metric?.labels).toMatchObject({ deployed_model_id: '11', response_code: '200' });
    expect(series?.resource?.labels).toMatchObject({ location: 'us-central1', endpoint_id: '3001' });
    expect(series).toMatchObject({ metricKind: 'DELTA', valueType: 'INT64' });
    expect(series?.points?.map(({ value }) => String(value?.int64Value))).toEqual(['100', '3']);
    expect(Number(series?.points?.[0]?.interval?.endTime?.seconds)).toBe((startAt + 2 * minuteMs) / 1000);
  });

  test('adds up what was counted, in one point for a window', async () => {
    const groups = [...byModel, 'metric.label.response_code'];
    const found = await list({ filter: filterOf('response_count'), ...summed(360, groups) });
    const rows = found.map(({ metric, resource, points }) => [
      resource?.labels?.['endpoint_id'],
      metric?.labels?.['deployed_model_id'],
      metric?.labels?.['response_code'],
      points?.map(({ value }) => Number(value?.int64Value)),
    ]);
    expect(rows.toSorted((a, b) => (String(a) < String(b) ? -1 : 1))).toEqual([
      ['3001', '11', '200', [103]],
      ['3001', '11', '503', [1]],
      ['3002', '11', '200', [1]],
    ]);
  });

  test('counts errors, and instances rather than requests', async () => {
    const total = async (metric: string) => {
      const [first] = await list({ filter: filterOf(metric), ...summed(360, []) });
      return Number(first?.points?.[0]?.value?.int64Value);
    };
    expect(await total('error_count')).toBe(1);
    expect(await total('prediction_count')).toBe(3 * 2 + 1 + 100 + 1);
  });

  test('takes points that end in (start, end]', async () => {
    const ends = async (fromMs: number, toMs: number) => {
      const interval = { startTime: at(fromMs), endTime: at(toMs) };
      const filter = filterOf('error_count').replace('"3002"', '"none"');
      return (await list({ filter, interval })).flatMap(({ points }) =>
        (points ?? []).map((point) => Number(point.interval?.endTime?.seconds) * 1000 - startAt),
      );
    };
    expect(await ends(startAt, startAt + minuteMs)).toEqual([minuteMs]);
    expect(await ends(startAt + minuteMs, startAt + 2 * minuteMs)).toEqual([]);
    expect(await ends(startAt, startAt + minuteMs - 1)).toEqual([]);
  });

  test('gives latencies as distributions and their percentiles as doubles', async () => {
    const filter = filterOf('prediction_latencies', ' AND metric.labels.latency_type="total"');
    const second = { interval: { startTime: at(startAt + minuteMs), endTime: at(startAt + 2 * minuteMs) } };
    const of3001 = (found: Awaited<ReturnType<typeof list>>) =>
      found.find(({ resource }) => resource?.labels?.['endpoint_id'] === '3001')?.points?.[0]?.value;
    const distribution = of3001(await list({ filter, ...second, ...summed(60, byModel) }))?.distributionValue;
    expect(Number(distribution?.count)).toBe(100);
    expect(distribution?.mean).toBeCloseTo(50.5, 6);
    expect(distribution?.sumOfSquaredDeviation).toBeCloseTo(83_325, 3);
    const bounds = distribution?.bucketOptions?.explicitBuckets?.bounds ?? [];
    const counts = (distribution?.bucketCounts ?? []).map(Number);
    expect(counts).toHaveLength(bounds.length + 1);
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(100);

    const p95 = of3001(await list({ filter, ...second, ...summed(60, byModel, 'REDUCE_PERCENTILE_95') }))?.doubleValue;
    expect(p95).toBeGreaterThan(90);
    expect(p95).toBeLessThan(100);
  });

  test('shows a point only when the metric lag has passed', async () => {
    const endpoint = Object.values(emulator.world.context.state.endpoints)[0];
    if (endpoint === undefined) throw new Error('Expected an endpoint.');
    const record = { endpoint, deployedModelId: '77', responseCode: 200, instances: 1, latencyMs: 1 };
    recordPrediction(emulator.world.context, record);
    const endAt = Math.ceil(now() / minuteMs) * minuteMs;
    const seen = async () => {
      const interval = { startTime: at(endAt - minuteMs), endTime: at(endAt + minuteMs) };
      return (await list({ filter: filterOf('response_count'), interval })).length;
    };
    offsetMs += endAt - now() + 2 * minuteMs;
    expect(await seen()).toBe(0);
    offsetMs += minuteMs;
    expect(await seen()).toBe(1);
  });

  test('pages by points', async () => {
    const request = { filter: filterOf('response_count'), pageSize: 1 };
    const all = await list(request);
    expect(all.flatMap(({ points }) => points ?? [])).toHaveLength(4);
  });

  test('gives no points in the headers view', async () => {
    const found = await list({ filter: filterOf('response_count'), view: 'HEADERS' });
    expect(found).toHaveLength(3);
    expect(found.flatMap(({ points }) => points ?? [])).toEqual([]);
  });

  test.each([
    'metric.type="a" OR metric.type="b"',
    'resource.type="x"',
    'metric.type="a" AND metric.type="b"',
    'metric.type=starts_with("a")',
    'metric.type="a" AND metadata.user_labels.x="y"',
    'metric.type="a" AND resource.labels.endpoint_id=3001',
    'metric.type="a" AND',
  ])('refuses the filter %s', async (filter) => {
    expect(await failure(list({ filter }))).toMatchObject({ code: code.invalid });
  });

  test('refuses aggregations that do not fit, and those it does not have', async () => {
    const filter = filterOf('response_count');
    const aggregated = (aggregation: object) => failure(list({ filter, aggregation }));
    const period = { alignmentPeriod: { seconds: 60 } };
    expect(await aggregated({ crossSeriesReducer: 'REDUCE_SUM' })).toMatchObject({ code: code.invalid });
    expect(await aggregated({ perSeriesAligner: 'ALIGN_DELTA' })).toMatchObject({ code: code.invalid });
    expect(await aggregated({ ...period, perSeriesAligner: 'ALIGN_RATE' })).toMatchObject({ code: code.unimplemented });
    expect(await failure(list({ filter, ...summed(60, [], 'REDUCE_PERCENTILE_99') }))).toMatchObject({
      code: code.invalid,
    });
    expect(await failure(list({ filter, ...summed(60, ['project']) }))).toMatchObject({ code: code.invalid });
  });

  test('has no metric of another type', async () => {
    expect(await failure(list({ filter: `metric.type="${TYPE}/none"` }))).toMatchObject({ code: code.notFound });
  });
});

describe('CreateTimeSeries', () => {
  const series = (type: string, ageMs: number, value = 1) => ({
    metric: { type, labels: { instance: 'a' } },
    resource: { type: 'global', labels: {} },
    points: [{ interval: { endTime: at(Math.floor(now() - ageMs)) }, value: { int64Value: value } }],
  });
  const create = (...timeSeries: object[]) => clients.metrics.createTimeSeries({ name, timeSeries });

  test('writes points that can be read back', async () => {
    const type = 'custom.googleapis.com/rollout/requests';
    await create(series(type, 2000, 7), { ...series(type, 2000, 0), metric: { type, labels: { instance: 'b' } } });
    await create(series(type, 1000, 8));
    const interval = { startTime: at(now() - minuteMs), endTime: at(now()) };
    const found = await list({ filter: `metric.type="${type}" AND metric.labels.instance="a"`, interval });
    expect(found).toHaveLength(1);
    expect(found[0]).toMatchObject({ metricKind: 'GAUGE', valueType: 'INT64' });
    expect(found[0]?.points?.map(({ value }) => Number(value?.int64Value))).toEqual([8, 7]);
  });

  test('refuses points out of order, too old, too far ahead, and two for one series', async () => {
    const type = 'custom.googleapis.com/rollout/order';
    const hourMs = 3_600_000;
    const invalid = { code: code.invalid };
    await create(series(type, 1000));
    expect(await failure(create(series(type, 1500)))).toMatchObject(invalid);
    expect(await failure(create(series(`${type}2`, 25 * hourMs + 5_000)))).toMatchObject(invalid);
    expect(await failure(create(series(`${type}3`, -6 * minuteMs)))).toMatchObject(invalid);
    expect(await failure(create(series(`${type}4`, 0), series(`${type}4`, 0)))).toMatchObject(invalid);
    expect(await failure(create(...Array.from({ length: 201 }, (_, i) => series(`${type}/${i}`, 0))))).toMatchObject(
      invalid,
    );
    expect(await failure(create(series(`${TYPE}/response_count`, 0)))).toMatchObject(invalid);
    const double = { ...series(type, 0), points: [{ ...series(type, 0).points[0], value: { doubleValue: 1.5 } }] };
    expect(await failure(create(double))).toMatchObject(invalid);
  });

  test('writes nothing when one of several is refused', async () => {
    const type = 'custom.googleapis.com/rollout/atomic';
    await failure(create(series(type, 0), series('compute.googleapis.com/x', 0)));
    expect(await failure(list({ filter: `metric.type="${type}"` }))).toMatchObject({ code: code.notFound });
  });
});

describe('Aligners of written metrics', () => {
  const startMs = now() - 10 * minuteMs;
  const interval = { startTime: at(startMs), endTime: at(startMs + 2 * minuteMs) };
  const endOf = (ms: number) => at(Math.floor(startMs + ms));

  async function write(type: string, metricKind: 'GAUGE' | 'CUMULATIVE', endMs: number, value: object, resetMs = 0) {
    const started = metricKind === 'GAUGE' ? {} : { startTime: endOf(resetMs) };
    const points = [{ interval: { ...started, endTime: endOf(endMs) }, value }];
    const metric = { type, labels: { instance: 'a' } };
    await clients.metrics.createTimeSeries({
      name,
      timeSeries: [{ metric, resource: { type: 'global', labels: {} }, metricKind, points }],
    });
  }

  async function aligned(type: string, perSeriesAligner: 'ALIGN_DELTA' | 'ALIGN_NEXT_OLDER' | 'ALIGN_MEAN') {
    const aggregation = { alignmentPeriod: { seconds: 60 }, perSeriesAligner };
    const [series] = await list({ filter: `metric.type="${type}"`, interval, aggregation });
    return (series?.points ?? []).map(({ value }) => value);
  }

  test('ALIGN_DELTA of a counter is what it counted in each period, across a restart', async () => {
    const type = 'custom.googleapis.com/rollout/counter';
    await write(type, 'CUMULATIVE', 30_000, { int64Value: 4 });
    await write(type, 'CUMULATIVE', 60_000, { int64Value: 10 });
    await write(type, 'CUMULATIVE', 90_000, { int64Value: 15 });
    await write(type, 'CUMULATIVE', 120_000, { int64Value: 2 }, 100_000);
    expect((await aligned(type, 'ALIGN_DELTA')).map((value) => Number(value?.int64Value))).toEqual([7, 10]);
    expect(await failure(aligned(type, 'ALIGN_MEAN'))).toMatchObject({ code: code.invalid });
  });

  test('ALIGN_NEXT_OLDER is the newest value of a gauge in each period, ALIGN_MEAN the mean', async () => {
    const type = 'custom.googleapis.com/rollout/gauge';
    for (const [i, doubleValue] of [8, 2, 5].entries()) await write(type, 'GAUGE', (i + 1) * 30_000, { doubleValue });
    expect((await aligned(type, 'ALIGN_NEXT_OLDER')).map((value) => value?.doubleValue)).toEqual([5, 2]);
    expect((await aligned(type, 'ALIGN_MEAN')).map((value) => value?.doubleValue)).toEqual([5, 5]);
    expect(await failure(aligned(type, 'ALIGN_DELTA'))).toMatchObject({ code: code.invalid });
  });

  test('a distribution is written with its bounds, and refused where its buckets do not add up', async () => {
    const type = 'custom.googleapis.com/rollout/distribution';
    const distribution = (counts: number[], count: number) => ({
      distributionValue: { count, bucketOptions: { explicitBuckets: { bounds: [10] } }, bucketCounts: counts },
    });
    await write(type, 'CUMULATIVE', 60_000, distribution([1, 2], 3));
    await write(type, 'CUMULATIVE', 120_000, distribution([4, 2], 6));
    const values = await aligned(type, 'ALIGN_DELTA');
    expect(values.map((value) => value?.distributionValue?.bucketCounts?.map(Number))).toEqual([
      [3, 0],
      [1, 2],
    ]);
    expect(await failure(write(`${type}2`, 'CUMULATIVE', 60_000, distribution([1, 2], 4)))).toMatchObject({
      code: code.invalid,
    });
  });
});

test("at Google's own pace an alignment period has at least 60 seconds", async () => {
  const real = await startEmulator({ timeScale: 1 });
  const { metrics, close } = googleClients(real);
  const call = (seconds: number) =>
    metrics.listTimeSeries({
      name,
      filter: filterOf('response_count'),
      interval: { endTime: at(now()) },
      ...summed(seconds, []),
    });
  expect(await failure(call(59))).toMatchObject({ code: code.invalid });
  expect((await call(60))[0]).toEqual([]);
  await close();
  await real.close();
});
