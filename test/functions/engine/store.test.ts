import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { text } from 'node:stream/consumers';
import { afterAll, expect, test } from 'vitest';
import type { StorePort } from '../../../functions/engine/ports.ts';
import { openSqliteStore } from '../../../functions/engine/sqlite-store.ts';
import { storeContract } from './store-contract.ts';

const folder = mkdtempSync(join(tmpdir(), 'rollouts-store-'));
const opened: StorePort[] = [];

function open(place: string): StorePort {
  const store = openSqliteStore(join(folder, `${place}.db`));
  opened.push(store);
  return store;
}

afterAll(async () => {
  await Promise.all(opened.map((store) => store.close()));
  rmSync(folder, { recursive: true });
});

storeContract(
  'SQLite',
  (place) => Promise.resolve(open(place)),
  (place, key, bytes) => {
    const database = new DatabaseSync(join(folder, `${place}.db`));
    database.prepare('UPDATE records SET data = ? WHERE key = ?').run(bytes, key);
    database.close();
    return Promise.resolve();
  },
);

test('processes that open one file at the same time and write to it lose nothing', async () => {
  const path = join(folder, 'processes.db');
  const writer = `
    import { openSqliteStore } from ${JSON.stringify(new URL('../../../functions/engine/sqlite-store.ts', import.meta.url).href)};
    process.stdout.write('ready');
    process.stdin.once('data', async () => {
      const store = openSqliteStore(${JSON.stringify(path)});
      for (let done = 0; done < 50; ) {
        const stored = await store.load('l~1');
        const result = await store.commit({
          key: 'l~1', expected: stored?.revision ?? null, data: Number(stored?.data ?? 0) + 1,
          isActive: true, journal: [], marks: [], archive: [],
        });
        if (result.kind === 'committed') done++;
      }
      await store.close();
      process.exit();
    });
  `;
  const writers = Array.from({ length: 4 }, () =>
    spawn(process.execPath, ['--no-warnings', '--input-type=module', '--eval', writer]),
  );
  const complaints = writers.map((child) => text(child.stderr));
  await Promise.all(writers.map((child) => once(child.stdout, 'data')));
  const exits = writers.map((child) => once(child, 'exit'));
  for (const child of writers) child.stdin.write('go');
  await Promise.all(exits);
  expect(await Promise.all(complaints)).toEqual(['', '', '', '']);
  const store = open('processes');
  expect((await store.load('l~1'))?.data).toBe(200);
});

test('records outlive the process that wrote them', async () => {
  const first = openSqliteStore(join(folder, 'restart.db'));
  await first.commit({ key: 'l~1', expected: null, data: 7, isActive: true, journal: [], marks: [], archive: [] });
  await first.close();
  expect((await open('restart').load('l~1'))?.data).toBe(7);
});

test('a writer that never gets its turn is told to try again', async () => {
  const store = openSqliteStore(join(folder, 'held.db'), 10);
  opened.push(store);
  const holder = new DatabaseSync(join(folder, 'held.db'));
  holder.exec('BEGIN IMMEDIATE');
  const commit = store.commit({
    key: 'l~1',
    expected: null,
    data: 1,
    isActive: true,
    journal: [],
    marks: [],
    archive: [],
  });
  await expect(commit).rejects.toMatchObject({ name: 'TransientError', code: 'unavailable' });
  expect(await store.load('l~1')).toBeNull();
  holder.close();
});

test('a file that another process holds for longer than one waits is told to try again', () => {
  const path = join(folder, 'opening.db');
  const holder = new DatabaseSync(path);
  holder.exec('BEGIN EXCLUSIVE');
  expect(() => openSqliteStore(path, 30)).toThrow(
    expect.objectContaining({ name: 'TransientError', code: 'unavailable' }),
  );
  holder.close();
});

test.each<[what: string, fail: () => unknown, message: RegExp]>([
  [
    'a file that is no database',
    () => {
      const path = join(folder, 'text.db');
      writeFileSync(path, 'no database, and longer than a header of one, which has a hundred bytes. '.repeat(9));
      return openSqliteStore(path);
    },
    /text\.db: file is not a database/,
  ],
  [
    'a store that was closed',
    async () => {
      const store = openSqliteStore(join(folder, 'closed.db'));
      await store.close();
      return store.load('l~1');
    },
    /closed\.db: .*(not open|finalized)/,
  ],
])('%s is no reason to try again', async (_what, fail, message) => {
  const failed = Promise.resolve().then(fail);
  await expect(failed).rejects.toMatchObject({
    name: 'PermanentError',
    code: 'internal',
    message: expect.stringMatching(message),
  });
});

test('a file of a newer version is refused, and left as it is', () => {
  const path = join(folder, 'newer.db');
  const newer = new DatabaseSync(path);
  newer.exec('PRAGMA user_version = 99');
  newer.close();
  expect(() => openSqliteStore(path)).toThrow(/schema version 99, expected 1/);
});
