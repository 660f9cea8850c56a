import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { unaryService } from '../../../emulator/grpc.ts';
import { jobService } from '../../../emulator/vertex/job-service.ts';
import { modelMonitoringService } from '../../../emulator/vertex/model-monitoring-service.ts';
import { createEndpoint } from '../../../emulator/world/endpoints.ts';
import { createModelMonitor, createMonitoringJob, plantDeviations } from '../../../emulator/world/model-monitoring.ts';
import type { JobDeviation, MonitorDeviation, MonitoringJob } from '../../../emulator/world/state.ts';
import { parseEnvironment } from '../../../functions/engine/environment.ts';
import { limits } from '../../../functions/engine/limits.ts';
import { type Clients, googleClients } from '../../../functions/gcp/clients.ts';
import { modelMonitoringSignals } from '../../../functions/gcp/model-monitoring.ts';
import type { SignalAnswer, SignalQuery } from '../../../functions/gcp/signals.ts';
import { signalsSchema } from '../../../machines/analysis/evidence.ts';
import type { CheckPolicy } from '../../../machines/policy/policy.ts';
import {
  endpoint,
  type LocalVertex,
  model,
  parent,
  serve,
  startAt as worldStartAt,
  startLocalVertex,
} from './local-vertex.ts';

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
const fromAt = worldStartAt + 10 * hourMs;
const window = { fromAt, toAt: fromAt + 3 * minuteMs };
/** The share took effect two hours before what is read now. */
const sinceAt = fromAt - 2 * hourMs;
const models: SignalQuery['models'] = [
  { id: '7', model: model.replace('demo', '123456789'), versionId: '2' },
  { id: '8', model, versionId: '1' },
];
const drift = { predictionDriftDetectionConfig: { defaultDriftThreshold: { value: 0.3 } } };
const skew = { trainingPredictionSkewDetectionConfig: { defaultSkewThreshold: { value: 0.3 } } };

let vertex: LocalVertex;
let local: { clients: Clients; close: () => Promise<void> };

beforeEach(async () => {
  vertex = await startLocalVertex();
  local = await clientsOf([
    jobService(vertex.world, vertex.faults.beforeCall),
    modelMonitoringService(vertex.world, vertex.faults.beforeCall),
  ]);
});

afterEach(async () => {
  await local.close();
  await vertex.close();
});

async function clientsOf(services: Parameters<typeof serve>[0]) {
  const { host, close } = await serve(services);
  const clients = googleClients(
    parseEnvironment({
      GOOGLE_CLOUD_PROJECT: 'demo',
      ROLLOUT_LOCATION: 'us-central1',
      VERTEX_EMULATOR_HOST: host,
    }),
  );
  return {
    clients,
    async close() {
      await clients.close();
      await close();
    },
  };
}

type ObjectiveConfig = MonitoringJob['objectives'][number]['config'];

function addJob(configs: Record<string, ObjectiveConfig> = { 7: drift, 8: drift }, of = endpoint): string {
  const objectives = Object.entries(configs).map(([deployedModelId, config]) => ({ deployedModelId, config }));
  const settings = {
    displayName: '',
    endpoint: of,
    labels: {},
    objectives,
    monitorIntervalSeconds: 3600,
    sampleRatio: 1,
  };
  return createMonitoringJob(vertex.world.context, parent, settings).name;
}

function addMonitor(versionId: string): string {
  const settings = { displayName: '', model, versionId, settings: {} };
  return createModelMonitor(vertex.world.context, parent, settings, `delays-${versionId}`).name;
}

/** Of the hour before `toMs`, which is a minute into the window if nothing else is said. */
function ofJob(job: string, feature: string, deviation: number, more: Partial<JobDeviation> = {}): void {
  const { toMs = fromAt + minuteMs } = more;
  const hour = { objective: 'RAW_FEATURE_DRIFT' as const, fromMs: toMs - hourMs, toMs };
  plantDeviations(vertex.world.context, [{ job, deployedModelId: '7', feature, deviation, ...hour, ...more }]);
}

