/** What is read of a rollout: of one that runs, one that is over, and one whose record knows better? */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { ArchivedRollout, StorePort } from '../../../functions/engine/ports.ts';
import { readJournal, readRollout } from '../../../functions/engine/rollouts.ts';
import { openSqliteStore } from '../../../functions/engine/sqlite-store.ts';
import { storedJson } from '../../../functions/engine/stored-json.ts';
import { emptyRecord } from '../../../machines/rollout/record.ts';
import { endpointKey } from '../../../machines/rollout/resource-name.ts';
import type { StoredRollout } from '../../../machines/rollout/snapshot.ts';
import { endpoint, given, onFirstStep } from '../../machines/rollout/life.ts';

const key = endpointKey(endpoint);
let store: StorePort;

beforeEach(() => {
  store = openSqliteStore(':memory:');
  vi.spyOn(process.stdout, 'write').mockReturnValue(true);
});

afterEach(() => store.close());

/** What was archived when it began, and what its endpoint's record says now; nothing where there is none. */
function put(begun: StoredRollout, now: StoredRollout | null, archivedKey = key, endedAt: number | null = null) {
  const { id, startedAt } = begun.context;
  const archive: ArchivedRollout[] = [{ id, key: archivedKey, startedAt, endedAt, data: begun }];
  const data = { ...emptyRecord(endpoint), active: now };
  return store.commit({ key, expected: null, data, isActive: true, journal: [], marks: [], archive });
}

test.each<[what: string, now: () => StoredRollout | null, archivedKey: string, state: string]>([
  ['that runs is as its record is now', () => onFirstStep().rollout, key, 'analysing'],
  ['that runs no more is as it was archived', () => null, key, 'preparing'],
  [
    'after which another one runs is as it was archived',
    () => {
      const { rollout } = onFirstStep();
      return { ...rollout, context: { ...rollout.context, id: 'another' } };
    },
    key,
    'preparing',
  ],
  ['whose record is not there is as it was archived', () => null, 'elsewhere~1', 'preparing'],
])('a rollout %s', async (_what, now, archivedKey, state) => {
  const begun = given().rollout;
  await put(begun, now(), archivedKey);
  expect(await readRollout(store, begun.context.id)).toMatchObject({ id: begun.context.id, state });
});

test('a rollout that ended is as it was archived then, whatever its record says', async () => {
  const begun = given().rollout;
  const now = onFirstStep().rollout;
  await put(begun, now, key, begun.context.startedAt + 1);
  expect(await readRollout(store, begun.context.id)).toMatchObject({ id: begun.context.id, state: 'preparing' });
});

test('of a rollout that is not there nothing is read, and no journal', async () => {
  expect([await readRollout(store, 'nobody'), await readJournal(store, 'nobody')]).toEqual([null, null]);
});

test.each<[what: string, kept: unknown, read: unknown]>([
  ['JSON', '{"a":1}', { a: 1 }],
  ['text that is none', '{"a":', '{"a":'],
  ['nothing', undefined, undefined],
  ['a number', 7, 7],
])('a document that keeps %s', (_what, kept, read) => {
  expect(storedJson(kept)).toEqual(read);
});
