/**
 * What can happen to a rollout in a given situation? Every type of event, once for every distinction that a claim makes.
 * Labels name the same thing everywhere, whatever the rollout's numbers are just then.
 */
import type { VerdictKind } from '../../machines/analysis/verdict.ts';
import type { ObservedModel, RolloutEvent } from '../../machines/rollout/events.ts';
import type { Split } from '../../machines/rollout/split.ts';
import { canaryModel, stableModel } from '../machines/rollout/life.ts';
import type { Situation } from './abstraction.ts';
import { seen, sights } from './evidence.ts';
import type { Case } from './policies.ts';

export interface Happening {
  label: string;
  event: RolloutEvent;
  /** The verdict that it is to lead to, while a share is in effect. */
  makes: VerdictKind | null;
}

type Undated = RolloutEvent extends infer Event ? (Event extends { at: number } ? Omit<Event, 'at'> : never) : never;

const people = [
  'operator.paused',
  'operator.resumed',
  'operator.aborted',
  'operator.promoted',
  'operator.promotedFully',
  'operator.approved',
] as const;

/** Everything, in one order. */
export function happenings({ context, at }: Situation, { endpoints, foreign }: Case): Happening[] {
  const ours = context.operation?.name ?? 'operations/none';
  const { desired, generation } = context.traffic;
  const refusedBy = { message: 'x' };
  const stable = context.stableModels.length === 0 ? ['1'] : context.stableModels.map(({ id }) => id);
  // An id that is taken already would only make the rollout choose another.
  const canary = { ...canaryModel, id: context.stable === null ? '6' : context.canaryId };
  const other = (id: string): string => (id === context.canaryId ? (stable[0] ?? '1') : context.canaryId);
  const removable = context.ending === null ? stable : [context.canaryId];
  const all: [string, Undated][] = [
    ['tick', { type: 'clock.ticked' }],
    ...endpoints.map(({ name, split, models: found }): [string, Undated] => [
      `endpoint.observed: ${name}`,
      { type: 'endpoint.observed', split, models: found },
    ]),
    observed('serving our version already', { 5: 100 }, [{ ...canaryModel, id: '5' }]),
    observed('canary ready', { 1: 100 }, [stableModel, canary]),
    observed('canary not ready', { 1: 100 }, [stableModel, { ...canary, availableReplicas: 0 }]),
    ['target.missing', { type: 'target.missing', ...refusedBy }],
    ['deploy.started', { type: 'deploy.started', operation: 'operations/ours' }],
    ['deploy.found', { type: 'deploy.found' }],
    ...refusals('deploy.refused'),
    ...removable.flatMap((id): [string, Undated][] => {
      const name = id === context.canaryId ? 'canary' : id;
      return [
        [`removal.started: ${name}`, { type: 'removal.started', deployedModelId: id, operation: 'operations/ours' }],
        [`removal.found: ${name}`, { type: 'removal.found', deployedModelId: id }],
        [`removal.serving: ${name} has all`, { type: 'removal.serving', deployedModelId: id, found: { [id]: 100 } }],
        [
          `removal.serving: ${name} has half`,
          { type: 'removal.serving', deployedModelId: id, found: { [id]: 50, [other(id)]: 50 } },
        ],
      ];
    }),
    ...refusals('removal.refused'),
    ['resize.started', { type: 'resize.started', deployedModelId: '1', operation: 'operations/ours' }],
    ...refusals('resize.refused'),
    ['operation.cancelled', { type: 'operation.cancelled', operation: ours }],
    ['operation.finished: done', { type: 'operation.finished', operation: ours, error: null }],
    ['operation.finished: no room', finished(ours, 'RESOURCE_EXHAUSTED')],
    ['operation.finished: failed', finished(ours, 'INVALID_ARGUMENT')],
    ["operation.finished: somebody else's", { type: 'operation.finished', operation: 'operations/other', error: null }],
    ['traffic.applied: as desired', { type: 'traffic.applied', split: desired, generation }],
    ['traffic.applied: late', { type: 'traffic.applied', split: desired, generation: generation - 1 }],
    // Nobody compares the split with ours before there is one.
    ...(generation === 0 ? [] : foreign).map(({ name, split: found, models }): [string, Undated] => [
      `traffic.foreign: ${name}`,
      { type: 'traffic.foreign', found, models, generation },
    ]),
    [
      'traffic.foreign: late',
      { type: 'traffic.foreign', found: { 1: 1, 9: 99 }, models: [], generation: generation - 1 },
    ],
    ...refusals('traffic.refused'),
    ['traffic.refused: gone', { type: 'traffic.refused', code: 'notFound', ...refusedBy, isRetryable: false }],
    [
      'past.observed: new',
      { type: 'past.observed', windows: [seen('monitoring', at - 3_600_000, at, { 1: [5000, 5] })] },
    ],
    ['past.observed: nothing', { type: 'past.observed', windows: [] }],
    ['incident.opened', { type: 'incident.opened', incident: 'i', summary: 'x' }],
    ['blessing.newer', { type: 'blessing.newer', versionId: '3' }],
    ...people.map((type): [string, Undated] => [type, { type, by: 'ann', reason: 'x' }]),
  ];
  return [
    ...all.map(([label, event]) => ({ label, event: { ...event, at }, makes: null })),
    ...sights(context, context.tally.effectAt ?? at - 3_600_000, at).map(
      ({ label, evidence, makes }): Happening => ({
        label: `evidence.observed: ${label}`,
        event: { type: 'evidence.observed', at, evidence },
        makes,
      }),
    ),
  ];
}

function observed(name: string, split: Split, models: ObservedModel[]): [string, Undated] {
  return [`endpoint.observed: ${name}`, { type: 'endpoint.observed', split, models }];
}

function refusals(
  type: 'deploy.refused' | 'removal.refused' | 'resize.refused' | 'traffic.refused',
): [string, Undated][] {
  return [
    [`${type}: try again`, { type, code: 'unavailable', message: 'x', isRetryable: true }],
    [`${type}: for good`, { type, code: 'invalidArgument', message: 'x', isRetryable: false }],
  ];
}

function finished(operation: string, code: string): Undated {
  return { type: 'operation.finished', operation, error: { code, message: 'x' } };
}