function ofMonitor(monitor: string, feature: string, deviation: number, more: Partial<MonitorDeviation> = {}): void {
  const made = { objective: 'raw-feature-drift' as const, atMs: fromAt + minuteMs };
  plantDeviations(vertex.world.context, [{ monitor, feature, deviation, ...made, ...more }]);
}

function check(resource: string, feature: string | null = null, name = 'features'): CheckPolicy {
  return {
    name,
    from: { kind: 'modelMonitoring', resource, feature },
    rule: { kind: 'limit', max: 0.3 },
    dryRun: false,
  };
}

function query(...checks: CheckPolicy[]): SignalQuery {
  return { endpoint, window, sinceAt, periodMs: minuteMs, models, checks };
}

/** What was found is told in the last period, whenever it was found. */
const told = (variants: Record<string, Record<string, { value: number }>>) => ({ [window.toAt]: variants });

async function read(queries: SignalQuery[], clients = local.clients): Promise<SignalAnswer[]> {
  const answers = await modelMonitoringSignals(clients).read(queries);
  for (const { periods, notes } of answers) {
    for (const variants of periods.values()) Object.values(variants).forEach((signals) => signalsSchema.parse(signals));
    for (const note of notes) expect(note).toMatch(/^Check "\w+": .{1,990}$/s);
  }
  return answers;
}

async function readOne(...checks: CheckPolicy[]): Promise<{ periods: object; notes: string[] }> {
  const [answer] = await read([query(...checks)]);
  return { periods: Object.fromEntries(answer?.periods ?? []), notes: answer?.notes ?? [] };
}

const calls = (method: string) =>
  Object.entries(vertex.faults.calls().methods).find(([name]) => name.endsWith(`/${method}`))?.[1].count ?? 0;

