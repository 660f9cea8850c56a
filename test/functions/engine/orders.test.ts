/** What does an order come to where the world, or the record, has moved on? And what else is done and said on the way? */
import { afterEach, beforeEach, describe, expect, it, test } from 'vitest';
import { bless } from '../../../functions/engine/blessings.ts';
import { parseEnvironment } from '../../../functions/engine/environment.ts';
import { PermanentError, TransientError } from '../../../functions/engine/errors.ts';
import { limits } from '../../../functions/engine/limits.ts';
import { perform } from '../../../functions/engine/perform.ts';
import type { EndpointView } from '../../../functions/engine/ports.ts';
import { repair } from '../../../functions/engine/repairs.ts';
import { tick } from '../../../functions/engine/tick.ts';
import { type EndpointRecord, emptyRecord } from '../../../machines/rollout/record.ts';
import type { StoredRollout } from '../../../machines/rollout/snapshot.ts';
import { endpoint, type Laboratory, laboratory, model } from '../../simulation/laboratory.ts';
import { captureLog } from '../../log.ts';

captureLog();

let lab: Laboratory;

beforeEach(() => {
  lab = laboratory();
});

afterEach(() => lab.close());

async function ticks(seconds: number): Promise<void> {
  for (let second = 0; second < seconds; second += 1) {
    lab.pass(1);
    await tick(lab.ports, { periodMs: 1000 });
  }
}

async function activeAfter(seconds: number): Promise<StoredRollout> {
  await bless({ ports: lab.ports, project: 'demo' }, { eventId: 'e', model, versionId: '2' }, 'm');
  await ticks(seconds);
  const record = await lab.record();
  if (record?.active == null) throw new Error('expected a rollout');
  return record.active;
}

/** Changes what is seen of the endpoint, look by look; the first is number 0. */
function seenAs(change: (view: EndpointView, look: number) => EndpointView): void {
  const { endpoints } = lab.ports;
  let looks = 0;
  lab.ports.endpoints = { ...endpoints, read: async (name) => change(await endpoints.read(name), looks++) };
}

describe('an order to apply a share', () => {
  it('of a rollout that is not active any more comes to nothing', async () => {
    const active = await activeAfter(8);
    const other = { ...active, context: { ...active.context, id: 'delays-1' } };
    const writes = lab.writes.length;
    expect(await perform(lab.ports, other, { type: 'traffic.apply', generation: 1 })).toBeNull();
    expect(lab.writes).toHaveLength(writes);
  });

  it('takes a split that is gone at the second look for none of somebody else’s', async () => {
    const { endpoints } = lab.ports;
    lab.ports.endpoints = {
      ...endpoints,
      writeSplit: () => Promise.reject(new TransientError('unavailable', 'later')),
    };
    const active = await activeAfter(8);
    lab.ports.endpoints = { ...endpoints };
    seenAs((view, look) => (look === 0 ? { ...view, split: { 1: 40, 9: 60 }, etag: 'old' } : view));
    const { canaryId, traffic } = active.context;
    const event = await perform(lab.ports, active, { type: 'traffic.apply', generation: traffic.generation });
    expect(event).toMatchObject({ type: 'traffic.applied', split: { 1: 95, [canaryId]: 5 } });
  });
});

it('replicas of stable, of which there are more than the least, are held before the canary is deployed', async () => {
  const orders: unknown[] = [];
  lab.ports.endpoints.resize = (name, id, minReplicas) => {
    orders.push([name, id, minReplicas]);
    return Promise.resolve({ operation: 'resize' });
  };
  seenAs((view) => ({ ...view, deployedModels: view.deployedModels.map((one) => ({ ...one, availableReplicas: 3 })) }));
  const { context } = await activeAfter(1);
  expect(orders).toEqual([[endpoint, '1', 3]]);
  expect(context.operation).toMatchObject({ name: 'resize', kind: 'resize', target: '1' });
});

