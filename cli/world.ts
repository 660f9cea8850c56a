/** What does the command line need from the world, and how does it end? Streams, time and place, so that tests bring their own. */
import type { RolloutView } from '../machines/rollout/view.ts';

export interface Sink {
  write(text: string): unknown;
  isTTY?: boolean | undefined;
  columns?: number | undefined;
}

export interface World {
  stdout: Sink;
  stderr: Sink;
  env: Record<string, string | undefined>;
  /** The current folder. */
  folder: string;
  /** Who sits here: the operating system's user. */
  user: string;
  /** Milliseconds since the epoch. */
  now: () => number;
  sleep: (ms: number) => Promise<void>;
}

export const exitCodes = { ok: 0, failure: 1, usage: 2, notPromoted: 3, undecided: 4 } as const;
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

/** An outcome that the person at the keyboard can act on. `isTransient`: the same request may succeed later. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly exitCode: ExitCode;
  readonly isTransient: boolean;
  constructor(message: string, { exitCode = exitCodes.failure, isTransient = false }: CliErrorOptions = {}) {
    super(message);
    this.exitCode = exitCode;
    this.isTransient = isTransient;
  }
}

interface CliErrorOptions {
  exitCode?: ExitCode;
  isTransient?: boolean;
}

/** How a rollout stands, as an exit code: promoted, ended in another way, or not decided yet (paused or under way). */
export function exitCodeOf({ state, isFinal }: RolloutView): ExitCode {
  if (state === 'promoted') return exitCodes.ok;
  return isFinal ? exitCodes.notPromoted : exitCodes.undecided;
}
