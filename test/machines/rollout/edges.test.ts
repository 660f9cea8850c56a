/** What a rollout does where two things meet: a freeze and a deadline, a late reply, a pause and an end. */
import { describe, expect, it, test } from 'vitest';
import type { ObservedModel } from '../../../machines/rollout/events.ts';
import { stepRollout } from '../../../machines/rollout/snapshot.ts';
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
  onLastStep,
  policyOf,
  shiftingToFirstStep,
  stableModel,
} from './life.ts';
import { oneOfEach } from './moments.ts';

const ann = { by: 'ann', reason: 'a look' };
const frozen = '  freeze: [ "Thu 00:00 - Thu 12:00 UTC" ]\n';
const oneStep = '  steps: [ { percent: 100, hold: 10s } ]\n';
const nine: ObservedModel = { ...stableModel, id: '9', versionId: '2' };

describe('a version serves already', () => {
  test.each<[what: string, split: Split, found: ObservedModel, state: string]>([
    ['with all of the traffic', { 9: 100 }, nine, 'promoted'],
    ['not with nearly all of it', { 1: 1, 9: 99 }, nine, 'deploying'],
    ['not where it is deployed only', { 1: 100 }, nine, 'deploying'],
    ['not as another version', { 9: 100 }, { ...nine, versionId: '3' }, 'deploying'],
    ['not as a version of another model', { 9: 100 }, { ...nine, model: `${nine.model}-2` }, 'deploying'],
  ])('%s', (_what, split, found, state) => {
    const life = given().when({ type: 'endpoint.observed', split, models: [stableModel, found] });
    expect(life.state).toBe(state);
  });
});

describe('a deployment that ended with an error', () => {
  const deploying = given()
    .when({ type: 'endpoint.observed', split: { 1: 100 }, models: [stableModel] })
    .when({ type: 'deploy.started', operation: 'op' });

  test.each([
    ['RESOURCE_EXHAUSTED', 'deploying'],
    ['UNAVAILABLE', 'deploying'],
    ['NOT_FOUND', 'deploying'],
    ['INTERNAL', 'rollingBack'],
    ['INVALID_ARGUMENT', 'rollingBack'],
  ])('%s: %s', (code, state) => {
    const finished = { type: 'operation.finished' as const, error: { code, message: 'no' } };
    expect(deploying.when({ ...finished, operation: 'op' }).state).toBe(state);
    expect(deploying.when({ ...finished, operation: 'of another' }).rollout).toBe(deploying.rollout);
  });
});

describe('a freeze', () => {
  it('may outlast the deadline of a deployment that is ready', () => {
    expect(shiftingToFirstStep(policyOf(frozen)).after(46 * 60).state).toBe('warming');
    expect(deployedCanary(policyOf(frozen)).after(45 * 60).state).toBe('rollingBack');
  });

  it('says nothing where a person paused: that is why the share stays', () => {
    const life = deployedCanary(policyOf(frozen))
      .when({ type: 'operator.paused', ...ann })
      .when({ type: 'endpoint.observed', split: { 1: 100 }, models: [canaryModel] });
    expect([life.place, life.rollout.context.heldBy]).toEqual(['forward.warming, paused', null]);
  });

  test.each([
    ['the first of three steps', frozen, { 1: 100 }, 'shifting'],
    ['the only step', frozen + oneStep, { 1: 100 }, 'promoting'],
    ['all of an empty endpoint', frozen, {}, 'promoting'],
  ])('gives way to a person who promotes to %s, once the canary is ready', (_what, spec, split, state) => {
    const warming = deployedCanary(policyOf(spec), split);
    const promote = { type: 'operator.promoted' as const, ...ann };
    expect(warming.when(promote).state).toBe('warming');
    const ready = warming.when({ type: 'endpoint.observed', split, models: [stableModel, canaryModel] });
    expect(ready.state).toBe('warming');
    expect(ready.when(promote).state).toBe(state);
  });
});

describe('while a person pauses', () => {
  const pause = { type: 'operator.paused' as const, ...ann };

  test.each([
    ['the preparation', given().when(pause), 'forward.preparing.inspecting, paused', 3601],
    ['a share on its way', shiftingToFirstStep().when(pause), 'forward.moving.shifting, paused', 1801],
    ['stable', onLastStep().after(12).monitored(good).after(0).when(pause), 'forward.observing.keeping, paused', 21],
  ])('%s has no deadline', (_what, life, place, seconds) => {
    expect([life.place, life.after(seconds).place]).toEqual([place, place]);
  });

  it('an abort that follows a second failure alone is not paused again', () => {
    const doubted = onLastStep().after(12).reported(bad).applied();
    const again = doubted.after(12).monitored(good).after(0).applied().after(12).reported(bad);
    const aborted = again.when({ type: 'operator.aborted', ...ann });
    expect([again.place, aborted.place]).toEqual(['forward.moving.shifting, paused', 'rollingBack.restoring']);
    expect(aborted.rollout.context.paused).toBeNull();
    expect(aborted.after(60).rollout.context.paused).toBeNull();
  });
});

