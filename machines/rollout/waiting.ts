/** Does a rollout wait for a person? By itself it does not go on then, and no deadline of its own ends it. */
import { stateOf } from './describe.ts';
import { machineLimits } from './limits.ts';
import type { StoredRollout } from './snapshot.ts';

export interface Wait {
  sinceAt: number;
  /** What a person is to know, after the rollout's name. */
  text: string;
}

/** Paused, waiting for approval, or refused again and again; null when it goes on by itself, or is over. */
export function waitForPerson(rollout: StoredRollout): Wait | null {
  const { paused, effectAt, waitingSince, attempts, lastProblem, ending, endedAt } = rollout.context;
  if (endedAt !== null) return null;
  if (paused !== null) return { sinceAt: paused.at, text: `is paused by ${paused.by}: ${paused.reason}` };
  if (stateOf(rollout) === 'awaitingApproval') return { sinceAt: effectAt ?? waitingSince, text: 'waits for approval' };
  if (attempts < machineLimits.attentionAttempts) return null;
  return { sinceAt: ending?.at ?? waitingSince, text: `was refused ${attempts} times: ${lastProblem}` };
}
