/**
 * How are the doors tried? Every event function as functions-framework serves it, in this process, over HTTP; behind it
 * Google's own clients, the local Vertex AI, Monitoring, Scheduler and Pub/Sub, and the records in SQLite.
 */
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { getTestServer } from '@google-cloud/functions-framework/testing';
import type { PubSub } from '@google-cloud/pubsub';
import { type RunningEmulator, startEmulator } from '../../../emulator/start.ts';
import type { World } from '../../../emulator/world/world.ts';
import { parseEnvironment } from '../../../functions/engine/environment.ts';
import { topics } from '../../../functions/engine/publish.ts';
import { openSqliteStore } from '../../../functions/engine/sqlite-store.ts';
import { type Clients, googleClients } from '../../../functions/gcp/clients.ts';
import { stateOf } from '../../../machines/rollout/describe.ts';
import { type EndpointRecord, emptyRecord, recordSchema } from '../../../machines/rollout/record.ts';
import { endpointKey } from '../../../machines/rollout/resource-name.ts';
import type { StoredRollout } from '../../../machines/rollout/snapshot.ts';
import * as google from '../../emulator/google-clients.ts';
import { type Post, type Sent, type Shape, shapes } from './shapes.ts';
import { portOf } from '../../port.ts';

export const { parent, project } = google;
export const doorNames = ['onBlessing', 'onTick', 'onCommand', 'onIncident', 'onEvidence'] as const;
export type Door = (typeof doorNames)[number];

/** A model, the endpoint of the same name, and the policy that joins them. */
export interface Subject {
  name: string;
  model: string;
  endpoint: string;
}

export interface Letter {
  data: Buffer;
  attributes: Record<string, string>;
}

export interface Doors {
  emulator: RunningEmulator;
  clients: Clients;
  vertex: google.Clients;
  /** Where the policies lie, one file each. */
  policies: string;
  storePath: string;
  urlOf(door: Door): string;
  post(door: Door, post: Post): Promise<{ status: number; text: string }>;
  /** Posts a message, as a binary CloudEvent unless told; returns the status. */
  send(door: Door, sent: Sent, shape?: Shape): Promise<number>;
  /** Registers versions 1 and 2 of a new model and writes its policy. The endpoint does not exist yet. */
  subject(name: string, spec?: string): Promise<Subject>;
  /** Version 1 serves, version 2 is blessed, and no event has told of it. */
  lostBlessing(name: string): Promise<Subject>;
  /** A rollout of version 2 that has just begun. */
  blessed(subject: Subject): Promise<StoredRollout>;
  /** A rollout of version 2 beside version 1, at its first step. */
  rollingOut(subject: Subject): Promise<StoredRollout>;
  /** Ticks, and between two ticks waits for what Vertex AI is doing, until the record is as asked. */
  tickUntil(subject: Subject, isSo: (now: EndpointRecord) => boolean): Promise<void>;
  /** Aborts what is rolled out, and ticks until it is over. */
  end(subject: Subject): Promise<void>;
  /** As Vertex AI has it. */
  splitOf(subject: Subject): Promise<Record<string, number>>;
  record(subject: Subject): Promise<EndpointRecord>;
  /** The active rollout; throws when there is none. */
  active(subject: Subject): Promise<StoredRollout>;
  /** What was written of a rollout, oldest first. */
  journal(rollout: string): Promise<unknown[]>;
  /** Those that arrived since this was last asked. */
  deadLetters(): Promise<Letter[]>;
  notifications(): Promise<Letter[]>;
  /** Waits for a notification of what happened; those before it are gone. Its data, decoded. */
  nextNotification(what: string): Promise<unknown>;
  tickJobName: string;
  /** The state of the job that ticks, such as `PAUSED`. */
  tickJob(): Promise<string>;
  /** Makes calls fail: see emulator/control.ts. An empty list ends all faults. */
  faults(rules: object[]): Promise<void>;
  close(): Promise<void>;
}

