/**
 * How does Cloud Scheduler behave? google.cloud.scheduler.v1.CloudScheduler with jobs that publish to Pub/Sub, on their
 * cron schedule or when told to. HTTP and App Engine targets are not emulated.
 */
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import {
  type BeforeCall,
  type GrpcService,
  page,
  parseRequest,
  StatusError,
  status,
  toTimestamp,
  type UnaryHandler,
  unaryService,
} from '../grpc.ts';
import { type Cron, nextFireAt, parseCron } from './cron.ts';

/** Publishes to a topic; throws a StatusError when that fails. PubSub.publish() is one. */
export type Publish = (
  topic: string,
  messages: { data: Uint8Array; attributes: Record<string, string> }[],
) => string[] | Promise<unknown>;

export interface SchedulerOptions {
  now: () => number;
  /** Schedules run this many times faster: with 60, `* * * * *` fires each second. */
  timeScale: number;
  publish: Publish;
  before?: BeforeCall;
}

export interface Scheduler {
  /** For serveGrpc(). */
  services: GrpcService[];
  /** Publishes for every job that is due now. The scheduler's own timer does this; a test with its own clock may. */
  fireDue(): Promise<void>;
  /** All jobs, as JSON. */
  snapshot(): unknown;
  /** Replaces all jobs by a snapshot's; what was missed meanwhile is not made up for. Throws when it is not one. */
  restore(snapshot: unknown): void;
  /** Stops firing. */
  close(): void;
}

interface Job {
  /** google.cloud.scheduler.v1.Job; bytes are base64. */
  resource: Record<string, unknown>;
  name: string;
  isEnabled: boolean;
  cron: Cron;
  timeZone: string;
  target: { topic: string; data: Buffer; attributes: Record<string, string> };
  /** On the scheduler's clock, milliseconds since the epoch. */
  fireAt: number;
}

/** The timer looks at least this often, so that a laptop that slept is noticed. */
const timerMsMax = 60_000;

const nameSchema = z.object({
  name: z
    .string()
    .regex(/^projects\/[^/]+\/locations\/[^/]+\/jobs\/[\w-]{1,500}$/, 'expected projects/P/locations/L/jobs/J'),
});
const parentSchema = z.object({
  parent: z.string().regex(/^projects\/[^/]+\/locations\/[^/]+$/, 'expected projects/P/locations/L'),
});
const resourceSchema = z.record(z.string(), z.unknown());
const bytesSchema = z
  .union([z.instanceof(Uint8Array).transform((bytes) => Buffer.from(bytes).toString('base64')), z.base64()])
  .default('');
const targetSchema = z
  .looseObject({
    topicName: z.string().regex(/^projects\/[^/]+\/topics\/[^/]+$/, 'expected projects/P/topics/T'),
    data: bytesSchema,
    attributes: z.record(z.string(), z.string()).default({}),
  })
  .refine(({ data, attributes }) => data !== '' || Object.keys(attributes).length > 0, 'needs data or an attribute');
const jobSchema = nameSchema.extend({
  schedule: z.string(),
  timeZone: z.string().transform((zone) => zone || 'UTC'),
  state: z.enum(['ENABLED', 'PAUSED']),
  pubsubTarget: targetSchema,
});
/** What a client may set; the rest of a job is the service's to say. */
const settable = ['description', 'schedule', 'timeZone', 'pubsubTarget', 'retryConfig', 'attemptDeadline'];

