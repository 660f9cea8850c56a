/** What every store must keep: run by each implementation's own test file. */
import { describe, expect, test } from 'vitest';
import { PermanentError } from '../../../functions/engine/errors.ts';
import type { ArchivedRollout, Commit, JournalEntry, Stored, StorePort } from '../../../functions/engine/ports.ts';

const key = 'us-central1~456';

const nothing: Omit<Commit, 'key' | 'expected' | 'data'> = { isActive: true, journal: [], marks: [], archive: [] };

function change(expected: string | null, data: unknown, more: Partial<Commit> = {}): Commit {
  return { ...nothing, key, expected, data, ...more };
}

/** A journal entry whose data says where it belongs. */
function at(time: number, sequence: number, rollout = 'r1'): JournalEntry {
  return { rollout, at: time, sequence, data: [time, sequence] };
}

function summary(id: string, startedAt: number, endedAt: number | null = null): ArchivedRollout {
  return { id, key, startedAt, endedAt, data: { id, endedAt } };
}

/** Commits what must succeed, and gives the revision. */
async function committed(store: StorePort, wanted: Commit): Promise<string> {
  const result = await store.commit(wanted);
  if (result.kind !== 'committed') throw new Error(`expected the commit to succeed, got ${JSON.stringify(result)}`);
  return result.revision;
}

/**
 * @param open opens the store kept at a place; the same place twice means the same data, a new one is empty.
 * @param damage puts a text where a record's JSON was, as no store would
 */
