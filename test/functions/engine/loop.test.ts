/** What becomes of events when others write the record too, and how often is the store asked? */
import { afterEach, beforeEach, describe, expect, it, test, vi } from 'vitest';
import { bless } from '../../../functions/engine/blessings.ts';
import { PermanentError, TransientError } from '../../../functions/engine/errors.ts';
import { limits } from '../../../functions/engine/limits.ts';
import { applyEvents } from '../../../functions/engine/loop.ts';
import type { CommitResult } from '../../../functions/engine/ports.ts';
import { loadRecord } from '../../../functions/engine/records.ts';
import { tick } from '../../../functions/engine/tick.ts';
import type { RecordEvent } from '../../../machines/rollout/decide.ts';
import { stateOf } from '../../../machines/rollout/describe.ts';
import { emptyRecord, type EndpointRecord } from '../../../machines/rollout/record.ts';
import { endpointKey } from '../../../machines/rollout/resource-name.ts';
import { startRollout } from '../../../machines/rollout/snapshot.ts';
import { policyOf } from '../../machines/rollout/life.ts';
import { endpoint, type Laboratory, laboratory, model } from '../../simulation/laboratory.ts';

const observing = { periodMs: 1000 };
let lab: Laboratory;
/** Calls of the store and to the endpoint, in order. */
let calls: string[];
let lines: string[];
/** Fails the next commit, when something is under way. */
let failing: Error | null;

beforeEach(() => {
  [calls, lines, failing] = [[], [], null];
  lab = laboratory({
    gate: (call, moment) => {
      if (moment === 'before') calls.push(call);
      if (call !== 'store.commit' || moment !== 'before' || failing === null) return Promise.resolve();
      const error = failing;
      failing = null;
      return Promise.reject(error);
    },
  });
  vi.spyOn(process.stdout, 'write').mockImplementation((line) => lines.push(String(line)) > 0);
});

afterEach(() => lab.close());

const started = (versionId: string) => {
  const blessing = { eventId: `e${versionId}`, model, versionId, blessedAt: lab.now(), by: null };
  return startRollout({
    id: `delays-${versionId}`,
    endpoint,
    canaryId: versionId,
    blessing,
    policy: policyOf(),
    at: lab.now(),
  });
};

async function put(data: EndpointRecord): Promise<void> {
  const change = { key: endpointKey(endpoint), data, isActive: true, journal: [], marks: [], archive: [] };
  const stored = await lab.ports.store.load(change.key);
  await lab.ports.store.commit({ ...change, expected: stored?.revision ?? null });
}

async function blessed(seconds: number): Promise<void> {
  await bless({ ports: lab.ports, project: 'demo' }, { eventId: 'e', model, versionId: '2' }, 'm');
  for (let second = 0; second < seconds; second += 1) {
    lab.pass(1);
    await tick(lab.ports, observing);
  }
}

const count = (call: string): number => calls.filter((each) => each === call).length;
const pause = (): RecordEvent => ({ type: 'operator.paused', at: lab.now(), by: 'ann', reason: 'a look' });

it('a record that others keep writing is left to the next tick, after so many tries', async () => {
  await put({ ...emptyRecord(endpoint), active: started('2') });
  const conflict: CommitResult = { kind: 'conflict' };
  const commit = vi.spyOn(lab.ports.store, 'commit').mockResolvedValue(conflict);
  await expect(applyEvents(lab.ports, endpoint, [pause()])).rejects.toMatchObject({
    name: 'TransientError',
    code: 'conflict',
    message: `${endpoint}: ${limits.commitAttemptsMax} commits in a row met somebody else's; the next tick goes on.`,
  });
  expect(commit).toHaveBeenCalledTimes(limits.commitAttemptsMax);
});