describe('a ModelDeploymentMonitoringJob (v1)', () => {
  test('gives the greatest deviation of any feature of each DeployedModel, in the last period', async () => {
    const job = addJob();
    ofJob(job, 'distance', 0.1);
    ofJob(job, 'hour', 0.4);
    ofJob(job, 'distance', 0.05, { deployedModelId: '8' });
    const { periods } = await readOne(check(job));
    expect(periods).toEqual(told({ 7: { features: { value: 0.4 } }, 8: { features: { value: 0.05 } } }));
  });

  test('gives the deviation of the feature named, above and below the limit alike', async () => {
    const job = addJob();
    ofJob(job, 'distance', 0.1);
    ofJob(job, 'hour', 0.4);
    const { periods } = await readOne(check(job, 'distance', 'distance'), check(job, 'hour', 'hour'), check(job, 'no'));
    expect(periods).toEqual(told({ 7: { distance: { value: 0.1 }, hour: { value: 0.4 } } }));
  });

  test('the newest deviation of each feature counts, though an older one is greater', async () => {
    const job = addJob();
    ofJob(job, 'distance', 0.2, { toMs: fromAt });
    ofJob(job, 'distance', 0.9, { toMs: fromAt - hourMs });
    ofJob(job, 'hour', 0.1, { toMs: fromAt - 30 * minuteMs });
    const { periods } = await readOne(check(job), check(job, 'hour', 'hour'));
    expect(periods).toEqual(told({ 7: { features: { value: 0.2 }, hour: { value: 0.1 } } }));
  });

  test('data that begins when the share took effect counts, and data that begins before never does', async () => {
    const job = addJob();
    ofJob(job, 'distance', 0.1, { fromMs: sinceAt });
    ofJob(job, 'distance', 0.9, { fromMs: sinceAt - 1, toMs: window.toAt });
    ofJob(job, 'hour', 0.8, { toMs: sinceAt });
    const answer = await readOne(check(job));
    expect(answer).toEqual({ periods: told({ 7: { features: { value: 0.1 } } }), notes: [] });
  });

  test('data that ends with the window counts, and data that ends after it waits for a later read', async () => {
    const job = addJob();
    ofJob(job, 'distance', 0.1, { toMs: window.toAt });
    ofJob(job, 'distance', 0.2, { toMs: window.toAt + 1 });
    const toAt = window.toAt + minuteMs;
    const later = { ...query(check(job)), window: { fromAt: window.toAt, toAt } };
    expect((await readOne(check(job))).periods).toEqual(told({ 7: { features: { value: 0.1 } } }));
    const [answer] = await read([later]);
    expect(answer?.periods).toEqual(new Map([[toAt, { 7: { features: { value: 0.2 } } }]]));
  });

  test('statistics that come long after their data are found by a later read, and by all after it', async () => {
    const job = addJob();
    const windows = [0, 1, 2].map((hours) => ({ fromAt: fromAt + hours * hourMs, toAt: window.toAt + hours * hourMs }));
    const found: unknown[] = [];
    for (const [i, one] of windows.entries()) {
      if (i === 1) ofJob(job, 'distance', 0.4, { toMs: fromAt - minuteMs });
      const [answer] = await read([{ ...query(check(job)), window: one }]);
      found.push([...(answer?.periods ?? [])]);
    }
    const variants = { 7: { features: { value: 0.4 } } };
    expect(found).toEqual([[], [[windows[1]?.toAt, variants]], [[windows[2]?.toAt, variants]]]);
  });

  test('skew is read where the job looks for it, beside drift or alone', async () => {
    const job = addJob({ 7: { ...drift, ...skew }, 8: skew });
    ofJob(job, 'distance', 0.1);
    ofJob(job, 'distance', 0.2, { objective: 'RAW_FEATURE_SKEW' });
    ofJob(job, 'distance', 0.3, { objective: 'RAW_FEATURE_SKEW', deployedModelId: '8' });
    ofJob(job, 'distance', 0.9, { deployedModelId: '8' });
    const { periods } = await readOne(check(job));
    expect(periods).toEqual(told({ 7: { features: { value: 0.2 } }, 8: { features: { value: 0.3 } } }));
  });

  test.each(['RAW_FEATURE_DRIFT', 'RAW_FEATURE_SKEW'] as const)(
    'a feature has a newest deviation of each objective: a great one by %s is not hidden by the other',
    async (objective) => {
      const job = addJob({ 7: { ...drift, ...skew } });
      ofJob(job, 'distance', 0.1);
      ofJob(job, 'distance', 0.1, { objective: 'RAW_FEATURE_SKEW' });
      ofJob(job, 'distance', 0.5, { objective, toMs: fromAt + 2 * minuteMs });
      const other = objective === 'RAW_FEATURE_DRIFT' ? 'RAW_FEATURE_SKEW' : 'RAW_FEATURE_DRIFT';
      ofJob(job, 'distance', 0.2, { objective: other, toMs: window.toAt });
      const { periods } = await readOne(check(job, 'distance'));
      expect(periods).toEqual(told({ 7: { features: { value: 0.5 } } }));
    },
  );

  test('a DeployedModel that the job does not monitor has no signal, and a note says which', async () => {
    const job = addJob({ 8: drift });
    ofJob(job, 'distance', 0.1, { deployedModelId: '8' });
    const { periods, notes } = await readOne(check(job));
    expect(periods).toEqual(told({ 8: { features: { value: 0.1 } } }));
    expect(notes).toEqual([
      expect.stringMatching(/neither drift nor skew of DeployedModel 7; give each an objective config/),
    ]);
  });

  test('a job of another endpoint is not read, though the ids of its DeployedModels are the same', async () => {
    createEndpoint(vertex.world.context, parent, { displayName: 'two', description: '', labels: {} }, '2');
    vertex.advance(minuteMs);
    const job = addJob({ 7: drift }, `${parent}/endpoints/2`);
    ofJob(job, 'distance', 0.1);
    const { periods, notes } = await readOne(check(job));
    expect(periods).toEqual({});
    expect(notes).toEqual([
      expect.stringMatching(/it monitors .*endpoints\/2; name the job that monitors .*endpoints\/1/),
    ]);
  });

  test('more statistics than fit one reply are read page by page', async () => {
    const job = addJob();
    const toMs = fromAt + minuteMs;
    const objective = 'RAW_FEATURE_DRIFT' as const;
    const one = { job, deployedModelId: '7', objective, fromMs: fromAt, toMs };
    const many = Array.from({ length: 1500 }, (_, i) => ({ ...one, feature: `f${i}`, deviation: i / 2000 }));
    plantDeviations(vertex.world.context, many);
    const { periods } = await readOne(check(job));
    expect(periods).toEqual(told({ 7: { features: { value: 1499 / 2000 } } }));
    expect(calls('SearchModelDeploymentMonitoringStatsAnomalies')).toBe(3);
  });
});

