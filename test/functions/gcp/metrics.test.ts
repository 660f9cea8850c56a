import { afterEach, beforeEach, expect, test } from 'vitest';
import { unaryService } from '../../../emulator/grpc.ts';
import { createEndpoint, findEndpoint } from '../../../emulator/world/endpoints.ts';
import { recordPrediction } from '../../../emulator/world/metrics.ts';
import { parseEnvironment } from '../../../functions/engine/environment.ts';
import { limits } from '../../../functions/engine/limits.ts';
import type { MetricsPort, MetricsQuery } from '../../../functions/engine/ports.ts';
import { googleClients } from '../../../functions/gcp/clients.ts';
import { monitoringMetrics } from '../../../functions/gcp/metrics.ts';
import type { SignalReader } from '../../../functions/gcp/signals.ts';
import { type Evidence, evidenceSchema, quantileMs, UNATTRIBUTED } from '../../../machines/analysis/evidence.ts';
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

function query(window: MetricsQuery['window'], more: Partial<MetricsQuery> = {}): MetricsQuery {
  return { endpoint, window, sinceAt: window.fromAt, periodMs: minuteMs, models: [], checks: [], ...more };
}

const metrics = (readers: SignalReader[] = []): MetricsPort =>
  monitoringMetrics(vertex.clients, vertex.environment, readers);

const read = async (window: MetricsQuery['window'], more: Partial<MetricsQuery> = {}): Promise<Evidence[]> => {
  const [evidence = []] = await metrics().read([query(window, more)]);
  return evidence.map((one) => evidenceSchema.parse(one));
};

test('requests, errors and latencies are counted by variant; a 4xx is a request and no error', async () => {
  predict(endpoint, '101', 200, 20, 90);
  predict(endpoint, '101', 503, 20, 4);
  predict(endpoint, '101', 400, 20, 6);
  predict(endpoint, '102', 200, 200, 10);
  vertex.advance(10 * minuteMs);
  const window = { fromAt, toAt: fromAt + 5 * minuteMs };
  const [evidence, ...more] = await read(window, { periodMs: 5 * minuteMs });
  expect(evidence).toMatchObject({
    window,
    source: 'monitoring',
    variants: { 101: { requests: 100, errors: 4 }, 102: { requests: 10, errors: 0 } },
  });
  expect(more).toEqual([]);
  expect(Object.keys(evidence?.variants ?? {})).toEqual(['101', '102']);
  const p95 = (id: string) => quantileMs(evidence?.variants[id]?.latencyMs ?? { bounds: [], counts: [0] }, 0.95) ?? 0;
  expect(p95('101')).toBeGreaterThanOrEqual(20);
  expect(p95('101')).toBeLessThan(40);
  expect(p95('102')).toBeGreaterThanOrEqual(200);
  expect(p95('102')).toBeLessThan(400);
});

test('each period that has a point is a window of its own, ascending, for two calls in all', async () => {
  for (const times of [1, 10, 0, 100]) {
    predict(endpoint, '101', 200, 20, times);
    vertex.advance(minuteMs);
  }
  vertex.advance(10 * minuteMs);
  const windows = await read({ fromAt, toAt: fromAt + 5 * minuteMs });
  expect(windows.map(({ window, variants }) => [window.fromAt - fromAt, variants['101']?.requests])).toEqual([
    [0, 1],
    [minuteMs, 10],
    [3 * minuteMs, 100],
  ]);
  expect(windows.every(({ window }) => window.toAt - window.fromAt === minuteMs)).toBe(true);
  expect(vertex.faults.calls().total).toBe(2);
});

test('what lies before the window or after it is not counted', async () => {
  for (const times of [1, 10, 100]) {
    predict(endpoint, '101', 200, 20, times);
    vertex.advance(minuteMs);
  }
  vertex.advance(10 * minuteMs);
  const windows = await read({ fromAt: fromAt + minuteMs, toAt: fromAt + 2 * minuteMs });
  expect(windows.map(({ variants }) => variants['101']?.requests)).toEqual([10]);
});

test('a window is cut to whole seconds and periods, never widened, and what is left is for a later call', async () => {
  predict(endpoint, '101', 200, 20, 5);
  vertex.advance(minuteMs);
  predict(endpoint, '101', 200, 20, 7);
  vertex.advance(10 * minuteMs);
  const windows = await read({ fromAt: fromAt - 300, toAt: fromAt + 1.5 * minuteMs + 700 });
  expect(windows.map(({ window, variants }) => [window, variants['101']?.requests])).toEqual([
    [{ fromAt, toAt: fromAt + minuteMs }, 5],
  ]);
});

