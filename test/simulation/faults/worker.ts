/** A thread that lives lives: it is sent ranges of seeds, and answers with what came of them. */
import { parentPort } from 'node:worker_threads';
import { z } from 'zod';
import { liveAll } from './lives.ts';

const orderSchema = z.object({ from: z.int(), count: z.int() });

parentPort?.on('message', (message: unknown) => void answer(message));

async function answer(message: unknown): Promise<void> {
  const { from, count } = orderSchema.parse(message);
  const results = await liveAll(from, count);
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread has no origin
  parentPort?.postMessage({ from, results });
}
