/**
 * How long does the first caller wait? Each function, as `npm run bundle` ships it, beside the hello world of
 * functions-framework: one new process after the other, in turn, so that what else the machine does falls on all alike.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { doors } from '../bundle.ts';
import type { Bench } from '../bench.ts';
import { type Cold, layOut, startCold, type Subject } from './coldstart/process.ts';
import { firstRequests, openFirestore, openWorld } from './coldstart/world.ts';

/** The first round is not counted: files are not in the machine's memory yet, nor is the emulators' code hot. */
const ROUNDS = Number(process.env['R'] ?? 9);
const hello = 'hello';
/** Such as `onTick,predict`; without it all are started. */
const ONLY = process.env['ONLY']?.split(',') ?? [...doors.keys()];

export const bench: Bench = async (report) => {
  await using stack = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'coldstart-'));
  stack.defer(() => rm(folder, { recursive: true }));
  const world = await openWorld(stack, await openFirestore(stack));
  const subjects: Subject[] = [];
  for (const name of [hello, ...ONLY]) {
    const request = firstRequests[name];
    if (request === undefined) throw new Error(`Expected a first request for ${name} in coldstart/world.ts`);
    subjects.push({ ...(await layOut(join(folder, name), name)), request });
  }
  const seen = new Map(subjects.map((subject): [Subject, Cold[]] => [subject, []]));
  for (let round = 0; round <= ROUNDS; round += 1) {
    console.error(round === 0 ? 'Warming up …' : `Round ${round} of ${ROUNDS} …`);
    for (const [subject, runs] of seen) {
      const run = await startCold(subject, world.environment);
      if (round > 0) runs.push(run);
    }
  }
  const [first = []] = seen.values();
  console.error('function       kB  listening ms  first answer ms  processor ms      MB');
  for (const [{ name, kilobytes }, runs] of seen) {
    const of = (key: keyof Cold) => median(runs.map((run) => run[key]));
    console.error(
      `${name.padEnd(12)}${kilobytes.toFixed(0).padStart(5)}${of('listeningMs').toFixed(0).padStart(14)}` +
        `${of('answerMs').toFixed(0).padStart(17)}${of('cpuMs').toFixed(0).padStart(14)}` +
        of('megabytes').toFixed(1).padStart(8),
    );
    if (name === hello) continue;
    // Each against the hello world of its own round.
    const ratio = (key: keyof Cold) => median(runs.map((run, i) => run[key] / (first[i]?.[key] ?? Number.NaN)));
    report(`${name}_ratio`, ratio('answerMs'), 'ratio');
    // On a machine that has more to do, this stands still.
    report(`${name}_cpu_ratio`, ratio('cpuMs'), 'ratio');
    report(`${name}_mb_ratio`, ratio('megabytes'), 'ratio');
    report(`${name}_bundle_kb`, kilobytes, 'kilobytes');
  }
};

function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.slice(Math.ceil(sorted.length / 2) - 1, Math.floor(sorted.length / 2) + 1);
  return middle.reduce((sum, value) => sum + value, 0) / middle.length;
}