test('a window of less than a period is one short period', async () => {
  predict(endpoint, '101', 200, 20, 5);
  vertex.advance(10 * minuteMs);
  const windows = await read({ fromAt, toAt: fromAt + minuteMs }, { periodMs: 10 * minuteMs });
  expect(windows.map(({ window }) => window)).toEqual([{ fromAt, toAt: fromAt + minuteMs }]);
});

test('only the newest windows come back, so that a night without requests does not hide the morning', async () => {
  for (let minute = 0; minute < limits.evidencePeriodsMax + 5; minute++) {
    predict(endpoint, '101', 200, 20, 1);
    vertex.advance(minuteMs);
  }
  vertex.advance(10 * minuteMs);
  const toAt = fromAt + (limits.evidencePeriodsMax + 5) * minuteMs;
  const windows = await read({ fromAt, toAt });
  expect(windows).toHaveLength(limits.evidencePeriodsMax);
  expect([windows[0]?.window.fromAt, windows.at(-1)?.window.toAt]).toEqual([fromAt + 5 * minuteMs, toAt]);
  expect(vertex.faults.calls().total).toBe(2);
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
  const answers = await metrics().read([third, second, endpoint].map((name) => query(window, { endpoint: name })));
  expect(answers.map((windows) => windows.map(({ variants }) => variants['7']?.requests))).toEqual([[], [2], [1]]);
  expect(vertex.faults.calls().total).toBe(2);
});

test('where no emulator is meant, a period is at least a minute, and a shorter window is not read', async () => {
  predict(endpoint, '101', 200, 20, 5);
  vertex.advance(10 * minuteMs);
  const real = { ...vertex.environment, emulators: { ...vertex.environment.emulators, monitoring: null } };
  const port = monitoringMetrics(vertex.clients, real, []);
  expect(await port.read([query({ fromAt, toAt: fromAt + 59_999 }, { periodMs: 1000 })])).toEqual([[]]);
  expect(vertex.faults.calls().total).toBe(0);
  const [windows = []] = await port.read([query({ fromAt, toAt: fromAt + 119_000 }, { periodMs: 1000 })]);
  expect(windows.map(({ window }) => window)).toEqual([{ fromAt, toAt: fromAt + minuteMs }]);
});

test('nothing is asked when nothing is to be known', async () => {
  expect(await metrics().read([])).toEqual([]);
  expect(vertex.faults.calls().total).toBe(0);
});

test('a service that is away is a transient error, and no empty evidence', async () => {
  vertex.faults.add([{ method: '*/ListTimeSeries', code: 'UNAVAILABLE' }]);
  const reading = read({ fromAt, toAt: fromAt + minuteMs });
  await expect(reading).rejects.toMatchObject({ name: 'TransientError', code: 'unavailable' });
});

test('signals of all readers join the window; those of a period without requests, the next that has some', async () => {
  vertex.advance(minuteMs);
  predict(endpoint, '101', 200, 20, 4);
  vertex.advance(10 * minuteMs);
  const rule = { kind: 'rate', maxRatio: 0.1, marginRatio: 0 } as const;
  const check = (name: string, kind: 'filter' | 'promql') =>
    ({ name, from: { kind, filter: 'f', query: 'q', of: null }, rule, dryRun: false }) as const;
  const reader = (kind: 'filter' | 'promql', name: string): SignalReader => ({
    kind,
    read: (queries) =>
      Promise.resolve(
        queries.map(({ checks }) => ({
          periods: new Map([1, 2].map((n) => [fromAt + n * minuteMs, { 101: { [name]: { hits: n, trials: 10 } } }])),
          notes: checks.map((one) => `${one.name} was asked for`),
        })),
      ),
  });
  const readers = [reader('filter', 'refunds'), reader('promql', 'slow')];
  const checks = [check('refunds', 'filter'), check('slow', 'promql')];
  const [windows = []] = await metrics(readers).read([query({ fromAt, toAt: fromAt + 3 * minuteMs }, { checks })]);
  expect(windows.map((one) => evidenceSchema.parse(one))).toMatchObject([
    {
      window: { fromAt: fromAt + minuteMs },
      variants: { 101: { requests: 4, signals: { refunds: { hits: 3, trials: 20 }, slow: { hits: 3, trials: 20 } } } },
      notes: ['refunds was asked for', 'slow was asked for'],
    },
  ]);
});

