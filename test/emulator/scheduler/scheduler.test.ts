import { CloudSchedulerClient } from '@google-cloud/scheduler';
import { PassThroughClient } from 'google-auth-library';
import { grpc } from 'google-gax';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { serveGrpc, StatusError, status } from '../../../emulator/grpc.ts';
import { createPubSub } from '../../../emulator/pubsub/pubsub.ts';
import { createScheduler, type Scheduler } from '../../../emulator/scheduler/scheduler.ts';

const parent = 'projects/demo/locations/us-central1';
const name = `${parent}/jobs/ticks`;
const topicName = 'projects/demo/topics/rollout-ticks';
const pubsubTarget = { topicName, data: Buffer.from('{"kind":"tick"}'), attributes: { from: 'schedule' } };
const startAt = Date.parse('2026-01-01T00:00:30Z');
const minuteMs = 60_000;

const clock = { now: startAt };
let published: { topic: string; at: number; data: string; attributes: Record<string, string> }[];
let publishFailure: Error | null;
let scheduler: Scheduler;
let client: CloudSchedulerClient;
const closers: (() => Promise<unknown> | void)[] = [];

async function start(timeScale: number): Promise<void> {
  scheduler = createScheduler({
    now: () => clock.now,
    timeScale,
    publish: (topic, messages) => {
      if (publishFailure !== null) throw publishFailure;
      for (const { data, attributes } of messages) {
        published.push({ topic, at: clock.now - startAt, data: Buffer.from(data).toString(), attributes });
      }
      return [];
    },
  });
  const server = await serveGrpc(0, scheduler.services);
  client = new CloudSchedulerClient({
    apiEndpoint: '127.0.0.1',
    port: server.port,
    projectId: 'demo',
    sslCreds: grpc.credentials.createInsecure(),
    authClient: new PassThroughClient(),
  });
  closers.push(
    () => server.close(),
    () => scheduler.close(),
    () => client.close(),
  );
}

/** Moves the clock to so many milliseconds after the start, and fires what became due. */
async function passTo(sinceStartMs: number): Promise<void> {
  clock.now = startAt + sinceStartMs;
  await scheduler.fireDue();
}

beforeEach(() => {
  clock.now = startAt;
  published = [];
  publishFailure = null;
});

afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

async function createJob(schedule = '* * * * *', job: object = {}) {
  const [created] = await client.createJob({ parent, job: { name, schedule, pubsubTarget, ...job } });
  return created;
}

describe('jobs', () => {
  beforeEach(() => start(1));

  test('are created, read, listed, updated and deleted', async () => {
    const created = await createJob('*/10 * * * *', { description: 'reconcile' });
    expect(created).toMatchObject({
      name,
      state: 'ENABLED',
      timeZone: 'UTC',
      description: 'reconcile',
      scheduleTime: { seconds: String(Date.parse('2026-01-01T00:10:00Z') / 1000) },
      pubsubTarget: { topicName, data: pubsubTarget.data, attributes: { from: 'schedule' } },
    });
    expect((await client.getJob({ name }))[0]).toEqual(created);
    expect((await client.listJobs({ parent }))[0]).toEqual([created]);
    expect((await client.listJobs({ parent: 'projects/demo/locations/elsewhere' }))[0]).toEqual([]);
    const [updated] = await client.updateJob({
      job: { name, schedule: '*/5 * * * *', description: 'not in the mask' },
      updateMask: { paths: ['schedule'] },
    });
    expect(updated).toMatchObject({
      schedule: '*/5 * * * *',
      description: 'reconcile',
      scheduleTime: { seconds: String(Date.parse('2026-01-01T00:05:00Z') / 1000) },
      pubsubTarget: { data: pubsubTarget.data },
    });
    await client.deleteJob({ name });
    await expect(client.getJob({ name })).rejects.toMatchObject({ code: grpc.status.NOT_FOUND });
  });

  test('without a name get one', async () => {
    const created = await createJob('* * * * *', { name: '' });
    expect(created.name).toMatch(/^projects\/demo\/locations\/us-central1\/jobs\/[\w-]{36}$/);
  });

  test('that are wrong are refused with the status of the service', async () => {
    const invalid = { code: grpc.status.INVALID_ARGUMENT };
    await expect(createJob('every now and then')).rejects.toMatchObject(invalid);
    await expect(createJob('0 0 30 2 *')).rejects.toMatchObject(invalid);
    await expect(createJob('* * * * *', { timeZone: 'Mars/Olympus' })).rejects.toMatchObject(invalid);
    await expect(createJob('* * * * *', { name: 'ticks' })).rejects.toMatchObject(invalid);
    await expect(createJob('* * * * *', { name: 'projects/a/locations/b/jobs/c' })).rejects.toMatchObject(invalid);
    await expect(createJob('* * * * *', { pubsubTarget: null })).rejects.toMatchObject(invalid);
    await expect(createJob('* * * * *', { pubsubTarget: { topicName } })).rejects.toMatchObject(invalid);
    await expect(
      createJob('* * * * *', { pubsubTarget: null, httpTarget: { uri: 'http://localhost' } }),
    ).rejects.toMatchObject({ code: grpc.status.UNIMPLEMENTED });
    await createJob();
    await expect(createJob()).rejects.toMatchObject({ code: grpc.status.ALREADY_EXISTS });
    const update = { job: { name, state: 'PAUSED' as const }, updateMask: { paths: ['state'] } };
    await expect(client.updateJob(update)).rejects.toMatchObject(invalid);
    await expect(client.pauseJob({ name: `${name}2` })).rejects.toMatchObject({ code: grpc.status.NOT_FOUND });
  });
});

