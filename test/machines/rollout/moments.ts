/** How does a test ask a claim or an update by itself? One event of each type, and what a context may hold. */
import type { Context } from '../../../machines/rollout/context.ts';
import type { RolloutEvent } from '../../../machines/rollout/events.ts';
import { canaryId, canaryModel, good, type Life, stableModel } from './life.ts';

/** As they come while a rollout of generation 1 runs the operation `op`. */
export function oneOfEach(at: number): RolloutEvent[] {
  const refused = { code: 'notFound', message: 'gone', isRetryable: true };
  const by = { by: 'ann', reason: 'a look' };
  const models = [stableModel, canaryModel];
  const evidence = {
    source: 'monitoring',
    window: { fromAt: at, toAt: at + 1000 },
    variants: { [canaryId]: good, 1: good },
  };
  const events: { [Type in RolloutEvent['type']]: Extract<RolloutEvent, { type: Type }> } = {
    'clock.ticked': { type: 'clock.ticked', at },
    'endpoint.observed': { type: 'endpoint.observed', at, split: { [canaryId]: 100 }, models },
    'target.missing': { type: 'target.missing', at, message: 'gone' },
    'deploy.started': { type: 'deploy.started', at, operation: 'op' },
    'deploy.found': { type: 'deploy.found', at },
    'deploy.refused': { type: 'deploy.refused', at, ...refused },
    'removal.started': { type: 'removal.started', at, deployedModelId: canaryId, operation: 'op' },
    'removal.found': { type: 'removal.found', at, deployedModelId: canaryId },
    'removal.refused': { type: 'removal.refused', at, ...refused },
    'removal.serving': { type: 'removal.serving', at, deployedModelId: '1', found: { 1: 100 } },
    'resize.started': { type: 'resize.started', at, deployedModelId: '1', operation: 'op' },
    'resize.refused': { type: 'resize.refused', at, ...refused },
    'operation.cancelled': { type: 'operation.cancelled', at, operation: 'op' },
    'operation.finished': { type: 'operation.finished', at, operation: 'op', error: null },
    'traffic.applied': { type: 'traffic.applied', at, split: { 1: 95, [canaryId]: 5 }, generation: 1 },
    'traffic.foreign': { type: 'traffic.foreign', at, found: { 1: 40, [canaryId]: 60 }, models, generation: 1 },
    'traffic.refused': { type: 'traffic.refused', at, ...refused },
    'evidence.observed': { type: 'evidence.observed', at, evidence },
    'past.observed': { type: 'past.observed', at, windows: [evidence] },
    'incident.opened': { type: 'incident.opened', at, incident: 'i1', summary: 'errors' },
    'blessing.newer': { type: 'blessing.newer', at, versionId: '3' },
    'operator.paused': { type: 'operator.paused', at, ...by },
    'operator.resumed': { type: 'operator.resumed', at, ...by },
    'operator.aborted': { type: 'operator.aborted', at, ...by },
    'operator.promoted': { type: 'operator.promoted', at, ...by },
    'operator.promotedFully': { type: 'operator.promotedFully', at, ...by },
    'operator.approved': { type: 'operator.approved', at, ...by },
  };
  return Object.values(events);
}

export const tick = (at: number): RolloutEvent => ({ type: 'clock.ticked', at });

/** What the life remembers, but for what is changed. */
export function contextOf({ rollout }: Life, change: Partial<Context> = {}): Context {
  return { ...rollout.context, ...change };
}

export const paused: Context['paused'] = { at: 1_000_000, by: 'ann', reason: 'a look' };

export const foreign: Context['foreign'] = { split: { 1: 40, [canaryId]: 60 }, models: [] };

export const ending: Context['ending'] = {
  state: 'aborted',
  at: 1_000_000,
  by: 'ann',
  reason: 'a look',
  verdict: null,
};

export const operation: Context['operation'] = {
  name: 'op',
  kind: 'undeploy',
  target: canaryId,
  startedAt: 1_000_000,
  isCancelled: false,
};
