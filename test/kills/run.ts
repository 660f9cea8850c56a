/**
 * Does it end right however often it is killed? Rollouts go on while the processes that serve them are killed at drawn moments.
 * Then the killing ends, and every rollout must end as it ought to.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { seededRandom } from '../../emulator/models/random.ts';
import { TransientError } from '../../functions/engine/errors.ts';
import { topics } from '../../functions/engine/publish.ts';
import { wire } from '../../functions/wiring.ts';
import { parseEnvironment } from '../../functions/engine/environment.ts';
import type { Clients } from '../../functions/gcp/clients.ts';
import { discrepancies, unfinished } from './accounts.ts';
import { doors, type Instances, startInstances } from './instances.ts';
import { type Land, openLand, type StoreVariables } from './land.ts';
import { live, type Lives } from './lives.ts';
import { readStory, type Story } from './story.ts';

const ENDPOINTS = 6;
/** Between two kills some events are done with, so that life goes on at the pace of the machine; then comes a moment of chance. */
const EVENTS_MAX = 8;
const MOMENT_MS = 150;
/** An event takes some tens of milliseconds. */
const AT_WORK_MS = 40;
/** From the last kill on, all that is under way has to end within this time; ten seconds are usual on an idle machine. */
const PATIENCE_MS = 400_000;
const POLL_MS = 100;
const PROGRESS_MS = 20_000;

export interface KillsOptions {
  kills: number;
  seed: number;
  /** A project of its own, so that runs on one Firestore do not meet. */
  project: string;
  store: (folder: string) => StoreVariables;
  /** Told now and then how many kills were survived so far. */
  progress?: ((kills: number) => void) | undefined;
}

export interface KillsReport {
  kills: number;
  /** Kills of a process that was working on an event. */
  killsAtWork: number;
  /** Pushes that ended without an acknowledgement, and so came again. */
  redelivered: number;
  rollouts: number;
  /** Rollouts by their kind. */
  kinds: Record<string, number>;
  orders: number;
  /** Deployments that a killed process had ordered too late for anyone to know, which the reconcile job removed. */
  repaired: number;
  /** Rollouts that did not end as they ought to. */
  lost: number;
  /** Everything that is not as it must be, a sentence each. */
  wrong: string[];
  seconds: number;
}

export async function runKills({ kills, seed, project, store, progress }: KillsOptions): Promise<KillsReport> {
  const startedAt = performance.now();
  await using stack = new AsyncDisposableStack();
  const land = await openLand(project, ENDPOINTS, store);
  stack.defer(() => land.close());
  const instances = await startInstances(land.environment, project);
  stack.defer(() => instances.close());
  const story = await wirePubSub(land, instances);
  stack.defer(() => story.close());
  await Promise.all([createJobs(land), instances.ready()]);

  const patience = new AbortController();
  const surroundings = { land, story, goesOn: () => instances.counts.kills < kills, patience: patience.signal };
  const living = land.estates.map((estate, i) => live(estate, { ...surroundings, random: seededRandom(seed + i + 1) }));
  const telling = setInterval(() => progress?.(instances.counts.kills), PROGRESS_MS);
  stack.defer(() => clearInterval(telling));
  // Who fails at once is heard below.
  const all = Promise.all(living);
  await Promise.race([all, kill(instances, kills, seed)]);
  const giveUp = setTimeout(() => patience.abort(new Error('The rollout did not end in time')), PATIENCE_MS);
  stack.defer(() => clearTimeout(giveUp));
  const lives = joined(await all);

  const { ports } = wire(parseEnvironment(land.environment));
  stack.defer(() => ports.store.close());
  const problem = await settled(land, ports);
  const found = await patiently(() => discrepancies(ports.store, land, story, lives));
  const wrong = [...found, ...instances.problems];
  if (problem !== null) wrong.push(problem);
  wrong.push(...story.deadLetters.map((letter) => `Set aside: ${letter}`));
  const { counts } = instances;
  return {
    kills: counts.kills,
    killsAtWork: counts.killsAtWork,
    redelivered: counts.failed,
    rollouts: lives.outcomes.length,
    kinds: countBy(lives.outcomes.map(({ kind }) => kind)),
    orders: lives.orders.length,
    repaired: story.attention.length,
    lost: lives.outcomes.filter(({ got, expected }) => got !== expected).length,
    wrong,
    seconds: (performance.now() - startedAt) / 1000,
  };
}

async function kill(instances: Instances, kills: number, seed: number): Promise<void> {
  const random = seededRandom(seed);
  while (instances.counts.kills < kills) {
    await instances.delivered(Math.ceil(random() * EVENTS_MAX));
    // Every fourth is cut off in the middle, wherever in it that is.
    const mustBeAtWork = instances.counts.kills % 4 === 0;
    if (mustBeAtWork) await instances.atWork();
    await sleep(random() * (mustBeAtWork ? AT_WORK_MS : MOMENT_MS));
    if (mustBeAtWork) await instances.atWork();
    instances.killOne(random, mustBeAtWork);
  }
}

/** Waits until nothing is left to do, and the controller has put itself to rest. Null when it has; else what it still does. */
async function settled(land: Land, ports: ReturnType<typeof wire>['ports']): Promise<string | null> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const left = await patiently(() => unfinished(ports.store, land));
    const isResting = left === null && (await patiently(() => ports.schedule.isPaused()));
    const problem = left ?? (isResting ? null : 'the tick job runs though nothing is active');
    if (problem === null || performance.now() > deadline) return problem;
    await sleep(POLL_MS);
  }
}

/** Asks again when a busy machine did not answer within a call's deadline, as a delivery that failed comes again. */
export async function patiently<T>(ask: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof TransientError) || performance.now() > deadline) throw error;
      await sleep(POLL_MS);
    }
  }
}

/** As Terraform makes it: push subscriptions that try again after a while. */
async function wirePubSub({ clients }: Land, instances: Instances): Promise<Story> {
  const pubsub = await clients.pubsub();
  await Promise.all(Object.values(topics).map((topic) => pubsub.createTopic(topic)));
  const story = await readStory(pubsub);
  for (const { topic } of doors) {
    await pubsub.topic(topic).createSubscription(topic, {
      pushEndpoint: instances.pushEndpointOf(topic),
      ackDeadlineSeconds: 60,
      retryPolicy: { minimumBackoff: { seconds: 10 }, maximumBackoff: { seconds: 600 } },
    });
  }
  return story;
}

async function createJobs({ clients, project }: { clients: Clients; project: string }): Promise<void> {
  const scheduler = await clients.scheduler();
  const parent = `projects/${project}/locations/us-central1`;
  for (const [id, schedule, kind] of [
    ['rollout-ticks', '* * * * *', 'tick'],
    ['rollout-reconcile', '*/10 * * * *', 'reconcile'],
  ] as const) {
    const pubsubTarget = {
      topicName: `projects/${project}/topics/${topics.ticks}`,
      data: Buffer.from(JSON.stringify({ kind })),
    };
    const job = { name: `${parent}/jobs/${id}`, schedule, timeZone: 'UTC', pubsubTarget };
    await scheduler.createJob({ parent, job });
  }
}

function joined(all: Lives[]): Lives {
  return { outcomes: all.flatMap(({ outcomes }) => outcomes), orders: all.flatMap(({ orders }) => orders) };
}

function countBy(names: string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}
