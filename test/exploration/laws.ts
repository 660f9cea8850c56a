/**
 * Which laws does one transition break? Looks at a rollout before and after an event, and at what it owes then, and knows
 * nothing of how the machine decides: each law is said here once more, in other words.
 */

import { isFrozen } from '../../machines/policy/windows.ts';
import { stateOf } from '../../machines/rollout/describe.ts';
import { effectsOf } from '../../machines/rollout/effects.ts';
import type { RolloutEvent } from '../../machines/rollout/events.ts';
import { isEmptySplit, type Split } from '../../machines/rollout/split.ts';
import { rolloutOf, type Situation } from './abstraction.ts';

export interface Transition {
  before: Situation;
  event: RolloutEvent;
  after: Situation;
  arrows: string[];
}

const finals = ['promoted', 'rolledBack', 'aborted', 'failed', 'superseded'];

/** One sentence per law that is broken. */
export function brokenLaws(transition: Transition): string[] {
  return [...laws].flatMap(([sentence, holds]) => (holds(transition) ? [] : [sentence]));
}

const laws = new Map<string, (transition: Transition) => boolean>([
  [
    'law 1: shares are integers that sum to 100, or there are none',
    ({ after: { context } }) =>
      [context.traffic.desired, context.traffic.confirmed ?? {}, context.stable ?? {}].every(isWhole),
  ],
  [
    "law 2: the canary's share never exceeds its step",
    ({ after: { context } }) => {
      const step = context.policy.steps[context.stepIndex]?.percent ?? 0;
      return context.ending !== null || isFirst(context) || shareOf(context) <= step;
    },
  ],
  [
    'laws 2 and 5: a share rises by proof or by a person, and not while paused',
    (transition) => mayHaveRisen(transition),
  ],
  [
    'law 4: going back, the canary is to have nothing',
    ({ after: { context } }) => context.ending === null || shareOf(context) === 0,
  ],
  [
    'law 4: a rollback cleans up when the split is confirmed, was never changed, or the endpoint is gone',
    ({ before, event, after }) => {
      const hasBegun = stateOf(rolloutOf(before)) !== 'rollingBack' || isRestoring(before);
      if (after.context.ending === null || isRestoring(after) || !hasBegun) return true;
      if (after.context.traffic.generation === 0) return true;
      if (event.type === 'traffic.refused') return event.code === 'notFound';
      return event.type === 'traffic.applied' && event.generation === before.context.traffic.generation;
    },
  ],
  [
    'law 6: an abort is followed from everywhere, until stable is being removed',
    ({ before, event, after }) =>
      event.type !== 'operator.aborted' ||
      isOver(before) ||
      before.context.retiringAt !== null ||
      after.context.ending !== null,
  ],
  ['law 10: what is over takes no event', ({ before, arrows }) => !isOver(before) || arrows.length === 0],
  [
    'law 10: what is over says so, once',
    ({ after }) =>
      isOver(after) === (after.context.endedAt !== null) && isOver(after) === (after.value.pause === 'ended'),
  ],
  [
    'law 12: from the point of no return on, nothing is done but to remove stable, unless stable has all the traffic again',
    ({ before, event, after }) =>
      before.context.retiringAt === null ||
      before.context.ending !== null ||
      isOver(before) ||
      isRetiring(after) ||
      isOver(after) ||
      (event.type === 'removal.serving' && (event.found[before.context.canaryId] ?? 0) === 0),
  ],
  [
    "law 11: somebody else's split stands only while the rollout is paused",
    ({ after: { value, context } }) => context.foreign === null || context.ending !== null || value.pause === 'paused',
  ],
  [
    'a pause is remembered as long as it lasts',
    ({ after: { value, context } }) => (value.pause === 'paused') === (context.paused !== null),
  ],
  [
    'nothing is given up that was not tried',
    ({ before, after }) => !isRestoring(before) || before.context.removed.length === after.context.removed.length,
  ],
]);

/** One sentence per law that a situation breaks by itself, whatever led there. */
export function brokenStateLaws(situation: Situation, owes: string | null): string[] {
  const { context } = situation;
  // Once every wait is over.
  const owed = effectsOf(rolloutOf(situation), Number.MAX_SAFE_INTEGER);
  const isWriting = owed.some(({ type }) => type === 'traffic.apply');
  const isRemovingStable = owed.some((one) => one.type === 'model.remove' && one.deployedModelId !== context.canaryId);
  const claims: [string, boolean][] = [
    ['law 10: what is over owes nothing', !isOver(situation) || (owes === null && owed.length === 0)],
    ['every state that is not final owes something', isOver(situation) || owes !== null],
    [
      "law 11: while somebody else's split stands, nothing is written over it",
      context.ending !== null || context.foreign === null || !isWriting,
    ],
    ['law 12: stable is removed only after the point of no return', !isRemovingStable || context.retiringAt !== null],
  ];
  return claims.flatMap(([sentence, holds]) => (holds ? [] : [sentence]));
}

function mayHaveRisen({ before, event, after }: Transition): boolean {
  if (shareOf(after.context) <= shareOf(before.context)) return true;
  if (event.type === 'operator.promoted' || event.type === 'operator.promotedFully') return true;
  const { context, at } = before;
  // Who resumes, accepts what somebody else made of the split.
  const isRunning = (before.value.pause === 'running' && context.foreign === null) || event.type === 'operator.resumed';
  if (!isRunning || isFrozen(context.policy.freeze, at) !== null) return false;
  if (context.effectAt === null) return context.stepIndex < 0 && after.context.isReady;
  const step = context.policy.steps[context.stepIndex];
  const verdict = after.context.verdicts.monitoring;
  if (step === undefined || verdict === null) return false;
  const freshMs = (context.policy.analysis.metricLagSeconds + Math.max(step.holdSeconds, 60)) * 1000;
  return (
    verdict.kind === 'healthy' &&
    verdict.fromAt >= context.effectAt &&
    verdict.toAt > context.effectAt &&
    verdict.toAt >= at - freshMs &&
    at - context.effectAt >= step.holdSeconds * 1000 &&
    (!step.approval || context.isApproved || event.type === 'operator.approved')
  );
}

function isOver(situation: Situation): boolean {
  return finals.includes(stateOf(rolloutOf(situation)));
}

function isRestoring({ value: { progress } }: Situation): boolean {
  return typeof progress === 'object' && 'rollingBack' in progress && progress.rollingBack === 'restoring';
}

function isRetiring({ value: { progress } }: Situation): boolean {
  return typeof progress === 'object' && JSON.stringify(progress).includes('retiring');
}

function shareOf({ traffic, canaryId }: Situation['context']): number {
  return traffic.desired[canaryId] ?? 0;
}

function isFirst({ stable }: Situation['context']): boolean {
  return stable !== null && isEmptySplit(stable);
}

function isWhole(split: Split): boolean {
  const shares = Object.values(split);
  const isInRange = shares.every((share) => Number.isInteger(share) && share >= 0 && share <= 100);
  return isInRange && (shares.length === 0 || shares.reduce((sum, share) => sum + share, 0) === 100);
}
