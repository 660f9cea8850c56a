/** What is another tool's rule, to this bench? A controller that is woken every minute and shown what Monitoring has by then. */
import type { Count } from '../../../machines/analysis/evalue.ts';

export interface Minute {
  canary: Count;
  stable: Count;
}

export interface Look {
  /** The canary's share. */
  percent: number;
  /** How long the canary has had this share. */
  heldMinutes: number;
  /** By minute of the rollout, as far as the lag allows; null where nothing was measured. Empty until the lag has passed. */
  minutes: readonly (Minute | null)[];
}

export type Decision =
  | { kind: 'stay' }
  | { kind: 'shift'; percent: number }
  | { kind: 'rollBack'; reason: string }
  /** The rollout is over, and the canary has all traffic. */
  | { kind: 'complete' };

export interface Rule {
  name: string;
  firstPercent: number;
  /** How long to wait for an end; six hours where absent. */
  horizonMinutes?: number;
  /** Begins one rollout. */
  begin: () => (look: Look) => Decision;
}

export const stay: Decision = { kind: 'stay' };

export function rollBack(reason: string): Decision {
  return { kind: 'rollBack', reason };
}

/** The canary's counts of some minutes together; null where none was measured or none had a request, so no ratio exists. */
export function canaryOf(minutes: readonly (Minute | null)[]): Count | null {
  const sum = { hits: 0, trials: 0 };
  for (const minute of minutes) {
    sum.hits += minute?.canary.hits ?? 0;
    sum.trials += minute?.canary.trials ?? 0;
  }
  return sum.trials === 0 ? null : sum;
}

export function isAbove(count: Count | null, ratioMax: number): boolean {
  return count !== null && count.hits > ratioMax * count.trials;
}
