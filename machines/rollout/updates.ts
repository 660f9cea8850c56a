/** What changes in a rollout's memory? Pure updates of the context, one per action of the statechart. */

import type { Evidence } from '../analysis/evidence.ts';
import { judge, suspicionCheck } from '../analysis/judge.ts';
import { addEvidence, beginStep, isShared, refusal, type Roles, sourceOf } from '../analysis/tally.ts';
import type { Context } from './context.ts';
import type { RolloutEvent } from './events.ts';
import { machineLimits } from './limits.ts';
import { exhaustedWait, freezeOf, type Moment, owedReserve, stableWithin } from './moment.ts';
import { isEmptySplit, isSameSplit, type Split, splitWithCanary } from './split.ts';

type Update = Partial<Context>;
type Ending = NonNullable<Context['ending']>;
type Reserve = Context['reserved'][number];

// Learning about the world

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

// Operations and refusals

export function noteOperation({ context, event }: Moment): Update {
  switch (event.type) {
    case 'deploy.started':
      return { operation: started('deploy', context.canaryId, event), ...noTrouble };
    case 'removal.started':
      return { operation: started('undeploy', event.deployedModelId, event), ...noTrouble };
    case 'resize.started':
      return { operation: started('resize', event.deployedModelId, event), ...noTrouble };
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

// Moving traffic

/** Wants the next step's share. What somebody else changed, and a person accepted, becomes stable first. */
export function takeNextStep({ context, event }: Moment): Update {
  return desireStep(context, context.stepIndex + 1, event);
}

export function takeLastStep({ context, event }: Moment): Update {
  return desireStep(context, context.policy.steps.length - 1, event);
}

/** Wants the share of the current step again, with what somebody else changed as the new stable. */
export function adoptFound({ context, event }: Moment): Update {
  return desireStep(context, context.stepIndex, event);
}

/** A pause while a share is being raised: wants the highest step that is not above what was confirmed (law 5). */
export function stepBack({ context, event }: Moment): Update {
  const confirmed = context.traffic.confirmed?.[context.canaryId] ?? 0;
  const stepIndex = context.policy.steps.findLastIndex(({ percent }) => percent <= confirmed);
  return { ...desireStep({ ...context, foreign: null }, stepIndex, event), foreign: context.foreign };
}

/** Wants the share of the step before again, where stable serves beside the canary and the two can be compared. */
export function stepBackToCompare({ context, event }: Moment): Update {
  const percent = context.policy.steps[context.stepIndex - 1]?.percent ?? 0;
  return {
    ...desireStep(context, context.stepIndex - 1, event),
    suspicions: context.suspicions + 1,
    promotedAt: null,
    reason: `${doubt(context)} Going back to ${percent} % to compare.`,
  };
}

/** Wants the recorded stable split back; a split that somebody else made loses only the canary's share. */
export function desireStable({ context }: Moment): Update {
  if (context.traffic.generation === 0) return {};
  const stable = context.foreign === null ? (context.stable ?? {}) : stableWithin(context, context.foreign.split);
  return { traffic: desiring(context, stable), effectAt: null, ...noTrouble };
}

/** The share is in effect from now: its hold and its evidence begin. */
export function noteEffect({ context, event }: Moment): Update {
  if (event.type !== 'traffic.applied') return {};
  const percent = event.split[context.canaryId] ?? 0;
  return {
    traffic: { ...context.traffic, confirmed: event.split, attempted: [] },
    effectAt: percent > 0 ? event.at : null,
    waitingSince: event.at,
    tally: percent > 0 ? beginStep(context.tally, event.at) : context.tally,
    verdicts: { monitoring: null, proxy: null },
    reason: percent > 0 ? `The canary has ${percent} % of the traffic.` : 'The canary has no traffic.',
    ...noTrouble,
  };
}

// Evidence

export function weigh({ context, event }: Moment): Update {
  if (event.type !== 'evidence.observed') return {};
  const { policy, stepIndex } = context;
  const tally = addEvidence(context.tally, event.evidence, rolesIn(context), machineLimits, policy.analysis);
  // Between two shares, and before the first, there is nothing to judge.
  if (tally.effectAt === null) return { tally };
  const source = sourceOf(event.evidence);
  const verdict = judge(tally, source, policy.analysis, {
    at: event.at,
    percent: policy.steps[stepIndex]?.percent ?? 0,
    nextPercent: policy.steps[stepIndex + 1]?.percent ?? null,
    maxExcessErrors: policy.exposure.maxExcessErrors,
  });
  // An outage that stable shares was no fault of the canary's, and is not held against it.
  const suspicions = isShared(tally[source]) ? 0 : context.suspicions;
  return { tally, suspicions, verdicts: { ...context.verdicts, [source]: verdict } };
}

/** Stable's past, window by window: how it is by nature, and how much it moves. */
export function rememberPast({ context, event }: Moment): Update {
  if (event.type !== 'past.observed') return {};
  const { analysis } = context.policy;
  const fold = (tally: Context['tally'], evidence: Evidence): Context['tally'] =>
    refusal(tally, evidence, machineLimits) === null
      ? addEvidence(tally, evidence, rolesIn(context), machineLimits, analysis)
      : tally;
  return { tally: event.windows.reduce(fold, context.tally) };
}

function rolesIn({ canaryId, stableModels }: Context): Roles {
  return { canaryId, stableIds: stableModels.map(({ id }) => id) };
}

export function noteHeld(moment: Moment): Update {
  const window = freezeOf(moment)?.text ?? null;
  return { heldBy: window, reason: `The next step waits for the freeze window to end: ${window}.` };
}

// People and pauses

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
  const reason = impatience(moment);
  return { paused: { at: moment.event.at, by: 'controller', reason }, reason };
}

export function noteResume({ event }: Moment): Update {
  return { paused: null, waitingSince: event.at, reason: `Resumed by ${actorName(event)}.` };
}

export function noteApproval({ event }: Moment): Update {
  return { isApproved: true, reason: `Approved by ${actorName(event)}.` };
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

// Endings

export function blameVerdict({ context, event }: Moment): Update {
  const verdict = [context.verdicts.monitoring, context.verdicts.proxy].find(
    (candidate) => candidate?.kind === 'unhealthy',
  );
  const why =
    verdict?.reasons
      .filter((reason) => reason.kind === 'unhealthy' && reason.dryRun !== true)
      .map((reason) => reason.text) ?? [];
  return ending(context, event, 'rolledBack', `${why.join(' ')} (${verdict?.source})`, verdict ?? null);
}

export function blameSuspicion({ context, event }: Moment): Update {
  const again = 'As before, it fails where it serves alone, and not beside stable.';
  return ending(context, event, 'rolledBack', `${doubt(context)} ${again}`);
}

export function blameSilence(moment: Moment): Update {
  return ending(moment.context, moment.event, 'rolledBack', impatience(moment));
}

export function blameOperator({ context, event }: Moment): Update {
  return ending(
    context,
    event,
    'aborted',
    'reason' in event ? `Aborted by ${actorName(event)}: ${event.reason}` : 'Aborted.',
  );
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

// The rest

const noTrouble: Update = { attempts: 0, retryAt: null, lastProblem: null };

function trouble(context: Context, event: RolloutEvent, problem: string): Update {
  const waitSeconds = Math.min(
    machineLimits.retrySecondsMax,
    machineLimits.retrySecondsMin * 2 ** Math.min(context.attempts, 10),
  );
  return { attempts: context.attempts + 1, retryAt: event.at + waitSeconds * 1000, lastProblem: problem };
}

function started(kind: 'deploy' | 'undeploy' | 'resize', target: string, event: RolloutEvent): Context['operation'] {
  return 'operation' in event ? { name: event.operation, kind, target, startedAt: event.at, isCancelled: false } : null;
}

/** Going back, the end of an order to hold is not the end of one to give back. */
function resized(context: Context, id: string): Context['reserved'] {
  const isGivenBack = (reserve: Reserve): boolean => reserve.id === id && reserve.isHeld && context.ending !== null;
  return context.reserved
    .filter((reserve) => !isGivenBack(reserve))
    .map((reserve) => (reserve.id === id ? { ...reserve, isHeld: true } : reserve));
}

function desireStep(context: Context, stepIndex: number, event: RolloutEvent): Update {
  const stable = context.foreign === null ? (context.stable ?? {}) : stableWithin(context, context.foreign.split);
  const percent = context.policy.steps[stepIndex]?.percent ?? 0;
  const known =
    context.foreign === null
      ? context
      : { ...context, traffic: { ...context.traffic, confirmed: context.foreign.split, attempted: [] } };
  const adopted =
    context.foreign?.models.filter(
      ({ id }) => id !== context.canaryId && !context.stableModels.some((model) => model.id === id),
    ) ?? [];
  return {
    stable,
    stableModels: [...context.stableModels, ...adopted],
    stepIndex,
    traffic: desiring(known, splitWithCanary(stable, context.canaryId, percent)),
    effectAt: null,
    waitingSince: event.at,
    isApproved: false,
    heldBy: null,
    foreign: null,
    reason:
      stepIndex < 0
        ? 'Taking the canary’s share back to 0 %.'
        : `Step ${stepIndex + 1}: giving the canary ${percent} %.`,
    ...noTrouble,
  };
}

/** A new generation: confirmations of older ones no longer count, and what they may have written is remembered. */
function desiring(context: Context, desired: Split): Context['traffic'] {
  const { traffic } = context;
  const unconfirmed = traffic.generation > 0 ? [...traffic.attempted, traffic.desired] : traffic.attempted;
  const attempted = unconfirmed.filter((split, i) => unconfirmed.findIndex((other) => isSameSplit(other, split)) === i);
  return {
    desired,
    confirmed: traffic.confirmed,
    attempted: attempted.slice(-machineLimits.attemptedMax),
    generation: traffic.generation + 1,
  };
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

/** The sentence of the verdict that doubts. */
function doubt({ verdicts }: Context): string {
  const reasons = [verdicts.monitoring, verdicts.proxy].flatMap((verdict) => verdict?.reasons ?? []);
  return reasons.find(({ check }) => check === suspicionCheck)?.text ?? '';
}

function impatience(moment: Moment): string {
  const wait = exhaustedWait(moment);
  const verdict = moment.context.verdicts.monitoring;
  const seen =
    verdict?.reasons.flatMap(({ text, dryRun }) => (dryRun === true ? [] : [text])).join(' ') ??
    'Monitoring shows no request of the canary.';
  const minutes = Math.round((moment.event.at - moment.context.waitingSince) / 6000) / 10;
  return `No conclusion after ${minutes} minutes (${wait?.kind ?? 'noData'}): ${seen}`;
}

function servingModels(models: { id: string; model: string; versionId: string }[]): Context['stableModels'] {
  return models.map(({ id, model, versionId }) => ({ id, model, versionId }));
}

function freeId(wanted: string, taken: string[]): string {
  let id = Number(wanted);
  while (taken.includes(String(id))) id = id >= 9_999_999_999 ? 1 : id + 1;
  return String(id);
}

function actorName(event: RolloutEvent): string {
  return 'by' in event ? event.by : 'the controller';
}