it('what could not be told at the end of a rollout is told at the next tick', async () => {
  const { bus, endpoints } = lab.ports;
  const later = () => Promise.reject(new TransientError('unavailable', 'later'));
  lab.ports.endpoints = { ...endpoints, read: later };
  await activeAfter(0);
  lab.ports.bus = { publish: later };
  lab.ports.models.readVersion = () => Promise.resolve(null);
  await ticks(1);
  const waiting = await lab.record();
  expect(waiting?.active).toBeNull();
  expect(waiting?.outbox.map(({ what }) => what).at(-1)).toBe('failed');
  lab.ports.bus = bus;
  const before = lab.published.length;
  await ticks(1);
  expect((await lab.record())?.outbox).toEqual([]);
  const told = lab.published.slice(before).map(({ message }) => message.attributes['what']);
  expect(told).toEqual(waiting?.outbox.map(({ what }) => what));
});

describe('what an ended rollout left behind is left alone', () => {
  test.each<[when: string, state: 'promoted' | 'rolledBack', adopted: string[]]>([
    ['while another rollout counts it to its stable', 'rolledBack', ['1', '9']],
    ['while another rollout is active, whoever it served', 'promoted', ['1']],
  ])('%s', async (_when, state, adopted) => {
    const active = await activeAfter(1);
    const stableModels = adopted.map((id) => ({ id, model, versionId: '1' }));
    const record: EndpointRecord = {
      ...emptyRecord(endpoint),
      active: { ...active, context: { ...active.context, stableModels } },
      history: [{ rollout: 'delays-1', model, versionId: '1', state, endedAt: lab.now() }],
    };
    const left = { id: '9', displayName: 'delays-1' };
    seenAs((view) => ({ ...view, deployedModels: view.deployedModels.map((one) => ({ ...one, ...left })) }));
    const told = lab.published.length;
    lab.ports.endpoints.undeploy = () => Promise.reject(new TransientError('internal', 'nobody asks for this'));
    await repair(lab.ports, { record, revision: '1' });
    expect(lab.published).toHaveLength(told);
  });
});

describe('reconcile, of an endpoint', () => {
  const recorded = (endedAt: number, state: 'promoted' | 'rolledBack' = 'rolledBack'): EndpointRecord => ({
    ...emptyRecord(endpoint),
    history: [{ rollout: 'delays-1', model, versionId: '1', state, endedAt }],
  });

  it('looks at what ended a week ago, and not at what ended before', async () => {
    let looks = 0;
    seenAs((view, look) => {
      looks = look + 1;
      return view;
    });
    await repair(lab.ports, { record: recorded(lab.now() - limits.leftoversMs), revision: '1' });
    expect(looks).toBe(1);
    await repair(lab.ports, { record: recorded(lab.now() - limits.leftoversMs - 1), revision: '1' });
    expect(looks).toBe(1);
  });

  it('leaves alone what serves', async () => {
    seenAs((view) => ({
      ...view,
      deployedModels: view.deployedModels.map((one) => ({ ...one, displayName: 'delays-1' })),
    }));
    const told = lab.published.length;
    for (const state of ['promoted', 'rolledBack'] as const) {
      await repair(lab.ports, { record: recorded(lab.now() - limits.remindMs, state), revision: '1' });
    }
    expect([lab.models(), lab.published.length]).toEqual([['1'], told]);
  });

  it.each<[what: string, error: Error, isActive: boolean, throws: boolean]>([
    ['that is gone says nothing', new PermanentError('notFound', 'gone'), false, false],
    ['that is gone under a rollout says so', new PermanentError('notFound', 'gone'), true, true],
    ['that may not be read says so', new PermanentError('permissionDenied', 'no'), false, true],
    ['that does not answer says so', new TransientError('unavailable', 'later'), false, true],
  ])('%s', async (_what, error, isActive, throws) => {
    const active = isActive ? await activeAfter(1) : null;
    lab.ports.endpoints.read = () => Promise.reject(error);
    const repaired = repair(lab.ports, { record: { ...recorded(lab.now()), active }, revision: '1' });
    if (throws) await expect(repaired).rejects.toBe(error);
    else await expect(repaired).resolves.toBeUndefined();
  });
});

test('keys of the proxy are named', () => {
  const [one, two] = ['0'.repeat(64), 'f'.repeat(64)];
  const { proxyKeys } = parseEnvironment({
    GOOGLE_CLOUD_PROJECT: 'demo',
    ROLLOUT_LOCATION: 'us-central1',
    ROLLOUT_PROXY_KEYS: `shop:${one},ann:${two}`,
  });
  expect(proxyKeys).toEqual([
    { name: 'shop', sha256: one },
    { name: 'ann', sha256: two },
  ]);
});
