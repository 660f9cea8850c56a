/**
 * Which processes run, and do they? Starts each, waits until it answers, starts it again when it ends, and ends them all.
 * None outlives us: each ends when the pipe to it closes, which a kill of this process does too.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { CliError } from '../world.ts';

const bounds = {
  /** From the start of a process to its first answer; a second is usual, a busy laptop takes longer. */
  readyMs: 30_000,
  pollMs: 50,
  /** A process that ends more often than this within a minute will not stop doing so. */
  restartsMax: 5,
  restartWindowMs: 60_000,
  /** Ending by itself takes a moment; what takes longer is killed. */
  endMs: 5000,
  logCharsShown: 1500,
};

/** Of our own environment a process sees only what finding programs, folders and certificates takes. */
const inherited = ['PATH', 'HOME', 'TMPDIR', 'LANG', 'TZ', 'NODE_EXTRA_CA_CERTS'];
const preload = new URL('end-with-parent.ts', import.meta.url).href;

export interface ProcessOrder {
  name: string;
  /** A program of Node's and its arguments. */
  args: string[];
  env: Record<string, string>;
  /** On the loopback; the process is ready when it takes connections here. */
  port: number;
  /** What it writes is added to this file. */
  logFile: string;
}

export interface Processes {
  /** Resolves when the process is ready. Throws a CliError with the end of its log when it does not become so. */
  start(order: ProcessOrder): Promise<void>;
  /** Ends all, and resolves when none is left. Idempotent. */
  stop(): Promise<void>;
  /** Rejects, with a CliError, when a process keeps ending. Never resolves. */
  failure: Promise<never>;
}

interface Running {
  order: ProcessOrder;
  child: ChildProcess;
}

/** @param tell called with a sentence when a process ended and is started again */
export function createProcesses(tell: (note: string) => void): Processes {
  const running = new Map<string, Running>();
  const ends = new Map<string, number[]>();
  const failure = Promise.withResolvers<never>();
  // Whoever awaits it sees the failure; here it only must not count as unhandled.
  failure.promise.catch(() => undefined);
  let isStopping = false;

  async function start(order: ProcessOrder): Promise<void> {
    const { name } = order;
    const deadline = Date.now() + bounds.readyMs;
    const child = launch(order);
    running.set(name, { order, child });
    while (!(await answers(order.port))) {
      if (isStopping) throw new CliError(`${name} was stopped before it was ready`);
      if (hasEnded(child)) throw new CliError(`${name} ended (${endOf(child)}) before it was ready: ${logOf(order)}`);
      if (Date.now() > deadline) throw new CliError(`${name} was not ready in time: ${logOf(order)}`);
      await sleep(bounds.pollMs);
    }
    if (hasEnded(child)) throw new CliError(`${name} ended (${endOf(child)}) at once: ${logOf(order)}`);
    child.once('exit', () => void restart(order, child));
  }

  async function restart(order: ProcessOrder, child: ChildProcess): Promise<void> {
    if (isStopping) return;
    const { name } = order;
    const recent = (ends.get(name) ?? []).filter((at) => at > Date.now() - bounds.restartWindowMs);
    ends.set(name, [...recent, Date.now()]);
    try {
      if (recent.length >= bounds.restartsMax) {
        throw new CliError(`${name} ended ${recent.length + 1} times within a minute: ${logOf(order)}`);
      }
      tell(`${name} ended (${endOf(child)}) and is started again. Its log: ${order.logFile}`);
      await start(order);
    } catch (error) {
      if (!isStopping) failure.reject(error);
    }
  }

  return {
    start,
    async stop() {
      isStopping = true;
      await Promise.all([...running.values()].map(({ child }) => end(child)));
    },
    failure: failure.promise,
  };
}

/** True when somebody takes connections on the port of the loopback. */
export async function answers(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

function launch({ args, env, logFile }: ProcessOrder): ChildProcess {
  const log = openSync(logFile, 'a');
  try {
    const own = Object.fromEntries(inherited.map((name) => [name, process.env[name]]));
    const child = spawn(process.execPath, ['--import', preload, ...args], {
      env: { ...own, ...env },
      stdio: ['pipe', log, log],
      // In a group of its own: Ctrl-C reaches us, and we end the processes in order.
      detached: true,
    });
    // A pipe whose reader has ended is no reason to fail: the end is reported anyway.
    child.stdin?.on('error', () => undefined);
    return child;
  } finally {
    closeSync(log);
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (hasEnded(child)) return;
  const ended = once(child, 'exit');
  child.stdin?.end();
  const killing = setTimeout(() => child.kill('SIGKILL'), bounds.endMs);
  await ended;
  clearTimeout(killing);
}

function hasEnded({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null;
}

function endOf({ exitCode, signalCode }: ChildProcess): string {
  return signalCode ?? `exit code ${exitCode}`;
}

function logOf({ logFile }: ProcessOrder): string {
  const text = readFileSync(logFile, 'utf8').trim().slice(-bounds.logCharsShown);
  return `see ${logFile}, which ends with\n${text}`;
}
