/** What changes when the world is looked at, and when an order is given, answered or refused? */
import type { Context } from './context.ts';
import type { RolloutEvent } from './events.ts';
import { machineLimits } from './limits.ts';
import { type Moment, owedReserve } from './moment.ts';
import { isEmptySplit } from './split.ts';
import { noTrouble, servingModels, type Update } from './update.ts';

type Reserve = Context['reserved'][number];

/** Remembers the split to go back to, whom it names, and which replicas must be held up so that it can take it back. */
export function rememberStable({ context, event }: Moment): Update {
  if (event.type !== 'endpoint.observed') return {};
  const serving = event.models.filter((model) => (event.split[model.id] ?? 0) > 0);
  return {
    stable: Object.fromEntries(Object.entries(event.split).filter(([, percent]) => percent > 0)),
    stableModels: servingModels(serving),
    reserved: serving.flatMap(({ id, minReplicas, availableReplicas }) =>
      minReplicas !== null && availableReplicas !== null && availableReplicas > minReplicas
        ? [{ id, from: minReplicas, to: availableReplicas, isHeld: false }]
        : [],
    ),
    canaryId: freeId(
      context.canaryId,
      event.models.map((model) => model.id),
    ),
    reason: isEmptySplit(event.split)
      ? 'The endpoint is empty: the first deployment.'
      : 'Stable is recorded; deploying the canary.',
    ...noTrouble,
  };
}

export function noteReady({ context, event }: Moment): Update {
  if (event.type !== 'endpoint.observed') return {};
  const canary = event.models.find((model) => model.id === context.canaryId);
  const isReady =
    canary !== undefined &&
    (canary.availableReplicas === null || canary.availableReplicas >= context.policy.deploy.minReplicas);
  if (isReady) return { isReady, reason: 'The canary is deployed and ready.', ...noTrouble };
  return {
    isReady,
    reason: `The canary is deployed; ${canary?.availableReplicas ?? 0} of ${context.policy.deploy.minReplicas} replicas are ready.`,
  };
}

export function noteOperation({ context, event }: Moment): Update {
  switch (event.type) {
    case 'deploy.started':
      return { operation: started('deploy', context.canaryId, event), ...noTrouble };
    case 'removal.started':
      return { operation: started('undeploy', event.deployedModelId, event), retryAt: null };
    case 'resize.started':
      return { operation: started('resize', event.deployedModelId, event), retryAt: null };
    default:
      return {};
  }
}

/** Remembers the order before it is given: from here on a DeployedModel may arrive, whatever becomes of the reply. */
export function noteOrdered({ event }: Moment): Update {
  return { deployOrderedAt: event.at };
}

export function noteDeployFound(): Update {
  return { operation: null, ...noTrouble };
}

export function noteCancelled({ context }: Moment): Update {
  return context.operation === null ? {} : { operation: { ...context.operation, isCancelled: true }, ...noTrouble };
}

/** The operation is over: what it was for is done, or stays owed and is tried again later. */
export function noteFinished({ context, event }: Moment): Update {
  const { operation } = context;
  if (operation === null || event.type !== 'operation.finished') return {};
  if (event.error !== null)
    return { operation: null, ...trouble(context, event, `${event.error.code}: ${event.error.message}`) };
  if (operation.kind === 'undeploy')
    return { operation: null, removed: [...context.removed, operation.target], ...noTrouble };
  if (operation.kind === 'resize')
    return { operation: null, reserved: resized(context, operation.target), ...noTrouble };
  return { operation: null, ...noTrouble };
}

export function noteRemoved({ context, event }: Moment): Update {
  return event.type === 'removal.found'
    ? { removed: [...context.removed, event.deployedModelId], operation: null, ...noTrouble }
    : {};
}

/** Tries again later, with twice the wait. An order that may have arrived is remembered as given. */
export function noteRefusal({ context, event }: Moment): Update {
  if (!('isRetryable' in event)) return {};
  return { ...trouble(context, event, `${event.code}: ${event.message}`) };
}

/** Somebody else gave a share to what is to be removed; that is theirs to take back. */
export function noteServing({ context, event }: Moment): Update {
  if (event.type !== 'removal.serving') return {};
  const { deployedModelId, found } = event;
  return trouble(context, event, `DeployedModel ${deployedModelId} has ${found[deployedModelId]} % of the traffic`);
}

/** What was refused too often is left behind, and a person is told. */
export function giveUpRemoval({ context }: Moment): Update {
  const why = `after ${context.attempts} tries (${context.lastProblem})`;
  const reserve = owedReserve(context);
  if (reserve !== null) {
    const reason = `The replicas of DeployedModel ${reserve.id} could not be set ${why}; its owner's least is ${reserve.from}.`;
    return { reserved: context.reserved.filter(({ id }) => id !== reserve.id), operation: null, reason, ...noTrouble };
  }
  const next = context.ending === null ? context.stableModels.map(({ id }) => id) : [context.canaryId];
  const target = next.find((id) => !context.removed.includes(id));
  if (target === undefined) return noTrouble;
  const reason = `DeployedModel ${target} could not be removed ${why}; remove it by hand, it still bills.`;
  return { removed: [...context.removed, target], operation: null, reason, ...noTrouble };
}

/** Replicas that cannot be held, or given back, do not stop a rollout. */
export function giveUpResize({ context }: Moment): Update {
  const refused = owedReserve(context);
  return { reserved: context.reserved.filter((reserve) => reserve !== refused), ...noTrouble };
}

/** An operation that never ends is not waited for; what it was for is tried again, or given up. */
export function forgetOperation({ context, event }: Moment): Update {
  return { operation: null, ...trouble(context, event, `operation ${context.operation?.name} did not end`) };
}

function trouble(context: Context, event: RolloutEvent, problem: string): Update {
  const waitSeconds = Math.min(
    machineLimits.retrySecondsMax,
    machineLimits.retrySecondsMin * 2 ** Math.min(context.attempts, 10),
  );
  return { attempts: context.attempts + 1, retryAt: event.at + waitSeconds * 1000, lastProblem: problem };
}

function started(
  kind: 'deploy' | 'undeploy' | 'resize',
  target: string,
  { operation: name, at: startedAt }: { operation: string; at: number },
): Context['operation'] {
  return { name, kind, target, startedAt, isCancelled: false };
}

/** Going back, the end of an order to hold is not the end of one to give back. */
function resized(context: Context, id: string): Context['reserved'] {
  const isGivenBack = (reserve: Reserve): boolean => reserve.id === id && reserve.isHeld && context.ending !== null;
  return context.reserved
    .filter((reserve) => !isGivenBack(reserve))
    .map((reserve) => (reserve.id === id ? { ...reserve, isHeld: true } : reserve));
}

function freeId(wanted: string, taken: string[]): string {
  let id = Number(wanted);
  while (taken.includes(String(id))) id = id >= 9_999_999_999 ? 1 : id + 1;
  return String(id);
}

/** Nothing is left to restore; what was refused so far was not the cleaning. */
export function noteGone(): Update {
  return noTrouble;
}
