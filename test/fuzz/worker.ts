/** One door in a thread of its own, so that whoever started it survives a hang, an overflow or a full heap. */
import { parentPort, workerData } from 'node:worker_threads';
import { z } from 'zod';
import { doorNames, doorOf } from './doors.ts';

const { door, inputs, seed, begun } = z
  .object({ door: z.enum(doorNames), inputs: z.int(), seed: z.int(), begun: z.instanceof(SharedArrayBuffer) })
  .parse(workerData);
const state = new Int32Array(begun);
const opened = await doorOf(door);
const result = await opened.run({
  inputs,
  seed,
  begins: (at, failures) => {
    Atomics.store(state, 0, at);
    Atomics.store(state, 1, failures);
  },
});
const failures = result.failures.map(({ input, ...failure }) => ({ ...failure, input: JSON.stringify(input) ?? '' }));
parentPort?.postMessage({ ...result, failures }, []);
