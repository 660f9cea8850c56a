/** What is looked at, what is ordered, and what is written where the split was found to be something else. */
import { describe, expect, it, test } from 'vitest';
import type { EvidenceWindow } from '../../../machines/analysis/evidence.ts';
import { answerSplit, effectsOf, looksOf } from '../../../machines/rollout/effects.ts';
import type { Split } from '../../../machines/rollout/split.ts';
import {
  bad,
  canaryId,
  canaryModel,
  deployedCanary,
  given,
  good,
  type Life,
  onFirstStep,
  policyOf,
  shiftingToFirstStep,
  stableModel,
} from './life.ts';
import { contextOf } from './moments.ts';

const ann = { by: 'ann', reason: 'a look' };
const aborted = { type: 'operator.aborted' as const, ...ann };
const busy = { ...stableModel, availableReplicas: 4 };
const deploying = given().when({ type: 'endpoint.observed', split: { 1: 100 }, models: [stableModel] });
const holding = given().when({ type: 'endpoint.observed', split: { 1: 100 }, models: [busy] });
const resizing = holding.when({ type: 'resize.started', deployedModelId: '1', operation: 'op' });
const started = deploying.when({ type: 'deploy.started', operation: 'op' });

describe('looks', () => {
  test.each<[what: string, life: Life]>([
    ['the replicas are not held yet', holding],
    ['the deployment is not ordered yet', deploying],
    ['the first share is not in effect', shiftingToFirstStep().after(5)],
    ['the traffic goes back', onFirstStep().after(5).monitored(bad)],
    ['the canary is to be removed', onFirstStep().after(5).monitored(bad).applied()],
  ])('at nothing while %s', (_what, life) => {
    expect(life.looks()).toEqual([]);
  });

  test.each<[what: string, life: Life]>([
    ['a resize', resizing],
    ['a deployment', started],
    ['a deployment that is cancelled', started.when(aborted, { type: 'operation.cancelled', operation: 'op' })],
  ])('at the operation alone while %s runs', (_what, life) => {
    expect(life.looks()).toEqual([{ type: 'operation.poll', operation: 'op' }]);
  });

  it('at no past once there was a share, though the canary warms up again', () => {
    const found = { 1: 100, [canaryId]: 0 };
    const back = onFirstStep()
      .when({ type: 'traffic.foreign', found, models: [stableModel], generation: 1 })
      .when({ type: 'operator.resumed', ...ann }, { type: 'operator.paused', ...ann })
      .applied();
    expect(back.place).toBe('forward.warming, paused');
    expect(back.looks()).toEqual([{ type: 'endpoint.read' }]);
  });
});

describe('the evidence that is read', () => {
  // The share took effect at second 1000; Monitoring lags by two.
  const watching = onFirstStep();
  const read = watching.after(12).monitored(good);

  test.each<[what: string, life: Life, second: number, periodSeconds: number, window: EvidenceWindow | null]>([
    ['is nothing before a whole period can be seen', watching, 1003.999, 1, null],
    ['begins a period after the effect', watching, 1004, 1, { fromAt: 1_001_000, toAt: 1_002_000 }],
    ['lies on whole periods', watching, 1010, 3, { fromAt: 1_005_000, toAt: 1_008_000 }],
    ['goes on where it ended', read, 1017, 1, { fromAt: 1_010_000, toAt: 1_015_000 }],
    ['is not read twice', read, 1012, 1, null],
    ['is of 180 periods at the most', watching, 1202, 1, { fromAt: 1_020_000, toAt: 1_200_000 }],
  ])('%s', (_what, { rollout }, second, periodSeconds, window) => {
    const looks = looksOf(rollout, second * 1000, periodSeconds * 1000);
    expect(looks).toEqual(window === null ? [] : [{ type: 'evidence.read', window }]);
  });
});

describe('orders', () => {
  test.each<[what: string, life: Life]>([
    ['replicas are being held', resizing],
    ['the canary is being deployed', started],
    ['a resize is still running on the way back', resizing.when(aborted)],
    ['a cancelled deployment has not ended', started.when(aborted, { type: 'operation.cancelled', operation: 'op' })],
  ])('are none while %s', (_what, life) => {
    expect(life.effects()).toEqual([]);
  });

  it('wait for the retry, to the millisecond', () => {
    const refused = deploying.when({ type: 'deploy.refused', code: 'unavailable', message: 'x', isRetryable: true });
    const orders = [999, 1000].map((ms) => effectsOf(refused.rollout, refused.at + ms).length);
    expect(orders).toEqual([0, 1]);
  });

  it('leave a failed canary for as long as it is kept, to the millisecond', () => {
    const kept = onFirstStep(policyOf('  keepFailedCanary: 60s\n')).after(5).monitored(bad).applied();
    const orders = [59_999, 60_000].map((ms) => effectsOf(kept.rollout, kept.at + ms).length);
    expect(orders).toEqual([0, 1]);
  });

  it('give replicas back before a kept canary goes', () => {
    const held = resizing.when(
      { type: 'operation.finished', operation: 'op', error: null },
      { type: 'deploy.found' },
      aborted,
    );
    expect(held.effects()).toEqual([{ type: 'replicas.resize', deployedModelId: '1', minReplicas: 1 }]);
  });
});

