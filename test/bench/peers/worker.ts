/** Lives tasks one after another, away from the main thread; studies.ts asks. */
import { parentPort } from 'node:worker_threads';
import { study, type Task } from './studies.ts';

parentPort?.on('message', (task: Task) => {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a worker has none
  parentPort?.postMessage(study(task));
});
