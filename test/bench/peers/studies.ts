/** Many lives of many cells under many rules: what is to be lived, and how it is shared out among the machine's cores. */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { type Cell, hardCells, plainCells } from '../../../cli/simulate/cells.ts';
import { sources, studyPolicy } from '../../../cli/simulate/lives.ts';
import { type CellStudy, studyCell, summarise } from '../../../cli/simulate/study.ts';
import { liveByRule } from './life.ts';
import { rules } from './rules.ts';

/** One cell under one rule. Names, because it goes to a worker. */
export interface Task {
  /** Ours by the name of its source, or another's. */
  rule: string;
  cell: string;
  lives: number;
}

/** Ours, by where its evidence comes from. */
export const ours: readonly string[] = Object.values(sources).map(({ name }) => name);

const seed = 1;
/** Between two lives' seeds, as in studyCell: the same lives for every rule. */
const seedStep = 7919;

/** Lives one task here. */
export function study({ rule: name, cell: cellName, lives }: Task): CellStudy {
  const cell = cellOf(cellName);
  const source = Object.values(sources).find((one) => one.name === name);
  if (source !== undefined) return studyCell(studyPolicy(source), cell, source, lives, seed);
  const rule = rules.find((one) => one.name === name);
  if (rule === undefined) throw new Error(`expected a rule's name, got "${name}"`);
  const results = Array.from({ length: lives }, (_, i) => liveByRule(rule, cell, seed + i * seedStep));
  return summarise(studyPolicy(sources.monitoring), cell, sources.monitoring, results);
}

/** Lives all tasks, one worker per core; the answers come in the order of the tasks. Rejects when one fails. */
export async function studyAll(tasks: readonly Task[], onDone: (task: Task) => void): Promise<CellStudy[]> {
  const studies: CellStudy[] = [];
  const queue = tasks.entries();
  const lane = async (): Promise<void> => {
    const worker = new Worker(new URL('worker.ts', import.meta.url));
    try {
      for (const [i, task] of queue) {
        studies[i] = await ask(worker, task);
        onDone(task);
      }
    } finally {
      await worker.terminate();
    }
  };
  await Promise.all(Array.from({ length: Math.min(availableParallelism(), tasks.length) }, lane));
  return studies;
}

function ask(worker: Worker, task: Task): Promise<CellStudy> {
  return new Promise((resolve, reject) => {
    const onError = (error: unknown): void => {
      reject(new Error(`${task.rule}, cell "${task.cell}": the worker failed`, { cause: error }));
    };
    worker.once('error', onError);
    worker.once('message', (answer: CellStudy) => {
      worker.off('error', onError);
      resolve(answer);
    });
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a worker has none
    worker.postMessage(task);
  });
}

function cellOf(name: string): Cell {
  const cell = [...plainCells, ...hardCells].find((one) => one.name === name);
  if (cell === undefined) throw new Error(`expected a cell's name, got "${name}"`);
  return cell;
}
