/** What is remembered when the world was looked at, and when an order was given, answered or refused. */
import { describe, expect, it, test } from 'vitest';
import type { ObservedModel } from '../../../machines/rollout/events.ts';
import * as operations from '../../../machines/rollout/operations.ts';
import { startRollout, stepRollout } from '../../../machines/rollout/snapshot.ts';
import {
  canaryId,
  canaryModel,
  deployedCanary,
  given,
  good,
  type Life,
  onLastStep,
  policyOf,
  stableModel,
} from './life.ts';
import { contextOf, oneOfEach, operation, tick } from './moments.ts';

const updates = { ...operations };
const ann = { by: 'ann', reason: 'a look' };
const two: ObservedModel[] = [
  { ...stableModel, availableReplicas: 4 },
  { ...stableModel, id: '2', availableReplicas: 3 },
];
const holding = given().when({ type: 'endpoint.observed', split: { 1: 50, 2: 50 }, models: two });
const deploying = given().when({ type: 'endpoint.observed', split: { 1: 100 }, models: [stableModel] });
const started = deploying.when({ type: 'deploy.started', operation: 'op' });

/** The replicas of one model are ordered and set. */
function resized(life: Life, deployedModelId: string): Life {
  const finished = { type: 'operation.finished' as const, operation: 'resize', error: null };
  return life.when({ type: 'resize.started', deployedModelId, operation: 'resize' }, finished);
}

describe('an update about an event changes nothing at another', () => {
  const refusals = ['deploy.refused', 'removal.refused', 'resize.refused', 'traffic.refused'];

  test.each<[name: keyof typeof updates, life: Life, types: string[]]>([
    ['rememberStable', given(), ['endpoint.observed']],
    ['noteReady', deployedCanary(), ['endpoint.observed']],
    ['noteOperation', deploying, ['deploy.started', 'removal.started', 'resize.started']],
    ['noteFinished', started, ['operation.finished']],
    ['noteFinished', deploying, []],
    ['noteRemoved', deploying, ['removal.found']],
    ['noteRefusal', deploying, refusals],
    ['noteServing', deploying, ['removal.serving']],
  ])('%s', (name, { rollout, at }, types) => {
    const { context } = rollout;
    const changing = oneOfEach(at).filter((event) => Object.keys(updates[name]({ context, event })).length > 0);
    expect(changing.map(({ type }) => type)).toEqual(types);
  });
});

describe('stable is recorded', () => {
  it('without those that have no share', () => {
    const { context } = given().when({ type: 'endpoint.observed', split: { 1: 100, 2: 0 }, models: two }).rollout;
    expect(context.stable).toEqual({ 1: 100 });
    expect(context.stableModels.map(({ id }) => id)).toEqual(['1']);
    expect(context.reserved.map(({ id }) => id)).toEqual(['1']);
  });

  test.each<[minReplicas: number | null, availableReplicas: number | null, held: number | null]>([
    [1, 4, 4],
    [1, 2, 2],
    [2, 2, null],
    [2, 1, null],
    [null, 4, null],
    [1, null, null],
    [null, null, null],
  ])('with at least %s replicas and %s there, %s are held', (minReplicas, availableReplicas, held) => {
    const models = [{ ...stableModel, minReplicas, availableReplicas }];
    const { context } = given().when({ type: 'endpoint.observed', split: { 1: 100 }, models }).rollout;
    expect(context.reserved.map(({ to }) => to)).toEqual(held === null ? [] : [held]);
  });

  test.each([
    ['9999999998', ['9999999998'], '9999999999'],
    ['9999999999', ['9999999999'], '1'],
    ['9999999999', ['9999999999', '1', '2'], '3'],
    ['77', ['78'], '77'],
    ['77', ['77', '78'], '79'],
  ])('and the canary, meant to be %s where %j are taken, is %s', (wanted, taken, id) => {
    const { blessing, endpoint, policy } = given().rollout.context;
    const rollout = startRollout({ id: 'delays-2', endpoint, canaryId: wanted, blessing, policy, at: 0 });
    const models = taken.map((one) => ({ ...stableModel, id: one }));
    const { context } = stepRollout(rollout, { type: 'endpoint.observed', at: 0, split: {}, models });
    expect(context.canaryId).toBe(id);
  });
});

