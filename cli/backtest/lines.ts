/** What is on each line of a file? Streams it, so that its size does not matter, and says how far it is. */
import { createReadStream } from 'node:fs';
import { CliError, exitCodes, type World } from '../world.ts';
import { messageOf } from '../../functions/engine/errors.ts';

/** A line of either format is some hundred bytes. */
const LINE_CHARS_MAX = 1024 * 1024;
const PROGRESS_MS = 2000;

export interface Line {
  text: string;
  /** From 1. */
  number: number;
}

/** Yields every line that is not blank, without its end. Throws a CliError when there is no such file. */
export async function* linesOf(path: string): AsyncGenerator<Line> {
  let rest = '';
  let number = 0;
  for await (const chunk of chunksOf(path)) {
    const parts = (rest + chunk).split('\n');
    rest = parts.pop() ?? '';
    if (rest.length > LINE_CHARS_MAX) {
      throw new CliError(`${path}:${number + parts.length + 1}: expected a line, got more than 1 MiB without an end`, {
        exitCode: exitCodes.usage,
      });
    }
    for (const part of parts) {
      number += 1;
      const text = part.replace(/^\uFEFF|\r$/g, '');
      if (text.trim() !== '') yield { text, number };
    }
  }
  if (rest.trim() !== '') yield { text: rest.replace(/^\uFEFF/, ''), number: number + 1 };
}

async function* chunksOf(path: string): AsyncGenerator<string> {
  try {
    for await (const chunk of createReadStream(path, { encoding: 'utf8' })) yield String(chunk);
  } catch (error) {
    const problem = messageOf(error);
    throw new CliError(`Expected a file of recorded requests, got: ${problem}`, { exitCode: exitCodes.usage });
  }
}

/** Writes to stderr at most every two seconds, and not at all for what is done sooner. */
export function progressOf(world: World): (text: () => string) => void {
  let shownAt = world.now();
  return (text) => {
    const now = world.now();
    if (now - shownAt < PROGRESS_MS) return;
    shownAt = now;
    world.stderr.write(`${text()}\n`);
  };
}
