/** Does work for many, of whom one that fails must not stop the others. */
import { TransientError } from './errors.ts';
import { log } from './log.ts';

/** Does it, and returns whether it was done; what it threw, even by a mistake of ours, is logged. */
export async function guarded(what: string, work: () => Promise<unknown>): Promise<boolean> {
  try {
    await work();
    return true;
  } catch (error) {
    if (error instanceof TransientError) log('WARNING', `${what}: ${error.message}`, { code: error.code });
    else log('CRITICAL', `${what}: ${error instanceof Error ? error.stack : String(error)}`);
    return false;
  }
}
