/**
 * What does a request cost on its way through the proxy, beside what else could stand there? All on loopback, pressed in
 * turn, round after round, so that what else the machine does falls on all alike; each ratio is of the same round.
 *
 *   npm run bench -- proxy [--rounds 7] [--seconds 3]
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createProcessGuard } from '../../emulator/process-guard.ts';
import type { Bench } from '../bench.ts';
import { pace, press } from './proxy/load.ts';
import { cpuSeconds, has, residentMegabytes, startAll, type Subject } from './proxy/subjects.ts';

interface Row {
  subject: Subject;
  /** Of each round; answered requests a second, CPU in microseconds a request, and latencies at half load in ms. */
  throughput: number[];
  cpu: number[];
  p50: number[];
  p99: number[];
}

export const bench: Bench = async (report, options) => {
  const { values } = parseArgs({
    args: options,
    options: { rounds: { type: 'string', default: '7' }, seconds: { type: 'string', default: '3' } },
  });
  if (!has('wrk', '-v')) throw new Error('Expected wrk, which asks; install it: apt-get install wrk');
  const [rounds, seconds] = [Number(values.rounds), Number(values.seconds)];
  await using stack = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'rollouts-bench-'));
  stack.defer(() => rm(folder, { recursive: true }));
  const guard = createProcessGuard();
  stack.defer(() => guard.close());
  tell('Starting all of them …');
  const subjects = await startAll(guard, folder);
  const rows: Row[] = subjects.map((subject) => ({ subject, throughput: [], cpu: [], p50: [], p99: [] }));
  // The first round is for the compilers.
  for (let round = 0; round <= rounds; round += 1) {
    tell(round === 0 ? 'Warming up …' : `Throughput, round ${round} of ${rounds}`);
    for (const row of turned(rows, round)) {
      const before = cpuSeconds(row.subject);
      const reached = await press(row.subject.origin, seconds, folder);
      if (round === 0) continue;
      row.throughput.push(reached.requests / reached.seconds);
      row.cpu.push(((cpuSeconds(row.subject) - before) * 1e6) / reached.requests);
    }
  }
  const bare = rowOf(rows, 'node:http with undici');
  const onNode = rowOf(rows, 'ours on node:http');
  // One pace for all: half of what the bare proxy and ours both bear.
  const perSecond = Math.min(median(bare.throughput), median(onNode.throughput)) / 2;
  for (let round = 1; round <= rounds; round += 1) {
    tell(`Latency at ${perSecond.toFixed(0)} requests/s, round ${round} of ${rounds}`);
    for (const row of turned(rows, round)) {
      const { p50, p99 } = await pace(row.subject.origin, perSecond, seconds, folder);
      row.p50.push(p50);
      row.p99.push(p99);
    }
  }
  print(rows);
  const onFramework = rowOf(rows, 'ours on functions-framework');
  const against = (figure: string, row: Row, name: string): void => {
    const other = rows.find(({ subject }) => subject.name === name);
    if (other === undefined) return;
    report(`${figure}_ratio`, median(quotients(row.throughput, other.throughput)), 'ratio');
    report(`${figure}_cpu_ratio`, median(quotients(other.cpu, row.cpu)), 'ratio');
  };
  against('ff', onFramework, 'functions-framework alone');
  against('node', onNode, bare.subject.name);
  against('naive', onFramework, 'functions-framework, ten lines');
  against('nginx', onNode, 'nginx proxy_pass');
  report('p99_added_ms', median(onNode.p99.map((p99, i) => p99 - (bare.p99[i] ?? Number.NaN))), 'ms over bare undici');
};

/** What is added is so much above the upstream asked directly, in the same round. */
function print(rows: Row[]): void {
  const direct = rows[0];
  const added = (of: number[], beside: number[] | undefined): string =>
    median(of.map((value, i) => value - (beside?.[i] ?? Number.NaN))).toFixed(2);
  tell('| | requests/s | CPU µs/request | p50 added ms | p99 added ms | MB |\n|---|---:|---:|---:|---:|---:|');
  for (const { subject, throughput, cpu, p50, p99 } of rows) {
    const cells = [
      median(throughput).toFixed(0),
      median(cpu).toFixed(0),
      added(p50, direct?.p50),
      added(p99, direct?.p99),
    ];
    tell(`| ${[subject.name, ...cells, residentMegabytes(subject).toFixed(0)].join(' | ')} |`);
  }
}

/** Another one begins in each round, and every other round goes backwards: nobody always comes after the same one. */
function turned(rows: Row[], round: number): Row[] {
  const from = round % rows.length;
  const order = [...rows.slice(from), ...rows.slice(0, from)];
  return round % 2 === 0 ? order : order.toReversed();
}

function rowOf(rows: Row[], name: string): Row {
  const row = rows.find(({ subject }) => subject.name === name);
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