/** A Monitoring that answers what a test says. */
async function withReplies<T>(
  answer: (filter: string, pageToken: unknown) => object,
  use: (port: MetricsPort) => Promise<T>,
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
    return await use(monitoringMetrics(clients, environment, []));
  } finally {
    await clients.close();
    await close();
  }
}

const resource = { type: 'aiplatform.googleapis.com/Endpoint', labels: { location: 'us-central1', endpoint_id: '1' } };

/** Points by the minute in which they end. */
const series = (labels: Record<string, string>, points: [minute: number, value: object][]) => ({
  resource,
  metric: { labels },
  points: points.map(([minute, value]) => ({
    interval: { startTime: { seconds: (minute - 1) * 60 }, endTime: { seconds: minute * 60 } },
    value,
  })),
});
const canary = { deployed_model_id: '101', response_code: '200' };
const stable = { deployed_model_id: '102', response_code: '200' };
const int = (value: number | string) => ({ int64Value: String(value) });

/** Two minutes, of which requests are as given and stable had 10 in each. */
const hostile = (...timeSeries: object[]): Promise<Evidence[]> =>
  withReplies(
    (filter) =>
      filter.includes('response_count')
        ? {
            timeSeries: [
              series(stable, [
                [2, int(10)],
                [1, int(10)],
              ]),
              ...timeSeries,
            ],
          }
        : {},
    async (port) => {
      const [evidence = []] = await port.read([query({ fromAt: 0, toAt: 2 * minuteMs })]);
      return evidence.map((one) => evidenceSchema.parse(one));
    },
  );

test('all pages are added up, and codes come as numbers or as classes', async () => {
  const of = (deployed_model_id: string, response_code: string) => ({ deployed_model_id, response_code });
  const pages: Record<string, object> = {
    '': { timeSeries: [series(of('101', '2xx'), [[1, int(30)]])], nextPageToken: 'next' },
    next: {
      timeSeries: [
        series(of('101', '5xx'), [[1, int(3)]]),
        series(of('101', '429'), [[1, int(4)]]),
        series({ response_code: '500' }, [[1, int(5)]]),
      ],
    },
  };
  const [evidence] = await withReplies(
    (filter, pageToken) => (filter.includes('response_count') ? (pages[String(pageToken)] ?? {}) : {}),
    (port) => port.read([query({ fromAt: 0, toAt: minuteMs })]),
  );
  const noLatencies = { bounds: [], counts: [0] };
  expect(evidence?.[0]?.variants).toEqual({
    101: { requests: 37, errors: 3, latencyMs: noLatencies },
    [UNATTRIBUTED]: { requests: 5, errors: 5, latencyMs: noLatencies },
  });
});

test.each(['__proto__', 'constructor', 'models/7', '9'.repeat(21)])('requests of "%s" are nobody\'s', async (id) => {
  const [evidence] = await hostile(series({ ...canary, deployed_model_id: id }, [[1, int(3)]]));
  expect(evidence?.variants).toMatchObject({ 102: { requests: 10 }, [UNATTRIBUTED]: { requests: 3, errors: 0 } });
});

test.each([
  ['a negative count', int(-5), 'got -5'],
  ['a count that is not exact', int('9007199254740993'), 'got 9007199254740993'],
  ['a count that is no whole number', { doubleValue: 1.5 }, 'got 1.5'],
  ['no number', { doubleValue: Number.NaN }, 'got NaN'],
  ['infinity', { doubleValue: Number.POSITIVE_INFINITY }, 'got Infinity'],
  ['a text', { stringValue: 'many' }, 'it has no number'],
])('%s of one variant empties its period for all, with a note, and no other', async (_, value, reason) => {
  const [first, second] = await hostile(
    series(canary, [
      [2, int(1)],
      [1, value],
    ]),
  );
  expect(first).toMatchObject({ window: { toAt: minuteMs }, variants: {} });
  expect(first?.notes?.join()).toContain(reason);
  expect(first?.notes?.join()).toMatch(/^Requests of DeployedModel 101: .*1970-01-01T00:01:00.000Z/);
  expect(second).toMatchObject({ variants: { 101: { requests: 1 }, 102: { requests: 10 } } });
  expect(second?.notes).toBeUndefined();
});

