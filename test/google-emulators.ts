/** How do Google's own emulators run? Found where gcloud keeps them, started as Java itself, ended with whoever started them. */
import { type ChildProcess, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, globSync, realpathSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { createProcessGuard } from '../emulator/process-guard.ts';
import { freePort } from './port.ts';

export interface Emulator {
  component: string;
  /** Below the SDK's root; the version is part of Pub/Sub's. */
  jar: string;
  mainClass: string | null;
  /** The line with which it says that it serves. */
  isReady: RegExp;
}

export const firestore: Emulator = {
  component: 'cloud-firestore-emulator',
  jar: 'platform/cloud-firestore-emulator/cloud-firestore-emulator.jar',
  mainClass: 'com.google.cloud.datastore.emulator.firestore.CloudFirestore',
  isReady: /is now running/,
};

export const pubsub: Emulator = {
  component: 'pubsub-emulator',
  jar: 'platform/pubsub-emulator/lib/cloud-pubsub-emulator*.jar',
  mainClass: null,
  isReady: /Server started/,
};

/** Starts an emulator; resolves when it serves, at `host`, which is `host:port`. */
export async function start(emulator: Emulator, jar: string): Promise<{ host: string; stop(): Promise<void> }> {
  const port = await freePort();
  const program = emulator.mainClass === null ? ['-jar', jar] : ['-cp', jar, emulator.mainClass];
  const guard = createProcessGuard();
  // Java itself, without gcloud's scripts around it; the guard ends it even if the test's process is killed.
  const child = guard.start('java', ['-Xmx256m', ...program, '--host=127.0.0.1', `--port=${port}`], {
    PATH: process.env['PATH'] ?? '',
  });
  await isServing(emulator, child);
  return {
    host: `127.0.0.1:${port}`,
    async stop() {
      const exited = child.exitCode === null ? once(child, 'exit') : null;
      guard.close();
      await exited;
    },
  };
}

async function isServing(emulator: Emulator, child: ChildProcess): Promise<void> {
  const ready = Promise.withResolvers<void>();
  const said: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    if (stream === null) continue;
    // Read to the end of its life, or the emulator stops when the pipe is full.
    createInterface({ input: stream }).on('line', (line) => {
      said.push(line);
      if (emulator.isReady.test(line)) ready.resolve();
    });
  }
  child.once('exit', (code) => {
    ready.reject(new Error(`${emulator.component} ended with ${code} before it served:\n${said.join('\n')}`));
  });
  await ready.promise;
}

/** Null when the emulator, or Java, is not installed. */
export function findJar(emulator: Emulator): string | null {
  if (spawnSync('java', ['-version']).status !== 0) return null;
  const gcloud = (process.env['PATH'] ?? '')
    .split(delimiter)
    .map((folder) => join(folder, 'gcloud'))
    .filter((path) => existsSync(path))
    .map((path) => dirname(dirname(realpathSync(path))));
  const [jar] = [...gcloud, '/usr/lib/google-cloud-sdk'].flatMap((root) => globSync(join(root, emulator.jar)));
  return jar ?? null;
}
