/** Does any container outlive the emulator? Starts processes so that none does, however the emulator ends. */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** A variable that marks our processes, so that an id that is now somebody else's is never killed. */
const MARK = 'VERTEX_EMULATOR_MARK';

/** Processes of one emulator: their ids, and the mark that each of them carries. */
export interface Leftovers {
  mark: string;
  pids: number[];
}

export interface ProcessGuard {
  /**
   * Starts a process in a group of its own. Its standard input is a pipe that closes when the emulator ends; the
   * watchdog kills the group if that does not end it.
   */
  start(command: string, args: string[], env: Record<string, string>): ChildProcess;
  /** Kills a process and its descendants at once. Idempotent. */
  kill(child: ChildProcess): void;
  /** What runs now, for the state file. */
  running(): Leftovers;
  /** Kills what is left. */
  close(): void;
}

/** Starts the watchdog with the first process. */
export function createProcessGuard(): ProcessGuard {
  const mark = randomUUID();
  const running = new Set<number>();
  let watchdog: ChildProcess | null = null;

  function tell(line: string): void {
    watchdog ??= startWatchdog();
    watchdog.stdin?.write(`${line}\n`);
  }

  return {
    start(command, args, env) {
      const child = spawn(command, args, {
        env: { ...env, [MARK]: mark },
        stdio: ['pipe', 'pipe', 'pipe'],
        detached: true,
      });
      // Writing to a pipe whose reader has ended is no reason to fail: the exit is reported anyway.
      child.stdin.on('error', () => undefined);
      const { pid } = child;
      if (pid === undefined) return child;
      running.add(pid);
      tell(`+${pid}`);
      child.once('exit', () => {
        killGroup(pid);
        running.delete(pid);
        tell(`-${pid}`);
      });
      return child;
    },
    kill(child) {
      if (child.pid !== undefined && running.has(child.pid)) killGroup(child.pid);
    },
    running: () => ({ mark, pids: [...running] }),
    close() {
      for (const pid of running) killGroup(pid);
      watchdog?.stdin?.end();
      watchdog = null;
    },
  };
}

/**
 * Kills containers of an emulator that is gone, by the process ids in its state file. Only processes that carry its
 * mark are killed; where the system does not show a process's environment, none is.
 */
export function killLeftovers({ mark, pids }: Leftovers): number[] {
  return pids.filter((pid) => isMarked(pid, mark) && killGroup(pid));
}

function startWatchdog(): ChildProcess {
  const child = spawn(process.execPath, [fileURLToPath(new URL('watchdog.ts', import.meta.url))], {
    env: {},
    stdio: ['pipe', 'ignore', 'ignore'],
    // Not in our group: what ends us from the keyboard must not end the one who cleans up after us.
    detached: true,
  });
  child.stdin?.on('error', () => undefined);
  child.unref();
  return child;
}

function isMarked(pid: number, mark: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(`${MARK}=${mark}`);
  } catch {
    return false;
  }
}

function killGroup(pid: number): boolean {
  try {
    return process.kill(-pid, 'SIGKILL');
  } catch {
    // It has ended already.
    return false;
  }
}
