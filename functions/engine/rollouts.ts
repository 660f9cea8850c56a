/** Which rollouts are there, and what happened to each? Reading only: for the dashboard and the command line. */
import { z } from 'zod';
import { viewOf } from '../../machines/rollout/describe.ts';
import type { EndpointRecord } from '../../machines/rollout/record.ts';
import { startRollout, parseRollout } from '../../machines/rollout/snapshot.ts';
import type { JournalView, RolloutView } from '../../machines/rollout/view.ts';
import { PermanentError } from './errors.ts';
import { limits } from './limits.ts';
import { log } from './log.ts';
import type { ArchivedRollout, JournalEntry, StorePort } from './ports.ts';
import { paged, parseStored, readable } from './records.ts';

/** What is shown of an entry; all of it is shown as its detail. */
const journalSchema = z.object({
  event: z.object({ type: z.string() }),
  by: z.string().nullable(),
  from: z.string(),
  to: z.string(),
  text: z.string(),
});

/** Those that wait, those that are active, then those that ended, newest first. */
export async function listRollouts(store: StorePort): Promise<RolloutView[]> {
  const queued: RolloutView[] = [];
  const active: RolloutView[] = [];
  for await (const stored of paged((page) => store.listActive(page))) {
    for (const { record } of readable([stored])) {
      queued.push(...queuedView(record));
      if (record.active !== null) active.push(viewOf(record.active));
    }
  }
  const ended = (await store.listRollouts(limits.listMax)).filter(({ endedAt }) => endedAt !== null);
  return [...queued, ...active, ...ended.flatMap((archived) => whole(() => archivedView(archived)))];
}

export async function readRollout(store: StorePort, id: string): Promise<RolloutView | null> {
  const archived = await store.readRollout(id);
  if (archived === null) return null;
  if (archived.endedAt === null) {
    const stored = await store.load(archived.key);
    const active = stored === null ? null : parseStored(stored).record.active;
    if (active?.context.id === id) return viewOf(active);
  }
  return archivedView(archived);
}

/** Oldest first; null when there is no such rollout. */
export async function readJournal(store: StorePort, id: string): Promise<JournalView[] | null> {
  if ((await store.readRollout(id)) === null) return null;
  const entries = await store.listJournal(id, limits.journalMax);
  return entries.flatMap((entry) => whole(() => journalView(id, entry)));
}

function journalView(id: string, { at, sequence, data }: JournalEntry): JournalView {
  const parsed = journalSchema.safeParse(data);
  if (!parsed.success) throw new PermanentError('internal', `Entry ${sequence} of the journal of ${id} is damaged`);
  const { event, by, from, to, text } = parsed.data;
  return { at, event: event.type, by, from, to, text, detail: data };
}

function archivedView({ id, data }: ArchivedRollout): RolloutView {
  const parsed = parseRollout(data);
  if (!parsed.success)
    throw new PermanentError('internal', `The archive of rollout ${id} is damaged, or of a newer version`);
  return viewOf(parsed.data);
}

function queuedView({ queued, endpoint }: EndpointRecord): RolloutView[] {
  if (queued === null) return [];
  const { blessing, policy, queuedAt } = queued;
  const id = `${policy.name}-${blessing.versionId}`;
  const view = viewOf(startRollout({ id, endpoint, canaryId: '1', blessing, policy, at: queuedAt }));
  return [{ ...view, state: 'queued', reason: 'Waits for the active rollout to end.' }];
}

/** What can be read, or nothing where it is damaged, which is reported. */
function whole<T>(read: () => T): T[] {
  try {
    return [read()];
  } catch (error) {
    if (!(error instanceof PermanentError)) throw error;
    log('CRITICAL', error.message);
    return [];
  }
}
