/** What is the world told? Compares a rollout before and after an event, and names what happened, with the numbers. */
import type { Verdict } from '../analysis/verdict.ts';
import type { Context } from './context.ts';
import { machineLimits } from './limits.ts';
import { actorOf, type RolloutEvent } from './events.ts';
import type { StoredRollout } from './snapshot.ts';
import { type RolloutState } from './view.ts';
import { percentOf, stateOf } from './describe.ts';

export const happenings = [
  'queued',
  'started',
  'deployed',
  'shifted',
  'held',
  'paused',
  'resumed',
  'approval-needed',
  'promoted',
  'rolling-back',
  'rolled-back',
  'aborted',
  'failed',
  'superseded',
  'completed',
  'attention',
] as const;

export type Happening = (typeof happenings)[number];

export interface Notification {
  what: Happening;
  rollout: string;
  endpoint: string;
  model: string;
  versionId: string;
  state: RolloutState;
  percent: number;
  reason: string;
  by: string | null;
  verdict: Verdict | null;
  at: number;
}

/** What happened between two moments of one rollout; `before` is null when it has just begun. */
export function announce(before: StoredRollout | null, after: StoredRollout, event: RolloutEvent): Notification[] {
  const is = after.context;
  const to = stateOf(after);
  const what: Happening[] = before === null ? ['started'] : happened(before, after, event);
  return what.map((happening) => ({
    what: happening,
    rollout: is.id,
    endpoint: is.endpoint,
    model: is.model,
    versionId: is.versionId,
    state: to,
    percent: percentOf(after),
    reason: happening === 'attention' ? (is.lastProblem ?? is.reason) : (is.ending?.reason ?? is.reason),
    by: actorOf(event),
    verdict: is.ending === null ? is.verdicts.monitoring : is.ending.verdict,
    at: event.at,
  }));
}

const endings: Partial<Record<RolloutState, Happening>> = {
  promoted: 'completed',
  rolledBack: 'rolled-back',
  aborted: 'aborted',
  failed: 'failed',
  superseded: 'superseded',
};

function happened(before: StoredRollout, after: StoredRollout, event: RolloutEvent): Happening[] {
  const { context: was } = before;
  const { context: is } = after;
  const [from, to] = [stateOf(before), stateOf(after)];
  const what: Happening[] = [];
  if (from === 'deploying' && to !== 'rollingBack' && to !== 'deploying') what.push('deployed');
  if (is.effectAt !== null && is.effectAt !== was.effectAt) what.push('shifted');
  if (is.heldBy !== null && was.heldBy === null) what.push('held');
  if (is.paused !== null && was.paused === null) what.push('paused');
  if (is.paused === null && was.paused !== null && is.ending === null) what.push('resumed');
  if (to === 'awaitingApproval' && from !== to) what.push('approval-needed');
  if (is.promotedAt !== null && was.promotedAt === null) what.push('promoted');
  if (is.ending !== null && was.ending === null) what.push('rolling-back');
  if (needsPerson(was, is, event)) what.push('attention');
  const ended = endings[to];
  return ended === undefined ? what : [...what, ended];
}

/** Somebody else changed the split, something was left behind, or an effect has been refused again and again. */
function needsPerson(was: Context, is: Context, event: RolloutEvent): boolean {
  const isForeign = is.foreign !== null && was.foreign === null;
  const isStuck = is.attempts >= machineLimits.attentionAttempts && was.attempts < machineLimits.attentionAttempts;
  const isGone = event.type === 'removal.found' || (event.type === 'operation.finished' && event.error === null);
  const wasGivenUp = is.removed.length > was.removed.length && !isGone;
  return isForeign || isStuck || wasGivenUp;
}
