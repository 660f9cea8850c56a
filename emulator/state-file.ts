/** What was there before the restart? One JSON file, replaced as a whole or not at all. */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { z } from 'zod';

const stateSchema = z.strictObject({
  version: z.literal(1),
  world: z.unknown(),
  pubsub: z.unknown(),
  scheduler: z.unknown(),
  /** Processes that ran when the file was written. */
  containers: z.strictObject({ mark: z.string(), pids: z.array(z.int().min(2)) }),
});

export type SavedState = z.infer<typeof stateSchema>;

/** Returns null when there is no such file. Throws when it is not a state file, naming it. */
export function readState(path: string): SavedState | null {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
    throw error;
  }
  try {
    return stateSchema.parse(JSON.parse(text));
  } catch (error) {
    const reason = error instanceof z.ZodError ? z.prettifyError(error) : String(error);
    throw new Error(`${path} is no state of the emulator: ${reason}. Move it away, or name another file.`, {
      cause: error,
    });
  }
}

/** Returns a function that writes the state where it has changed since it was last written. */
export function stateWriter(path: string): (state: SavedState) => void {
  let written = '';
  return (state) => {
    const text = JSON.stringify(state);
    if (text === written) return;
    // A rename replaces the file at once: a crash leaves the old state or the new one, never half of one.
    writeFileSync(`${path}.tmp`, text);
    renameSync(`${path}.tmp`, path);
    written = text;
  };
}
