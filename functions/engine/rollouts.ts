/** Which rollouts are there, and what happened to each? Reading only: for the dashboard and the command line. */
import type { JournalData } from '../../machines/rollout/decide.ts';
import { viewOf } from '../../machines/rollout/describe.ts';
import type { EndpointRecord } from '../../machines/rollout/record.ts';
import { startRollout, parseRollout } from '../../machines/rollout/snapshot.ts';
import type { JournalView, RolloutView } from '../../machines/rollout/view.ts';
import { PermanentError } from './errors.ts';
import { limits } from './limits.ts';
import { log } from './log.ts';
import type { ArchivedRollout, StorePort } from './ports.ts';
import { parseStored } from './records.ts';

/** Those that wait, those that are active, then those that ended, newest first. */
export async function listRollouts(store: StorePort): Promise<RolloutView[]> {
  const records = (await store.listActive()).flatMap((stored) => readable(() => parseStored(stored).record));
  const ended = (await store.listRollouts(limits.listMax)).filter(({ endedAt }) => endedAt !== null);
  const active = records.flatMap((record) => (record.active === null ? [] : [viewOf(record.active)]));
  return [
    ...records.flatMap(queuedView),
    ...active,
    ...ended.flatMap((archived) => readable(() => archivedView(archived))),
  ];
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
  return entries.map(({ at, data }) => {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- our own commits are the only writers of the journal
    const entry = data as JournalData;
    return {
      at,
      event: entry.event.type,
      by: entry.by,
      from: entry.from,
      to: entry.to,
      text: entry.text,
      detail: data,
    };
  });
}

function archivedView({ data }: ArchivedRollout): RolloutView {
  const parsed = parseRollout(data);
  if (!parsed.success) throw new PermanentError('internal', 'The archive of a rollout cannot be read by this version');
  return viewOf(parsed.data);
}

function queuedView({ queued, endpoint }: EndpointRecord): RolloutView[] {
  if (queued === null) return [];
  const { blessing, policy, queuedAt } = queued;
  const id = `${policy.name}-${blessing.versionId}`;
  const view = viewOf(startRollout({ id, endpoint, canaryId: '1', blessing, policy, at: queuedAt }));
  return [{ ...view, state: 'queued', reason: 'Waits for the active rollout to end.' }];
}

function readable<T>(read: () => T): T[] {
  try {
    return [read()];
  } catch (error) {
    if (!(error instanceof PermanentError)) throw error;
    log('CRITICAL', error.message);
    return [];
  }
}
