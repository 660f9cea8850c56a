/**
 * What does a minute cost? Ticks over 10, 100, 1,000 and 10,000 rollouts that watch their canaries, each on an endpoint of
 * its own, by one instance. See docs/scale.md for what is real in it.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openSqliteStore } from '../../functions/engine/sqlite-store.ts';
import { minuteMs, watchedUntil, watcher } from '../functions/engine/watchers.ts';
import type { Bench } from '../bench.ts';
import type { Taken } from './tick/instance.ts';
import { serveMonitoring } from './tick/monitoring.ts';

const sizes = [10, 100, 1000, 10_000];
/** So many rollouts are ticked before anything is measured: code is hot then. */
const WARM_ROLLOUTS = 4000;
/** So many are ticked in each round that is. */
const ROUND_ROLLOUTS = 3000;
const ROUNDS = 2;
/** The policies' metric lag, which is also Monitoring's. */
const lagMs = 3 * minuteMs;
/** Ten thousand rollouts take half a minute of two busy cores. */
const TICK_MS_MAX = 300_000;
/** The store is a file, and waiting for a disk is not what is measured. */
const memoryFolder = '/dev/shm';
/** What Node takes for its heap on an instance of 512 MB. */
const heapMbMax = 256;
const instanceFile = fileURLToPath(new URL('tick/instance.ts', import.meta.url));

type Cost = Taken & { calls: number };

/** So many rollouts under way, and the instance that ticks them. */
interface Subject {
  size: number;
  /** A minute in which every endpoint has requests passes; they are seen at once. */
  tickAfterRequests(): Promise<Cost>;
  /** The minutes that Monitoring still owes pass, one tick takes them all, and the next finds nothing new. */
  tickAfterSilence(): Promise<Cost>;
}

interface Measured {
  size: number;
  fresh: Cost;
  /** The mean of all ticks after requests. */
  cpuMsPerRollout: number;
  /** Its peak of memory is that of all ticks. */
  unchanged: Cost;
}

export const bench: Bench = async (report) => {
  await using stack = new AsyncDisposableStack();
  const idle = await open(0, stack);
  const subjects: Subject[] = [];
  for (const size of sizes) {
    tell(`Beginning ${size} rollouts …`);
    const subject = await open(size, stack);
    await tickUntil(WARM_ROLLOUTS, subject);
    subjects.push(subject);
  }
  const costs = new Map(subjects.map((subject): [Subject, Cost[]] => [subject, []]));
  for (let round = 1; round <= ROUNDS; round += 1) {
    tell(`Round ${round} of ${ROUNDS} …`);
    // In turn, so that what else the machine does meanwhile falls on all alike.
    for (const [subject, seen] of costs) seen.push(...(await tickUntil(ROUND_ROLLOUTS, subject)));
  }
  const measured: Measured[] = [];
  for (const [subject, seen] of costs) measured.push(await summaryOf(subject, seen));
  tell(table(measured));

  const [least, most] = [measured[0], measured.at(-1)];
  if (least === undefined || most === undefined) throw new Error('Expected sizes to measure');
  report('cpu_per_rollout_ratio_10000_to_10', most.cpuMsPerRollout / least.cpuMsPerRollout, 'ratio');
  report('cpu_ms_per_rollout_10000', most.cpuMsPerRollout, 'milliseconds');
  report('google_calls_10000', most.fresh.calls, 'calls');
  report('reads_10000', most.fresh.reads, 'documents');
  report('writes_10000', most.fresh.writes, 'documents');
  report('writes_unchanged_10000', most.unchanged.writes, 'documents');
  report('reads_idle', (await idle.tickAfterRequests()).reads, 'documents');
  report('peak_mb_10000', most.unchanged.peakMb, 'megabytes');
};

/** Ticks until so many rollouts were ticked, and once at least. */
async function tickUntil(rollouts: number, subject: Subject): Promise<Cost[]> {
  const costs: Cost[] = [];
  for (let done = 0; done < rollouts; done += subject.size) costs.push(await subject.tickAfterRequests());
  if (costs.some(({ writes }) => writes < subject.size))
    throw new Error('Expected evidence to be written for each rollout');
  return costs;
}

async function summaryOf(subject: Subject, costs: Cost[]): Promise<Measured> {
  const { size } = subject;
  const unchanged = await subject.tickAfterSilence();
  const [fresh = unchanged] = costs;
  const cpuMs = costs.reduce((sum, taken) => sum + taken.cpuMs, 0) / costs.length;
  return { size, fresh, cpuMsPerRollout: cpuMs / size, unchanged };
}

