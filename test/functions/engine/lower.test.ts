/** What is written, and what is said, when a share goes down without the record? */
import { afterEach, beforeEach, describe, expect, it, test, vi } from 'vitest';
import { TransientError } from '../../../functions/engine/errors.ts';
import { limits } from '../../../functions/engine/limits.ts';
import { goingBack, lowerNamed, orLower } from '../../../functions/engine/lower.ts';
import type { DeployedModelView, EndpointView } from '../../../functions/engine/ports.ts';
import type { StoredRollout } from '../../../machines/rollout/snapshot.ts';
import { canaryId, onFirstStep, onLastStep } from '../../machines/rollout/life.ts';
import { endpoint, type Laboratory, laboratory, model } from '../../simulation/laboratory.ts';

const down = new TransientError('unavailable', 'the store is down');
let lab: Laboratory;
let view: EndpointView;
let writes: Record<string, number>[];
let lines: unknown[];

const deployed = (id: string, versionId: string, displayName: string, more: Partial<DeployedModelView> = {}) => ({
  id,
  versionId,
  displayName,
  model,
  minReplicas: 1,
  maxReplicas: 1,
  availableReplicas: 1,
  ...more,
});

beforeEach(() => {
  lab = laboratory();
  [writes, lines] = [[], []];
  const deployedModels = [deployed('1', '1', 'first'), deployed(canaryId, '2', 'delays-2')];
  view = { name: endpoint, etag: 'a', split: { 1: 95, [canaryId]: 5 }, deployedModels };
  lab.ports.endpoints.read = () => Promise.resolve(view);
  lab.ports.endpoints.writeSplit = (_name, split) => {
    writes.push(split);
    return Promise.resolve({ ...view, split });
  };
  vi.spyOn(process.stdout, 'write').mockImplementation((line) => lines.push(JSON.parse(String(line))) > 0);
});

afterEach(() => lab.close());

/** The store fails, and what can be done without it is done. */
async function lowered(lower: ReturnType<typeof goingBack>): Promise<unknown> {
  await expect(orLower(Promise.reject(down), lower)).rejects.toBe(down);
  return writes[0] ?? null;
}

const aborted = (life = onFirstStep()): StoredRollout =>
  life.when({ type: 'operator.aborted', by: 'ann', reason: 'no' }).rollout;
const without = (message: string, code = 'failedPrecondition') => ({
  severity: 'ERROR',
  message: `A canary that must lose its share may have it still: ${message}`,
  code,
});
const unknown = (what: string) => without(`without the record it is not known ${what}`);

describe('of a rollout that goes back', () => {
  it('the share is taken, and it is said from what to what', async () => {
    expect(await lowered(goingBack(lab.ports, aborted()))).toEqual({ 1: 100 });
    const change = `{"1":95,"${canaryId}":5} → {"1":100}`;
    const message = `delays-2 lost its share on ${endpoint} before the store could record it: ${change}`;
    expect(lines).toEqual([{ severity: 'WARNING', message }]);
  });

  it.for<[what: string, change: () => void]>([
    ['has no share', () => (view = { ...view, split: { 1: 100 } })],
    ['has lost its stable', () => (view = { ...view, deployedModels: view.deployedModels.slice(1) })],
  ])('nothing is written where the canary %s', async ([, change]) => {
    change();
    expect(await lowered(goingBack(lab.ports, aborted()))).toBeNull();
    expect(lines).toEqual([]);
  });

  it('a model without a share of stable may be gone', async () => {
    const { context, ...rest } = aborted();
    const stable = { ...context.stable, 8: 0 };
    expect(await lowered(goingBack(lab.ports, { ...rest, context: { ...context, stable } }))).toEqual({ 1: 100 });
  });

  it('a stable that is not ready gets nothing, which is said', async () => {
    view = {
      ...view,
      deployedModels: [deployed('1', '1', 'first', { availableReplicas: 0 }), deployed(canaryId, '2', 'delays-2')],
    };
    expect(await lowered(goingBack(lab.ports, aborted()))).toBeNull();
    expect(lines).toEqual([
      without('no stable model can take the traffic back: wanted {"1":100}, the endpoint has 1, 77'),
    ]);
  });

  it('so many tries are made while somebody else changes the split', async () => {
    let tries = 0;
    lab.ports.endpoints.writeSplit = () => {
      tries += 1;
      return Promise.reject(new TransientError('conflict', 'stale'));
    };
    await lowered(goingBack(lab.ports, aborted()));
    expect(tries).toBe(limits.settleAttemptsMax);
    expect(lines).toEqual([
      without(`${endpoint}: the split changed ${limits.settleAttemptsMax} times meanwhile`, 'conflict'),
    ]);
  });
});

test('a rollout that does not go back loses nothing', () => {
  expect([
    goingBack(lab.ports, null),
    goingBack(lab.ports, onFirstStep().rollout),
    goingBack(lab.ports, onLastStep().rollout),
  ]).toEqual([null, null, null]);
});

describe('of the rollout that a person named', () => {
  const named = (rollout?: string, on: string | undefined = endpoint) =>
    lowered(lowerNamed(lab.ports, { endpoint: on, rollout }));

  it('the share is taken', async () => {
    expect(await named('delays-2')).toEqual({ 1: 100 });
    expect(lines).toEqual([
      expect.objectContaining({ message: expect.stringMatching(/^delays-2 lost its share on /) }),
    ]);
  });

  it.for<[what: string, models: DeployedModelView[], written: object | null, said: object[]]>([
    [
      'stable, whose replicas nobody counts',
      [deployed('1', '1', 'first', { availableReplicas: null }), deployed(canaryId, '2', 'delays-2')],
      { 1: 100 },
      [],
    ],
    [
      'another of the same version',
      [deployed('1', '2', 'first'), deployed(canaryId, '2', 'delays-2')],
      null,
      [unknown('whether delays-2 is the canary, or first')],
    ],
    [
      'another model',
      [deployed('1', '1', 'first', { model: `${model}2` }), deployed(canaryId, '2', 'delays-2')],
      null,
      [unknown('whether delays-2 is the canary, or first')],
    ],
    [
      'a stable that is not ready',
      [deployed('1', '1', 'first', { availableReplicas: 0 }), deployed(canaryId, '2', 'delays-2')],
      null,
      [unknown('what could take the traffic of delays-2: of first (95 %), delays-2 (5 %) nothing else can')],
    ],
    ['nobody of its name', [deployed('1', '1', 'first')], null, []],
  ])('beside %s', async ([, deployedModels, written, said]) => {
    view = { ...view, deployedModels };
    expect(await named('delays-2')).toEqual(written);
    if (written === null) expect(lines).toEqual(said);
  });

  it('nothing is taken where the name is not enough', async () => {
    const both = 'publish the abort again with both "rollout" and "endpoint"';
    expect(await named(undefined)).toBeNull();
    expect(await lowered(lowerNamed(lab.ports, { endpoint: undefined, rollout: 'delays-2' }))).toBeNull();
    expect(lines).toEqual([
      unknown(`which model is the canary, of first (95 %), delays-2 (5 %); ${both}`),
      unknown(`which endpoint rollout delays-2 is on; ${both}`),
    ]);
  });
});

test('a store that answers is not overtaken, and one that throws our own mistake lowers nothing', async () => {
  const lower = vi.fn<() => Promise<void>>(() => Promise.resolve());
  expect(await orLower(Promise.resolve(7), lower)).toBe(7);
  const ours = new TypeError('ours');
  await expect(orLower(Promise.reject(ours), lower)).rejects.toBe(ours);
  expect(lower).not.toHaveBeenCalled();
});
