/** What is said of a record that cannot be read, and how are many read without holding them all? */
import { beforeEach, describe, expect, it, test, vi } from 'vitest';
import { z } from 'zod';
import { PermanentError } from '../../../functions/engine/errors.ts';
import { limits } from '../../../functions/engine/limits.ts';
import type { Page, Stored } from '../../../functions/engine/ports.ts';
import { paged, parseStored, readable } from '../../../functions/engine/records.ts';
import { emptyRecord } from '../../../machines/rollout/record.ts';
import { endpointKey } from '../../../machines/rollout/resource-name.ts';
import { snapshotSchemaVersion } from '../../../machines/rollout/snapshot.ts';
import { endpoint } from '../../machines/rollout/life.ts';

const key = endpointKey(endpoint);
const whole = emptyRecord(endpoint);
const newest = snapshotSchemaVersion;
let lines: Record<string, unknown>[];

beforeEach(() => {
  lines = [];
  const line = z.record(z.string(), z.unknown());
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => lines.push(line.parse(JSON.parse(String(text)))) > 0);
});

function stored(data: unknown, at = key): Stored {
  return { key: at, data, revision: '7' };
}

function refusal(data: unknown, at = key): PermanentError {
  try {
    parseStored(stored(data, at));
  } catch (error) {
    if (error instanceof PermanentError) return error;
    throw error;
  }
  throw new Error('expected a refusal');
}

const damaged = (where: string) =>
  `The record of endpoint ${key} is damaged ${where}; restore it from a backup, or delete it`;

test.each<[what: string, data: unknown, said: string]>([
  ['nothing', null, damaged('at its beginning')],
  ['text', '{"schema":', damaged('at its beginning')],
  ['a number', newest + 1, damaged('at its beginning')],
  ['a version that is none', { ...whole, schema: String(newest + 1) }, damaged('at schema')],
  ['one bad part', { ...whole, sequence: 'x' }, damaged('at sequence')],
  [
    'two',
    { ...whole, sequence: 'x', history: [{}] },
    damaged('at history.0.rollout, history.0.model, history.0.versionId, history.0.state, history.0.endedAt, sequence'),
  ],
  [
    'a newer version',
    { ...whole, schema: newest + 1, sequence: 'x' },
    `The record of endpoint ${key} was written by a newer version (schema ${newest + 1}, this code knows ${newest}); deploy that version`,
  ],
])('a record of %s is refused in these words', (_what, data, said) => {
  const { code, message } = refusal(data);
  expect([code, message]).toEqual(['internal', `${said}.`]);
});

test('of very many mistakes the first are told, and how many more there are', () => {
  const history = (bad: number) =>
    Array.from({ length: bad }, () => ({ rollout: 'r', model: 'm', versionId: '1', state: 'promoted' }));
  expect(refusal({ ...whole, history: history(limits.problemsMax) }).message).not.toContain('more');
  expect(refusal({ ...whole, history: history(limits.problemsMax + 3) }).message).toContain(', and 3 more; restore');
});

test.each<[what: string, data: unknown]>([
  ['another endpoint', { ...whole, endpoint: endpoint.replace(/1$/, '2') }],
  ['what is no endpoint', { ...whole, endpoint: 'x'.repeat(300) }],
])('a record that names %s is refused, with the first of that name', (_what, data) => {
  const { code, message } = refusal(data);
  expect(code).toBe('internal');
  expect(message).toMatch(/is damaged: it names ".{1,199}"?; restore it from a backup, or delete it\.$/);
});

test('of many, those that can be read are, with their revision; the others are reported by their key', () => {
  expect(readable([stored(whole), stored(null, 'l~9')])).toEqual([{ record: whole, revision: '7' }]);
  expect(lines).toEqual([
    {
      severity: 'CRITICAL',
      endpoint: 'l~9',
      message: expect.stringMatching(/^The record of endpoint l~9 is damaged at/),
    },
  ]);
});

describe('pages', () => {
  const full = (after: string | null): Stored[] =>
    Array.from({ length: limits.recordsPerTick }, (_, i) => stored(null, `${after ?? ''}~${i}`));

  async function read(sizes: (number | 'full')[], pagesMax?: number) {
    const asked: (string | null)[] = [];
    const list = ({ after, limit }: Page) => {
      expect(limit).toBe(limits.recordsPerTick);
      asked.push(after);
      const size = sizes[asked.length - 1];
      return Promise.resolve(full(after).slice(0, size === 'full' ? limit : size));
    };
    let records = 0;
    for await (const _ of paged(list, pagesMax)) records += 1;
    return { pages: asked.length, records, lastAfter: asked.at(-1) };
  }

  const last = limits.recordsPerTick - 1;
  it.for<[what: string, sizes: (number | 'full')[], pagesMax: number | undefined, read: object]>([
    ['end with one that is not full', ['full', 1], undefined, { pages: 2, records: last + 2, lastAfter: `~${last}` }],
    ['end with an empty one', ['full', 0], undefined, { pages: 2, records: last + 1, lastAfter: `~${last}` }],
    ['are one where that is not full', [3], undefined, { pages: 1, records: 3, lastAfter: null }],
    [
      'are no more than wanted',
      ['full', 'full', 'full'],
      2,
      { pages: 2, records: 2 * (last + 1), lastAfter: `~${last}` },
    ],
  ])('%s', async ([, sizes, pagesMax, wanted]) => {
    expect(await read(sizes, pagesMax)).toEqual(wanted);
  });
});
