import { describe, expect, it } from 'vitest';
import type { Evidence } from '../../../machines/analysis/evidence.ts';
import {
  canaryId,
  canaryModel,
  deployedCanary,
  given,
  good,
  type Life,
  onFirstStep,
  shiftingToFirstStep,
  stableModel,
} from './life.ts';

const ann = { by: 'ann', reason: 'a look' };
const paused = { type: 'operator.paused' as const, ...ann };
const resumed = { type: 'operator.resumed' as const, ...ann };
const aborted = { type: 'operator.aborted' as const, ...ann };
const promotedFully = { type: 'operator.promotedFully' as const, ...ann };

function windowOf(fromAt: number, requests: number): Evidence {
  return {
    source: 'monitoring',
    window: { fromAt, toAt: fromAt + 1000 },
    variants: { 1: { requests, errors: 1, latencyMs: { bounds: [10], counts: [requests, 0] } } },
  };
}

const trialsOf = ({ rollout }: Life) => rollout.context.tally.monitoring.checks['errorRate']?.hits.baseline.past.trials;

describe('evidence', () => {
  it('from before the first share is stable’s past, and no verdict', () => {
    const life = deployedCanary().when({ type: 'evidence.observed', evidence: windowOf(900_000, 100) });
    expect(trialsOf(life)).toBe(100);
    expect(life.rollout.context.verdicts).toEqual({ monitoring: null, proxy: null });
  });

  it('of the past counts once, where some of it was read before', () => {
    const read = (life: Life, ...windows: Evidence[]) => life.when({ type: 'past.observed', windows });
    const [first, second, third] = [windowOf(900_000, 100), windowOf(901_000, 200), windowOf(902_000, 400)];
    expect(trialsOf(read(read(deployedCanary(), first, second), second, third))).toBe(700);
  });

  it('is judged by the share that comes next', () => {
    const { rollout } = onFirstStep().after(9).monitored(good);
    const reasons = rollout.context.verdicts.monitoring?.reasons ?? [];
    expect(reasons.map(({ text }) => text.includes('25 %'))).toEqual([true, true]);
  });

  it.for([
    ['', onFirstStep],
    [', not by one that is wanted', () => onFirstStep().when(promotedFully)],
  ] as const)('is judged by the share that is in effect%s', ([, begin]) => {
    const half = begin().after(12).monitored(good, good);
    const mismatch = half.rollout.context.verdicts.monitoring?.reasons.find(({ check }) => check === 'sampleRatio');
    expect(mismatch?.numbers).toMatchObject({ intended: 0.05, observed: 0.5 });
  });
});

describe('a share that is wanted', () => {
  it('is taken back before the first step, and that is said', () => {
    const back = shiftingToFirstStep().when(paused);
    expect(back.desired).toEqual({ 1: 100 });
    expect(back.rollout.context.stepIndex).toBe(-1);
    expect(back.rollout.context.reason).toBe('Paused by ann: a look');
  });

  it('may have been written, each of those once, until one is confirmed', () => {
    let life = onFirstStep();
    for (let i = 0; i < 3; i += 1) life = life.when(promotedFully, paused, resumed);
    const { attempted, generation } = life.rollout.context.traffic;
    expect(generation).toBe(7);
    expect(attempted).toEqual([{ 1: 95, [canaryId]: 5 }, { [canaryId]: 100 }]);
    expect(life.applied().rollout.context.traffic.attempted).toEqual([]);
  });
});

describe('what somebody else changed', () => {
  const models = [stableModel, { ...stableModel, id: '2', versionId: '0' }, canaryModel];
  const split = { 1: 60, 2: 40 };

  it('adds who is new to stable, and nobody twice', () => {
    const life = given()
      .when({ type: 'endpoint.observed', split, models: models.slice(0, 2) }, { type: 'deploy.found' })
      .when({ type: 'endpoint.observed', split, models })
      .applied();
    const found = { 1: 40, 2: 40, 5: 15, [canaryId]: 5 };
    const foreign = {
      type: 'traffic.foreign' as const,
      generation: 1,
      found,
      models: [...models, { ...stableModel, id: '5' }],
    };
    const accepted = life.when(foreign, resumed);
    expect(accepted.rollout.context.stableModels.map(({ id }) => id)).toEqual(['1', '2', '5']);
  });

  it('says nothing of stable where only the canary is left: the recorded split comes back', () => {
    const foreign = {
      type: 'traffic.foreign' as const,
      generation: 1,
      found: { [canaryId]: 100 },
      models: [canaryModel],
    };
    expect(onFirstStep().when(foreign, aborted).desired).toEqual({ 1: 100 });
  });

  it('loses what it gave the canary when that is being cleaned up', () => {
    const serving = deployedCanary()
      .when(aborted)
      .when({ type: 'removal.serving', deployedModelId: canaryId, found: { 1: 50, [canaryId]: 50 } });
    expect(serving.desired).toEqual({ 1: 100 });
    expect(serving.state).toBe('rollingBack');
  });
});
