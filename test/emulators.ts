/**
 * Google's own emulators for tests: found where gcloud keeps them, started once for a group of tests, stopped with it.
 * Where one is not installed its tests are skipped by name; in CI they fail.
 */
import { type ChildProcess, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, globSync, realpathSync } from 'node:fs';
import { createServer } from 'node:net';
import { delimiter, dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe } from 'vitest';
import { createProcessGuard } from '../emulator/process-guard.ts';

interface Emulator {
  component: string;
  /** Below the SDK's root; the version is part of Pub/Sub's. */
  jar: string;
  mainClass: string | null;
  /** The line with which it says that it serves. */
  isReady: RegExp;
}

const firestore: Emulator = {
  component: 'cloud-firestore-emulator',
  jar: 'platform/cloud-firestore-emulator/cloud-firestore-emulator.jar',
  mainClass: 'com.google.cloud.datastore.emulator.firestore.CloudFirestore',
  isReady: /is now running/,
};

const pubsub: Emulator = {
  component: 'pubsub-emulator',
  jar: 'platform/pubsub-emulator/lib/cloud-pubsub-emulator*.jar',
  mainClass: null,
  isReady: /Server started/,
};

/** Where the running emulator answers, `host:port`; only to be read inside tests and hooks. */
export interface RunningEmulator {
  readonly host: string;
}

/** Describes tests that need Google's Firestore emulator. */
export function withFirestoreEmulator(name: string, tests: (emulator: RunningEmulator) => void): void {
  withEmulator(firestore, name, tests);
}

/** Describes tests that need Google's Pub/Sub emulator. */
export function withPubSubEmulator(name: string, tests: (emulator: RunningEmulator) => void): void {
  withEmulator(pubsub, name, tests);
}

function withEmulator(emulator: Emulator, name: string, tests: (emulator: RunningEmulator) => void): void {
  const jar = findJar(emulator);
  const advice = `needs Java and \`gcloud components install ${emulator.component}\``;
  const isSkipped = jar === null && (process.env['CI'] ?? '') === '';
  const title = isSkipped ? `${name} (skipped: ${advice})` : name;
  const suite = isSkipped ? describe.skip : describe;
  suite(title, () => {
    let running: { host: string; stop(): Promise<void> } | null = null;

    beforeAll(async () => {
      if (jar === null) throw new Error(`This suite ${advice}`);
      running = await start(emulator, jar);
    });

    afterAll(() => running?.stop());

    tests({
      get host() {
        if (running === null) throw new Error('The emulator runs only while tests do: read its host inside a test');
        return running.host;
      },
    });
  });
}

async function start(emulator: Emulator, jar: string): Promise<{ host: string; stop(): Promise<void> }> {
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

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('expected a TCP address');
  return address.port;
}

/** Null when the emulator, or Java, is not installed. */
function findJar(emulator: Emulator): string | null {
  if (spawnSync('java', ['-version']).status !== 0) return null;
  const gcloud = (process.env['PATH'] ?? '')
    .split(delimiter)
    .map((folder) => join(folder, 'gcloud'))
    .filter((path) => existsSync(path))
    .map((path) => dirname(dirname(realpathSync(path))));
  const [jar] = [...gcloud, '/usr/lib/google-cloud-sdk'].flatMap((root) => globSync(join(root, emulator.jar)));
  return jar ?? null;
}
