/**
 * Is everything as it must be, now that it is over? Reads what was recorded, told and deployed, and believes none of it alone:
 * the journal, the notifications, the archive, the endpoints and the orders that were given must agree.
 */
import { z } from 'zod';
import type { JournalEntry, StorePort } from '../../functions/engine/ports.ts';
import { stateOf } from '../../machines/rollout/describe.ts';
import { parseRecord } from '../../machines/rollout/record.ts';
import { endpointKey } from '../../machines/rollout/resource-name.ts';
import { parseRollout } from '../../machines/rollout/snapshot.ts';
import type { Estate, Land } from './land.ts';
import type { Lives } from './lives.ts';
import { numberOf, type Story } from './story.ts';

const ROLLOUTS_MAX = 100_000;
const ENTRIES_MAX = 100_000;

const states: Record<string, string> = {
  completed: 'promoted',
  'rolled-back': 'rolledBack',
  aborted: 'aborted',
  superseded: 'superseded',
};

const journalSchema = z.object({
  event: z.object({ type: z.string(), reason: z.string().optional() }),
  from: z.string(),
  to: z.string(),
});

type Written = z.infer<typeof journalSchema> & { rollout: string; sequence: number };

/** Null when nothing is left to do on any endpoint; else what is. */
export async function unfinished(store: StorePort, land: Land): Promise<string | null> {
  for (const estate of land.estates) {
    const { name, endpoint } = estate;
    const record = parseRecord((await store.load(endpointKey(endpoint)))?.data).data;
    if (record === undefined) return `${name} has no record that can be read`;
    if (record.active !== null) return `${name} still rolls out ${record.active.context.id}`;
    if (record.queued !== null) return `${name} still has version ${record.queued.blessing.versionId} waiting`;
    if (record.outbox.length > 0) return `${name} has ${record.outbox.length} notifications that were not told`;
    // What was ordered by a process at its last breath comes late, and the reconcile job removes it.
    if (land.serving(estate).length > 1) return `${name} still has several models deployed`;
  }
  return null;
}

/** Every sentence is something that is not as it must be; none when all is. */
export async function discrepancies(store: StorePort, land: Land, story: Story, lives: Lives): Promise<string[]> {
  const found = [...land.broken];
  const archived = await store.listRollouts(ROLLOUTS_MAX);
  for (const { estate, versionId, kind, expected, got, reason } of lives.outcomes) {
    if (got !== expected)
      found.push(`${estate.name}@${versionId} (${kind}): expected ${expected}, was told ${got}: ${reason}`);
  }
  for (const estate of land.estates) {
    const key = endpointKey(estate.endpoint);
    const rollouts = archived.filter((rollout) => rollout.key === key);
    const written: Written[] = [];
    for (const { id, data, endedAt } of rollouts) {
      const parsed = parseRollout(data);
      if (!parsed.success) found.push(`${id}: its archive cannot be read`);
      if (endedAt === null) found.push(`${id}: its archive says that it is under way`);
      const journal = (await store.listJournal(id, ENTRIES_MAX)).map(writtenOf);
      const chain = journal.toSorted((a, b) => a.sequence - b.sequence);
      found.push(...breaks(id, chain));
      written.push(...chain);
      const versionId = parsed.data?.context.versionId;
      const outcome = lives.outcomes.find((life) => life.estate === estate && life.versionId === versionId);
      const state = parsed.data === undefined ? '' : stateOf(parsed.data);
      if (outcome === undefined) found.push(`${id}: nobody asked for it`);
      else if (state !== states[outcome.expected]) found.push(`${id}: expected ${outcome.expected}, is ${state}`);
    }
    found.push(...(await lostNumbers(store, estate, written, story)));
    found.push(...wrongOrders(estate, written, lives));
    found.push(...wrongServing(estate, land, lives));
  }
  return found;
}

/** A journal entry, parsed. */
export function writtenOf({ rollout, sequence, data }: JournalEntry): Written {
  return { rollout, sequence, ...journalSchema.parse(data) };
}

/** Where a journal does not go on from where the entry before it ended; `chain` is in the order of committing. */
export function breaks(id: string, chain: Written[]): string[] {
  return chain.flatMap(({ from, event, sequence }, i) => {
    const before = chain[i - 1]?.to ?? '';
    return from === before
      ? []
      : [`${id}: at ${sequence} ${event.type} goes on from "${from}", the entry before ended in "${before}"`];
  });
}

/** A record numbers its journal entries and its notifications in one sequence: a number that neither has is lost. */
async function lostNumbers(
  store: StorePort,
  { name, endpoint }: Estate,
  written: Written[],
  story: Story,
): Promise<string[]> {
  const record = parseRecord((await store.load(endpointKey(endpoint)))?.data).data;
  const numbers = [...written.map(({ sequence }) => sequence), ...story.of(endpoint).map(({ id }) => numberOf(id))];
  const known = new Set(numbers);
  const all = Array.from({ length: record?.sequence ?? 0 }, (_, i) => i);
  const lost = all.filter((number) => !known.has(number)).map((number) => `${name}: entry ${number} is lost`);
  return known.size === numbers.length ? lost : [...lost, `${name}: a number was given twice`];
}

/** Every order was sent while its rollout was active, so each has acted, and once. */
function wrongOrders(estate: Estate, written: Written[], { orders }: Lives): string[] {
  return orders.flatMap(({ estate: of, commandId, command }) => {
    if (of !== estate) return [];
    const times = written.filter(
      ({ event }) => event.reason === commandId && event.type.startsWith('operator.'),
    ).length;
    return times === 1 ? [] : [`${estate.name}: ${command} (${commandId}) acted ${times} times`];
  });
}

/** The version that was promoted last has everything, and nothing else is deployed. */
function wrongServing(estate: Estate, land: Land, { outcomes }: Lives): string[] {
  const promoted = outcomes.filter((life) => life.estate === estate && life.expected === 'completed');
  const right = [{ versionId: promoted.at(-1)?.versionId ?? '1', percent: 100 }];
  const is = land.serving(estate);
  if (JSON.stringify(is) === JSON.stringify(right)) return [];
  return [`${estate.name}: expected ${JSON.stringify(right)} to serve, found ${JSON.stringify(is)}`];
}
