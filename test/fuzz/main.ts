/**
 * Does every door take whatever comes? `npm run fuzz -- --inputs 100000 --seed 1 [--door NAME]` throws so many inputs at each
 * and prints figures; `--door NAME --seed S --at INDEX` throws one again and looks for the smallest that fails alike.
 */
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { z } from 'zod';
import { type DoorName, doorNames, doorOf } from './doors.ts';

/** An input that is not over after so long hangs. */
const hangMs = 60_000;
const progressEveryMs = 20_000;
/** The doors live in 512 MiB. */
const heapMbMax = 512;
/** As the main thread's, where the doors live: a thread's own is four times that, and recursion goes as much deeper. */
const stackSizeMb = 1;

const resultSchema = z.object({
  door: z.string(),
  inputs: z.int(),
  failures: z.array(z.object({ index: z.int(), message: z.string(), input: z.string() })),
  became: z.record(z.string(), z.int()),
  slowestMs: z.number(),
  slowestIndex: z.int(),
  grownMb: z.number().nullable(),
});
type Result = z.infer<typeof resultSchema>;

const { values } = parseArgs({
  options: {
    inputs: { type: 'string', default: '100000' },
    seed: { type: 'string', default: '1' },
    door: { type: 'string' },
    at: { type: 'string' },
  },
});
const options = z
  .object({
    inputs: z.coerce.number().int().min(1),
    seed: z.coerce.number().int(),
    door: z.enum(doorNames).optional(),
    at: z.coerce.number().int().min(0).optional(),
  })
  .safeParse(values);
if (!options.success) {
  console.error(
    `Usage: npm run fuzz -- [--inputs N] [--seed S] [--door NAME] [--at INDEX]\n${z.prettifyError(options.error)}`,
  );
  process.exit(2);
}
const { inputs, seed, door, at } = options.data;

if (door !== undefined && at !== undefined) await again(door, at);
else await all(door === undefined ? [...doorNames] : [door]);

async function all(names: DoorName[]): Promise<void> {
  const results: Result[] = [];
  for (const name of names) {
    const result = await fuzz(name);
    results.push(result);
    const figure = (what: string, value: number, unit: string): void =>
      console.log(`fuzz.${name}.${what} ${Number(value.toFixed(1))} ${unit}`);
    figure('inputs', result.inputs, 'inputs');
    figure('failures', result.failures.length, 'failures');
    figure('slowest', result.slowestMs, 'ms');
    if (result.grownMb !== null) figure('heap_grown', result.grownMb, 'MB');
    console.error(
      `${name}: ${Object.entries(result.became)
        .map(([word, times]) => `${times} ${word}`)
        .join(', ')}`,
    );
    for (const { index, message, input } of result.failures.slice(0, 5)) {
      console.error(
        `\n${message.slice(0, 2000)}\n  input: ${input.slice(0, 500)}\n  again: npm run fuzz -- --door ${name} --seed ${seed} --at ${index}\n`,
      );
    }
  }
  const sum = (count: (result: Result) => number): number =>
    results.reduce((total, result) => total + count(result), 0);
  const failed = sum(({ failures }) => failures.length);
  console.log(`fuzz.inputs ${sum((result) => result.inputs)} inputs`);
  console.log(`fuzz.failures ${failed} failures`);
  process.exit(failed === 0 ? 0 : 1);
}

/** One door in a thread. A thread that hangs or dies is a failure of the input that it had begun. */
async function fuzz(name: DoorName): Promise<Result> {
  // Which input the thread has begun, and how many failed. None until the door is open, which takes as long as it takes.
  const begun = new SharedArrayBuffer(8);
  const state = new Int32Array(begun);
  Atomics.store(state, 0, -1);
  const worker = new Worker(new URL('worker.ts', import.meta.url), {
    workerData: { door: name, inputs, seed, begun },
    resourceLimits: { maxOldGenerationSizeMb: heapMbMax, stackSizeMb },
  });
  const over = Promise.withResolvers<Result>();
  const died = (message: string): void => {
    const reached = Math.max(0, Atomics.load(state, 0));
    const told = {
      door: name,
      inputs: reached,
      failures: [{ index: reached, message, input: '' }],
      became: {},
      slowestMs: 0,
      slowestIndex: 0,
      grownMb: null,
    };
    over.resolve(told);
  };
  worker.once('message', (message) => over.resolve(resultSchema.parse(message)));
  worker.once('error', (error) =>
    died(`the thread died: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`),
  );
  worker.once('exit', (code) => died(`the thread ended with ${code}`));
  let last = -1;
  const watch = setInterval(() => {
    const now = Atomics.load(state, 0);
    if (now === last && now >= 0) died(`the door hangs: nothing in ${hangMs} ms`);
    last = now;
  }, hangMs);
  const telling = setInterval(() => {
    const [done, failures] = [Atomics.load(state, 0), Atomics.load(state, 1)];
    console.error(done < 0 ? `${name}: not open yet` : `${name}: ${done} of ${inputs} inputs, ${failures} failures`);
  }, progressEveryMs);
  try {
    return await over.promise;
  } finally {
    clearInterval(watch);
    clearInterval(telling);
    await worker.terminate();
  }
}

async function again(name: DoorName, index: number): Promise<void> {
  const opened = await doorOf(name);
  console.log(JSON.stringify(opened.inputAt(seed, index), null, 2));
  const smallest = await opened.shrunk(seed, index);
  if (smallest === undefined) console.log('This input is taken.');
  else console.log(`The smallest that fails: ${JSON.stringify(smallest, null, 2)}`);
  process.exit(smallest === undefined ? 0 : 1);
}
