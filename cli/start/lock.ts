/**
 * Does npm start run here already? One at a time may use a folder's state. The lock is SQLite's own on a file: the system
 * lifts it when its holder ends, a kill included, so it is never stale, and no process id has to be guessed about.
 */
import { DatabaseSync } from 'node:sqlite';
import { CliError } from '../world.ts';

const BUSY = 5;

/** Takes the lock, and returns how to release it. Throws a CliError that names the holder when there is one. */
export function takeLock(file: string): () => void {
  const database = new DatabaseSync(file);
  try {
    // The number is for whoever comes next: reading stays possible while the second transaction is open.
    database.exec(`BEGIN IMMEDIATE; PRAGMA user_version = ${process.pid}; COMMIT; BEGIN IMMEDIATE`);
    return () => database.close();
  } catch (error) {
    const holder = database.prepare('PRAGMA user_version').get()?.['user_version'];
    database.close();
    if (!(error instanceof Error && 'errcode' in error && error.errcode === BUSY)) throw error;
    throw new CliError(
      `A local system runs in this folder already (process ${String(holder)}). Use it: npm run rollouts -- list. Or stop it first: Ctrl-C in its terminal, or kill ${String(holder)}.`,
    );
  }
}
