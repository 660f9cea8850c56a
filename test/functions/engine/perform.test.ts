/** What does each order come to: done, done before, refused for now, or refused for good? */
import { afterEach, beforeEach, describe, expect, it, test, vi } from 'vitest';
import { type ErrorCode, PermanentError, TransientError } from '../../../functions/engine/errors.ts';
import { limits } from '../../../functions/engine/limits.ts';
import { perform } from '../../../functions/engine/perform.ts';
import type { EndpointsPort, EndpointView } from '../../../functions/engine/ports.ts';
import type { Effect } from '../../../machines/rollout/effects.ts';
import { emptyRecord } from '../../../machines/rollout/record.ts';
import { endpointKey } from '../../../machines/rollout/resource-name.ts';
import type { StoredRollout } from '../../../machines/rollout/snapshot.ts';
import { canaryId, given, onFirstStep, shiftingToFirstStep } from '../../machines/rollout/life.ts';
import { endpoint, type Laboratory, laboratory, model } from '../../simulation/laboratory.ts';

let lab: Laboratory;
/** The endpoint as it is seen: version 1 as "1" and the canary, version 2, as "77". */
let view: EndpointView;
let writes: Record<string, number>[];

const later = new TransientError('unavailable', 'later');
const never = new PermanentError('invalidArgument', 'never');
const gone = new PermanentError('notFound', 'gone');

beforeEach(() => {
  lab = laboratory();
  writes = [];
  const shape = { model, minReplicas: 1, maxReplicas: 1, availableReplicas: 1 };
  view = {
    name: endpoint,
    etag: 'a',
    split: { 1: 100 },
    deployedModels: [
      { ...shape, id: '1', versionId: '1', displayName: 'first' },
      { ...shape, id: canaryId, versionId: '2', displayName: 'delays-2' },
    ],
  };
  const unexpected = () => Promise.reject(new Error('nobody asks for this'));
  lab.ports.endpoints = {
    read: () => Promise.resolve(view),
    writeSplit: (_name, split) => {
      writes.push(split);
      view = { ...view, split, etag: `${view.etag}+` };
      return Promise.resolve(view);
    },
    deploy: unexpected,
    undeploy: unexpected,
    resize: unexpected,
    readOperation: unexpected,
    cancelOperation: unexpected,
  };
  vi.spyOn(process.stdout, 'write').mockReturnValue(true);
});

afterEach(() => lab.close());

const at = (): number => lab.now();
const order = (effect: Effect, rollout = onFirstStep().rollout) => perform(lab.ports, rollout, effect);
const refused = (type: string, { code, message }: { code: ErrorCode; message: string }, isRetryable: boolean) => ({
  type,
  at: at(),
  code,
  message,
  isRetryable,
});

/** The port with one call that fails. */
function failing(call: keyof EndpointsPort, error: Error): void {
  lab.ports.endpoints = { ...lab.ports.endpoints, [call]: () => Promise.reject(error) };
}

const orders: [effect: Effect, call: keyof EndpointsPort, event: string][] = [
  [{ type: 'operation.cancel', operation: 'op' }, 'cancelOperation', 'removal.refused'],
  [{ type: 'model.remove', deployedModelId: canaryId }, 'undeploy', 'removal.refused'],
  [{ type: 'replicas.resize', deployedModelId: '1', minReplicas: 2 }, 'resize', 'resize.refused'],
];

describe.each(orders)('$type', (effect, call, event) => {
  it('is refused for now, or for good', async () => {
    failing(call, later);
    expect(await order(effect)).toEqual(refused(event, later, true));
    failing(call, never);
    expect(await order(effect)).toEqual(refused(event, never, false));
  });

  it('throws on what is a mistake of ours', async () => {
    const ours = new TypeError('ours');
    failing(call, ours);
    await expect(order(effect)).rejects.toBe(ours);
  });
});

test('an operation that is not known any more needs no cancelling', async () => {
  failing('cancelOperation', gone);
  expect(await order({ type: 'operation.cancel', operation: 'op' })).toEqual({
    type: 'operation.cancelled',
    at: at(),
    operation: 'op',
  });
});

test('replicas are resized by an operation', async () => {
  const asked: unknown[] = [];
  const resize: EndpointsPort['resize'] = (...given_) => {
    asked.push(given_);
    return Promise.resolve({ operation: 'op' });
  };
  lab.ports.endpoints = { ...lab.ports.endpoints, resize };
  expect(await order({ type: 'replicas.resize', deployedModelId: '1', minReplicas: 2 })).toEqual({
    type: 'resize.started',
    at: at(),
    deployedModelId: '1',
    operation: 'op',
  });
  expect(asked).toEqual([[endpoint, '1', 2]]);
});

describe('a removal', () => {
  const remove: Effect = { type: 'model.remove', deployedModelId: canaryId };

  it('of what is gone is done', async () => {
    failing('undeploy', gone);
    expect(await order(remove)).toEqual({ type: 'removal.found', at: at(), deployedModelId: canaryId });
  });

  it('that is refused because the model serves says how the traffic is split', async () => {
    view = { ...view, split: { 1: 99, [canaryId]: 1 } };
    failing('undeploy', never);
    expect(await order(remove)).toEqual({
      type: 'removal.serving',
      at: at(),
      deployedModelId: canaryId,
      found: { 1: 99, [canaryId]: 1 },
    });
    failing('undeploy', later);
    expect(await order(remove)).toEqual(refused('removal.refused', later, true));
  });
});

