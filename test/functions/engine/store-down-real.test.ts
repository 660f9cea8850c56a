/** Are rollbacks carried out, and recorded later, when a real store goes away under them? */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, it } from 'vitest';
import { TransientError } from '../../../functions/engine/errors.ts';
import { openSqliteStore } from '../../../functions/engine/sqlite-store.ts';
import { parseEnvironment } from '../../../functions/engine/environment.ts';
import { googleClients } from '../../../functions/gcp/clients.ts';
import { firestoreStore } from '../../../functions/gcp/firestore-store.ts';
import { withFirestoreEmulator } from '../../emulators.ts';
import { portOf } from '../../port.ts';
import { abort, begin, canaryAt, ending } from './store-trial.ts';

describe('real stores that fail', () => {
  it('SQLite: another process holds the file', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'rollouts-store-down-'));
    const path = join(folder, 'records.db');
    const trial = begin({}, openSqliteStore(path, 10));
    await canaryAt(trial, 25);
    const holder = new DatabaseSync(path);
    holder.exec('BEGIN IMMEDIATE');
    await expect(abort(trial)).rejects.toMatchObject({ name: 'TransientError', code: 'unavailable' });
    expect(trial.lab.split()).toEqual({ 1: 100 });
    holder.close();
    await abort(trial);
    expect(await ending(trial)).toBe('aborted');
    rmSync(folder, { recursive: true });
  });

  withFirestoreEmulator('Firestore', (emulator) => {
    it('goes away after the record was loaded, and comes back while the commit is waited for', {
      timeout: 60_000,
    }, async () => {
      const line = await startLine(emulator.host);
      const environment = { GOOGLE_CLOUD_PROJECT: 'demo', ROLLOUT_LOCATION: 'us-central1', ROLLOUT_STORE: 'firestore' };
      const clients = googleClients(parseEnvironment({ ...environment, FIRESTORE_EMULATOR_HOST: line.host }));
      const trial = begin({}, firestoreStore(clients));
      await canaryAt(trial, 25);
      const written = Promise.withResolvers<void>();
      trial.gate = (call, moment) => {
        if (call === 'commit' && moment === 'before') line.cut();
      };
      trial.atEndpoint = (view, call) => {
        if (call === 'writeSplit') written.resolve();
        return view;
      };
      const aborting = abort(trial);
      await written.promise;
      expect(trial.lab.split()).toEqual({ 1: 100 });
      trial.gate = () => {};
      line.mend();
      // The client tries by itself until our deadline: by then the commit was made, or is given up.
      await aborting.catch((error: unknown) => expect(error).toBeInstanceOf(TransientError));
      await abort(trial);
      expect(await ending(trial)).toBe('aborted');
      await clients.close();
      line.close();
    });
  });
});

/** A line to the emulator that can be cut: connections end, and new ones with them. */
async function startLine(target: string): Promise<{ host: string; cut(): void; mend(): void; close(): void }> {
  const [host = '', port = ''] = target.split(':');
  const sockets = new Set<Socket>();
  let isCut = false;
  const server = createServer((near) => {
    if (isCut) return void near.destroy();
    const far = connect(Number(port), host);
    for (const socket of [near, far]) {
      sockets.add(socket);
      // Ends with its other half, which the close tells.
      socket.on('error', () => socket.destroy());
      socket.on('close', () => {
        sockets.delete(socket);
        near.destroy();
        far.destroy();
      });
    }
    near.pipe(far).pipe(near);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const cut = () => {
    isCut = true;
    for (const socket of sockets) socket.destroy();
  };
  return {
    host: `127.0.0.1:${portOf(server)}`,
    cut,
    mend: () => void (isCut = false),
    close: () => {
      cut();
      server.close();
    },
  };
}