export function storeContract(
  name: string,
  open: (place: string) => Promise<StorePort>,
  damage: (place: string, key: string, text: string) => Promise<void>,
): void {
  let places = 0;
  const openNew = () => open(`place-${places++}`);

  describe(`${name} keeps records`, () => {
    test('what was never committed is not there', async () => {
      const store = await openNew();
      expect(await store.load(key)).toBeNull();
      expect(await store.listAll()).toEqual([]);
      expect(await store.listActive()).toEqual([]);
      expect(await store.readRollout('r1')).toBeNull();
      expect(await store.readRollout('../a/b')).toBeNull();
      expect(await store.listRollouts(10)).toEqual([]);
      expect(await store.listJournal('r1', 10)).toEqual([]);
      expect(await store.isMarked('event-1')).toBe(false);
    });

    test('a record comes back as it was committed, with the revision the commit gave', async () => {
      const store = await openNew();
      const data = { nested: [[1, [2]], { 'a.b/c': null }], text: 'Zürich – 東京', long: 'x'.repeat(200_000) };
      const revision = await committed(store, change(null, data));
      expect(await store.load(key)).toEqual({ key, data, revision });
    });

    test('a second creation is a conflict and changes nothing', async () => {
      const store = await openNew();
      await committed(store, change(null, 'first'));
      expect(await store.commit(change(null, 'second'))).toEqual({ kind: 'conflict' });
      expect((await store.load(key))?.data).toBe('first');
    });

    test('a change of a record that is not there is a conflict', async () => {
      const [store, other] = [await openNew(), await openNew()];
      const revision = await committed(other, change(null, 'elsewhere'));
      expect(await store.commit(change(revision, 'here'))).toEqual({ kind: 'conflict' });
      expect(await store.load(key)).toBeNull();
    });

    test('a change decided on an old revision is a conflict', async () => {
      const store = await openNew();
      const first = await committed(store, change(null, 1));
      const second = await committed(store, change(first, 2));
      expect(second).not.toBe(first);
      expect(await store.commit(change(first, 3))).toEqual({ kind: 'conflict' });
      expect(await store.load(key)).toEqual({ key, data: 2, revision: second });
    });

    test('a commit of the same data makes a new revision all the same', async () => {
      const store = await openNew();
      const first = await committed(store, change(null, 'same'));
      const second = await committed(store, change(first, 'same'));
      expect(second).not.toBe(first);
      expect(await store.commit(change(first, 'same'))).toEqual({ kind: 'conflict' });
    });

    test('only active records are listed as active, and all as known', async () => {
      const store = await openNew();
      const first = await committed(store, change(null, 'a', { key: 'l~a' }));
      await committed(store, change(null, 'b', { key: 'l~b' }));
      await committed(store, change(null, 'c', { key: 'l~c', isActive: false }));
      const last = await committed(store, change(first, 'a2', { key: 'l~a', isActive: false }));
      expect((await store.listActive()).map((stored) => stored.key)).toEqual(['l~b']);
      const all = await store.listAll();
      expect(all.map((stored) => stored.key)).toEqual(['l~a', 'l~b', 'l~c']);
      expect(all[0]).toEqual({ key: 'l~a', data: 'a2', revision: last });
    });
  });

  describe(`${name} gives its records page by page`, () => {
    test('in the order of their keys, each once, and the last page is short', async () => {
      const store = await openNew();
      const keys = ['l~10', 'l~9', 'l~a', 'm~1', 'm~2'];
      for (const one of keys.toReversed()) await committed(store, change(null, one, { key: one }));
      await committed(store, change(null, 'over', { key: 'l~b', isActive: false }));
      const keysOf = (page: Stored[]) => page.map((stored) => stored.key);
      expect(keysOf(await store.listActive({ after: null, limit: 2 }))).toEqual(['l~10', 'l~9']);
      expect(keysOf(await store.listActive({ after: 'l~9', limit: 2 }))).toEqual(['l~a', 'm~1']);
      expect(keysOf(await store.listActive({ after: 'm~1', limit: 2 }))).toEqual(['m~2']);
      expect(keysOf(await store.listActive({ after: 'm~2', limit: 2 }))).toEqual([]);
      expect(keysOf(await store.listAll({ after: 'l~a', limit: 2 }))).toEqual(['l~b', 'm~1']);
      expect(keysOf(await store.listActive())).toEqual(keys);
    });

    test('a page begins after its key even where that record is gone or no longer active', async () => {
      const store = await openNew();
      for (const one of ['l~1', 'l~3']) await committed(store, change(null, one, { key: one }));
      const after = await store.listActive({ after: 'l~2', limit: 9 });
      expect(after.map((stored) => stored.key)).toEqual(['l~3']);
    });
  });

  describe(`${name} commits all or nothing`, () => {
    const entry = { rollout: 'r1', at: 1000, sequence: 0, data: 'entry' };
    const journal = [entry];
    const archive = [{ id: 'r1', key, startedAt: 1000, endedAt: null, data: 'summary' }];

    test('a conflict leaves no mark, no journal entry and no summary', async () => {
      const store = await openNew();
      await committed(store, change(null, 1));
      expect(await store.commit(change(null, 2, { marks: ['event-1'], journal, archive }))).toEqual({
        kind: 'conflict',
      });
      expect(await store.isMarked('event-1')).toBe(false);
      expect(await store.listJournal('r1', 10)).toEqual([]);
      expect(await store.readRollout('r1')).toBeNull();
    });

    test('a used mark stops the commit, is named, and nothing is written', async () => {
      const store = await openNew();
      const marks = ['projects/p/event 1'];
      const revision = await committed(store, change(null, 1, { marks }));
      expect(await store.isMarked('projects/p/event 1')).toBe(true);
      const second = change(revision, 2, { marks: ['event-2', ...marks], journal, archive });
      expect(await store.commit(second)).toEqual({ kind: 'duplicate', mark: 'projects/p/event 1' });
      expect(await store.load(key)).toEqual({ key, data: 1, revision });
      expect(await store.isMarked('event-2')).toBe(false);
      expect(await store.listJournal('r1', 10)).toEqual([]);
      expect(await store.readRollout('r1')).toBeNull();
    });

    test('a used mark stops the creation of another record', async () => {
      const store = await openNew();
      await committed(store, change(null, 1, { marks: ['event-1'] }));
      const other = change(null, 2, { key: 'l~other', marks: ['event-1'] });
      expect(await store.commit(other)).toEqual({ kind: 'duplicate', mark: 'event-1' });
      expect(await store.load('l~other')).toBeNull();
    });

    test('a used mark on an old revision is a duplicate, because to look again would not help', async () => {
      const store = await openNew();
      const first = await committed(store, change(null, 1));
      await committed(store, change(first, 2, { marks: ['event-1'] }));
      expect(await store.commit(change(first, 3, { marks: ['event-1'] }))).toEqual({
        kind: 'duplicate',
        mark: 'event-1',
      });
    });

    test('a mark that is named twice in one commit is used once', async () => {
      const store = await openNew();
      await committed(store, change(null, 1, { marks: ['event-1', 'event-1'] }));
      expect(await store.isMarked('event-1')).toBe(true);
    });

    test('a journal entry is never overwritten: the commit that would is an error, and nothing is written', async () => {
      const store = await openNew();
      const revision = await committed(store, change(null, 1, { journal }));
      const rewriting = change(revision, 2, { marks: ['event-1'], journal: [{ ...entry, data: 'other' }] });
      const thrown: unknown = await store.commit(rewriting).catch((error: unknown) => error);
      expect(thrown).toBeInstanceOf(PermanentError);
      expect(thrown).toMatchObject({ code: 'alreadyExists' });
      expect(await store.load(key)).toEqual({ key, data: 1, revision });
      expect(await store.isMarked('event-1')).toBe(false);
      expect(await store.listJournal('r1', 10)).toEqual(journal);
    });
  });

  describe(`${name} was written to by somebody else`, () => {
    test.for(['{"schema":', '', 'null and void', '[1,'])('a record that is %j hides no other', async (text) => {
      const place = `place-${places++}`;
      const store = await open(place);
      await committed(store, change(null, 'whole', { key: 'l~1' }));
      await committed(store, change(null, 'broken', { key: 'l~2' }));
      await committed(store, change(null, 'whole', { key: 'l~3' }));
      await damage(place, 'l~2', text);
      const found = [
        ['l~1', 'whole'],
        ['l~2', text],
        ['l~3', 'whole'],
      ];
      expect((await store.listActive()).map((stored) => [stored.key, stored.data])).toEqual(found);
      expect((await store.listAll()).map((stored) => [stored.key, stored.data])).toEqual(found);
      expect((await store.load('l~2'))?.data).toBe(text);
    });
  });

  describe(`${name} keeps history`, () => {
    test('the journal of a rollout is listed in the order of its sequence, whatever the clocks said', async () => {
      const store = await openNew();
      const revision = await committed(store, change(null, 1, { journal: [at(1000, 10), at(1000, 9), at(999, 11)] }));
      await committed(store, change(revision, 2, { journal: [at(10_000, 0), at(1, 0, 'r2')] }));
      const all = [at(10_000, 0), at(1000, 9), at(1000, 10), at(999, 11)];
      expect(await store.listJournal('r1', 10)).toEqual(all);
      expect(await store.listJournal('r1', 2)).toEqual(all.slice(0, 2));
      expect(await store.listJournal('r2', 10)).toEqual([at(1, 0, 'r2')]);
    });

    test('rollouts are listed newest first, and a summary is replaced by a later one', async () => {
      const store = await openNew();
      const archive = [summary('old', 1), summary('new', 3), summary('middle', 2)];
      const revision = await committed(store, change(null, 1, { archive }));
      await committed(store, change(revision, 2, { archive: [summary('old', 1, 9)] }));
      expect(await store.readRollout('old')).toEqual(summary('old', 1, 9));
      expect((await store.listRollouts(10)).map((rollout) => rollout.id)).toEqual(['new', 'middle', 'old']);
      expect(await store.listRollouts(1)).toEqual([summary('new', 3)]);
    });
  });

  describe(`${name} has many writers`, () => {
    test('of 32 writers that add one to a record at once, none is lost', async () => {
      const place = `place-${places++}`;
      const stores = await Promise.all([open(place), open(place)]);
      await Promise.all(
        Array.from({ length: 32 }, async (_, writer) => {
          const store = stores[writer % stores.length] ?? stores[0];
          for (let attempt = 0; attempt < 200; attempt++) {
            const stored = await store.load(key);
            const result = await store.commit(
              change(stored?.revision ?? null, Number(stored?.data ?? 0) + 1, {
                marks: [`event-${writer}`],
                journal: [{ rollout: 'r1', at: writer, sequence: Number(stored?.data ?? 0), data: writer }],
              }),
            );
            if (result.kind === 'committed') return;
            if (result.kind === 'duplicate') throw new Error(`a mark of writer ${writer} outlived its conflict`);
          }
          throw new Error(`writer ${writer} met 200 conflicts`);
        }),
      );
      expect((await stores[0].load(key))?.data).toBe(32);
      const written = await stores[1].listJournal('r1', 100);
      const each = Array.from({ length: 32 }, (_, i) => i);
      expect(written.map(({ sequence }) => sequence)).toEqual(each);
      expect(written.map(({ data }) => Number(data)).toSorted((a, b) => a - b)).toEqual(each);
    });

    test('of many commits that use one mark at once, on different records, one is made', async () => {
      const store = await openNew();
      const results = await Promise.all(
        Array.from({ length: 8 }, (_, i) => store.commit(change(null, i, { key: `l~${i}`, marks: ['event-1'] }))),
      );
      expect(results.filter((result) => result.kind === 'committed')).toHaveLength(1);
      expect(results.filter((result) => result.kind === 'duplicate')).toHaveLength(7);
      expect(await store.listAll()).toHaveLength(1);
    });
  });
}
