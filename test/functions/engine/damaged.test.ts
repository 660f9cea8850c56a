/** What somebody else broke in the store: is it told, and does everything beside it go on? */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { incident } from '../../../functions/engine/commands.ts';
import { limits } from '../../../functions/engine/limits.ts';
import { openSqliteStore } from '../../../functions/engine/sqlite-store.ts';
import type { Commit, Ports, StorePort } from '../../../functions/engine/ports.ts';
import { parseStored } from '../../../functions/engine/records.ts';
import { listRollouts, readJournal } from '../../../functions/engine/rollouts.ts';
import { type EndpointRecord, emptyRecord } from '../../../machines/rollout/record.ts';
import { endpointKey } from '../../../machines/rollout/resource-name.ts';
import { startRollout } from '../../../machines/rollout/snapshot.ts';
import { policyOf } from '../../machines/rollout/life.ts';
import { laboratory, model } from '../../simulation/laboratory.ts';
import { captureLog } from '../../log.ts';

const near = 'projects/demo/locations/us-central1/endpoints/7';
const far = 'projects/demo/locations/europe-west4/endpoints/7';
const at = Date.parse('2026-01-05T00:00:00Z');
const nothing = { expected: null, isActive: true, journal: [], marks: [], archive: [] };

let store: StorePort;
const lines = captureLog();

beforeEach(() => {
  store = openSqliteStore(':memory:');
});

afterEach(() => store.close());

function put(key: string, data: unknown, more: Partial<Commit> = {}) {
  return store.commit({ ...nothing, key, data, ...more });
}

function recordOn(endpoint: string): EndpointRecord {
  const blessing = { eventId: 'e', model, versionId: '2', blessedAt: at, by: null };
  const active = startRollout({ id: 'r-2', endpoint, canaryId: '2', blessing, policy: policyOf(), at });
  return { ...emptyRecord(endpoint), active };
}

function said(severity: string): string[] {
  return lines.filter((line) => line.includes(`"severity":"${severity}"`));
}

describe('an alert', () => {
  const ports = (): Ports => ({ ...laboratory().ports, store, now: () => at });
  const alert = (labels: Record<string, string>) => ({
    incident: { incident_id: 'i', state: 'open', resource: { labels } },
  });

  async function pausedOn(endpoint: string): Promise<boolean> {
    const stored = await store.load(endpointKey(endpoint));
    return stored !== null && parseStored(stored).record.active?.context.paused !== null;
  }

  it('that says where its endpoint is reads no other record', async () => {
    await put(endpointKey(near), recordOn(near));
    await put(endpointKey(far), 'damaged');
    const listed = vi.spyOn(store, 'listActive');
    const outcome = await incident(ports(), alert({ endpoint_id: '7', location: 'us-central1' }));
    expect(outcome).toEqual({ kind: 'done', text: `${near}: applied` });
    expect(await pausedOn(near)).toBe(true);
    expect(listed).not.toHaveBeenCalled();
  });

  it('that does not say where is looked for page by page, and acts where the record is whole', async () => {
    for (let i = 0; i < limits.recordsPerTick; i += 1) await put(`a~${i}`, emptyRecord(near));
    await put(endpointKey(far), 'damaged');
    await put(endpointKey(near), recordOn(near));
    expect(await incident(ports(), alert({ endpoint_id: '7' }))).toMatchObject({ kind: 'done' });
    expect(await pausedOn(near)).toBe(true);
    expect(said('CRITICAL').join()).toContain('europe-west4~7 is damaged');
  });

  it('on a damaged record alone is set aside with the reason', async () => {
    await put(endpointKey(near), 'damaged');
    await expect(incident(ports(), alert({ endpoint_id: '7' }))).rejects.toThrow('us-central1~7 is damaged');
  });

  it.for(['../x', '', '7/journal/1', 'ü'])('on the endpoint %j is about no rollout', async (id) => {
    await put(endpointKey(near), recordOn(near));
    const outcome = await incident(ports(), alert({ endpoint_id: id, location: 'us-central1' }));
    expect(outcome).toMatchObject({ kind: 'ignored' });
  });
});

describe('a list', () => {
  it('of rollouts shows those that can be read, over all pages, and tells of the others', async () => {
    for (let i = 0; i <= limits.recordsPerTick; i += 1) await put(`a~${i}`, 'damaged');
    await put(endpointKey(near), recordOn(near));
    const ended = { id: 'r-1', key: 'l~1', startedAt: 1, endedAt: 2, data: '{"schema":' };
    await put('l~1', emptyRecord('projects/demo/locations/l/endpoints/1'), { archive: [ended] });
    expect((await listRollouts(store)).map(({ id }) => id)).toEqual(['r-2']);
    expect(said('CRITICAL')).toHaveLength(limits.recordsPerTick + 2);
    expect(said('CRITICAL').at(-1)).toContain('r-1');
  });

  it('of what happened leaves out an entry that is none, and says which', async () => {
    const [rollout, entry] = ['r-2', { event: { type: 'x' }, by: null, from: 'a', to: 'b', text: 'went' }];
    const journal = [entry, '{"event":', { ...entry, event: null }, { ...entry, text: 'came' }];
    await put('l~1', 'any', {
      journal: journal.map((data, sequence) => ({ rollout, at, sequence, data })),
      archive: [{ id: rollout, key: 'l~1', startedAt: at, endedAt: null, data: 'any' }],
    });
    expect((await readJournal(store, rollout))?.map(({ text }) => text)).toEqual(['went', 'came']);
    expect(said('CRITICAL')).toEqual([
      expect.stringContaining('Entry 1 of the journal of r-2 is damaged'),
      expect.stringContaining('Entry 2 of the journal of r-2 is damaged'),
    ]);
  });
});

describe('a record', () => {
  it('whose rollout is of another endpoint is damaged', () => {
    const data = { ...recordOn(near), active: recordOn(far).active };
    const stored = { key: endpointKey(near), data, revision: '1' };
    expect(() => parseStored(stored)).toThrow(`us-central1~7 is damaged: it names "${far}"`);
  });

  it('under the number of its project is whole', () => {
    const data = { ...recordOn(near), endpoint: near.replace('demo', '123') };
    expect(parseStored({ key: endpointKey(near), data, revision: '1' }).record).toEqual(data);
  });

  it('with thousands of mistakes is told of in a few words', () => {
    const history = Array.from({ length: 5000 }, () => ({}));
    const stored = { key: endpointKey(near), data: { ...emptyRecord(near), history }, revision: '1' };
    const told = (): string => {
      try {
        parseStored(stored);
      } catch (error) {
        return error instanceof Error ? error.message : '';
      }
      return '';
    };
    expect(told()).toMatch(
      /is damaged at history\.0\.rollout, .*, and 24980 more; restore it from a backup, or delete it\.$/,
    );
    expect(told().length).toBeLessThan(8000);
  });
});
