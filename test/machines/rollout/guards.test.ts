/** What is claimed of a moment: of which event, under which conditions, and from which millisecond on. */
import { describe, expect, test } from 'vitest';
import { suspicionCheck } from '../../../machines/analysis/judge.ts';
import type { Verdict } from '../../../machines/analysis/verdict.ts';
import type { Context } from '../../../machines/rollout/context.ts';
import * as guards from '../../../machines/rollout/guards.ts';
import { canaryId, deployedCanary, given, type Life, onFirstStep, onLastStep, policyOf } from './life.ts';
import { shiftingToFirstStep, stableModel } from './life.ts';
import { contextOf, ending, foreign, oneOfEach, operation, paused, tick } from './moments.ts';

const { endsAs, ...claims } = guards;
type Claim = keyof typeof claims;

/** Lives begin on Thursday, 1 January 1970, a quarter of an hour after midnight. */
const freezing = policyOf('  freeze: [ "Thu 00:00 - Thu 12:00 UTC" ]\n');
const deploying = given()
  .when({ type: 'endpoint.observed', split: { 1: 100 }, models: [stableModel] })
  .when({ type: 'deploy.started', operation: 'op' });

function verdictOf(change: Partial<Verdict> = {}): Verdict {
  return { kind: 'healthy', source: 'monitoring', at: 0, fromAt: 1_000_000, toAt: 1_010_000, reasons: [], ...change };
}

const doubted = verdictOf({
  kind: 'inconclusive',
  reasons: [{ check: suspicionCheck, kind: 'inconclusive', text: 'It may be an outage.', numbers: {} }],
});

describe('no claim throws', () => {
  const lives = [given(), deployedCanary(), shiftingToFirstStep(), onFirstStep(), onLastStep()];

  test.each(Object.entries(claims))('%s', (_name, claim) => {
    for (const life of lives) {
      for (const event of oneOfEach(life.at))
        expect(claim({ context: life.rollout.context, event })).toBeTypeOf('boolean');
    }
  });

  test('endsAs', () => {
    for (const { rollout } of lives)
      expect(endsAs({ context: rollout.context, event: tick(0) }, { state: 'failed' })).toBe(false);
  });
});

describe('a claim about an event is true of no other', () => {
  const refusals = ['deploy.refused', 'removal.refused', 'resize.refused', 'traffic.refused'];

  test.each<[claim: Claim, life: Life, types: string[]]>([
    ['alreadyServes', given(), ['endpoint.observed']],
    ['isOurOperation', deploying, ['operation.finished']],
    ['operationSucceeded', deploying, ['operation.finished']],
    ['operationMayBeRetried', deploying, []],
    ['isRetryable', given(), refusals],
    ['isCurrentGeneration', shiftingToFirstStep(), ['traffic.applied']],
    ['endpointIsGone', shiftingToFirstStep(), ['traffic.refused']],
    ['isForeign', onFirstStep(), ['traffic.foreign']],
    ['isNewEvidence', onFirstStep(), ['evidence.observed']],
    ['isNewPast', deployedCanary(), ['past.observed']],
    ['canaryLostItsShare', onLastStep(), ['removal.serving']],
  ])('%s', (claim, { rollout, at }, types) => {
    const { context } = rollout;
    const claimed = oneOfEach(at).filter((event) => claims[claim]({ context, event }));
    expect(claimed.map(({ type }) => type)).toEqual(types);
  });
});