describe('a ModelMonitor (v2)', () => {
  test('speaks for the DeployedModel of its version with what was made since the share took effect', async () => {
    const monitor = addMonitor('2');
    ofMonitor(monitor, 'distance', 0.1);
    ofMonitor(monitor, 'delay', 0.2, { objective: 'prediction-output-drift' });
    ofMonitor(monitor, 'distance', 0.9, { atMs: fromAt });
    ofMonitor(monitor, 'delay', 0.8, { atMs: sinceAt - 1 });
    ofMonitor(monitor, 'hour', 0.7, { atMs: window.toAt + 1 });
    const answer = await readOne(check(monitor), check(monitor, 'distance', 'distance'));
    const signals = { features: { value: 0.2 }, distance: { value: 0.1 } };
    expect(answer).toEqual({ periods: told({ 7: signals }), notes: [] });
  });

  test('{version} in its name stands for the version of the canary', async () => {
    const monitor = addMonitor('2');
    ofMonitor(addMonitor('1'), 'distance', 0.9);
    ofMonitor(monitor, 'distance', 0.1);
    const written = monitor.replace('delays-2', 'delays-{version}');
    const [next, answer] = await read([
      { ...query(check(written)), models: [{ id: '9', model, versionId: '3' }, ...models.slice(0, 1)] },
      query(check(written)),
    ]);
    expect(answer).toEqual({ periods: new Map([[window.toAt, { 7: { features: { value: 0.1 } } }]]), notes: [] });
    expect(next?.periods.size).toBe(0);
    expect(next?.notes).toEqual([expect.stringMatching(/modelMonitors\/delays-3 does not exist/)]);
  });

  test('says nothing when no DeployedModel is of its version, and a note says so', async () => {
    const monitor = addMonitor('3');
    ofMonitor(monitor, 'distance', 0.1);
    const { periods, notes } = await readOne(check(monitor));
    expect(periods).toEqual({});
    expect(notes).toEqual([expect.stringMatching(/it monitors version 3 of .*models\/delays, which is not in this/)]);
    expect(calls('SearchModelMonitoringStats')).toBe(0);
  });
});

test('checks and endpoints that name one resource share its calls, each since its own share took effect', async () => {
  const monitor = addMonitor('2');
  ofMonitor(monitor, 'distance', 0.1, { atMs: sinceAt - minuteMs });
  ofMonitor(monitor, 'distance', 0.2);
  const early = {
    ...query(check(monitor)),
    endpoint: `${parent}/endpoints/2`,
    window: { fromAt: sinceAt, toAt: sinceAt + minuteMs },
    sinceAt: sinceAt - hourMs,
  };
  const late = query(check(monitor), check(monitor, 'distance', 'distance'));
  const answers = await read([late, early]);
  expect(answers.map(({ periods }) => Object.fromEntries(periods))).toEqual([
    told({ 7: { features: { value: 0.2 }, distance: { value: 0.2 } } }),
    { [early.window.toAt]: { 7: { features: { value: 0.1 } } } },
  ]);
  expect([calls('GetModelMonitor'), calls('SearchModelMonitoringStats')]).toEqual([1, 2]);
});

