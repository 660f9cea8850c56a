/** What changes when a person, an alert, or patience speaks; and when the version is proven? */
import { actorName } from './events.ts';
import { impatience, type Moment } from './moment.ts';
import { servingModels, type Update } from './update.ts';

export function notePause({ event }: Moment): Update {
  if (event.type !== 'operator.paused') return {};
  return {
    paused: { at: event.at, by: event.by, reason: event.reason },
    reason: `Paused by ${event.by}: ${event.reason}`,
  };
}

export function noteForeign({ event }: Moment): Update {
  if (event.type !== 'traffic.foreign') return {};
  const reason = `Somebody else changed the split to ${JSON.stringify(event.found)}. Resume to accept it as stable, or abort.`;
  const models = servingModels(event.models.filter(({ id }) => (event.found[id] ?? 0) > 0));
  return { foreign: { split: event.found, models }, paused: { at: event.at, by: 'controller', reason }, reason };
}

export function noteIncident({ event }: Moment): Update {
  if (event.type !== 'incident.opened') return {};
  const reason = `Alert ${event.incident} is open: ${event.summary}`;
  return { paused: { at: event.at, by: 'controller', reason }, reason };
}

export function noteImpatience(moment: Moment): Update {
  // At the same moment a verdict may have begun the way back, which no pause stops.
  if (moment.context.ending !== null) return {};
  const reason = impatience(moment);
  return { paused: { at: moment.event.at, by: 'controller', reason }, reason };
}

/** What failed alone again is left to a person, at a share where it did no harm. */
export function noteSuspicion({ context, event }: Moment): Update {
  const again = 'As before, it fails where it serves alone and not beside stable: resume to try again, or abort.';
  const reason = `${context.reason} ${again}`;
  return { paused: { at: event.at, by: 'controller', reason }, reason };
}

export function noteResume({ event }: Moment): Update {
  return { paused: null, suspicions: 0, waitingSince: event.at, reason: `Resumed by ${actorName(event)}.` };
}

export function noteApproval({ event }: Moment): Update {
  return { isApproved: true, waitingSince: event.at, reason: `Approved by ${actorName(event)}.` };
}

export function noteTooLate(): Update {
  return { reason: 'The abort came too late: stable is being removed and cannot take the traffic back.' };
}

export function notePromoted({ context, event }: Moment): Update {
  return {
    promotedAt: event.at,
    reason: `Version ${context.versionId} is proven at 100 %; stable is kept until the rollback window ends.`,
  };
}

export function noteRetiring({ event }: Moment): Update {
  return { retiringAt: event.at, reason: 'The rollback window is over; stable is being undeployed.' };
}
