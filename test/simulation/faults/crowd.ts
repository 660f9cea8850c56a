/** Lives on all cores: the first seeds that together have so many, the same ones however many threads there are. */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { LifeResult } from './life.ts';
import { addLife, emptyTally, type Tally } from './lives.ts';

/** Seeds sent to a worker at once. */
const seedsPerOrder = 20;

/**
 * @param wanted rollouts; a seed has several, and its last ones may be beyond it
 * @param onProgress is told the tally so far, each time that a range of seeds has been added to it
 */
export async function liveMany(
  firstSeed: number,
  wanted: number,
  onProgress: (sofar: Tally) => void = () => {},
): Promise<Tally> {
  const found = emptyTally();
  const answers = new Map<number, LifeResult[]>();
  let [ordered, counted] = [firstSeed, firstSeed];
  const workers = Array.from(
    { length: Math.min(availableParallelism(), wanted) },
    () => new Worker(new URL('./worker.ts', import.meta.url)),
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
            for (const life of next) if (found.lives < wanted) addLife(found, life);
            onProgress(found);
          }
          if (found.lives >= wanted) resolve();
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