/** Starts everything. Only once per test file: a process has one wiring. */
export async function openDoors(): Promise<Doors> {
  const emulator = await startEmulator({ timeScale: 3600 });
  const folder = mkdtempSync(join(tmpdir(), 'doors-'));
  const policies = join(folder, 'policies');
  mkdirSync(policies);
  const storePath = join(folder, 'store.sqlite');
  const environment = {
    ...emulator.environment,
    GOOGLE_CLOUD_PROJECT: project,
    ROLLOUT_LOCATION: 'us-central1',
    ROLLOUT_STORE: `sqlite:${storePath}`,
    ROLLOUT_POLICIES: policies,
  };
  Object.assign(process.env, environment);
  await import('../../../functions/index.ts');
  const servers = await Promise.all(doorNames.map(async (door) => [door, await serve(door)] as const));
  const urls = new Map(servers.map(([door, { url }]) => [door, url]));

  const clients = googleClients(parseEnvironment(environment));
  const vertex = google.googleClients(emulator);
  const pubsub = await clients.pubsub();
  await Promise.all(Object.values(topics).map((topic) => pubsub.createTopic(topic)));
  const deadLetters = await openMailbox(pubsub, topics.deadLetters);
  const notifications = await openMailbox(pubsub, topics.notifications);
  const scheduler = await clients.scheduler();
  const pubsubTarget = {
    topicName: `projects/${project}/topics/${topics.ticks}`,
    data: Buffer.from('{"kind":"tick"}'),
  };
  const job = { name: `${parent}/jobs/rollout-ticks`, schedule: '* * * * *', timeZone: 'UTC', pubsubTarget };
  await scheduler.createJob({ parent, job });
  const store = openSqliteStore(storePath);
  let serial = 0;

  async function post(door: Door, { headers, body }: Post) {
    const response = await fetch(urlOf(door), { method: 'POST', headers, body });
    return { status: response.status, text: await response.text() };
  }

  function urlOf(door: Door): string {
    return `${urls.get(door)}/projects/${project}/topics/any`;
  }

  async function send(door: Door, sent: Sent, shape: Shape = 'binary CloudEvent'): Promise<number> {
    return (await post(door, shapes[shape](sent))).status;
  }

  async function record({ endpoint }: Subject): Promise<EndpointRecord> {
    const stored = await store.load(endpointKey(endpoint));
    return stored === null ? emptyRecord(endpoint) : recordSchema.parse(stored.data);
  }

  async function active(subject: Subject): Promise<StoredRollout> {
    const { active: rollout } = await record(subject);
    if (rollout === null) throw new Error(`Nothing is rolled out on ${subject.endpoint}`);
    return rollout;
  }

  async function blessed(subject: Subject): Promise<StoredRollout> {
    serial += 1;
    const data = JSON.stringify({ ...subject, versionId: '2' });
    const { text } = await post('onBlessing', shapes['push body']({ messageId: `blessed-${serial}`, data }));
    if (text !== '') throw new Error(text);
    return active(subject);
  }

  async function tickUntil(subject: Subject, isSo: (now: EndpointRecord) => boolean): Promise<void> {
    for (let round = 0; round < 20; round += 1) {
      const operation = nextOperation(emulator.world);
      serial += 1;
      await send('onTick', { messageId: `tick-${serial}`, data: '{"kind":"tick"}' });
      const now = await record(subject);
      if (isSo(now)) return;
      if (now.active !== null && now.active.context.operation !== null) await operation;
    }
    throw new Error(`20 ticks did not do it: ${JSON.stringify((await record(subject)).active)}`);
  }

  async function serving(subject: Subject): Promise<Subject> {
    await google.createEndpoint(vertex, subject.name);
    await google.deploy(vertex, subject.endpoint, '1', `${subject.name}@1`, { 0: 100 });
    return subject;
  }

  async function subjectOf(name: string, spec = ''): Promise<Subject> {
    for (let version = 1; version <= 2; version += 1) await google.uploadVersion(vertex, name);
    const subject = { name, model: `${parent}/models/${name}`, endpoint: `${parent}/endpoints/${name}` };
    writeFileSync(join(policies, `${name}.yaml`), policyText(subject, spec));
    return subject;
  }

  async function rollingOut(subject: Subject): Promise<StoredRollout> {
    await serving(subject);
    await blessed(subject);
    await tickUntil(subject, (now) => now.active !== null && stateOf(now.active) === 'analysing');
    return active(subject);
  }

  return {
    emulator,
    clients,
    vertex,
    policies,
    storePath,
    urlOf,
    post,
    send,
    record,
    active,
    blessed,
    rollingOut,
    tickUntil,
    journal: async (rollout) => (await store.listJournal(rollout, 1000)).map(({ data }) => data),
    deadLetters: () => deadLetters.take(),
    notifications: () => notifications.take(),
    async nextNotification(what) {
      const { data } = await notifications.next(({ attributes }) => attributes['what'] === what);
      return JSON.parse(data.toString());
    },
    subject: subjectOf,
    async lostBlessing(name) {
      const subject = await serving(await subjectOf(name));
      await vertex.models.mergeVersionAliases({ name: `${subject.model}@2`, versionAliases: ['blessed'] });
      return subject;
    },
    async end(subject) {
      serial += 1;
      const attributes = { command: 'abort', endpoint: subject.endpoint };
      await send('onCommand', { messageId: `end-${serial}`, attributes });
      await tickUntil(subject, (now) => now.active === null);
    },
    async splitOf({ endpoint }) {
      const [found] = await vertex.endpoints.getEndpoint({ name: endpoint });
      return found.trafficSplit ?? {};
    },
    tickJobName: job.name,
    async tickJob() {
      const [found] = await scheduler.getJob({ name: job.name });
      return String(found.state);
    },
    async faults(rules) {
      const url = `http://${emulator.hosts.control}/faults`;
      await fetch(url, { method: 'DELETE' });
      const { status } = await fetch(url, { method: 'POST', body: JSON.stringify(rules) });
      if (status !== 200) throw new Error('The emulator did not take the faults');
    },
    async close() {
      await Promise.all(servers.map(([, server]) => server.close()));
      await Promise.all([deadLetters.close(), notifications.close()]);
      await Promise.all([vertex.close(), clients.close(), store.close()]);
      await emulator.close();
      rmSync(folder, { recursive: true });
    },
  };
}

