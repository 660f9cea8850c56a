/**
 * How long do callers suffer from a bad version, and what does it cost to notice? Several rollouts of version 3, judged by
 * Monitoring alone: the traffic goes straight to Vertex, past the proxy, so nothing else counts it.
 */
import { randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { dashboardApi } from '../../cli/api.ts';
import { send } from '../../cli/send.ts';
import { createLocalSystem, type LocalSystem } from '../../cli/start/local-system.ts';
import { host, type Places, placesOf } from '../../cli/start/places.ts';
import { modelOf } from '../../cli/start/seed.ts';
import { startTraffic } from '../../emulator/traffic.ts';
import { parsePolicy } from '../../machines/policy/document.ts';
import type { Policy } from '../../machines/policy/policy.ts';
import type { Bench } from '../bench.ts';

const ROUNDS = 3;
/** Ten a second at the first step, so that the figure shows the controller and not the wait for enough requests. */
const REQUESTS_PER_SECOND = 200;
/** Away from npm start's, which may run at the same time. */
const PORT_BASE = 8820;
const POLL_MS = 50;
/** From the blessing to the end of the rollout, which takes about twenty seconds. */
const ROUND_MS_MAX = 120_000;

const policyFile = fileURLToPath(new URL('../../cli/policies/delays.yaml', import.meta.url));

const worldSchema = z.object({
  endpoints: z.record(z.string(), z.object({ split: z.record(z.string(), z.number()) })),
});
const callsSchema = z.object({ total: z.number(), methods: z.record(z.string(), z.object({ count: z.number() })) });

interface Round {
  /** From the first bad answer that a caller got to stable having all traffic again. */
  seconds: number;
  /** Google calls of all functions, from the blessing to the end of the rollout. */
  calls: number;
  byMethod: Record<string, number>;
}

interface Subject {
  local: LocalSystem;
  places: Places;
  policy: Policy;
  /** When a caller gets its next 5xx, in milliseconds since the epoch. */
  nextBadAnswer: () => Promise<number>;
}

export const bench: Bench = async (report) => {
  const policy = await readPolicy();
  const folder = await mkdtemp(join(tmpdir(), 'rollouts-bench-'));
  const places = placesOf(folder, PORT_BASE, policy);
  const local = createLocalSystem({
    places,
    policy,
    policyFile,
    isContinued: false,
    requestsPerSecond: REQUESTS_PER_SECOND,
    tell,
  });
  await using stack = new AsyncDisposableStack();
  stack.defer(() => rm(folder, { recursive: true }));
  stack.defer(() => local.stop());
  tell('Starting the system …');
  await local.start();

  let onBadAnswer: ((at: number) => void) | null = null;
  const traffic = startTraffic({
    url: `http://${host(places.emulatorPorts.predict)}/v1/${policy.endpoint}:predict`,
    headers: {},
    requestsPerSecond: REQUESTS_PER_SECOND,
    seed: 1,
    onAnswer: ({ status }) => {
      if (status !== null && status >= 500) onBadAnswer?.(Date.now());
    },
  });
  stack.defer(() => traffic.stop());
  const nextBadAnswer = (): Promise<number> =>
    new Promise((resolve) => {
      onBadAnswer = resolve;
    });

  const rounds: Round[] = [];
  for (let round = 1; round <= ROUNDS; round += 1) {
    const measured = await rollBackOnce({ local, places, policy, nextBadAnswer });
    rounds.push(measured);
    tell(`Rollback ${round} of ${ROUNDS}: ${measured.seconds.toFixed(2)} s, ${measured.calls} calls`);
    for (const [method, count] of Object.entries(measured.byMethod)) tell(`  ${count} × ${method}`);
  }
  report('monitoring_seconds_median', median(rounds.map(({ seconds }) => seconds)), 'seconds');
  report('monitoring_calls', median(rounds.map(({ calls }) => calls)), 'calls');
};

async function rollBackOnce({ local, places, policy, nextBadAnswer }: Subject): Promise<Round> {
  const deadline = AbortSignal.timeout(ROUND_MS_MAX);
  const control = `http://${host(places.emulatorPorts.control)}`;
  await fetch(`${control}/calls`, { method: 'DELETE', signal: deadline });
  const firstBadAnswer = nextBadAnswer();
  const blessing = { model: modelOf(policy), versionId: '3', blessedAt: new Date().toISOString() };
  await send(local.system, 'model-blessings', { eventId: randomUUID(), ...blessing });

  const badAt = await Promise.race([firstBadAnswer, expired(deadline)]);
  await until(deadline, () => readJson(`${control}/world`, worldSchema, deadline), isRestored);
  const seconds = (Date.now() - badAt) / 1000;

  const api = dashboardApi(local.system);
  const views = await until(
    deadline,
    () => api.list(),
    ([newest]) => newest?.isFinal === true,
  );
  if (views[0]?.state !== 'rolledBack')
    throw new Error(`Expected a rollback, got ${views[0]?.state}: ${views[0]?.reason}`);
  const { total, methods } = await readJson(`${control}/calls`, callsSchema, deadline);
  // One of them is ours: the blessing.
  const byMethod = Object.fromEntries(Object.entries(methods).map(([method, { count }]) => [method, count]));
  return { seconds, calls: total - 1, byMethod };
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

async function readPolicy(): Promise<Policy> {
  const parsed = parsePolicy(await readFile(policyFile, 'utf8'));
  if (parsed.kind === 'invalid') throw new Error(`${policyFile} is not valid`);
  return parsed.policy;
}

function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return ((sorted[middle] ?? Number.NaN) + (sorted[sorted.length - 1 - middle] ?? Number.NaN)) / 2;
}

function tell(note: string): void {
  process.stderr.write(`${note}\n`);
}
