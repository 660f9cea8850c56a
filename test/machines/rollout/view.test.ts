import { describe, expect, it } from 'vitest';
import { viewOf } from '../../../machines/rollout/describe.ts';
import {
  bad,
  canaryId,
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

const steps = '  steps: [ { percent: 5, hold: 10s }, { percent: 100, hold: 10s } ]\n';
/** Longer than a step is held. */
const lagging = policyOf(`${steps}  analysis: { metricLag: 40s, minRequests: 10 }\n`);
const later = { code: 'unavailable', message: 'later', isRetryable: true };

const deploying = (): Life => given().when({ type: 'endpoint.observed', split: { 1: 100 }, models: [stableModel] });
const promoting = (): Life => onFirstStep(lagging).when({ type: 'operator.promotedFully', by: 'ann', reason: 'sure' });
const over = (): Life =>
  onFirstStep().after(5).monitored(bad).applied().after(7).when({ type: 'removal.found', deployedModelId: canaryId });

describe('what comes next', () => {
  it.each<[string, () => Life, { inSeconds: number; what: string } | null]>([
    ['nothing, to begin with', () => given(), null],
    [
      'the next try, where holding replicas was refused',
      () =>
        given()
          .when({ type: 'endpoint.observed', split: { 1: 100 }, models: [{ ...stableModel, availableReplicas: 4 }] })
          .when({ type: 'resize.refused', ...later }),
      { inSeconds: 1, what: 'next try' },
    ],
    ['the deadline of a deployment', deploying, { inSeconds: 45 * 60, what: 'deployment deadline' }],
    ['the same while it warms up', () => deployedCanary(), { inSeconds: 45 * 60, what: 'deployment deadline' }],
    ['nothing while a share is being raised', () => shiftingToFirstStep(), null],
    [
      'the next try, where the share was refused',
      () => shiftingToFirstStep().when({ type: 'traffic.refused', ...later }),
      { inSeconds: 1, what: 'next try' },
    ],
    ['the end of the hold', () => onFirstStep(), { inSeconds: 10, what: 'hold ends, if healthy' }],
    [
      'the first evidence, where that takes longer',
      () => onFirstStep(lagging),
      { inSeconds: 40, what: 'hold ends, if healthy' },
    ],
    ['the end of the last hold', () => onLastStep(), { inSeconds: 10, what: 'last hold ends, if healthy' }],
    [
      'the first evidence of the last share, where that takes longer',
      () => promoting().applied(),
      { inSeconds: 40, what: 'last hold ends, if healthy' },
    ],
    [
      'the end of the time that stable is kept',
      () => onLastStep().after(12).monitored(good),
      { inSeconds: 20, what: 'stable is undeployed' },
    ],
    [
      'the end of the time that the canary is kept',
      () => onFirstStep(policyOf('  keepFailedCanary: 60s\n')).after(5).monitored(bad),
      { inSeconds: 60, what: 'canary is undeployed' },
    ],
    ['nothing when it is over', over, null],
  ])('is %s', (_what, live, expected) => {
    const { rollout, at } = live();
    const next = expected === null ? null : { at: at + expected.inSeconds * 1000, what: expected.what };
    expect(viewOf(rollout).next).toEqual(next);
  });
});

describe('the variants', () => {
  it('are the canary alone until the endpoint was read, and nothing was observed', () => {
    expect(viewOf(given().rollout).variants).toEqual([
      expect.objectContaining({
        role: 'canary',
        deployedModelId: canaryId,
        intendedPercent: 0,
        observedPercent: null,
        requests: 0,
        latencyMs: null,
      }),
    ]);
  });

  it('have Monitoring’s counts unless proxies have seen more', () => {
    const errorsOf = (life: Life) => viewOf(life.rollout).variants[0]?.errors;
    const monitored = onFirstStep()
      .after(5)
      .monitored({ ...good, errors: 16 });
    expect(errorsOf(monitored.reported({ ...good, errors: 8 }))).toBe(16);
    expect(errorsOf(monitored.reported({ ...good, requests: 5008, errors: 8 }))).toBe(8);
    expect(errorsOf(monitored.reported({ ...good, requests: 4992, errors: 8 }))).toBe(16);
  });

  it('are as slow as the policy’s quantile, and as the 95th percentile where it has none', () => {
    const latencyOf = (latency: string) => {
      const policy = policyOf(`  analysis: { metricLag: 2s, minRequests: 10, latency: ${latency} }\n`);
      return viewOf(onFirstStep(policy).after(5).monitored(good).rollout).variants.map(({ latencyMs }) => latencyMs);
    };
    expect([latencyOf('{ quantile: 50% }'), latencyOf('{ quantile: 95% }'), latencyOf('off')]).toEqual([
      [10, 10],
      [100, 100],
      [100, 100],
    ]);
  });

  it('are one line for all of stable', () => {
    const models = [stableModel, { ...stableModel, id: '2', versionId: '0' }];
    const split = { 1: 60, 2: 40 };
    const stable = viewOf(given().when({ type: 'endpoint.observed', split, models }).rollout).variants[1];
    expect(stable).toMatchObject({ role: 'stable', deployedModelId: '1, 2', versionId: '1, 0', intendedPercent: 100 });
  });
});

describe('a rollout that is over', () => {
  it('is final, and changed last when it ended', () => {
    const { rollout, at } = over();
    expect(viewOf(rollout)).toMatchObject({ state: 'rolledBack', isFinal: true, endedAt: at, updatedAt: at });
  });

  it('was not final before', () => {
    const goingBack = onFirstStep().after(5).monitored(bad);
    expect(viewOf(goingBack.rollout)).toMatchObject({ isFinal: false, endedAt: null, updatedAt: goingBack.at });
  });
});
