import { describe, expect, it } from 'vitest';
import type { VariantCounts } from '../../../machines/analysis/evidence.ts';
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

const ann = { by: 'ann', reason: 'a look' };
const aborted = { type: 'operator.aborted' as const, ...ann };
const slow: VariantCounts = {
  requests: 5000,
  errors: 0,
  latencyMs: { bounds: [10, 100, 1000], counts: [0, 0, 0, 5000] },
};
const busy = { ...stableModel, availableReplicas: 4 };

function endingOf({ rollout }: Life) {
  return rollout.context.ending;
}

function holding(...ids: string[]): Life {
  const models = ids.map((id) => ({ ...busy, id }));
  return given().when({ type: 'endpoint.observed', split: { 1: 100 - 10 * (ids.length - 1), 2: 10, 3: 10 }, models });
}

describe('why a rollout goes back', () => {
  it.each([
    ['errors', bad, '', 'errorRate'],
    ['slowness', slow, '', 'latency'],
    ['errors, whatever a dry run finds', { ...slow, errors: 3000 }, ', latency: { dryRun: true }', 'errorRate'],
  ])('is %s alone, not what else was judged', (_what, counts, checks, check) => {
    const policy = policyOf(`  analysis: { metricLag: 2s, minRequests: 10${checks} }\n`);
    const ending = endingOf(onFirstStep(policy).after(5).monitored(counts));
    const [reason] = ending?.verdict?.reasons ?? [];
    expect(reason).toMatchObject({ check, kind: 'unhealthy' });
    expect(ending?.reason).toBe(`${reason?.text} (monitoring)`);
  });

  it('is what a proxy saw, which is said', () => {
    const ending = endingOf(onFirstStep().after(5).monitored(good).reported(bad));
    expect(ending).toMatchObject({ state: 'rolledBack', by: null, verdict: { source: 'proxy', kind: 'unhealthy' } });
    expect(ending?.reason).toMatch(/ \(proxy\)$/);
  });

  it('is that stable has the traffic again', () => {
    const retiring = onLastStep().after(12).monitored(good).after(0).after(20);
    const back = retiring.when({ type: 'removal.serving', deployedModelId: '1', found: { 1: 100 } });
    expect(endingOf(back)).toMatchObject({
      state: 'rolledBack',
      by: null,
      reason:
        'Stable has the traffic again: an abort took it from the canary before it could be recorded, or a person did.',
    });
    expect(back.applied().when({ type: 'removal.found', deployedModelId: canaryId }).state).toBe('rolledBack');
  });

  it.each<[string, (life: Life) => Life, string]>([
    ['alone', (life) => life, 'Not done within its deadline: Step 1: giving the canary 5 %.'],
    [
      'with the last problem',
      (life) => life.when({ type: 'traffic.refused', code: 'unavailable', message: 'later', isRetryable: true }),
      'Not done within its deadline: Step 1: giving the canary 5 %. The last problem was unavailable: later',
    ],
  ])('is a deadline %s', (_how, then, reason) => {
    expect(endingOf(then(shiftingToFirstStep()).after(30 * 60))).toMatchObject({
      state: 'failed',
      reason,
      verdict: null,
    });
  });
});

describe('a canary that failed', () => {
  const removal = [{ type: 'model.remove', deployedModelId: canaryId }];
  const keeping = policyOf('  keepFailedCanary: 60s\n');

  it('is kept for its time, to the moment', () => {
    const restored = onFirstStep(keeping).after(5).monitored(bad).applied();
    expect(restored.after(59.999).effects()).toEqual([]);
    expect(restored.after(60).effects()).toEqual(removal);
  });

  it('is not kept where a person aborted it, or a newer version took its place', () => {
    expect(onFirstStep(keeping).when(aborted).applied().effects()).toEqual(removal);
    const newer = { type: 'blessing.newer' as const, versionId: '3' };
    expect(onFirstStep(keeping).when(newer).applied().effects()).toEqual(removal);
  });
});

describe('replicas of stable', () => {
  it('that were never ordered are left as they are', () => {
    const back = holding('1', '2').when(aborted);
    expect([back.state, back.rollout.context.reserved]).toEqual(['aborted', []]);
  });

  it('are given back where they are held or were ordered to be, and no others', () => {
    const back = holding('1', '2', '3')
      .when({ type: 'resize.started', deployedModelId: '1', operation: 'first' })
      .when({ type: 'operation.finished', operation: 'first', error: null })
      .when({ type: 'resize.started', deployedModelId: '2', operation: 'second' })
      .when(aborted);
    expect(back.rollout.context.reserved.map(({ id }) => id)).toEqual(['1', '2']);
    const free = back.when({ type: 'operation.finished', operation: 'second', error: null });
    expect(free.effects()).toEqual([{ type: 'replicas.resize', deployedModelId: '1', minReplicas: 1 }]);
  });

  it('that may not be given back are given up, and the canary is removed all the same', () => {
    const back = holding('1')
      .when({ type: 'resize.started', deployedModelId: '1', operation: 'hold' })
      .when({ type: 'operation.finished', operation: 'hold', error: null }, { type: 'deploy.found' }, aborted);
    expect(back.effects()).toEqual([{ type: 'replicas.resize', deployedModelId: '1', minReplicas: 1 }]);
    const refused = back.when({ type: 'resize.refused', code: 'denied', message: 'no', isRetryable: false });
    expect(refused.effects()).toEqual([{ type: 'model.remove', deployedModelId: canaryId }]);
  });
});

describe('in the end', () => {
  it('a version that serves is said to serve', () => {
    const retiring = onLastStep().after(12).monitored(good).after(0).after(20);
    const done = retiring.when({ type: 'removal.found', deployedModelId: '1' });
    expect(done.rollout.context.reason).toBe('Version 2 serves 100 %; what it replaced is gone.');
  });

  it('a version that was proven and then aborted is not', () => {
    const back = onLastStep().after(12).monitored(good).after(0).when(aborted).applied();
    const done = back.when({ type: 'removal.found', deployedModelId: canaryId });
    expect([done.state, done.rollout.context.reason]).toEqual(['aborted', 'The canary has no traffic.']);
  });
});

describe('an alert where the policy rolls back', () => {
  const policy = policyOf('  analysis: { metricLag: 2s, minRequests: 10, incident: rollBack }\n');
  const incident = { type: 'incident.opened' as const, incident: 'i1', summary: 'errors' };
  const paused = { type: 'operator.paused' as const, ...ann };

  it.each<[string, () => Life, string]>([
    ['is wanted', () => shiftingToFirstStep(policy), 'rollingBack'],
    ['is in effect', () => onFirstStep(policy), 'rollingBack'],
    [
      'is being taken back, and was confirmed',
      () =>
        onFirstStep(policy)
          .when({
            type: 'traffic.foreign',
            generation: 1,
            found: { 1: 97, [canaryId]: 3 },
            models: [stableModel, canaryModel],
          })
          .when({ type: 'operator.resumed', ...ann }, paused),
      'rollingBack',
    ],
    ['was taken back', () => shiftingToFirstStep(policy).when(paused).applied(), 'warming'],
    ['is none yet', () => deployedCanary(policy), 'warming'],
  ])('counts while the canary’s share %s', (_what, live, state) => {
    expect(live().when(incident).state).toBe(state);
  });
});