describe('what cannot be read is a note, and the other checks are read', () => {
  test('a resource that does not exist, and a name that is none', async () => {
    const monitor = addMonitor('2');
    ofMonitor(monitor, 'distance', 0.1);
    const { periods, notes } = await readOne(
      check(`${parent}/modelDeploymentMonitoringJobs/404`, null, 'job'),
      check(`${parent}/modelMonitors/none`, null, 'monitor'),
      check(`${parent}/models/delays`, null, 'name'),
      check(monitor),
    );
    expect(periods).toEqual(told({ 7: { features: { value: 0.1 } } }));
    expect(notes).toEqual([
      expect.stringMatching(/^Check "job": could not be read: .*404 does not exist.* Correct `from.modelMonitoring`/),
      expect.stringMatching(
        /^Check "monitor": could not be read: .*none does not exist.* Correct `from.modelMonitoring`/,
      ),
      expect.stringMatching(/^Check "name": could not be read: expected projects.* Correct `from.modelMonitoring`/),
    ]);
  });

  test('a rule that is no limit', async () => {
    const wrong: CheckPolicy = { ...check(addMonitor('2')), rule: { kind: 'drift', maxDistance: 0.3 } };
    const { notes } = await readOne(wrong);
    expect(notes).toEqual(['Check "features": has the rule drift, but Model Monitoring gives a deviation: use limit.']);
    expect(vertex.faults.calls().total).toBe(0);
  });

  test('a service that is away, and one that refuses', async () => {
    const [monitor, job] = [addMonitor('2'), addJob()];
    vertex.faults.add([
      { method: '*/SearchModelMonitoringStats', code: 'UNAVAILABLE' },
      { method: '*/GetModelDeploymentMonitoringJob', code: 'PERMISSION_DENIED', message: 'needs x.get' },
    ]);
    const { periods, notes } = await readOne(check(monitor, null, 'away'), check(job, null, 'refused'));
    expect(periods).toEqual({});
    expect(notes).toEqual([
      expect.stringMatching(/^Check "away": could not be read: .* It is asked again at the next look\.$/),
      expect.stringMatching(
        /^Check "refused": could not be read: .*needs x\.get\. Grant the controller that permission/,
      ),
    ]);
    expect(calls('SearchModelMonitoringStats')).toBe(2);
  });
});

