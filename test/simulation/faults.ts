/**
 * Does the controller survive anything? `npm run simulate:faults -- --seed N --lives N`: lives of consecutive seeds on all
 * cores, until so many rollouts have lived. A seed that breaks a law is told as a story; `--seed THAT --lives 1` tells it again.
 */
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { faultKinds } from './faults/chaos.ts';
import type { LifeResult } from './faults/life.ts';
import { addLife, emptyTally, shrink, storyOf, type Tally } from './faults/lives.ts';

/** Seeds sent to a worker at once. */
const seedsPerOrder = 20;
/** Stories told at most; the figures count all. */
const storiesMax = 3;

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    lives: { type: 'string', default: '20000' },
    story: { type: 'boolean', default: false },
  },
});
const firstSeed = wholeNumber('seed', values.seed);
const livesWanted = wholeNumber('lives', values.lives);

const startedAt = performance.now();
const tally = await run(firstSeed, livesWanted);
const seconds = (performance.now() - startedAt) / 1000;
for (const { seed, violation } of tally.violations)
  print([`seed ${seed} breaks law ${violation?.law}: ${violation?.text}`]);
for (const failed of tally.violations.slice(0, storiesMax)) await tell(failed);
if (values.story && tally.violations.length === 0) print(await storyOf(firstSeed, new Set()));
for (const kind of faultKinds) print([`  ${kind.padEnd(20)} ${tally.byKind[kind] ?? 0}`]);
print([
  `faults.worlds ${tally.worlds} worlds`,
  `faults.awaits ${tally.awaits} awaits`,
  `faults.lives ${tally.lives} lives`,
  `faults.injected ${tally.injected} faults`,
  `faults.violations ${tally.violations.length} violations`,
  `faults.lives_per_second ${Math.round(tally.lives / seconds)}`,
]);
process.exitCode = tally.violations.length === 0 ? 0 : 1;

/** The first seeds that together have so many lives: the same ones however many threads there are. */
async function run(seed: number, lives: number): Promise<Tally> {
  const found = emptyTally();
  const answers = new Map<number, LifeResult[]>();
  let [ordered, counted] = [seed, seed];
  const workers = Array.from(
    { length: Math.min(availableParallelism(), lives) },
    () => new Worker(new URL('./faults/worker.ts', import.meta.url)),
  );
  try {
    await new Promise<void>((resolve, reject) => {
      for (const worker of workers) {
        const order = (): void => {
          // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread has no origin
          worker.postMessage({ from: ordered, count: seedsPerOrder });
          ordered += seedsPerOrder;
        };
        worker.on('error', reject);
        worker.on('message', ({ from, results }: { from: number; results: LifeResult[] }) => {
          answers.set(from, results);
          for (let next = answers.get(counted); next !== undefined; next = answers.get(counted)) {
            answers.delete(counted);
            counted += seedsPerOrder;
            for (const life of next) if (found.lives < lives) addLife(found, life);
          }
          if (found.lives >= lives) resolve();
          else order();
        });
        order();
      }
    });
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
  return found;
}

async function tell(failed: LifeResult): Promise<void> {
  const leftOut = await shrink(failed);
  print([
    '',
    `The story of seed ${failed.seed}, law ${failed.violation?.law}: ${failed.violation?.text}`,
    `${failed.faultsDrawn - leftOut.size} of its ${failed.faultsDrawn} faults are enough. Replay: npm run simulate:faults -- --seed ${failed.seed} --lives 1`,
    ...(await storyOf(failed.seed, leftOut)),
    '',
  ]);
}

function print(lines: string[]): void {
  process.stdout.write(`${lines.join('\n')}\n`);
}

function wholeNumber(name: string, text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text))
    throw new Error(`--${name}: expected a whole number from 1 to 999999999, got "${text}"`);
  return Number(text);
}
