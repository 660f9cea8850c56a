import { afterEach, beforeEach, expect, test } from 'vitest';
import { createFaults } from '../../../emulator/faults.ts';
import { createScheduler } from '../../../emulator/scheduler/scheduler.ts';
import { parseEnvironment } from '../../../functions/engine/environment.ts';
import type { SchedulePort } from '../../../functions/engine/ports.ts';
import { type Clients, googleClients } from '../../../functions/gcp/clients.ts';
import { tickSchedule } from '../../../functions/gcp/schedule.ts';
import { serve } from './local-vertex.ts';

const parent = 'projects/demo/locations/us-central1';
const faults = createFaults({ operationsAreStuck: false, metricGaps: [] }, () => 0);

let clients: Clients;
let schedule: SchedulePort;
let closeAll: () => Promise<void>;

beforeEach(async () => {
  const scheduler = createScheduler({ now: Date.now, timeScale: 1, publish: () => [], before: faults.beforeCall });
  const { host, close } = await serve(scheduler.services);
  const environment = parseEnvironment({
    GOOGLE_CLOUD_PROJECT: 'demo',
    ROLLOUT_LOCATION: 'us-central1',
    SCHEDULER_EMULATOR_HOST: host,
  });
  clients = googleClients(environment);
  schedule = tickSchedule(clients, environment);
  closeAll = async () => {
    faults.clear();
    scheduler.close();
    await clients.close();
    await close();
  };
});

afterEach(() => closeAll());

async function createTickJob(): Promise<void> {
  const client = await clients.scheduler();
  const pubsubTarget = { topicName: 'projects/demo/topics/rollout-ticks', data: Buffer.from('{"kind":"tick"}') };
  const job = { name: `${parent}/jobs/rollout-ticks`, schedule: '* * * * *', pubsubTarget };
  await client.createJob({ parent, job });
}

test('ticks are paused and resumed, and to do so twice does nothing', async () => {
  await createTickJob();
  expect(await schedule.isPaused()).toBe(false);
  await schedule.resume();
  expect(await schedule.isPaused()).toBe(false);
  await schedule.pause();
  await schedule.pause();
  expect(await schedule.isPaused()).toBe(true);
  await schedule.resume();
  expect(await schedule.isPaused()).toBe(false);
});

test('a job that does not exist counts as paused, and stops no rollout', async () => {
  expect(await schedule.isPaused()).toBe(true);
  await expect(schedule.resume()).resolves.toBeUndefined();
  await expect(schedule.pause()).resolves.toBeUndefined();
});

test('a refusal for another reason than the state is an error', async () => {
  await createTickJob();
  faults.add([{ method: '*/PauseJob', code: 'FAILED_PRECONDITION', message: 'the job is being updated', times: 1 }]);
  await expect(schedule.pause()).rejects.toMatchObject({ name: 'TransientError', code: 'conflict' });
  expect(await schedule.isPaused()).toBe(false);
});

test('a scheduler that is away is a transient error', async () => {
  faults.add([{ method: '*', code: 'UNAVAILABLE' }]);
  await expect(schedule.resume()).rejects.toMatchObject({ name: 'TransientError', code: 'unavailable' });
  await expect(schedule.isPaused()).rejects.toMatchObject({ code: 'unavailable' });
});