describe('a hostile reply', () => {
  const job = `${parent}/modelDeploymentMonitoringJobs/1`;
  const monitor = `${parent}/modelMonitors/m`;
  const configured = {
    endpoint,
    modelDeploymentMonitoringObjectiveConfigs: [{ deployedModelId: '7', objectiveConfig: drift }],
  };
  const target = { modelMonitoringTarget: { vertexModel: { model, modelVersionId: '2' } } };
  const seconds = (at: number) => ({ seconds: at / 1000 });
  const stat = (featureDisplayName: string, ...deviations: number[]) => ({
    featureDisplayName,
    predictionStats: deviations.map((distributionDeviation, i) => ({
      distributionDeviation,
      startTime: seconds(fromAt),
      endTime: seconds(fromAt + (i + 1) * minuteMs),
    })),
  });

  /** A Model Monitoring that answers what a test says. */
  async function withReplies(jobStats: object, monitorStats: object = {}, gets = { job: configured, monitor: target }) {
    const hostile = await clientsOf([
      unaryService('google.cloud.aiplatform.v1.JobService', {
        GetModelDeploymentMonitoringJob: () => gets.job,
        SearchModelDeploymentMonitoringStatsAnomalies: () => jobStats,
      }),
      unaryService('google.cloud.aiplatform.v1beta1.ModelMonitoringService', {
        GetModelMonitor: () => gets.monitor,
        SearchModelMonitoringStats: () => monitorStats,
      }),
    ]);
    try {
      const only7 = { ...query(check(job, null, 'v1'), check(monitor, null, 'v2')), models: models.slice(0, 1) };
      const [answer] = await read([only7], hostile.clients);
      return { periods: Object.fromEntries(answer?.periods ?? []), notes: answer?.notes ?? [] };
    } finally {
      await hostile.close();
    }
  }

  test.each([Number.NaN, Number.POSITIVE_INFINITY, -0.1])(
    'a newest deviation of %s is refused, and no other is taken, for it might be the greatest',
    async (bad) => {
      const { periods, notes } = await withReplies({
        monitoringStats: [{ featureStats: [stat('distance', 0.1, 0.2), stat('hour', 0.3, bad), stat('day', bad)] }],
      });
      expect(periods).toEqual({});
      expect(notes).toEqual([
        expect.stringMatching(/^Check "v1": .*refused a deviation of \S+ of "hour" and 1 more; expected 0 or more/),
      ]);
      expect(notes[0]).toContain(`a deviation of ${bad} of`);
    },
  );

  test('a deviation that is none does not count once the feature has a newer one', async () => {
    const answer = await withReplies({ monitoringStats: [{ featureStats: [stat('hour', Number.NaN, 0.3)] }] });
    expect(answer).toEqual({ periods: told({ 7: { v1: { value: 0.3 } } }), notes: [] });
  });

  test('data that ends before it begins is not of the share', async () => {
    const dates = { startTime: seconds(fromAt), endTime: { seconds: -1e15 } };
    const backward = { featureDisplayName: 'x', predictionStats: [{ distributionDeviation: -1, ...dates }] };
    const answer = await withReplies({ monitoringStats: [{ featureStats: [backward] }] });
    expect(answer).toEqual({ periods: {}, notes: [] });
  });

  test('statistics as a double count; those without a value are refused', async () => {
    const of = (statsName: string, ...dataPoints: object[]) => ({ tabularStats: { statsName, dataPoints } });
    const createTime = seconds(fromAt + minuteMs);
    const counted = of('distance', { currentStats: { doubleValue: 0.25 }, createTime });
    expect(await withReplies({}, { monitoringStats: [counted] })).toEqual({
      periods: told({ 7: { v2: { value: 0.25 } } }),
      notes: [],
    });
    const { periods, notes } = await withReplies({}, { monitoringStats: [counted, of('hour', { createTime })] });
    expect(periods).toEqual({});
    expect(notes).toEqual([expect.stringMatching(/^Check "v2": .*refused a deviation of nothing of "hour"/)]);
  });

  test('statistics without a date are not dated by guess', async () => {
    const undated = { featureDisplayName: 'x', predictionStats: [{ distributionDeviation: 0.1 }] };
    const { periods, notes } = await withReplies({ monitoringStats: [{ featureStats: [undated] }] });
    expect(periods).toEqual({});
    expect(notes).toEqual([
      expect.stringMatching(/^Check "v1": could not be read: .*not what the API promises.*endTime/s),
    ]);
  });

  test('pages without an end are given up, and nothing of them counts', async () => {
    const endless = { monitoringStats: [{ featureStats: [stat('x', 0.1)] }], nextPageToken: 'again' };
    const { periods, notes } = await withReplies(endless);
    expect(periods).toEqual({});
    expect(notes).toEqual([expect.stringContaining(`more than ${limits.pagesMax} pages`)]);
  });

  test('a long list of faults becomes a note that the evidence can hold', async () => {
    const undated = { featureDisplayName: 'x', predictionStats: Array.from({ length: 500 }, () => ({})) };
    const { notes } = await withReplies({ monitoringStats: [{ featureStats: [undated] }] });
    expect(notes[0]).toHaveLength(1000);
  });

  test('a job and a monitor that say nothing of what they monitor are not read', async () => {
    const empty = { endpoint, modelDeploymentMonitoringObjectiveConfigs: [] };
    const { notes } = await withReplies(
      {},
      {},
      { job: empty, monitor: { modelMonitoringTarget: { vertexModel: { model: '', modelVersionId: '' } } } },
    );
    expect(notes).toEqual([
      expect.stringMatching(/^Check "v1": .*neither drift nor skew of DeployedModel 7/),
      expect.stringMatching(/^Check "v2": .*does not cover all models/),
    ]);
  });
});