describe('the canary', () => {
  const policy = policyOf('  deploy: { minReplicas: 2, maxReplicas: 3 }\n  freeze: [ "Thu 00:00 - Thu 12:00 UTC" ]\n');

  test.each<[available: number | null, isReady: boolean, reason: string]>([
    [0, false, 'The canary is deployed; 0 of 2 replicas are ready.'],
    [1, false, 'The canary is deployed; 1 of 2 replicas are ready.'],
    [2, true, 'The canary is deployed and ready.'],
    [3, true, 'The canary is deployed and ready.'],
    [null, true, 'The canary is deployed and ready.'],
  ])('with %s of two replicas: ready %s', (availableReplicas, isReady, reason) => {
    const { context } = deployedCanary(policy).rollout;
    const models = [stableModel, { ...canaryModel, availableReplicas }];
    const event = { type: 'endpoint.observed' as const, at: 0, split: { 1: 100 }, models };
    expect(operations.noteReady({ context, event })).toMatchObject({ isReady, reason });
  });

  it('that is not to be seen yet is not ready', () => {
    const waiting = deployedCanary(policy).when({
      type: 'endpoint.observed',
      split: { 1: 100 },
      models: [stableModel],
    });
    expect(waiting.rollout.context.isReady).toBe(false);
    expect(waiting.rollout.context.reason).toBe('The canary is deployed; 0 of 2 replicas are ready.');
  });

  it('that is found leaves nothing of its order to wait for', () => {
    const refused = started.when({ type: 'deploy.refused', code: 'unavailable', message: 'x', isRetryable: true });
    const found = refused.when({ type: 'deploy.found' });
    expect(found.looks()[0]).toEqual({ type: 'endpoint.read' });
    expect(found.rollout.context).toMatchObject({ operation: null, attempts: 0, retryAt: null, lastProblem: null });
  });
});

describe('a cancelled operation', () => {
  const cancelled = { type: 'operation.cancelled' as const, operation: 'op' };
  const aborting = started.when({ type: 'operator.aborted', ...ann });

  it('is cancelled once, and waited for', () => {
    expect(aborting.effects()).toEqual([{ type: 'operation.cancel', operation: 'op' }]);
    const waiting = aborting.when(cancelled);
    expect([waiting.effects(), waiting.looks()]).toEqual([[], [{ type: 'operation.poll', operation: 'op' }]]);
  });

  it('that has ended already is not brought back', () => {
    const ended = aborting.when({ type: 'operation.finished', operation: 'op', error: null });
    expect(ended.when(cancelled).rollout).toBe(ended.rollout);
  });
});

describe('replicas', () => {
  it("are held by the order that runs, whatever another instance's was refused for", () => {
    const running = holding.when({ type: 'resize.started', deployedModelId: '1', operation: 'resize' });
    const refused = running.when({
      type: 'resize.refused',
      code: 'failedPrecondition',
      message: 'busy',
      isRetryable: false,
    });
    expect([refused.state, refused.rollout.context.reserved]).toEqual([
      running.state,
      running.rollout.context.reserved,
    ]);
    const ended = refused.when({ type: 'operation.finished', operation: 'resize', error: null });
    expect(ended.effects()).toEqual([{ type: 'replicas.resize', deployedModelId: '2', minReplicas: 3 }]);
  });

  it('are held one model after the other, each once', () => {
    const one = resized(holding, '1');
    expect(one.effects()).toEqual([{ type: 'replicas.resize', deployedModelId: '2', minReplicas: 3 }]);
    expect(resized(one, '1').rollout.context.reserved).toEqual(one.rollout.context.reserved);
    expect(resized(one, '2').state).toBe('deploying');
  });

  it('are given back one model after the other', () => {
    const aborted = resized(resized(holding, '1'), '2').when({ type: 'operator.aborted', ...ann });
    const one = resized(aborted, '1');
    expect(one.effects()).toEqual([{ type: 'replicas.resize', deployedModelId: '2', minReplicas: 1 }]);
    expect(resized(one, '2').effects()).toEqual([{ type: 'model.remove', deployedModelId: canaryId }]);
  });

  it('that cannot be given back are left to a person, and the next are tried', () => {
    let life = resized(resized(holding, '1'), '2').when({ type: 'operator.aborted', ...ann });
    for (let i = 0; i < 10; i += 1)
      life = life.after(60).when({ type: 'resize.refused', code: 'internal', message: 'no', isRetryable: true });
    expect(life.effects()).toEqual([{ type: 'replicas.resize', deployedModelId: '2', minReplicas: 1 }]);
    expect(life.rollout.context.reason).toBe(
      "The replicas of DeployedModel 1 could not be set after 10 tries (internal: no); its owner's least is 1.",
    );
  });
});

describe('a stable that cannot be removed', () => {
  const retiring = onLastStep().after(12).monitored(good).after(0).after(20);

  it('has its share in the problem that is told', () => {
    const serving = { type: 'removal.serving' as const, deployedModelId: '1' };
    const problem = (share: number) =>
      retiring.when({ ...serving, found: { 1: share, [canaryId]: 100 - share } }).rollout.context.lastProblem;
    expect(problem(50)).toBe('DeployedModel 1 has 50 % of the traffic');
    expect(problem(0)).toBe('DeployedModel 1 has 0 % of the traffic');
  });

  it('is given up once: where nothing is left, only the trouble is forgotten', () => {
    const context = contextOf(retiring, { removed: ['1'], attempts: 10, operation });
    expect(operations.giveUpRemoval({ context, event: tick(0) })).toEqual({
      attempts: 0,
      retryAt: null,
      lastProblem: null,
    });
  });
});