/** Makes a scheduler without jobs. */
export function createScheduler({ now, timeScale, publish, before }: SchedulerOptions): Scheduler {
  const jobs = new Map<string, Job>();
  // Schedules run on a clock that is right when the scheduler starts, and runs timeScale times faster from then on.
  const origin = now();
  const scheduleNow = (): number => origin + (now() - origin) * timeScale;
  const toRealTime = (at: number): number => origin + (at - origin) / timeScale;
  let timer: NodeJS.Timeout | undefined;
  let isClosed = false;

  /** Checks a job and keeps it, due at its next minute. */
  function put(resource: Record<string, unknown>): Record<string, unknown> {
    const { name, schedule, timeZone, state, pubsubTarget } = parseRequest(jobSchema, resource);
    const cron = orInvalid('schedule', () => parseCron(schedule));
    const fireAt = orInvalid('schedule and time_zone', () => nextFireAt(cron, scheduleNow(), timeZone));
    const { topicName: topic, data, attributes } = pubsubTarget;
    jobs.set(name, {
      resource: { ...resource, timeZone, pubsubTarget, scheduleTime: toTimestamp(toRealTime(fireAt)) },
      name,
      isEnabled: state === 'ENABLED',
      cron,
      timeZone,
      target: { topic, data: Buffer.from(data, 'base64'), attributes },
      fireAt,
    });
    arm();
    return find({ name }).resource;
  }

  function find(request: Record<string, unknown>): Job {
    const { name } = parseRequest(nameSchema, request);
    const job = jobs.get(name);
    if (job === undefined) throw new StatusError(status.NOT_FOUND, `${name} does not exist.`);
    return job;
  }

  function changeState(request: Record<string, unknown>, from: string, to: string): Record<string, unknown> {
    const { name, resource } = find(request);
    if (resource['state'] !== from) {
      const problem = `${name} is ${String(resource['state'])}; it must be ${from} to become ${to}.`;
      throw new StatusError(status.FAILED_PRECONDITION, problem);
    }
    return put({ ...resource, state: to, userUpdateTime: toTimestamp(now()) });
  }

  /** Publishes once, and records how that went. There is no retry: the next minute is one. */
  async function run({ name, target: { topic, data, attributes } }: Job): Promise<Record<string, unknown>> {
    const attempted = { lastAttemptTime: toTimestamp(now()), status: { code: 0, message: '' } };
    try {
      await publish(topic, [{ data, attributes }]);
    } catch (error) {
      const code = error instanceof StatusError ? error.code : status.INTERNAL;
      attempted.status = { code, message: error instanceof Error ? error.message : String(error) };
    }
    // The job may have been changed or deleted meanwhile.
    const job = jobs.get(name);
    if (job === undefined) throw new StatusError(status.NOT_FOUND, `${name} was deleted while it ran.`);
    job.resource = { ...job.resource, ...attempted };
    return job.resource;
  }

  async function fireDue(): Promise<void> {
    const at = scheduleNow();
    const due = [...jobs.values()].filter((job) => job.isEnabled && job.fireAt <= at);
    for (const job of due) {
      // The next time is set first: what was missed while the clock jumped is fired once, not made up for.
      job.fireAt = nextFireAt(job.cron, at, job.timeZone);
      job.resource = { ...job.resource, scheduleTime: toTimestamp(toRealTime(job.fireAt)) };
    }
    arm();
    await Promise.allSettled(due.map((job) => run(job)));
  }

  function arm(): void {
    clearTimeout(timer);
    const fireTimes = [...jobs.values()].filter(({ isEnabled }) => isEnabled).map(({ fireAt }) => toRealTime(fireAt));
    if (isClosed || fireTimes.length === 0) return;
    const waitMs = Math.min(Math.max(Math.min(...fireTimes) - now(), 1), timerMsMax);
    timer = setTimeout(() => void fireDue(), waitMs);
  }

  const handlers: Record<string, UnaryHandler> = {
    CreateJob(request) {
      const { parent } = parseRequest(parentSchema, request);
      const { job } = parseRequest(z.object({ job: resourceSchema }), request);
      const { name } = parseRequest(nameSchema, { name: job['name'] || `${parent}/jobs/${randomUUID()}` });
      if (!name.startsWith(`${parent}/`)) {
        throw new StatusError(status.INVALID_ARGUMENT, `job.name: expected a job of ${parent}, got ${name}`);
      }
      if (jobs.has(name)) throw new StatusError(status.ALREADY_EXISTS, `${name} exists already.`);
      return put({
        ...pick(withPubsubTarget(job), settable),
        name,
        state: 'ENABLED',
        userUpdateTime: toTimestamp(now()),
      });
    },
    UpdateJob(request) {
      const schema = z.object({ job: resourceSchema, updateMask: z.object({ paths: z.array(z.string()) }).nullish() });
      const { job, updateMask } = parseRequest(schema, request);
      const paths = updateMask?.paths.map(toCamelCase) ?? [];
      const unknown = paths.find((path) => !settable.includes(path));
      if (unknown !== undefined) {
        throw new StatusError(status.INVALID_ARGUMENT, `update_mask: expected ${settable.join(', ')}, got ${unknown}`);
      }
      const changes = pick(withPubsubTarget(job), paths.length > 0 ? paths : settable);
      return put({ ...find(job).resource, ...changes, userUpdateTime: toTimestamp(now()) });
    },
    GetJob: (request) => find(request).resource,
    ListJobs(request) {
      const { parent } = parseRequest(parentSchema, request);
      const { items, nextPageToken } = page(
        [...jobs.values()].filter(({ name }) => name.startsWith(`${parent}/jobs/`)),
        request,
      );
      return { jobs: items.map(({ resource }) => resource), nextPageToken };
    },
    DeleteJob(request) {
      jobs.delete(find(request).name);
      arm();
      return {};
    },
    PauseJob: (request) => changeState(request, 'ENABLED', 'PAUSED'),
    ResumeJob: (request) => changeState(request, 'PAUSED', 'ENABLED'),
    RunJob: (request) => run(find(request)),
  };

  return {
    services: [unaryService('google.cloud.scheduler.v1.CloudScheduler', handlers, before)],
    fireDue,
    snapshot: () => ({ jobs: Array.from(jobs.values(), ({ resource }) => resource) }),
    restore: (snapshot) => {
      const stored = z.object({ jobs: z.array(resourceSchema) }).parse(snapshot);
      jobs.clear();
      for (const resource of stored.jobs) put(resource);
    },
    close: () => {
      isClosed = true;
      clearTimeout(timer);
    },
  };
}

function withPubsubTarget(job: Record<string, unknown>): Record<string, unknown> {
  if (!job['httpTarget'] && !job['appEngineHttpTarget']) return job;
  throw new StatusError(status.UNIMPLEMENTED, 'This emulator has no HTTP and App Engine targets; use pubsub_target.');
}

function orInvalid<T>(field: string, compute: () => T): T {
  try {
    return compute();
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error);
    throw new StatusError(status.INVALID_ARGUMENT, `${field}: ${problem}`);
  }
}

function pick(from: Record<string, unknown>, keys: string[]): Record<string, unknown> {
  return Object.fromEntries(keys.filter((key) => key in from).map((key) => [key, from[key]]));
}

function toCamelCase(path: string): string {
  return path.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}