describe('each condition counts by itself', () => {
  const effectAt = 1_000_000;
  const ready = contextOf(onFirstStep(), { isReady: true });
  const proven = contextOf(onFirstStep(), { verdicts: { monitoring: verdictOf(), proxy: null } });
  const silent = contextOf(onFirstStep(), { waitingSince: 0 });
  const suspected = contextOf(onLastStep(), { verdicts: { monitoring: null, proxy: doubted } });
  const overdue = contextOf(deploying, { deployOrderedAt: 0 });
  const kept = contextOf(onLastStep(), { promotedAt: 0 });
  const frozen = contextOf(shiftingToFirstStep(freezing), { heldBy: null });
  const verdicts = (change: Partial<Verdict>) => ({ verdicts: { monitoring: verdictOf(change), proxy: null } });
  const reserved = [{ id: '1', from: 1, to: 4, isHeld: true }];
  const gone = contextOf(onFirstStep(), { removed: [canaryId], ending });
  const noMore = contextOf(onLastStep(), { removed: ['1', '2'] });
  const threeModels = ['1', '2', '3'].map((id) => ({ id, model: 'm', versionId: '1' }));

  test.each<[claim: Claim, holds: Context, at: number, unless: Partial<Context>[]]>([
    ['isFirstDeployment', contextOf(given(), { stable: {} }), 0, [{ stable: null }, { stable: { 1: 100 } }]],
    ['mayRaise', ready, effectAt, [{ paused }, { foreign }, { policy: freezing }]],
    ['mayTakeFirstStep', ready, effectAt, [{ isReady: false }, { paused }, { foreign }, { policy: freezing }]],
    [
      'stepWasProven',
      proven,
      effectAt + 10_000,
      [
        { effectAt: null },
        { stepIndex: -1 },
        { verdicts: { monitoring: null, proxy: verdictOf() } },
        verdicts({ kind: 'inconclusive' }),
        verdicts({ kind: 'noData' }),
        verdicts({ fromAt: effectAt - 1 }),
        verdicts({ toAt: effectAt }),
      ],
    ],
    ['isHeldByFreeze', frozen, effectAt, [{ isReady: false }, { paused }, { heldBy: 'Thu' }, { policy: policyOf() }]],
    ['isSuspected', suspected, effectAt, [{ foreign }, { retiringAt: 0 }, { stepIndex: 0 }]],
    ['isSuspectedAgain', contextOf(onFirstStep(), { suspicions: 2 }), 0, [{ suspicions: 1 }, { paused }, { ending }]],
    ['evidenceRanOutThenPause', silent, effectAt, [{ paused }, { effectAt: null }, { waitingSince: effectAt }]],
    ['preparationTimedOut', contextOf(given()), effectAt * 10, [{ paused }]],
    ['shiftTimedOut', contextOf(shiftingToFirstStep()), effectAt * 10, [{ paused }]],
    ['operationTimedOut', contextOf(deploying), effectAt * 10, [{ operation: null }]],
    ['deployTimedOut', overdue, effectAt * 10, [{ isReady: true }, { deployOrderedAt: null }]],
    ['keepIsOver', kept, effectAt, [{ promotedAt: null }, { promotedAt: effectAt }, { paused }, { foreign }]],
    ['mayRetire', kept, effectAt, [{ paused }, { foreign }]],
    ['stableIsRetired', noMore, effectAt, [{ operation }, { removed: [] }, { stableModels: threeModels }]],
    ['isCleanedUp', gone, effectAt, [{ operation }, { reserved }, { removed: ['1'] }]],
    ['isGoingForward', contextOf(onFirstStep()), effectAt, [{ ending }, { endedAt: effectAt }]],
  ])('%s', (claim, context, at, unless) => {
    const holds = (change: Partial<Context>) => claims[claim]({ context: { ...context, ...change }, event: tick(at) });
    expect(holds({})).toBe(true);
    expect(unless.filter(holds)).toEqual([]);
  });
});

describe('a time is over at its very millisecond', () => {
  const proven = contextOf(onFirstStep(), { verdicts: { monitoring: verdictOf(), proxy: null } });

  test.each<[claim: Claim, context: Context, from: number]>([
    ['preparationTimedOut', contextOf(given()), 1_000_000 + 3_600_000],
    ['shiftTimedOut', contextOf(shiftingToFirstStep()), 1_000_000 + 1_800_000],
    ['deployTimedOut', contextOf(deploying), 1_000_000 + 2_700_000],
    ['operationTimedOut', contextOf(deploying), 1_000_000 + 7_200_000],
    ['evidenceRanOutThenPause', contextOf(onFirstStep()), 1_000_000 + 30_000],
    ['stepIsProven', proven, 1_000_000 + 10_000],
    ['keepIsOver', contextOf(onLastStep(), { promotedAt: 1_000_000 }), 1_000_000 + 20_000],
  ])('%s', (claim, context, from) => {
    const holds = (at: number) => claims[claim]({ context, event: tick(at) });
    expect([holds(from - 1), holds(from)]).toEqual([false, true]);
  });

  test('a proof grows stale after the lag and a minute, and was one', () => {
    const until = 1_010_000 + 62_000;
    const asked = [until, until + 1].map((at) => ({ context: proven, event: tick(at) }));
    expect(asked.map(guards.stepIsProven)).toEqual([true, false]);
    expect(asked.map(guards.stepWasProven)).toEqual([true, true]);
  });
});

test('stable has a past to learn from as long as one of its windows is new', () => {
  const { rollout, at } = deployedCanary();
  const [past] = oneOfEach(at).filter((event) => event.type === 'past.observed');
  const [first] = past?.windows ?? [];
  if (first === undefined) throw new Error('no window');
  const second = { ...first, window: { fromAt: first.window.toAt, toAt: first.window.toAt + 1000 } };
  const learnt = deployedCanary().when({ type: 'past.observed', windows: [first] }).rollout.context;
  const isNew = (windows: (typeof first)[], context = rollout.context) =>
    guards.isNewPast({ context, event: { type: 'past.observed', at, windows } });
  expect(isNew([first])).toBe(true);
  expect(isNew([first, second], learnt)).toBe(true);
  expect(isNew([first], learnt)).toBe(false);
  expect(isNew([])).toBe(false);
  // Once a share took effect it is no past any more.
  expect(isNew([first], onFirstStep().rollout.context)).toBe(false);
});
