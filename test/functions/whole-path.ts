/**
 * Does the whole path hold on what Google ships? Its Pub/Sub emulator pushes every event, its Firestore emulator keeps
 * the policies and the records, its clients speak to both. Only Vertex AI and Monitoring, of which Google has no
 * emulator, are ours. One model: a good version, a bad one, and one that an operator takes in hand. The functions are
 * the caller's: as they stand here, or as they are bundled.
 */
import { isDeepStrictEqual } from 'node:util';
import type { PubSub } from '@google-cloud/pubsub';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { catalogue } from '../../emulator/models/catalogue.ts';
import { type RunningEmulator, startEmulator } from '../../emulator/start.ts';
import { startTraffic, type Traffic } from '../../emulator/traffic.ts';
import { parseEnvironment } from '../../functions/engine/environment.ts';
import { topics } from '../../functions/engine/publish.ts';
import { type Clients, googleClients } from '../../functions/gcp/clients.ts';
import { happenings } from '../../machines/rollout/announce.ts';
import * as google from '../emulator/google-clients.ts';
import { type RunningEmulator as Emulator, withFirestoreEmulator, withPubSubEmulator } from '../emulators.ts';

export type EventDoor = (typeof pushed)[number][1];

export interface Served {
  /** Where a function takes its pushes, without a path. */
  urlOf(door: EventDoor): string;
  close(): Promise<void>;
}

const model = `${google.parent}/models/delays`;
const endpoint = `${google.parent}/endpoints/delays`;

const pushed = [
  [topics.blessings, 'onBlessing'],
  [topics.ticks, 'onTick'],
  [topics.commands, 'onCommand'],
  [topics.incidents, 'onIncident'],
  [topics.evidence, 'onEvidence'],
] as const;

/** In the catalogue 2 is sound, 3 fails in the evenings, and the model's version 4 is sound again. */
const variants = ['1', '2', '3', '2'];

function policyText(hold: string): string {
  return `
apiVersion: rollouts/v1
kind: RolloutPolicy
metadata: { name: delays }
spec:
  match: { model: ${model} }
  endpoint: ${endpoint}
  steps: [ { percent: 25, hold: ${hold} }, { percent: 60, hold: ${hold} }, { percent: 100, hold: ${hold} } ]
  analysis:
    metricLag: 1s
    minRequests: 50
    errorRate: { max: 8%, margin: 4% }
    latency: off
    inconclusive: { after: 10m }
    noData: { after: 10m }
  keepStable: 1s
`;
}

/** A structured-mode CloudEvent 1.0, as docs/messages.md promises it. */
const toldSchema = z.strictObject({
  specversion: z.literal('1.0'),
  id: z.string().regex(/^.+\/\d+$/),
  source: z.literal('//vertex-rollouts/endpoints/us-central1~delays'),
  type: z.templateLiteral(['dev.vertex-rollouts.rollout.', z.enum(happenings), '.v1']),
  subject: z.string().min(1),
  time: z.iso.datetime(),
  datacontenttype: z.literal('application/json'),
  data: z.strictObject({
    rollout: z.string().min(1),
    endpoint: z.literal(endpoint),
    model: z.literal(model),
    versionId: z.string(),
    state: z.string(),
    percent: z.int().min(0).max(100),
    reason: z.string().min(1),
    by: z.string().optional(),
    verdict: z.object({ kind: z.string(), reasons: z.array(z.object({ text: z.string() })) }).optional(),
    at: z.iso.datetime(),
  }),
});

type Told = z.infer<typeof toldSchema>;

/** Describes the story of one model, told to functions that run in the environment given. */
export function wholePath(serve: (environment: Record<string, string>) => Promise<Served>): void {
  withPubSubEmulator("on Google's Pub/Sub emulator", (pubsubEmulator) => {
    withFirestoreEmulator("and Google's Firestore emulator", (firestoreEmulator) => {
      tell({ serve, pubsubEmulator, firestoreEmulator });
    });
  });
}

interface Setting {
  serve: (environment: Record<string, string>) => Promise<Served>;
  pubsubEmulator: Emulator;
  firestoreEmulator: Emulator;
}