describe('a deployment', () => {
  const deploy: Effect = { type: 'model.deploy', deployedModelId: canaryId };

  it('that is there already is found', async () => {
    expect(await order(deploy, given().rollout)).toEqual({ type: 'deploy.found', at: at() });
  });

  it.for<[what: string, change: object]>([
    ['version', { versionId: '3' }],
    ['model', { model: `${model}2` }],
    ['id', { id: '78' }],
  ])('is not taken for done by one of another %s', async ([, change]) => {
    view = {
      ...view,
      deployedModels: view.deployedModels.map((one) => (one.id === canaryId ? { ...one, ...change } : one)),
    };
    lab.ports.endpoints = { ...lab.ports.endpoints, deploy: () => Promise.resolve({ operation: 'op' }) };
    expect(await order(deploy, given().rollout)).toEqual({ type: 'deploy.started', at: at(), operation: 'op' });
  });

  it('whose id is taken was ordered before, and is waited for', async () => {
    view = { ...view, deployedModels: [] };
    failing('deploy', new PermanentError('alreadyExists', 'the id is taken'));
    const said = {
      code: 'alreadyExists' as const,
      message: 'the id is taken: ordered already, waiting for it to appear',
    };
    expect(await order(deploy, given().rollout)).toEqual(refused('deploy.refused', said, true));
    failing('deploy', never);
    expect(await order(deploy, given().rollout)).toEqual(refused('deploy.refused', never, false));
    const conflict = new TransientError('alreadyExists', 'not now');
    failing('deploy', conflict);
    expect(await order(deploy, given().rollout)).toEqual(refused('deploy.refused', conflict, true));
  });
});

describe('a split', () => {
  /** What the record says when the split is about to be written. */
  async function recorded(active: StoredRollout): Promise<StoredRollout> {
    const key = endpointKey(endpoint);
    const data = { ...emptyRecord(endpoint), active };
    const stored = await lab.ports.store.load(key);
    const expected = stored?.revision ?? null;
    await lab.ports.store.commit({ key, expected, data, isActive: true, journal: [], marks: [], archive: [] });
    return active;
  }

  const apply = (rollout: StoredRollout) =>
    order({ type: 'traffic.apply', generation: rollout.context.traffic.generation }, rollout);
  const aborted = () => onFirstStep().when({ type: 'operator.aborted', by: 'ann', reason: 'no' }).rollout;

  it('is written, and is there', async () => {
    const rollout = await recorded(shiftingToFirstStep().rollout);
    const split = { 1: 95, [canaryId]: 5 };
    const { generation } = rollout.context.traffic;
    expect(await apply(rollout)).toEqual({ type: 'traffic.applied', at: at(), split, generation });
    expect(writes).toEqual([split]);
  });

  it('that somebody changes each time is left to the next tick', async () => {
    const rollout = await recorded(shiftingToFirstStep().rollout);
    const conflict = new TransientError('conflict', 'stale');
    let tries = 0;
    const writeSplit = () => {
      tries += 1;
      return Promise.reject(conflict);
    };
    lab.ports.endpoints = { ...lab.ports.endpoints, writeSplit };
    const message = `the split of ${endpoint} changed ${limits.settleAttemptsMax} times while it was being written`;
    expect(await apply(rollout)).toEqual(refused('traffic.refused', { code: 'conflict', message }, true));
    expect(tries).toBe(limits.settleAttemptsMax);
  });

  it('of a record that is older than the order is not written', async () => {
    const before = shiftingToFirstStep();
    await recorded(before.rollout);
    const { rollout } = before.applied().after(12).when({ type: 'operator.promoted', by: 'ann', reason: 'fine' });
    expect(rollout.context.traffic.generation).toBeGreaterThan(before.rollout.context.traffic.generation);
    expect(await apply(rollout)).toMatchObject({ type: 'traffic.refused', code: 'conflict' });
    expect(writes).toEqual([]);
  });

  it('is not given back to a stable that is not ready', async () => {
    view = { ...view, split: { 1: 95, [canaryId]: 5 } };
    view.deployedModels = view.deployedModels.map((one) => (one.id === '1' ? { ...one, availableReplicas: 0 } : one));
    const rollout = await recorded(aborted());
    expect(await apply(rollout)).toMatchObject({
      type: 'traffic.refused',
      code: 'failedPrecondition',
      isRetryable: true,
    });
    expect(writes).toEqual([]);
  });

  const foreign = { 1: 40, [canaryId]: 60 };

  it.for<[is: string, looks: [etag: string, split: EndpointView['split']][], event: object]>([
    [
      'somebody else’s',
      [
        ['a', foreign],
        ['a', foreign],
      ],
      { type: 'traffic.foreign', found: foreign },
    ],
    [
      'our own of a moment ago',
      [
        ['a', foreign],
        ['b', foreign],
        ['b', { 1: 100 }],
      ],
      { type: 'traffic.applied' },
    ],
  ])('that is another than expected is %s, as a second look says', async ([, looks, event]) => {
    const rollout = await recorded(shiftingToFirstStep().rollout);
    const seen = looks.map(([etag, split]) => ({ ...view, etag, split }));
    lab.ports.endpoints.read = () => Promise.resolve(seen.shift() ?? view);
    expect(await apply(rollout)).toMatchObject(event);
  });
});