async function open(size: number, stack: AsyncDisposableStack): Promise<Subject> {
  const folder = await mkdtemp(join(existsSync(memoryFolder) ? memoryFolder : tmpdir(), 'rollouts-tick-'));
  stack.defer(() => rm(folder, { recursive: true }));
  const path = join(folder, 'store.sqlite');
  await seed(path, size);

  let now = watchedUntil + lagMs;
  let lastRequestAt = now;
  const hadRequests = (endAt: number): boolean => endAt > watchedUntil && endAt <= Math.min(lastRequestAt, now - lagMs);
  const monitoring = await serveMonitoring(hadRequests);
  stack.defer(() => monitoring.close());
  const instance = await start(path, monitoring.host);
  stack.defer(() => stop(instance));

  async function tickAt(at: number): Promise<Cost> {
    now = at;
    const callsBefore = monitoring.calls();
    instance.send({ at });
    const taken = await answerOf(instance);
    if (taken.active !== size || taken.failed > 0) {
      throw new Error(`Expected ${size} rollouts and no failure, got ${taken.active} and ${taken.failed}`);
    }
    return { ...taken, calls: monitoring.calls() - callsBefore };
  }
  return {
    size,
    tickAfterRequests() {
      lastRequestAt = now + minuteMs;
      return tickAt(lastRequestAt);
    },
    async tickAfterSilence() {
      await tickAt(now + lagMs);
      return tickAt(now + minuteMs);
    },
  };
}

async function seed(path: string, size: number): Promise<void> {
  const store = openSqliteStore(path);
  for (let number = 0; number < size; number += 1) await store.commit(watcher(number).commit);
  await store.close();
}

async function start(storePath: string, monitoringHost: string): Promise<ChildProcess> {
  const env = {
    PATH: process.env['PATH'],
    GOOGLE_CLOUD_PROJECT: 'demo',
    ROLLOUT_LOCATION: 'us-central1',
    ROLLOUT_STORE: `sqlite:${storePath}`,
    MONITORING_EMULATOR_HOST: monitoringHost,
  };
  // What the engine logs goes to nowhere, as an agent of the platform takes it away.
  const instance = fork(instanceFile, {
    env,
    execArgv: [`--max-old-space-size=${heapMbMax}`],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  await once(instance, 'message', { signal: AbortSignal.timeout(TICK_MS_MAX) });
  return instance;
}

async function stop(instance: ChildProcess): Promise<void> {
  if (instance.exitCode !== null) return;
  const exited = once(instance, 'exit');
  instance.kill();
  await exited;
}

async function answerOf(instance: ChildProcess): Promise<Taken> {
  const exited = new AbortController();
  const end = (): void => exited.abort(new Error('The instance ended'));
  instance.once('exit', end);
  const signal = AbortSignal.any([exited.signal, AbortSignal.timeout(TICK_MS_MAX)]);
  try {
    const [answer]: Taken[] = await once(instance, 'message', { signal });
    if (answer === undefined) throw new Error('The instance said nothing');
    return answer;
  } finally {
    instance.off('exit', end);
  }
}

function table(measured: Measured[]): string {
  const columns = ['rollouts', 'messages', 'calls', 'reads', 'writes', 'cpu ms each', 'wall s', 'peak MB'];
  const rows = measured.map(({ size, fresh, cpuMsPerRollout, unchanged }) => [
    size,
    fresh.messages,
    fresh.calls,
    fresh.reads,
    fresh.writes,
    Number(cpuMsPerRollout.toFixed(2)),
    Number((fresh.wallMs / 1000).toFixed(2)),
    Math.round(unchanged.peakMb),
    unchanged.calls,
    unchanged.reads,
    unchanged.writes,
    Number((unchanged.cpuMs / size).toFixed(2)),
  ]);
  const nothingNew = ['calls', 'reads', 'writes', 'cpu ms each'].map((name) => `nothing new: ${name}`);
  const line = (cells: (string | number)[]): string => `| ${cells.join(' | ')} |`;
  return [[...columns, ...nothingNew], [...columns, ...nothingNew].map(() => '---'), ...rows].map(line).join('\n');
}

function tell(note: string): void {
  process.stderr.write(`${note}\n`);
}