test('points outside the window are dropped, and a note says so', async () => {
  const windows = await hostile(
    series(canary, [
      [9, int(500)],
      [9_000_000_000_000, int(1)],
      [2, int(1)],
      [1, int(2)],
      [0, int(700)],
    ]),
  );
  expect(windows.map(({ variants }) => variants['101']?.requests)).toEqual([2, 1]);
  expect(windows.at(-1)?.notes).toHaveLength(3);
  expect(windows.at(-1)?.notes?.join()).toContain('1970-01-01T00:09:00.000Z lies outside of the window');
});

test('points out of order count in their own period', async () => {
  const windows = await hostile(
    series(canary, [
      [1, int(2)],
      [2, int(1)],
    ]),
  );
  expect(windows.map(({ variants }) => variants['101']?.requests)).toEqual([2, 1]);
});

test('a point that comes twice counts once; one that was restated in between counts for nobody', async () => {
  const [first, second] = await hostile(
    series(canary, [
      [2, int(3)],
      [1, int(2)],
    ]),
    series(canary, [
      [2, int(4)],
      [1, int(2)],
    ]),
  );
  expect(first?.variants).toMatchObject({ 101: { requests: 2 }, 102: { requests: 10 } });
  expect(second?.variants).toEqual({});
  expect(second?.notes?.join()).toContain('came twice with different values');
});

test('a point over more than its period, or off the periods, empties the period', async () => {
  const long = series(canary, [[2, int(1)]]);
  for (const point of long.points) point.interval.startTime.seconds = -600;
  const off = series(canary, [[1, int(1)]]);
  for (const point of off.points) point.interval.endTime.seconds = 59;
  const windows = await hostile(long, off);
  expect(windows.map(({ variants }) => variants)).toEqual([{}, {}]);
});

test('latencies that cannot be so are left out for all variants, and requests stay', async () => {
  const latency = (counts: number[], bounds: number[]) => ({
    distributionValue: {
      count: String(counts.reduce((sum, count) => sum + count, 0)),
      bucketOptions: { explicitBuckets: { bounds } },
      bucketCounts: counts.map(String),
    },
  });
  const [evidence = []] = await withReplies(
    (filter) => ({
      timeSeries: filter.includes('response_count')
        ? [series(canary, [[1, int(2)]]), series(stable, [[1, int(10)]])]
        : [
            series({ deployed_model_id: '101' }, [[1, latency([1, 1, 0], [20, 10])]]),
            series({ deployed_model_id: '102' }, [[1, latency([4, 6, 0], [10, 20])]]),
          ],
    }),
    (port) => port.read([query({ fromAt: 0, toAt: minuteMs })]),
  );
  expect(evidence[0]?.variants).toMatchObject({
    101: { requests: 2, latencyMs: { bounds: [] } },
    102: { requests: 10, latencyMs: { bounds: [] } },
  });
  expect(evidence[0]?.notes?.join()).toContain('Latencies of DeployedModel 101');
});

test('counts that no endpoint reaches are refused before many of them make a sum that is not exact', async () => {
  const [first] = await hostile(series(canary, [[1, int(limits.countMax)]]));
  expect(first?.variants).toMatchObject({ 101: { requests: limits.countMax } });
  const [second] = await hostile(series(canary, [[1, int(limits.countMax + 1)]]));
  expect(second?.variants).toEqual({});
  expect(second?.notes?.join()).toContain('variants.101: more than 1000000000000, which no endpoint serves');
});

test('sums that are not exact any more are refused', async () => {
  const most = int(Number.MAX_SAFE_INTEGER);
  const [first] = await hostile(series(canary, [[1, most]]), series({ ...canary, response_code: '404' }, [[1, most]]));
  expect(first?.variants).toEqual({});
  expect(first?.notes?.join()).toContain('do not go together');
});

test('an answer that says it is incomplete is not judged', async () => {
  const reading = withReplies(
    () => ({ timeSeries: [], executionErrors: [{ code: 4, message: 'a shard did not answer' }] }),
    (port) => port.read([query({ fromAt: 0, toAt: minuteMs })]),
  );
  await expect(reading).rejects.toMatchObject({ name: 'TransientError', code: 'unavailable' });
  await expect(reading).rejects.toThrow(/incomplete: a shard did not answer/);
});

test('pages without an end are an error', async () => {
  const reading = withReplies(
    () => ({ timeSeries: [], nextPageToken: 'again' }),
    (port) => port.read([query({ fromAt: 0, toAt: minuteMs })]),
  );
  await expect(reading).rejects.toMatchObject({ name: 'PermanentError', code: 'internal' });
});
