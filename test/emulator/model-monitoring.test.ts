import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type RunningEmulator, startEmulator } from '../../emulator/start.ts';
import { parseEnvironment } from '../../functions/engine/environment.ts';
import { googleClients } from '../../functions/gcp/clients.ts';
import { createEndpoint, failure, googleClients as emulatorClients, parent, uploadVersion } from './google-clients.ts';

const code = { invalid: 3, notFound: 5, exists: 6, unimplemented: 12 };
const hourMs = 3_600_000;
const startAt = Date.parse('2026-01-01T10:00:00Z');
const at = (ms: number) => ({ seconds: ms / 1000 });

let emulator: RunningEmulator;
let clients: ReturnType<typeof googleClients>;
let endpoint: string;

beforeAll(async () => {
  emulator = await startEmulator({ timeScale: 3600 });
  clients = googleClients(
    parseEnvironment({
      GOOGLE_CLOUD_PROJECT: 'demo-project',
      ROLLOUT_LOCATION: 'us-central1',
      ...emulator.environment,
    }),
  );
  const setup = emulatorClients(emulator);
  endpoint = await createEndpoint(setup, '5001');
  await uploadVersion(setup, 'delays');
  await setup.close();
});
afterAll(async () => {
  await clients.close();
  await emulator.close();
});

async function plant(deviations: unknown): Promise<{ status: number; text: string }> {
  const request = { method: 'POST', body: JSON.stringify(deviations) };
  const response = await fetch(`http://${emulator.hosts.control}/deviations`, request);
  return { status: response.status, text: await response.text() };
}

const drift = { predictionDriftDetectionConfig: { defaultDriftThreshold: { value: 0.3 } } };

function job(of: string, objectiveConfig: object = drift) {
  return {
    displayName: 'delays',
    endpoint: of,
    modelDeploymentMonitoringObjectiveConfigs: [{ deployedModelId: '7', objectiveConfig }],
    modelDeploymentMonitoringScheduleConfig: { monitorInterval: { seconds: 60 } },
    loggingSamplingStrategy: { randomSampleConfig: { sampleRate: 0.5 } },
  };
}

async function createJob(): Promise<string> {
  const jobs = await clients.jobs();
  const [created] = await jobs.createModelDeploymentMonitoringJob({
    parent,
    modelDeploymentMonitoringJob: job(endpoint),
  });
  return created.name ?? '';
}

describe('JobService', () => {
  test('a monitoring job is created, read and listed, with its interval rounded up to an hour', async () => {
    const jobs = await clients.jobs();
    const name = await createJob();
    const [read] = await jobs.getModelDeploymentMonitoringJob({ name });
    expect(read).toMatchObject({
      endpoint: expect.stringMatching(/\/endpoints\/5001$/),
      state: 'JOB_STATE_RUNNING',
      modelDeploymentMonitoringObjectiveConfigs: [{ deployedModelId: '7', objectiveConfig: drift }],
      modelDeploymentMonitoringScheduleConfig: { monitorInterval: { seconds: '3600' } },
    });
    const [listed] = await jobs.listModelDeploymentMonitoringJobs({ parent });
    expect(listed.map((one) => one.name)).toContain(name);
  });

  test('a job for an endpoint that does not exist, and one that watches nothing, are refused', async () => {
    const jobs = await clients.jobs();
    const create = (one: object) =>
      failure(jobs.createModelDeploymentMonitoringJob({ parent, modelDeploymentMonitoringJob: one }));
    expect(await create(job(`${parent}/endpoints/404`))).toMatchObject({ code: code.notFound });
    expect(await create(job(endpoint, {}))).toMatchObject({ code: code.invalid });
    expect(await create({ ...job(endpoint), logTtl: { seconds: 1 } })).toMatchObject({ code: code.unimplemented });
  });

  test('planted deviations are found by DeployedModel, objective, feature and time, page by page', async () => {
    const jobs = await clients.jobs();
    const name = await createJob();
    const base = { job: name, deployedModelId: '7', fromMs: startAt - hourMs, toMs: startAt };
    const planted = await plant([
      { ...base, feature: 'distance', deviation: 0.1 },
      { ...base, feature: 'distance', deviation: 0.4, fromMs: startAt, toMs: startAt + hourMs },
      { ...base, feature: 'hour', deviation: 0.2 },
      { ...base, feature: 'hour', deviation: 0.9, objective: 'RAW_FEATURE_SKEW' },
    ]);
    expect(planted.status).toBe(200);
    const asked = {
      modelDeploymentMonitoringJob: name,
      deployedModelId: '7',
      objectives: [{ type: 'RAW_FEATURE_DRIFT' as const }],
    };
    const found = async (more: object) => {
      const [stats] = await jobs.searchModelDeploymentMonitoringStatsAnomalies({ ...asked, ...more });
      return stats.flatMap(({ featureStats }) =>
        (featureStats ?? []).flatMap(({ featureDisplayName, predictionStats }) =>
          (predictionStats ?? []).map((one) => `${featureDisplayName} ${one.distributionDeviation}`),
        ),
      );
    };
    expect(await found({})).toEqual(['distance 0.1', 'distance 0.4', 'hour 0.2']);
    expect(await found({ pageSize: 1 })).toEqual(['distance 0.1', 'distance 0.4', 'hour 0.2']);
    expect(await found({ featureDisplayName: 'hour' })).toEqual(['hour 0.2']);
    expect(await found({ startTime: at(startAt + 1000) })).toEqual(['distance 0.4']);
    expect(await found({ endTime: at(startAt) })).toEqual(['distance 0.1', 'hour 0.2']);
    const objectives = [{ type: 'RAW_FEATURE_SKEW' as const }];
    expect(await found({ objectives })).toEqual(['hour 0.9']);
    const unknown = jobs.searchModelDeploymentMonitoringStatsAnomalies({ ...asked, deployedModelId: '8' });
    expect(await failure(unknown)).toMatchObject({ code: code.notFound });
  });
});

