/** How is a bad version rolled back, once or often, in the whole local system with traffic? */
import { randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { dashboardApi } from '../../../cli/api.ts';
import { send } from '../../../cli/send.ts';
import { createLocalSystem, type LocalSystem } from '../../../cli/start/local-system.ts';
import { host, type Places, placesOf } from '../../../cli/start/places.ts';
import { modelOf } from '../../../cli/start/seed.ts';
import { startTraffic } from '../../../emulator/traffic.ts';
import { parseEnvironment } from '../../../functions/engine/environment.ts';
import { topics } from '../../../functions/engine/publish.ts';
import { pubsubBus } from '../../../functions/gcp/bus.ts';
import { googleClients } from '../../../functions/gcp/clients.ts';
import { createPredict } from '../../../functions/predict.ts';
import { parsePolicy } from '../../../machines/policy/document.ts';
import type { Policy } from '../../../machines/policy/policy.ts';

/** Ten a second at the first step, so that the figure shows the controller and not the wait for enough requests. */
const REQUESTS_PER_SECOND = 200;
/** How long each prediction takes when the proxy is measured: 200 a second are then 2400 in flight. */
const MODEL_LATENCY_MS = 12_000;
const IN_FLIGHT_MAX = 4_000;
/** Away from npm start's, which may run at the same time; the second system's are beside the first one's. */
const PORT_BASE = 8820;
const POLL_MS = 50;
/** From the blessing to the end of the rollout, which takes about twenty seconds. */
const ROUND_MS_MAX = 120_000;

const worldSchema = z.object({
  endpoints: z.record(z.string(), z.object({ split: z.record(z.string(), z.number()) })),
});
const callsSchema = z.object({ total: z.number(), methods: z.record(z.string(), z.object({ count: z.number() })) });

export interface Round {
  /** From the first bad answer that a caller got to stable having all traffic again. */
  seconds: number;
  /** Google calls of all functions, from the blessing to the end of the rollout. */
  calls: number;
  byMethod: Record<string, number>;
  /** Requests without an answer when the first bad one came. */
  inFlight: number;
  /** Why it was rolled back, as the dashboard says it. */
  reason: string;
}

interface Subject {
  local: LocalSystem;
  places: Places;
  policy: Policy;
  /** When a caller gets its next 5xx, and how many requests then have no answer. */
  nextBadAnswer: () => Promise<BadAnswer>;
}

interface BadAnswer {
  /** In milliseconds since the epoch. */
  at: number;
  inFlight: number;
}

export interface Setting {
  policyName: string;
  portBase: number;
  open: Way;
  requestsPerSecond: number;
  /** Of each prediction, whoever makes it. */
  modelLatencyMs: number;
}

/** Where callers ask, and with which headers. What it opens is closed with the stack. */
type Way = (stage: { places: Places; policy: Policy; stack: AsyncDisposableStack }) => Promise<Target>;

interface Target {
  url: string;
  headers: Record<string, string>;
}

const predictions: Way = ({ places, policy }) =>
  Promise.resolve({
    url: `http://${host(places.emulatorPorts.predict)}/v1/${policy.endpoint}:predict`,
    headers: {},
  });

/** An instance with its bounds as they are in production; the one of the local system tells what it saw more often. */
const openProxy: Way = async ({ places, policy, stack }) => {
  const environment = parseEnvironment(places.env);
  const clients = googleClients(environment);
  stack.defer(() => clients.close());
  const bus = pubsubBus(clients);
  const predict = createPredict({
    proxyKeys: environment.proxyKeys,
    policies: { list: () => Promise.resolve({ policies: [policy], problems: [] }) },
    upstreamOrigin: () => `http://${host(places.emulatorPorts.predict)}`,
    accessToken: null,
    publishEvidence: (message) =>
      bus.publish(topics.evidence, [
        { data: Buffer.from(JSON.stringify(message)), attributes: { endpoint: message.endpoint } },
      ]),
    now: Date.now,
    instanceId: randomUUID(),
  });
  stack.defer(() => predict.close());
  const server = createServer(predict);
  const port = places.functionPorts.predict + 20;
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  stack.defer(() => void server.close());
  return {
    url: `http://${host(port)}/v1/endpoints/${policy.name}:predict`,
    headers: { 'x-goog-api-key': places.proxyKey },
  };
};

/** The traffic goes straight to Vertex, whose Monitoring is sixty times as fast as Google's. */
export const byMonitoring: Setting = {
  policyName: 'delays.yaml',
  portBase: PORT_BASE,
  open: predictions,
  requestsPerSecond: REQUESTS_PER_SECOND,
  modelLatencyMs: 0,
};

/** All traffic goes through a proxy, under the policy as it is by default: Monitoring has nothing to say for three minutes. */
export const byProxy: Setting = {
  policyName: 'delays.production.yaml',
  portBase: PORT_BASE + 40,
  open: openProxy,
  requestsPerSecond: REQUESTS_PER_SECOND,
  modelLatencyMs: MODEL_LATENCY_MS,
};

/** Starts the system, has as many bad versions rolled back as asked, and stops it. Tells on standard error how it goes. */
export async function measure(count: number, setting: Setting): Promise<Round[]> {
  const { policyName, portBase, open, requestsPerSecond, modelLatencyMs } = setting;
  const policyFile = fileURLToPath(new URL(`../../../cli/policies/${policyName}`, import.meta.url));
  const policy = await readPolicy(policyFile);
  const folder = await mkdtemp(join(tmpdir(), 'rollouts-bench-'));
  const places = placesOf(folder, portBase, policy);
  const local = createLocalSystem({ places, policy, policyFile, isContinued: false, requestsPerSecond, tell });
  await using stack = new AsyncDisposableStack();
  stack.defer(() => rm(folder, { recursive: true }));
  stack.defer(() => local.stop());
  tell(`Starting the system for ${policyName} …`);
  await local.start();
  if (modelLatencyMs > 0) await slowDown(places, modelLatencyMs);

  let onBadAnswer: ((badAnswer: BadAnswer) => void) | null = null;
  const target = await open({ places, policy, stack });
  const traffic = startTraffic({
    ...target,
    requestsPerSecond,
    seed: 1,
    deadlineMs: 3 * modelLatencyMs + 5_000,
    inFlightMax: IN_FLIGHT_MAX,
    onAnswer: ({ status }) => {
      if (status !== null && status >= 500) onBadAnswer?.({ at: Date.now(), inFlight: traffic.stats().inFlight });
    },
  });
  stack.defer(() => traffic.stop());
  const nextBadAnswer = (): Promise<BadAnswer> =>
    new Promise((resolve) => {
      onBadAnswer = resolve;
    });

  const rounds: Round[] = [];
  for (let round = 1; round <= count; round += 1) {
    const measured = await rollBackOnce({ local, places, policy, nextBadAnswer });
    rounds.push(measured);
    const { seconds, calls, inFlight } = measured;
    tell(`Rollback ${round} of ${count}: ${seconds.toFixed(2)} s, ${calls} calls, ${inFlight} in flight`);
    if (count > 3) continue;
    for (const [method, times] of Object.entries(measured.byMethod)) tell(`  ${times} × ${method}`);
  }
  const { sent, failed, skipped } = traffic.stats();
  tell(`${sent} requests, ${skipped} skipped, failed: ${JSON.stringify(failed)}`);
  return rounds;
}

/** Makes every prediction take so long, as a large model's does. */
async function slowDown({ emulatorPorts }: Places, latencyMs: number): Promise<void> {
  const rules = [{ method: 'google.cloud.aiplatform.v1.PredictionService/*', latencyMs }];
  const answer = await fetch(`http://${host(emulatorPorts.control)}/faults`, {
    method: 'POST',
    body: JSON.stringify(rules),
  });
  if (!answer.ok) throw new Error(`Expected the emulator to take ${JSON.stringify(rules)}: ${await answer.text()}`);
}

async function rollBackOnce({ local, places, policy, nextBadAnswer }: Subject): Promise<Round> {
  const deadline = AbortSignal.timeout(ROUND_MS_MAX);
  const control = `http://${host(places.emulatorPorts.control)}`;
  await fetch(`${control}/calls`, { method: 'DELETE', signal: deadline });
  const firstBadAnswer = nextBadAnswer();
  const blessing = { model: modelOf(policy), versionId: '3', blessedAt: new Date().toISOString() };
  await send(local.system, 'model-blessings', { eventId: randomUUID(), ...blessing });

  const bad = await Promise.race([firstBadAnswer, expired(deadline)]);
  await until(deadline, () => readJson(`${control}/world`, worldSchema, deadline), isRestored);
  const seconds = (Date.now() - bad.at) / 1000;

  const api = dashboardApi(local.system);
  const views = await until(
    deadline,
    () => api.list(),
    ([newest]) => newest?.isFinal === true,
  );
  const [view] = views;
  if (view?.state !== 'rolledBack') throw new Error(`Expected a rollback, got ${view?.state}: ${view?.reason}`);
  const { total, methods } = await readJson(`${control}/calls`, callsSchema, deadline);
  // One of them is ours: the blessing.
  const byMethod = Object.fromEntries(Object.entries(methods).map(([method, { count }]) => [method, count]));
  return { seconds, calls: total - 1, byMethod, inFlight: bad.inFlight, reason: view.reason };
}

function isRestored({ endpoints }: z.infer<typeof worldSchema>): boolean {
  return Object.values(endpoints).every(
    ({ split }) => Object.values(split).filter((percent) => percent > 0).length === 1,
  );
}

async function until<T>(deadline: AbortSignal, read: () => Promise<T>, isEnough: (value: T) => boolean): Promise<T> {
  for (;;) {
    const value = await read();
    if (isEnough(value)) return value;
    await sleep(POLL_MS, undefined, { signal: deadline });
  }
}

async function readJson<T>(url: string, schema: z.ZodType<T>, signal: AbortSignal): Promise<T> {
  const response = await fetch(url, { signal });
  return schema.parse(await response.json());
}

function expired(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(new Error(`No bad answer within ${ROUND_MS_MAX / 1000} s`)));
  });
}

async function readPolicy(policyFile: string): Promise<Policy> {
  const parsed = parsePolicy(await readFile(policyFile, 'utf8'));
  if (parsed.kind === 'invalid') throw new Error(`${policyFile} is not valid`);
  return parsed.policy;
}

function tell(note: string): void {
  process.stderr.write(`${note}\n`);
}