function tell({ serve, pubsubEmulator, firestoreEmulator }: Setting): void {
  describe('a model', () => {
    let emulator: RunningEmulator;
    let clients: Clients;
    let vertex: google.Clients;
    let story: Story;
    let traffic: Traffic;
    let served: Served;
    const closers: (() => unknown)[] = [];

    beforeAll(async () => {
      emulator = await startEmulator({ timeScale: 600 });
      const environment = {
        ...emulator.environment,
        GOOGLE_CLOUD_PROJECT: google.project,
        ROLLOUT_LOCATION: 'us-central1',
        ROLLOUT_STORE: 'firestore',
        PUBSUB_EMULATOR_HOST: pubsubEmulator.host,
        FIRESTORE_EMULATOR_HOST: firestoreEmulator.host,
      };
      served = await serve(environment);
      closers.push(() => served.close());
      clients = googleClients(parseEnvironment(environment));
      vertex = google.googleClients(emulator);
      const pubsub = await clients.pubsub();
      await Promise.all([wirePubSub(pubsub), serveFirstVersion(), writePolicy('1s')]);
      story = await readStory(pubsub);
      const url = `http://${emulator.hosts.predict}/v1/${endpoint}:predict`;
      traffic = startTraffic({ url, headers: {}, requestsPerSecond: 120, seed: 1 });
      const ticks = pubsub.topic(topics.ticks);
      // In the place of Cloud Scheduler, which has no emulator either.
      const ticking = setInterval(() => void ticks.publishMessage({ json: { kind: 'tick' } }), 400);
      closers.push(() => clearInterval(ticking));
    });

    afterAll(async () => {
      for (const close of closers) await close();
      await traffic.stop();
      await story.close();
      await Promise.all([vertex.close(), clients.close()]);
      await emulator.close();
    });

    async function wirePubSub(pubsub: PubSub): Promise<void> {
      await Promise.all(Object.values(topics).map((topic) => pubsub.createTopic(topic)));
      for (const [topic, name] of pushed) {
        const pushEndpoint = `${served.urlOf(name)}/projects/${google.project}/topics/${topic}`;
        await pubsub.topic(topic).createSubscription(topic, { pushEndpoint });
      }
    }

    async function serveFirstVersion(): Promise<void> {
      const versions = catalogue();
      for (const variant of variants) {
        const found = versions.find(({ version }) => version === variant);
        await google.uploadVersion(vertex, 'delays', { containerSpec: found?.containerSpec ?? null });
      }
      await google.createEndpoint(vertex, 'delays');
      await google.deploy(vertex, endpoint, '1', 'delays@1', { 0: 100 });
    }

    async function writePolicy(hold: string): Promise<void> {
      const firestore = await clients.firestore();
      await firestore.doc('rollout-policies/delays').set({ yaml: policyText(hold) });
    }

    async function publish(topic: string, message: { json: object } | { attributes: Record<string, string> }) {
      await (await clients.pubsub()).topic(topic).publishMessage(message);
    }

    const bless = (versionId: string) => publish(topics.blessings, { json: { model, versionId, by: 'pipeline' } });
    const command = (name: string) => publish(topics.commands, { attributes: { command: name, endpoint, by: 'ann' } });

    async function deployed() {
      const [found] = await vertex.endpoints.getEndpoint({ name: endpoint });
      const versions = (found.deployedModels ?? []).map(({ modelVersionId }) => modelVersionId);
      return { versions, shares: Object.values(found.trafficSplit ?? {}) };
    }

    async function goodVersionIsAtHundredPercentWithinSeconds(): Promise<void> {
      await bless('2');
      const told = await story.until('2', 'completed');
      const shifted = told.filter((event) => whatOf(event) === 'shifted');
      expect([...new Set(told.map(whatOf))]).toEqual(['started', 'deployed', 'shifted', 'promoted', 'completed']);
      expect(shifted.map(({ data }) => data.percent)).toEqual([25, 60, 100]);
      expect(told.at(-2)?.data.verdict).toMatchObject({ kind: 'healthy' });
      expect(await deployed()).toEqual({ versions: ['2'], shares: [100] });
    }

    async function badVersionIsTakenOffAndTheNumbersSayWhy(): Promise<void> {
      await bless('3');
      const told = await story.until('3', 'rolled-back');
      const order = ['started', 'deployed', 'shifted', 'rolling-back', 'rolled-back'];
      expect([...new Set(told.map(whatOf))]).toEqual(order);
      const why = /Canary \d+ errors in \d+ requests .*, stable .*odds .* : 1 that it is worse by more than 4 points/;
      expect(told.at(-1)?.data.reason).toMatch(why);
      expect(told.at(-1)?.data.percent).toBe(0);
      expect(told.at(-2)?.data.verdict).toMatchObject({ kind: 'unhealthy' });
      expect(await deployed()).toEqual({ versions: ['2'], shares: [100] });
    }

    async function operatorIsObeyed(): Promise<void> {
      await writePolicy('10m');
      await bless('4');
      await story.until('4', 'shifted');
      await command('pause');
      expect((await story.until('4', 'paused')).at(-1)?.data).toMatchObject({ percent: 25, by: 'ann' });
      await command('resume');
      await story.until('4', 'resumed');
      await command('promote');
      expect((await story.until('4', 'shifted', 2)).at(-1)?.data.percent).toBe(60);
      await command('abort');
      const told = await story.until('4', 'aborted');
      const order = ['started', 'deployed', 'shifted', 'paused', 'resumed', 'shifted', 'rolling-back', 'aborted'];
      expect(told.map(whatOf)).toEqual(order);
      expect(await deployed()).toEqual({ versions: ['2'], shares: [100] });
    }

    test('takes a good version to 100 %, a bad one off, and one where its operator says', {
      timeout: 120_000,
    }, async () => {
      await goodVersionIsAtHundredPercentWithinSeconds();
      await badVersionIsTakenOffAndTheNumbersSayWhy();
      await operatorIsObeyed();
      for (const versionId of ['2', '3', '4']) {
        const times = story.of(versionId).map(({ time }) => Date.parse(time));
        expect(times).toEqual(times.toSorted((a, b) => a - b));
      }
      expect(story.contradictions).toEqual([]);
      expect(story.deadLetters).toEqual([]);
    });
  });
}

