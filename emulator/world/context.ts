/** What do the parts of the world share? The state, the clock, and the way to say that something has changed. */
import type { Operation, WorldState } from './state.ts';
import type { Timings } from './timings.ts';

export type WorldEvent = { kind: 'changed' } | { kind: 'operationDone'; operation: Operation };

/** Faults of the world itself, switched from outside. */
export interface Conditions {
  /** Operations make no progress and do not time out. */
  operationsAreStuck: boolean;
  /** Points that end within a gap are not shown while the gap stands. */
  metricGaps: { fromAt: number; toAt: number }[];
}

export interface WorldContext {
  state: WorldState;
  conditions: Conditions;
  timings: Timings;
  /** Milliseconds since the epoch. */
  now(): number;
  /** Returns a number that was not given before. */
  nextNumber(): number;
  emit(event: WorldEvent): void;
}

/** Returns an etag that no resource had before. */
export function nextEtag(context: WorldContext): string {
  return `E${context.nextNumber().toString(36).padStart(8, '0')}`;
}
