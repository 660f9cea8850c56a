/** What is the world told? Compares a rollout before and after an event, and names what happened, with the numbers. */
import type { Verdict } from '../analysis/verdict.ts';
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
  const was = before?.context ?? null;
  const is = after.context;
  const from = before === null ? null : stateOf(before);
  const to = stateOf(after);
  const entered = (state: RolloutState): boolean => to === state && from !== state;
  const what: Happening[] = [];
  if (before === null) what.push('started');
  if (from === 'deploying' && to !== 'rollingBack' && to !== 'deploying') what.push('deployed');
  if (is.effectAt !== null && is.effectAt !== was?.effectAt) what.push('shifted');
  if (is.heldBy !== null && was?.heldBy == null) what.push('held');
  if (is.paused !== null && was?.paused == null) what.push('paused');
  if (is.paused === null && was?.paused != null && is.ending === null) what.push('resumed');
  if (entered('awaitingApproval')) what.push('approval-needed');
  if (is.promotedAt !== null && was?.promotedAt == null) what.push('promoted');
  if (entered('rollingBack') || (is.ending !== null && was?.ending == null && to !== 'rollingBack'))
    what.push('rolling-back');
  if (needsPerson(before, after)) what.push('attention');
  const ended = endings[to];
  if (ended !== undefined && from !== to) what.push(ended);
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

/** Somebody else changed the split, something was left behind, or an effect has been refused again and again. */
function needsPerson(before: StoredRollout | null, after: StoredRollout): boolean {
  const was = before?.context;
  const is = after.context;
  const isForeign = is.foreign !== null && was?.foreign == null;
  const isStuck =
    is.attempts >= machineLimits.attentionAttempts && (was?.attempts ?? 0) < machineLimits.attentionAttempts;
  const wasGivenUp =
    was !== undefined &&
    was.attempts >= machineLimits.attentionAttempts &&
    is.attempts === 0 &&
    is.removed.length > was.removed.length;
  return isForeign || isStuck || wasGivenUp;
}
