/**
 * A real Redis for tests: started for each of them on a free port, ended with it. Where redis-server is not installed its
 * tests are skipped by name; in CI they fail.
 */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { beforeAll, describe } from 'vitest';
import { createProcessGuard } from '../emulator/process-guard.ts';
import { freePort } from './port.ts';

export interface RunningRedis extends AsyncDisposable {
  url: string;
  /** Stops and wakes the process: while it is stopped, connections stay open and nothing is answered. */
  pause(): void;
  resume(): void;
}

/** Describes tests that need a Redis. */
export function withRedis(name: string, tests: () => void): void {
  const isInstalled = spawnSync('redis-server', ['--version']).status === 0;
  const advice = 'needs redis-server, such as from `apt-get install redis-server`';
  const isSkipped = !isInstalled && (process.env['CI'] ?? '') === '';
  const suite = isSkipped ? describe.skip : describe;
  suite(isSkipped ? `${name} (skipped: ${advice})` : name, () => {
    beforeAll(() => {
      if (!isInstalled) throw new Error(`This suite ${advice}`);
    });
    tests();
  });
}

/** Starts an empty one that keeps nothing on disk. */
export async function startRedis(port?: number): Promise<RunningRedis> {
  const chosen = port ?? (await freePort());
  const guard = createProcessGuard();
  const child = guard.start(
    'redis-server',
    ['--port', String(chosen), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', '/tmp'],
    { PATH: process.env['PATH'] ?? '' },
  );
  const ready = Promise.withResolvers<void>();
  if (child.stdout !== null) {
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (line.includes('Ready to accept connections')) ready.resolve();
    });
  }
  child.stderr?.resume();
  child.once('exit', (code) => ready.reject(new Error(`redis-server ended with ${code} before it served`)));
  await ready.promise;
  return {
    url: `redis://127.0.0.1:${chosen}`,
    pause: () => void child.kill('SIGSTOP'),
    resume: () => void child.kill('SIGCONT'),
    async [Symbol.asyncDispose]() {
      const exited = child.exitCode === null ? once(child, 'exit') : null;
      guard.close();
      await exited;
    },
  };
}
