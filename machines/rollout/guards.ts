/** What is true now? Claims about a rollout's context and the event at hand. Total: no claim throws. */
import { refusal } from '../analysis/tally.ts';
import type { RolloutEvent } from './events.ts';
import { machineLimits } from './limits.ts';
import {
  canaryMayServe,
  currentStep,
  exhaustedWait,
  freezeOf,
  isDoubted,
  isFresh,
  type Moment,
  owedReserve,
} from './moment.ts';
import { isSameModel } from './resource-name.ts';
import { isEmptySplit, isSameSplit } from './split.ts';

/** No room just now; or the platform has forgotten the operation, and ordering anew finds what came of it. */
const retryableDeployErrors = new Set(['RESOURCE_EXHAUSTED', 'UNAVAILABLE', 'NOT_FOUND']);

// The world as it was found

export function alreadyServes({ context, event }: Moment): boolean {
  if (event.type !== 'endpoint.observed') return false;
  return event.models.some(
    (found) =>
      isSameModel(found.model, context.model) && found.versionId === context.versionId && event.split[found.id] === 100,
  );
}

export function isFirstDeployment({ context }: Moment): boolean {
  return context.stable !== null && isEmptySplit(context.stable);
}

export function hasReplicasToHold({ context }: Moment): boolean {
  return owedReserve(context) !== null;
}

export function hasHeldReplicas(moment: Moment): boolean {
  return !hasReplicasToHold(moment);
}

// Raising the canary's share

/** A share may rise by itself: nobody paused, nobody else changed the split, no freeze window holds. */
export function mayRaise({ context, event }: Moment): boolean {
  return context.paused === null && context.foreign === null && freezeOf({ context, event }) === null;
}

export function mayTakeFirstStep(moment: Moment): boolean {
  return moment.context.isReady && mayRaise(moment);
}

export function mayTakeOnlyStep(moment: Moment): boolean {
  return mayTakeFirstStep(moment) && (nextIsLast(moment) || isFirstDeployment(moment));
}

export function isReady({ context }: Moment): boolean {
  return context.isReady;
}

export function isReadyAndNextIsLast(moment: Moment): boolean {
  return moment.context.isReady && (nextIsLast(moment) || isFirstDeployment(moment));
}

export function nextIsLast({ context }: Moment): boolean {
  return context.stepIndex + 1 >= context.policy.steps.length - 1;
}

export function mayTakeNextStep(moment: Moment): boolean {
  return stepIsProven(moment) && !needsApproval(moment) && mayRaise(moment);
}

export function mayTakeLastStep(moment: Moment): boolean {
  return mayTakeNextStep(moment) && nextIsLast(moment);
}

/**
 * Law 2: the share was held its time, and the evidence is healthy, dated wholly after the step took effect, and fresh.
 * Proxy evidence may lower the share and never raise it, so only Monitoring proves a step.
 */
export function stepIsProven(moment: Moment): boolean {
  return stepWasProven(moment) && isFresh(moment);
}

/** Proven once, by evidence that may have grown stale since: enough to ask a person, not to go on. */
export function stepWasProven({ context, event }: Moment): boolean {
  const step = currentStep(context);
  const verdict = context.verdicts.monitoring;
  if (step === null || context.effectAt === null || verdict === null || verdict.kind !== 'healthy') return false;
  const hasHeld = event.at >= context.effectAt + step.holdSeconds * 1000;
  return hasHeld && verdict.fromAt >= context.effectAt && verdict.toAt > context.effectAt;
}

export function needsApproval({ context }: Moment): boolean {
  return currentStep(context)?.approval === true && !context.isApproved;
}

export function mustAwaitApproval(moment: Moment): boolean {
  return stepWasProven(moment) && needsApproval(moment);
}

/** A proven step that only a freeze window holds back, and that was not said yet. */
export function isHeldByFreeze(moment: Moment): boolean {
  const { context } = moment;
  const couldRise = context.effectAt === null ? context.isReady : stepIsProven(moment) && !needsApproval(moment);
  return couldRise && context.paused === null && context.heldBy === null && freezeOf(moment) !== null;
}

// What was reported back

export function isOurOperation(moment: Moment): boolean {
  return ourEnd(moment) !== null;
}

export function operationSucceeded(moment: Moment): boolean {
  return ourEnd(moment)?.error === null;
}

/** The platform had no room just now; the same order may succeed inside the deployment's deadline. */
export function operationMayBeRetried(moment: Moment): boolean {
  const error = ourEnd(moment)?.error ?? null;
  return error !== null && retryableDeployErrors.has(error.code) && !deployTimedOut(moment);
}

/** Else a refusal may be of another instance's order for what is under way. */
export function runsNothing({ context }: Moment): boolean {
  return context.operation === null;
}

export function isRetryable({ event }: Moment): boolean {
  return 'isRetryable' in event && event.isRetryable;
}

/** The confirmation is for what is desired now, not for what was desired when the write began. */
export function isCurrentGeneration({ context, event }: Moment): boolean {
  return event.type === 'traffic.applied' && event.generation === context.traffic.generation;
}

export function isBackAtStart(moment: Moment): boolean {
  return isCurrentGeneration(moment) && moment.context.stepIndex < 0;
}

export function isFirstAndCurrent(moment: Moment): boolean {
  return isCurrentGeneration(moment) && isFirstDeployment(moment);
}

export function endpointIsGone({ event }: Moment): boolean {
  return event.type === 'traffic.refused' && event.code === 'notFound';
}

/** Somebody else's split, and not one that we wrote or may have written. */
export function isForeign({ context, event }: Moment): boolean {
  if (event.type !== 'traffic.foreign' || context.ending !== null || context.retiringAt !== null) return false;
  if (event.generation !== context.traffic.generation) return false;
  return context.foreign === null || !isSameSplit(context.foreign.split, event.found);
}