/** A policy under which nothing is decided by time: each step is kept for an hour. */
export function policyText({ name, model, endpoint }: Subject, spec = ''): string {
  return `
apiVersion: rollouts/v1
kind: RolloutPolicy
metadata: { name: ${name} }
spec:
  match: { model: ${model} }
  endpoint: ${endpoint}
${spec.includes('steps:') ? '' : '  steps: [ { percent: 10, hold: 1h }, { percent: 50, hold: 1h }, { percent: 100, hold: 1h } ]\n'}${spec}
`;
}

export async function serve(name: string): Promise<{ url: string; close(): Promise<void> }> {
  const server: Server = getTestServer(name).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const port = portOf(server);
  return {
    url: `http://127.0.0.1:${port}`,
    async close() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

/** Resolves when the next long-running operation ends. */
function nextOperation(world: World): Promise<void> {
  return new Promise((resolve) => {
    const unsubscribe = world.subscribe((event) => {
      if (event.kind !== 'operationDone') return;
      unsubscribe();
      resolve();
    });
  });
}

/**
 * Reads a topic by a subscription. What was published before `take` is called is in its answer: a marker is published
 * after it, and deliveries come in order.
 */
async function openMailbox(pubsub: PubSub, topicName: string) {
  const topic = pubsub.topic(topicName, { batching: { maxMessages: 1 } });
  const [subscription] = await topic.createSubscription(`read-${topicName}`);
  const letters: Letter[] = [];
  let arrived = Promise.withResolvers<void>();
  let serial = 0;
  subscription.on('message', (message) => {
    letters.push({ data: message.data, attributes: message.attributes });
    message.ack();
    arrived.resolve();
    arrived = Promise.withResolvers();
  });

  /** Takes all up to the first one that fits. */
  async function takeUntil(fits: (letter: Letter) => boolean): Promise<Letter[]> {
    for (;;) {
      const index = letters.findIndex(fits);
      if (index >= 0) return letters.splice(0, index + 1);
      await arrived.promise;
    }
  }

  return {
    async take(): Promise<Letter[]> {
      serial += 1;
      const marker = String(serial);
      await topic.publishMessage({ attributes: { marker } });
      return (await takeUntil(({ attributes }) => attributes['marker'] === marker)).slice(0, -1);
    },
    async next(fits: (letter: Letter) => boolean): Promise<Letter> {
      const found = (await takeUntil(fits)).at(-1);
      if (found === undefined) throw new Error('takeUntil returns the one that fits');
      return found;
    },
    close: () => subscription.close(),
  };
}
