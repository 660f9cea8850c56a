/** What changes when a rollout turns back, and when it is over? Why, by whom, and what is left to do. */
import type { Context } from './context.ts';
import type { RolloutEvent } from './events.ts';
import { impatience, type Moment } from './moment.ts';
import { noTrouble, type Update } from './update.ts';

type Ending = NonNullable<Context['ending']>;

export function blameVerdict({ context, event }: Moment): Update {
  const verdict = [context.verdicts.monitoring, context.verdicts.proxy].find(
    (candidate) => candidate?.kind === 'unhealthy',
  );
  if (verdict == null) return {};
  const why = verdict.reasons
    .filter(({ kind, dryRun }) => kind === 'unhealthy' && dryRun !== true)
    .map(({ text }) => text);
  return ending(context, event, 'rolledBack', `${why.join(' ')} (${verdict.source})`, verdict);
}

export function blameSilence(moment: Moment): Update {
  return ending(moment.context, moment.event, 'rolledBack', impatience(moment));
}

export function blameOperator({ context, event }: Moment): Update {
  return event.type === 'operator.aborted'
    ? ending(context, event, 'aborted', `Aborted by ${event.by}: ${event.reason}`)
    : {};
}

export function blameIncident({ context, event }: Moment): Update {
  return event.type === 'incident.opened'
    ? ending(context, event, 'rolledBack', `Alert ${event.incident} opened: ${event.summary}`)
    : {};
}

export function blameNewer({ context, event }: Moment): Update {
  return event.type === 'blessing.newer'
    ? ending(context, event, 'superseded', `Version ${event.versionId} was blessed.`)
    : {};
}

export function blameTakenBack({ context, event }: Moment): Update {
  const reason =
    'Stable has the traffic again: an abort took it from the canary before it could be recorded, or a person did.';
  return ending(context, event, 'rolledBack', reason);
}

export function blameMissing({ context, event }: Moment): Update {
  return event.type === 'target.missing' ? ending(context, event, 'failed', event.message) : {};
}

export function blameRefusal({ context, event }: Moment): Update {
  return 'isRetryable' in event ? { ...ending(context, event, 'failed', `${event.code}: ${event.message}`) } : {};
}

export function blameOperation({ context, event }: Moment): Update {
  if (event.type !== 'operation.finished' || event.error === null) return {};
  return {
    operation: null,
    ...ending(context, event, 'failed', `The deployment failed: ${event.error.code}: ${event.error.message}`),
  };
}

export function blameDeadline({ context, event }: Moment): Update {
  const last = context.lastProblem === null ? '' : ` The last problem was ${context.lastProblem}`;
  return ending(context, event, 'failed', `Not done within its deadline: ${context.reason}${last}`);
}

export function hurry({ event }: Moment): Update {
  return { keepUntil: event.at };
}

export function noteEnd({ context, event }: Moment): Update {
  const isPromoted = context.ending === null && context.promotedAt !== null;
  const reason = isPromoted ? `Version ${context.versionId} serves 100 %; what it replaced is gone.` : context.reason;
  return { endedAt: event.at, paused: null, foreign: null, reason };
}

export function noteAlreadyServes({ context }: Moment): Update {
  return { reason: `Version ${context.versionId} serves 100 % already.` };
}

function ending(
  context: Context,
  event: RolloutEvent,
  state: Ending['state'],
  reason: string,
  verdict: Ending['verdict'] = null,
): Update {
  const keepSeconds = state === 'rolledBack' ? context.policy.keepFailedCanarySeconds : 0;
  const by = 'by' in event ? event.by : null;
  return {
    ending: { state, at: event.at, by, reason, verdict },
    keepUntil: event.at + keepSeconds * 1000,
    // What was neither held nor ordered to be is its owner's still.
    reserved: context.reserved.filter(({ id, isHeld }) => isHeld || context.operation?.target === id),
    reason,
    paused: null,
    ...noTrouble,
  };
}