describe('once another rollout is active,', () => {
  /** The record with version 2 under way, which others have replaced since by one with version 3. */
  async function replaced() {
    const told = {
      id: 'n1',
      what: 'started' as const,
      rollout: 'delays-2',
      endpoint,
      model,
      versionId: '2',
    };
    const more = { state: 'preparing' as const, percent: 0, reason: 'x', by: null, verdict: null, at: lab.now() };
    await put({ ...emptyRecord(endpoint), active: started('2'), outbox: [{ ...told, ...more }] });
    const base = await loadRecord(lab.ports, endpoint);
    await put({ ...base.record, active: started('3') });
    return base;
  }

  it('what was meant for the one before changes nothing, and may still act where it was meant', async () => {
    const base = await replaced();
    const applied = await applyEvents(lab.ports, endpoint, [pause()], { base, marks: ['command 1'] });
    expect(applied).toMatchObject({ kind: 'unchanged', loaded: { record: { active: { context: { paused: null } } } } });
    expect(await lab.ports.store.isMarked('command 1')).toBe(false);
  });

  it.for<[what: string, event: () => RecordEvent, changed: (record: EndpointRecord) => unknown]>([
    [
      'a blessing',
      () => {
        const blessing = { eventId: 'e4', model, versionId: '4', blessedAt: lab.now(), by: null };
        return {
          type: 'blessing.received',
          at: lab.now(),
          blessing,
          policy: policyOf(),
          isRetry: false,
        };
      },
      ({ active }) => active?.context.versionId === '4',
    ],
    [
      'what was sent',
      () => ({ type: 'notifications.sent', at: lab.now(), ids: ['n1'] }),
      ({ outbox }) => outbox.length === 0,
    ],
    [
      'the time',
      () => ({ type: 'clock.ticked', at: lab.now() + 86_400_000 }),
      ({ active }) => active === null || stateOf(active) !== 'preparing',
    ],
  ])('%s still counts', async ([, event, changed]) => {
    const base = await replaced();
    const applied = await applyEvents(lab.ports, endpoint, [event()], { base });
    expect(applied.kind).toBe('applied');
    const { record } = await loadRecord(lab.ports, endpoint);
    expect(changed(record)).toBe(true);
  });
});

it('a life loads its record twice to bless it, and once before each write of the split', async () => {
  await blessed(150);
  expect((await lab.record())?.history.map(({ state }) => state)).toEqual(['promoted']);
  expect(count('endpoints.writeSplit')).toBe(3);
  expect(count('store.load')).toBe(2 + 3);
});

describe('a commit that fails', () => {
  const never = new PermanentError('internal', 'never');
  const later = new TransientError('unavailable', 'later');

  /** The first tick whose commit fails: how often it was tried, and how it was logged. */
  async function tickWith(error: Error) {
    [calls, lines] = [[], []];
    for (let second = 0; second < 30 && count('store.commit') === 0; second += 1) {
      failing = error;
      lab.pass(1);
      await tick(lab.ports, observing);
    }
    const severities = lines.flatMap((line) =>
      line.includes(`${endpoint}: `) ? [String(Object(JSON.parse(line)).severity)] : [],
    );
    return { commits: count('store.commit'), severities };
  }

  it('for good does not keep time from passing: without what was seen it is tried once more', async () => {
    await blessed(1);
    lab.pass(10);
    const { now } = lab.ports;
    lab.ports.now = () => now() + 86_400_000;
    failing = never;
    [calls, lines] = [[], []];
    expect(await tick(lab.ports, observing)).toEqual({ active: 1, failed: 1 });
    const stores = calls.filter((call) => call.startsWith('store.'));
    expect(stores.slice(0, 4)).toEqual(['store.listActive', 'store.commit', 'store.load', 'store.commit']);
    expect(lines.at(-1)).toContain('"severity":"CRITICAL"');
    expect(stateOf((await lab.record())?.active ?? started('9'))).toBe('rollingBack');
  });

  it('for now is left to the next tick', async () => {
    await blessed(9);
    expect(await tickWith(later)).toEqual({ commits: 1, severities: ['WARNING'] });
    expect(count('store.load')).toBe(0);
  });

  it('of nothing but time is not tried again in the same tick', async () => {
    await blessed(1);
    lab.ports.endpoints.readOperation = (name) => Promise.resolve({ name, done: false, stage: '', error: null });
    const { now } = lab.ports;
    lab.ports.now = () => now() + 86_400_000;
    expect(await tickWith(never)).toEqual({ commits: 1, severities: ['CRITICAL'] });
    expect(count('store.load')).toBe(0);
    await tick(lab.ports, observing);
    expect(stateOf((await lab.record())?.active ?? started('9'))).toBe('rollingBack');
  });
});

test('a record that only has something to tell stands in nobody’s way', async () => {
  await blessed(2);
  const active = await lab.ports.store.load(endpointKey(endpoint));
  if (active === null) throw new Error('expected a record');
  const other = endpoint.replace(/1$/, '0');
  const { record } = await loadRecord(lab.ports, endpoint);
  const telling: EndpointRecord = { ...emptyRecord(other), sequence: record.sequence };
  const change = { key: endpointKey(other), data: telling, isActive: true, journal: [], marks: [], archive: [] };
  await lab.ports.store.commit({ ...change, expected: null });
  for (let second = 0; second < 8; second += 1) {
    lab.pass(1);
    expect(await tick(lab.ports, observing)).toEqual({ active: 2, failed: 0 });
  }
  expect(stateOf((await lab.record())?.active ?? started('9'))).toBe('analysing');
});