/** DeployedModels, with a ready replica and without. */
function modelsOf(ready: string[], unready: string[]) {
  return [...ready.map((id) => ({ id, canServe: true })), ...unready.map((id) => ({ id, canServe: false }))];
}

describe('going forward, the split', () => {
  const first = shiftingToFirstStep();
  const second = onFirstStep().after(12).monitored(good).after(0);

  test.each<[what: string, life: Life, split: Split, ready: string[], unready: string[]]>([
    ['that was recorded', first, { 1: 100 }, ['1', canaryId], []],
    ['that is desired already', first, { 1: 95, [canaryId]: 5 }, ['1', canaryId], []],
    ['in which the canary serves already, ready or not', first, { 1: 95, [canaryId]: 5 }, ['1'], [canaryId]],
    ['of a stable that is not ready, and has its share', first, { 1: 100 }, [canaryId], ['1']],
    ['that was confirmed last', second, { 1: 95, [canaryId]: 5 }, ['1', canaryId], []],
  ])('%s is written over', (_what, { rollout, desired }, split, ready, unready) => {
    const answer = answerSplit(rollout, { split, models: modelsOf(ready, unready) });
    expect(answer).toEqual({ kind: 'write', split: desired });
  });

  test.each<[what: string, life: Life, split: Split]>([
    ['of somebody else', first, { 1: 50, 9: 50 }],
    ['that is empty', first, {}],
    ['that was ours before the last', second, { 1: 100 }],
  ])('%s is left alone', (_what, { rollout }, split) => {
    const answer = answerSplit(rollout, { split, models: modelsOf(['1', '9', canaryId], []) });
    expect(answer).toEqual({ kind: 'foreign', found: split });
  });

  test.each<[what: string, ready: string[], unready: string[]]>([
    ['has no ready replica', ['1'], [canaryId]],
    ['is not deployed', ['1', '9'], []],
  ])('waits while the canary %s', (_what, ready, unready) => {
    const answer = answerSplit(first.rollout, { split: { 1: 100 }, models: modelsOf(ready, unready) });
    const message = `DeployedModel ${canaryId} is to get 5 %, and has no ready replica`;
    expect(answer).toEqual({ kind: 'unready', message });
  });

  it('does not wait for who is to get nothing', () => {
    const desired = { 1: 95, 5: 0, [canaryId]: 5 };
    const context = contextOf(first, { traffic: { ...first.rollout.context.traffic, desired } });
    const answer = answerSplit(
      { ...first.rollout, context },
      { split: { 1: 100 }, models: modelsOf(['1', canaryId], []) },
    );
    expect(answer).toEqual({ kind: 'write', split: desired });
  });
});

describe('going back, the split', () => {
  const back = onFirstStep().when(aborted);
  const empty = given()
    .when({ type: 'endpoint.observed', split: {}, models: [] }, { type: 'deploy.found' })
    .when({ type: 'endpoint.observed', split: {}, models: [canaryModel] })
    .when(aborted);
  const two = deployedCanary(policyOf(), { 1: 60, 2: 40 })
    .when({ type: 'endpoint.observed', split: { 1: 60, 2: 40 }, models: [canaryModel] })
    .when(aborted);
  const theirs = { 1: 30, 9: 30, [canaryId]: 40 };

  test.each<[what: string, life: Life, found: Split, ready: string[], unready: string[], written: Split]>([
    ['is the recorded one', back, { 1: 95, [canaryId]: 5 }, ['1', canaryId], [], { 1: 100 }],
    ['is empty where it was', empty, { [canaryId]: 100 }, [canaryId], [], {}],
    ['keeps its proportions', two, { 1: 57, 2: 38, [canaryId]: 5 }, ['1', '2'], [canaryId], { 1: 60, 2: 40 }],
    ['leaves out who is not ready', two, { 1: 60, 2: 40 }, ['2', canaryId], ['1'], { 2: 100 }],
    ['leaves out who is gone', two, { 1: 60, 2: 40 }, ['1', canaryId], [], { 1: 100 }],
    ["is somebody else's without the canary", back, theirs, ['1', '9', canaryId], [], { 1: 50, 9: 50 }],
    ["is somebody else's without who is not ready", back, theirs, ['1', canaryId], ['9'], { 1: 100 }],
    ['is the recorded one where only the canary is left', back, { [canaryId]: 100 }, ['1', canaryId], [], { 1: 100 }],
  ])('%s', (_what, { rollout }, found, ready, unready, written) => {
    const answer = answerSplit(rollout, { split: found, models: modelsOf(ready, unready) });
    expect(answer).toEqual({ kind: 'write', split: written });
  });

  test.each<[what: string, ready: string[], unready: string[], has: string]>([
    ['no stable replica is ready', [canaryId], ['1'], '77, 1'],
    ['nothing is deployed', [], [], 'none'],
  ])('waits while %s, for an empty endpoint serves nobody', (_what, ready, unready, has) => {
    const answer = answerSplit(back.rollout, { split: { 1: 95, [canaryId]: 5 }, models: modelsOf(ready, unready) });
    const message = `no stable model can take the traffic back: wanted {"1":100}, the endpoint has ${has}`;
    expect(answer).toEqual({ kind: 'unready', message });
  });
});