describe('firing', () => {
  test('publishes the target on every minute of the schedule, once', async () => {
    await start(1);
    await createJob('*/2 * * * *');
    await passTo(29_000);
    expect(published).toEqual([]);
    await passTo(1.5 * minuteMs);
    await passTo(1.5 * minuteMs + 1);
    expect(published).toEqual([
      { topic: topicName, at: 1.5 * minuteMs, data: '{"kind":"tick"}', attributes: { from: 'schedule' } },
    ]);
    const [job] = await client.getJob({ name });
    expect(job).toMatchObject({
      lastAttemptTime: { seconds: String(Date.parse('2026-01-01T00:02:00Z') / 1000) },
      scheduleTime: { seconds: String(Date.parse('2026-01-01T00:04:00Z') / 1000) },
      status: { code: 0 },
    });
  });

  test('is as many times faster as the time scale says', async () => {
    await start(60);
    await createJob();
    for (const at of [400, 500, 1400, 1500, 2500]) await passTo(at);
    expect(published.map(({ at }) => at)).toEqual([500, 1500, 2500]);
    const [job] = await client.getJob({ name });
    expect(job.scheduleTime).toMatchObject({ seconds: String(startAt / 1000 + 3), nanos: 500_000_000 });
  });

  test('is done once for what was missed while the clock jumped', async () => {
    await start(1);
    await createJob();
    await passTo(10 * minuteMs);
    await passTo(10 * minuteMs + 29_000);
    expect(published).toHaveLength(1);
  });

  test('stops while paused and goes on when resumed, without making up for the pause', async () => {
    await start(1);
    await createJob();
    const [paused] = await client.pauseJob({ name });
    expect(paused.state).toBe('PAUSED');
    await passTo(5 * minuteMs);
    expect(published).toEqual([]);
    await expect(client.pauseJob({ name })).rejects.toMatchObject({ code: grpc.status.FAILED_PRECONDITION });
    await client.updateJob({ job: { name, description: 'still paused' }, updateMask: { paths: ['description'] } });
    await passTo(6 * minuteMs);
    expect(published).toEqual([]);
    const [resumed] = await client.resumeJob({ name });
    expect(resumed.state).toBe('ENABLED');
    await expect(client.resumeJob({ name })).rejects.toMatchObject({ code: grpc.status.FAILED_PRECONDITION });
    await passTo(6 * minuteMs + 29_000);
    expect(published).toEqual([]);
    await passTo(6 * minuteMs + 30_000);
    expect(published).toHaveLength(1);
  });

  test('happens at once when told to, also while paused', async () => {
    await start(1);
    await createJob();
    await client.pauseJob({ name });
    const [job] = await client.runJob({ name });
    expect(job).toMatchObject({ state: 'PAUSED', lastAttemptTime: { seconds: String(startAt / 1000) } });
    expect(published).toHaveLength(1);
  });

  test('that fails is seen in the job, and tried again at its next minute', async () => {
    await start(1);
    await createJob();
    publishFailure = new StatusError(status.NOT_FOUND, 'no such topic');
    await passTo(30_000);
    expect((await client.getJob({ name }))[0].status).toMatchObject({ code: 5, message: 'no such topic' });
    publishFailure = null;
    await passTo(90_000);
    expect(published).toHaveLength(1);
    expect((await client.getJob({ name }))[0].status).toMatchObject({ code: 0 });
  });
});

test('jobs survive in a snapshot, with their state', async () => {
  await start(1);
  await createJob();
  await createJob('0 0 * * *', { name: `${name}-paused` });
  await client.pauseJob({ name: `${name}-paused` });
  const before = (await client.listJobs({ parent }))[0];
  const snapshot: unknown = JSON.parse(JSON.stringify(scheduler.snapshot()));
  await start(1);
  scheduler.restore(snapshot);
  expect((await client.listJobs({ parent }))[0]).toEqual(before);
  await passTo(30_000);
  expect(published).toMatchObject([{ data: '{"kind":"tick"}' }]);
});

test('the timer fires by itself into the emulated Pub/Sub', async () => {
  const pubsub = createPubSub({ now: Date.now, timeScale: 1 });
  const fired = new Promise<string[]>((resolve, reject) => {
    const own = createScheduler({
      now: Date.now,
      timeScale: 6000,
      publish: (topic, messages) => {
        try {
          const ids = pubsub.publish(topic, messages);
          resolve(ids);
          return ids;
        } catch (error) {
          reject(error);
          throw error;
        }
      },
    });
    closers.push(() => own.close());
    pubsub.restore({ topics: [{ name: topicName }], subscriptions: [] });
    own.restore({
      jobs: [
        { name, schedule: '* * * * *', timeZone: 'UTC', state: 'ENABLED', pubsubTarget: { topicName, data: 'e30=' } },
      ],
    });
  });
  expect(await fired).toHaveLength(1);
});
