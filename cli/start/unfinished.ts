/** Was a rollout under way when an earlier run ended? Then the next run goes on with it. */
import { existsSync } from 'node:fs';
import { PermanentError } from '../../functions/engine/errors.ts';
import { parseStored } from '../../functions/engine/records.ts';
import { openSqliteStore } from '../../functions/engine/sqlite-store.ts';
import { CliError } from '../world.ts';
import type { Places } from './places.ts';

/** The version whose rollout on the endpoint is not over; null when there is none, or no state to go on with. */
export async function unfinishedRollout(
  { files }: Places,
  endpoint: string,
): Promise<{ model: string; versionId: string } | null> {
  if (!existsSync(files.store) || !existsSync(files.emulatorState)) return null;
  try {
    const store = openSqliteStore(files.store);
    try {
      const records = (await store.listActive()).map((stored) => parseStored(stored).record);
      const record = records.find((found) => found.endpoint === endpoint);
      return record?.active?.context ?? record?.queued?.blessing ?? null;
    } finally {
      await store.close();
    }
  } catch (error) {
    if (!(error instanceof PermanentError)) throw error;
    throw new CliError(`${error.message} To forget it and begin anew: npm start -- --fresh`);
  }
}
