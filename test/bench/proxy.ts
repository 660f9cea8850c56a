/**
 * What does a request cost on its way through the proxy, beside what else could stand there? All on loopback, pressed in
 * turn, round after round, so that what else the machine does falls on all alike; each ratio is of the same round. All are
 * started several times, for two processes with the same code do not bear the same.
 *
 *   npm run bench -- proxy [--starts 3] [--rounds 10] [--seconds 1]
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createProcessGuard } from '../../emulator/process-guard.ts';
import type { Bench } from '../bench.ts';
import { pace, press } from './proxy/load.ts';
import { bareName, cpuSeconds, has, onNodeName, residentMegabytes, startAll } from './proxy/subjects.ts';

/** V8 still compiles, and takes back, what it has been asked a hundred thousand times. */
const WARM_SECONDS = 10;

interface Row {
  name: string;
  /** Of each round of each start; answered requests a second, CPU in microseconds a request, and latencies at half load in ms. */
  throughput: number[];
  cpu: number[];
  p50: number[];
  p99: number[];
  /** Of each start, at its end. */
  megabytes: number[];
}

export const bench: Bench = async (report, options) => {
  const { values } = parseArgs({
    args: options,
    options: {
      starts: { type: 'string', default: '3' },
      rounds: { type: 'string', default: '10' },
      seconds: { type: 'string', default: '1' },
    },
  });
  if (!has('wrk', '-v')) throw new Error('Expected wrk, which asks; install it: apt-get install wrk');
  const [starts, rounds, seconds] = [Number(values.starts), Number(values.rounds), Number(values.seconds)];
  const rows: Row[] = [];
  for (let start = 1; start <= starts; start += 1) {
    tell(`Start ${start} of ${starts}`);
    await measure(rows, rounds, seconds);
  }
  print(rows);
  const bare = rowOf(rows, bareName);
  const onNode = rowOf(rows, onNodeName);
  const onFramework = rowOf(rows, 'ours on functions-framework');
  const against = (figure: string, row: Row, name: string): void => {
    const other = rows.find((candidate) => candidate.name === name);
    if (other === undefined) return;
    report(`${figure}_ratio`, median(quotients(row.throughput, other.throughput)), 'ratio');
    report(`${figure}_cpu_ratio`, median(quotients(other.cpu, row.cpu)), 'ratio');
  };
  against('ff', onFramework, 'functions-framework alone');
  against('node', onNode, bare.name);
  against('naive', onFramework, 'functions-framework, ten lines');
  against('nginx', onNode, 'nginx proxy_pass');
  report('p99_added_ms', median(onNode.p99.map((p99, i) => p99 - (bare.p99[i] ?? Number.NaN))), 'ms over bare undici');
};

/** Starts all of them, and adds what each of them bears and takes to its row. */
async function measure(rows: Row[], rounds: number, seconds: number): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'rollouts-bench-'));
  stack.defer(() => rm(folder, { recursive: true }));
  const guard = createProcessGuard();
  stack.defer(() => guard.close());
  const subjects = (await startAll(guard, folder)).map((subject) => ({ subject, row: rowFor(rows, subject.name) }));
  tell('Warming up …');
  for (const { subject } of subjects) await press(subject.origin, WARM_SECONDS, folder);
  for (let round = 1; round <= rounds; round += 1) {
    tell(`Throughput, round ${round} of ${rounds}`);
    for (const { subject, row } of turned(subjects, round)) {
      const before = cpuSeconds(subject);
      const reached = await press(subject.origin, seconds, folder);
      row.throughput.push(reached.requests / reached.seconds);
      row.cpu.push(((cpuSeconds(subject) - before) * 1e6) / reached.requests);
    }
  }
  // One pace for all: half of what the bare proxy and ours both bear.
  const borne = [bareName, onNodeName].map((name) => median(rowOf(rows, name).throughput.slice(-rounds)));
  const perSecond = Math.min(...borne) / 2;
  for (let round = 1; round <= rounds / 2; round += 1) {
    tell(`Latency at ${perSecond.toFixed(0)} requests/s, round ${round}`);
    for (const { subject, row } of turned(subjects, round)) {
      const { p50, p99 } = await pace(subject.origin, perSecond, seconds, folder);
      row.p50.push(p50);
      row.p99.push(p99);
    }
  }
  for (const { subject, row } of subjects) row.megabytes.push(residentMegabytes(subject));
}

/** What is added is so much above the upstream asked directly, in the same round. */
function print(rows: Row[]): void {
  const direct = rows[0];
  const added = (of: number[], beside: number[] | undefined): string =>
    median(of.map((value, i) => value - (beside?.[i] ?? Number.NaN))).toFixed(2);
  tell('| | requests/s | CPU µs/request | p50 added ms | p99 added ms | MB |\n|---|---:|---:|---:|---:|---:|');
  for (const { name, throughput, cpu, p50, p99, megabytes } of rows) {
    const cells = [
      median(throughput).toFixed(0),
      median(cpu).toFixed(0),
      added(p50, direct?.p50),
      added(p99, direct?.p99),
      median(megabytes).toFixed(0),
    ];
    tell(`| ${[name, ...cells].join(' | ')} |`);
  }
}

/** Another one begins in each round, and every other round goes backwards: nobody always comes after the same one. */
function turned<T>(all: readonly T[], round: number): T[] {
  const from = round % all.length;
  const order = [...all.slice(from), ...all.slice(0, from)];
  return round % 2 === 0 ? order : order.toReversed();
}

/** The row of a subject, which the first start makes. */
function rowFor(rows: Row[], name: string): Row {
  const made = rows.find((row) => row.name === name);
  if (made !== undefined) return made;
  const row = { name, throughput: [], cpu: [], p50: [], p99: [], megabytes: [] };
  rows.push(row);
  return row;
}

function rowOf(rows: Row[], name: string): Row {
  const row = rows.find((candidate) => candidate.name === name);
  if (row === undefined) throw new Error(`expected a subject "${name}"`);
  return row;
}

function quotients(over: number[], under: number[]): number[] {
  return over.map((value, i) => value / (under[i] ?? Number.NaN));
}

function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return ((sorted[middle] ?? Number.NaN) + (sorted[sorted.length - 1 - middle] ?? Number.NaN)) / 2;
}

function tell(note: string): void {
  process.stderr.write(`${note}\n`);
}