describe('ModelMonitoringService', () => {
  const vertexModel = { model: `${parent}/models/delays`, modelVersionId: '1' };
  const modelMonitor = { displayName: 'delays', modelMonitoringTarget: { vertexModel } };

  test('a monitor is there as soon as its operation answers, and its id is taken', async () => {
    const monitoring = await clients.modelMonitoring();
    const schema = { modelMonitoringSchema: { featureFields: [{ name: 'distance', dataType: 'float' }] } };
    const request = { parent, modelMonitor: { ...modelMonitor, ...schema }, modelMonitorId: 'delays-1' };
    const [operation] = await monitoring.createModelMonitor(request);
    const [created] = await operation.promise();
    const [read] = await monitoring.getModelMonitor({ name: `${parent}/modelMonitors/delays-1` });
    expect(read.name).toBe(created.name);
    expect(read).toMatchObject({
      modelMonitoringTarget: {
        vertexModel: { model: expect.stringMatching(/\/models\/delays$/), modelVersionId: '1' },
      },
      ...schema,
    });
    expect(await failure(monitoring.createModelMonitor(request))).toMatchObject({ code: code.exists });
    const target = { vertexModel: { ...vertexModel, modelVersionId: '9' } };
    const other = { ...request, modelMonitor: { modelMonitoringTarget: target }, modelMonitorId: 'delays-9' };
    expect(await failure(monitoring.createModelMonitor(other))).toMatchObject({ code: code.notFound });
  });

  test('planted deviations are found by objective, name and time, newest first', async () => {
    const monitoring = await clients.modelMonitoring();
    const [operation] = await monitoring.createModelMonitor({ parent, modelMonitor, modelMonitorId: 'stats' });
    await operation.promise();
    const monitor = `${parent}/modelMonitors/stats`;
    await plant([
      { monitor, feature: 'distance', deviation: 0.1, atMs: startAt },
      { monitor, feature: 'distance', deviation: 0.2, atMs: startAt + hourMs },
      { monitor, feature: 'delay', deviation: 0.3, atMs: startAt, objective: 'prediction-output-drift' },
    ]);
    const found = async (tabularStatsFilter: object, timeInterval = {}) => {
      const request = { modelMonitor: monitor, statsFilter: { tabularStatsFilter }, timeInterval };
      const [stats] = await monitoring.searchModelMonitoringStats(request);
      return stats.map(({ tabularStats }) => [
        tabularStats?.statsName,
        ...(tabularStats?.dataPoints ?? []).map(
          ({ currentStats }) => currentStats?.distributionValue?.distributionDeviation,
        ),
      ]);
    };
    expect(await found({ objectiveType: 'raw-feature-drift' })).toEqual([['distance', 0.2, 0.1]]);
    expect(await found({ statsName: 'delay' })).toEqual([['delay', 0.3]]);
    const firstHour = { startTime: at(startAt), endTime: at(startAt + hourMs) };
    expect(await found({}, firstHour)).toEqual([
      ['distance', 0.1],
      ['delay', 0.3],
    ]);
  });
});

test('a deviation of a job that does not exist is refused, and with it all others', async () => {
  const name = await createJob();
  const deviation = { deployedModelId: '7', feature: 'distance', deviation: 0.1, fromMs: 0, toMs: 1 };
  const refused = await plant([
    { ...deviation, job: name },
    { ...deviation, job: `${parent}/modelDeploymentMonitoringJobs/404` },
  ]);
  expect(refused.status).toBe(400);
  expect(refused.text).toMatch(/404 does not exist/);
  expect(emulator.world.context.state.monitoringJobs[name]?.deviations).toEqual([]);
  expect((await plant([{ job: name }])).status).toBe(400);
});