export function hasForeign({ context }: Moment): boolean {
  return context.foreign !== null;
}

/** Evidence counts once, and only from after the step's effect. */
export function isNewEvidence({ context, event }: Moment): boolean {
  return event.type === 'evidence.observed' && refusal(context.tally, event.evidence, machineLimits) === null;
}

/** Stable's past is learnt before the first share, and each window of it once. */
export function isNewPast({ context, event }: Moment): boolean {
  if (event.type !== 'past.observed' || context.tally.effectAt !== null) return false;
  return event.windows.some((evidence) => refusal(context.tally, evidence, machineLimits) === null);
}

// Going back

export function isUnhealthy({ context }: Moment): boolean {
  const { monitoring, proxy } = context.verdicts;
  return (monitoring?.kind === 'unhealthy' || proxy?.kind === 'unhealthy') && canRestore({ context });
}

/**
 * The canary fails where nobody is left to compare with. At the share before, the split between the two tells in seconds
 * whether it is the canary or an outage; to lower a share needs no proof.
 */
export function isSuspected({ context }: Moment): boolean {
  return isDoubted(context) && context.stepIndex > 0 && context.foreign === null && canRestore({ context });
}

/** It went back to the share before once too often: as good as stable there, and failing where it serves alone. */
export function isSuspectedAgain({ context }: Moment): boolean {
  return context.suspicions >= machineLimits.suspicionsMax && context.paused === null && context.ending === null;
}

/** Stable is still whole. Another instance may have ordered its removal as soon as that was decided. */
export function canRestore({ context }: Pick<Moment, 'context'>): boolean {
  return context.retiringAt === null;
}

export function evidenceRanOutThenRollBack(moment: Moment): boolean {
  return exhaustedWait(moment)?.outcome === 'rollBack' && canRestore(moment);
}

export function evidenceRanOutThenPause(moment: Moment): boolean {
  return moment.context.paused === null && exhaustedWait(moment)?.outcome === 'pause';
}

export function incidentRollsBack({ context }: Moment): boolean {
  return context.policy.analysis.incident === 'rollBack' && canaryMayServe(context) && canRestore({ context });
}

export function incidentPauses(moment: Moment): boolean {
  const { incident } = moment.context.policy.analysis;
  return isGoingForward(moment) && (incident === 'pause' || (incident === 'rollBack' && !incidentRollsBack(moment)));
}

export function policyReplaces({ context }: Moment): boolean {
  return context.policy.onNewBlessing === 'replace';
}

export function preparationTimedOut({ context, event }: Moment): boolean {
  return context.paused === null && event.at >= context.waitingSince + machineLimits.prepareSecondsMax * 1000;
}

export function operationTimedOut({ context, event }: Moment): boolean {
  return (
    context.operation !== null && event.at >= context.operation.startedAt + machineLimits.operationSecondsMax * 1000
  );
}

/** The deadline counts from the first call of DeployModel. */
export function deployTimedOut({ context, event }: Moment): boolean {
  return (
    !context.isReady &&
    context.deployOrderedAt !== null &&
    event.at >= context.deployOrderedAt + context.policy.deploy.deadlineSeconds * 1000
  );
}

export function shiftTimedOut({ context, event }: Moment): boolean {
  return context.paused === null && event.at >= context.waitingSince + machineLimits.shiftSecondsMax * 1000;
}

export function neverShifted({ context }: Moment): boolean {
  return context.traffic.generation === 0;
}

// Cleaning up and ending

export function keepIsOver({ context, event }: Moment): boolean {
  const { promotedAt, policy } = context;
  const isKeptLongEnough = promotedAt !== null && event.at >= promotedAt + policy.keepStableSeconds * 1000;
  return isKeptLongEnough && mayRetire({ context });
}

/** Nobody paused, and nobody else gave stable a share. */
export function mayRetire({ context }: Pick<Moment, 'context'>): boolean {
  return context.paused === null && context.foreign === null;
}

export function mayBePromoted(moment: Moment): boolean {
  return stepIsProven(moment) && mayRetire(moment);
}

export function stableIsRetired({ context }: Moment): boolean {
  return context.operation === null && context.stableModels.every(({ id }) => context.removed.includes(id));
}

export function removalGivenUp({ context }: Moment): boolean {
  return context.attempts >= machineLimits.removeAttemptsMax;
}

/** Stable cannot be removed, for it has what was the canary's. Nobody but an abort before its record, or a person, does that. */
export function canaryLostItsShare({ context, event }: Moment): boolean {
  return event.type === 'removal.serving' && (event.found[context.canaryId] ?? 0) === 0;
}

/** The canary is gone or was never ordered, and stable's replicas are its owner's again. */
export function isCleanedUp({ context }: Pick<Moment, 'context'>): boolean {
  const canaryIsGone = context.deployOrderedAt === null || context.removed.includes(context.canaryId);
  return canaryIsGone && context.operation === null && context.reserved.length === 0;
}

export function endsAs({ context }: Moment, { state }: { state: string }): boolean {
  return isCleanedUp({ context }) && context.ending?.state === state;
}

export function isGoingForward({ context }: Moment): boolean {
  return context.ending === null && context.endedAt === null;
}

/** A rollout that goes back is not paused any more. */
export function wasUnpaused({ context }: Moment): boolean {
  return context.ending !== null;
}

export function isOver({ context }: Moment): boolean {
  return context.endedAt !== null;
}

/** The end of the operation that is waited for. */
function ourEnd({ context, event }: Moment): Extract<RolloutEvent, { type: 'operation.finished' }> | null {
  return event.type === 'operation.finished' && context.operation?.name === event.operation ? event : null;
}