interface Story {
  /** Pairs of events with one id that differ; a copy is lawful, and tells the same. */
  contradictions: [Told, Told][];
  /** What dead letters there are, by their reasons. */
  deadLetters: string[];
  /** Of one version, in the order in which it happened. */
  of(versionId: string): Told[];
  /** Waits until this happened to a version so many times, and returns the version's story. */
  until(versionId: string, what: string, times?: number): Promise<Told[]>;
  close(): Promise<unknown>;
}

async function readStory(pubsub: PubSub): Promise<Story> {
  const told = new Map<string, Told>();
  const contradictions: Story['contradictions'] = [];
  const deadLetters: string[] = [];
  let news = Promise.withResolvers<void>();
  const [notes] = await pubsub.topic(topics.notifications).createSubscription('story');
  const [letters] = await pubsub.topic(topics.deadLetters).createSubscription('letters');
  notes.on('message', (message) => {
    message.ack();
    const parsed = toldSchema.safeParse(JSON.parse(message.data.toString()));
    // Whoever waits fails at once, and with him all who wait later.
    if (!parsed.success) return news.reject(parsed.error);
    const event = parsed.data;
    const known = told.get(event.id) ?? event;
    told.set(event.id, known);
    if (!isDeepStrictEqual(known, event)) contradictions.push([known, event]);
    news.resolve();
    news = Promise.withResolvers();
  });
  letters.on('message', (message) => {
    deadLetters.push(message.attributes['reason'] ?? '');
    message.ack();
  });
  const of = (versionId: string) =>
    [...told.values()].filter(({ data }) => data.versionId === versionId).toSorted((a, b) => numberOf(a) - numberOf(b));
  return {
    contradictions,
    deadLetters,
    of,
    async until(versionId, what, times = 1) {
      while (of(versionId).filter((event) => whatOf(event) === what).length < times) await news.promise;
      return of(versionId);
    },
    close: () => Promise.all([notes.close(), letters.close()]),
  };
}

function whatOf({ type }: Told): string {
  return type.split('.')[3] ?? '';
}

/** Ids end in a number that rises with each event of an endpoint. */
function numberOf({ id }: Told): number {
  return Number(id.slice(id.lastIndexOf('/') + 1));
}
