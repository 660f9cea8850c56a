/**
 * Google's own emulators for tests: started once for a group of tests, stopped with it. Where one is not installed its tests
 * are skipped by name; in CI they fail.
 */
import { afterAll, beforeAll, describe } from 'vitest';
import { type Emulator, findJar, firestore, pubsub, start } from './google-emulators.ts';

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