describe('on the way back', () => {
  const restoring = onFirstStep().after(5).monitored(bad);

  it('only the confirmation of the last order ends the restoring', () => {
    const late = restoring.when({ type: 'traffic.applied', split: { 1: 95, [canaryId]: 5 }, generation: 1 });
    expect([late.place, restoring.applied().place]).toEqual(['rollingBack.restoring', 'rollingBack.cleaning']);
  });

  test.each([
    ['notFound', 'rollingBack.cleaning', 0],
    ['permissionDenied', 'rollingBack.restoring', 2],
  ])('a refusal for %s leads to %s', (code, place, attempts) => {
    const refused = { type: 'traffic.refused' as const, message: 'no', isRetryable: false };
    const life = restoring.when({ ...refused, code: 'unavailable' }).when({ ...refused, code });
    expect([life.place, life.rollout.context.attempts]).toEqual([place, attempts]);
  });

  it('neither a pause nor somebody else’s split stops it', () => {
    const { generation } = restoring.rollout.context.traffic;
    const found = { 1: 50, [canaryId]: 50 };
    const disturbed = restoring
      .when({ type: 'operator.paused', ...ann })
      .when({ type: 'traffic.foreign', generation, found, models: [stableModel] });
    expect(disturbed.rollout).toBe(restoring.rollout);
  });
});

describe("somebody else's split", () => {
  const found = { 1: 40, [canaryId]: 60 };
  const models = [stableModel, canaryModel];
  const foreign = { type: 'traffic.foreign' as const, found, models, generation: 1 };
  const paused = onFirstStep().when(foreign);

  it('is told once, and again when it changes', () => {
    expect(paused.after(1).when(foreign).rollout).toBe(paused.rollout);
    const other = paused.when({ ...foreign, found: { 1: 30, [canaryId]: 70 } });
    expect(other.rollout.context.foreign?.split).toEqual({ 1: 30, [canaryId]: 70 });
  });

  it('is judged against the order that stands, not one that was replaced', () => {
    const shifting = onFirstStep().after(12).monitored(good).after(0);
    expect(shifting.when(foreign).rollout).toBe(shifting.rollout);
    expect(shifting.when({ ...foreign, generation: 2 }).place).toBe('forward.moving.shifting, paused');
  });

  it('comes too late where stable is being removed', () => {
    const retiring = onLastStep().after(12).monitored(good).after(0).after(20);
    const { generation } = retiring.rollout.context.traffic;
    expect(retiring.when({ ...foreign, generation }).rollout).toBe(retiring.rollout);
  });
});

describe('of two stable models', () => {
  const split = { 1: 60, 2: 40 };
  const models = [stableModel, { ...stableModel, id: '2' }];

  it('one is removed after the other, and the rollout ends with the last', () => {
    let life = given()
      .when({ type: 'endpoint.observed', split, models }, { type: 'deploy.found' })
      .when({ type: 'endpoint.observed', split, models: [canaryModel] })
      .when({ type: 'operator.promotedFully', ...ann })
      .applied()
      .when({ type: 'operator.promoted', ...ann })
      .after(20);
    for (const deployedModelId of ['1', '2']) {
      expect(life.effects()).toEqual([{ type: 'model.remove', deployedModelId }]);
      life = life.when({ type: 'removal.found', deployedModelId });
    }
    expect(life.state).toBe('promoted');
  });
});

describe('what is over', () => {
  const overBy: Record<string, () => Life> = {
    promoted: () => given().when({ type: 'endpoint.observed', split: { 9: 100 }, models: [nine] }),
    rolledBack: () => {
      const restored = onFirstStep().after(5).monitored(bad).applied();
      return restored.when({ type: 'removal.found', deployedModelId: canaryId });
    },
    failed: () => given().when({ type: 'target.missing', message: 'gone' }),
  };

  test.each(Object.entries(overBy))('%s takes no event and owes nothing', (state, end) => {
    const { rollout, at, ...life } = end();
    expect(rollout.value).toEqual({ progress: state, pause: 'ended' });
    expect([life.effects(), life.looks()]).toEqual([[], []]);
    for (const event of oneOfEach(at)) expect(stepRollout(rollout, event)).toBe(rollout);
  });
});
