/** What can happen to a rollout? Facts, past tense, each dated `at` by our own clock in milliseconds since the epoch. */
import type { Evidence } from '../analysis/evidence.ts';
import type { Split } from './split.ts';

export interface ObservedModel {
  id: string;
  model: string;
  versionId: string;
  minReplicas: number | null;
  availableReplicas: number | null;
}

type Dated<Type extends string, Fields = unknown> = { type: Type; at: number } & Fields;
type ByPerson<Type extends string> = Dated<Type, { by: string; reason: string }>;
/** Why an effect was not done. `isRetryable`: the same order may succeed later. */
type Refused<Type extends string> = Dated<Type, { code: string; message: string; isRetryable: boolean }>;

export type RolloutEvent =
  | Dated<'clock.ticked'>
  | Dated<'endpoint.observed', { split: Split; models: ObservedModel[] }>
  | Dated<'target.missing', { message: string }>
  | Dated<'deploy.started', { operation: string }>
  | Dated<'deploy.found'>
  | Refused<'deploy.refused'>
  | Dated<'removal.started', { deployedModelId: string; operation: string }>
  | Dated<'removal.found', { deployedModelId: string }>
  | Refused<'removal.refused'>
  /** What is to be removed takes traffic, so it was not; `found` is the split. */
  | Dated<'removal.serving', { deployedModelId: string; found: Split }>
  | Dated<'resize.started', { deployedModelId: string; operation: string }>
  | Refused<'resize.refused'>
  | Dated<'operation.cancelled', { operation: string }>
  | Dated<'operation.finished', { operation: string; error: { code: string; message: string } | null }>
  | Dated<'traffic.applied', { split: Split; generation: number }>
  /** Judged against the record of this generation, on an endpoint that was read after that record. */
  | Dated<'traffic.foreign', { found: Split; models: ObservedModel[]; generation: number }>
  | Refused<'traffic.refused'>
  | Dated<'evidence.observed', { evidence: Evidence }>
  /** How stable was before the first share, window by window, ascending. */
  | Dated<'past.observed', { windows: Evidence[] }>
  | Dated<'incident.opened', { incident: string; summary: string }>
  | Dated<'blessing.newer', { versionId: string }>
  | ByPerson<'operator.paused'>
  | ByPerson<'operator.resumed'>
  | ByPerson<'operator.aborted'>
  | ByPerson<'operator.promoted'>
  | ByPerson<'operator.promotedFully'>
  | ByPerson<'operator.approved'>;

/** Who caused it: a person's name, or null for the controller itself. */
export function actorOf(event: RolloutEvent): string | null {
  return 'by' in event ? event.by : null;
}

/** The same, as a sentence's subject. */
export function actorName(event: RolloutEvent): string {
  return actorOf(event) ?? 'the controller';
}
