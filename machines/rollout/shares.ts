/** What changes when a share is wanted, takes effect, or is judged? */
import type { Evidence } from '../analysis/evidence.ts';
import { judge } from '../analysis/judge.ts';
import { addEvidence, beginStep, isShared, refusal, type Roles, sourceOf } from '../analysis/tally.ts';
import type { Context } from './context.ts';
import type { RolloutEvent } from './events.ts';
import { machineLimits } from './limits.ts';
import { confirmedPercent, doubt, freezeOf, type Moment, percentAt, stableOf, stableWithin } from './moment.ts';
import { isSameSplit, type Split, splitWithCanary } from './split.ts';
import { noTrouble, type Update } from './update.ts';

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
  const confirmed = confirmedPercent(context);
  const held = context.policy.steps.findLastIndex(({ percent }) => percent <= confirmed);
  // Somebody else may have given it more than we want.
  const stepIndex = Math.min(context.stepIndex, held);
  return { ...desireStep({ ...context, foreign: null }, stepIndex, event), foreign: context.foreign };
}

/** Wants the share of the step before again, where stable serves beside the canary and the two can be compared. */
export function stepBackToCompare({ context, event }: Moment): Update {
  const percent = percentAt(context, context.stepIndex - 1);
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
  const stable = context.foreign === null ? stableOf(context) : stableWithin(context, context.foreign.split);
  return { traffic: desiring(context, stable), effectAt: null, ...noTrouble };
}

/** Somebody else gave the canary a share, though it is over with it or never had one. */
export function desireStableAgain({ context }: Moment): Update {
  return { traffic: desiring(context, stableOf(context)), effectAt: null, ...noTrouble };
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

export function weigh({ context, event }: Moment): Update {
  if (event.type !== 'evidence.observed') return {};
  const { policy, stepIndex } = context;
  const tally = addEvidence(context.tally, event.evidence, rolesIn(context), machineLimits, policy.analysis);
  // Between two shares, and before the first, there is nothing to judge.
  if (tally.effectAt === null) return { tally };
  const source = sourceOf(event.evidence);
  const verdict = judge(tally, source, policy.analysis, {
    at: event.at,
    // Not the step's, which may not be in effect yet: then these are still the requests of the share before.
    percent: confirmedPercent(context),
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
  const window = freezeOf(moment);
  if (window === null) return {};
  return { heldBy: window.text, reason: `The next step waits for the freeze window to end: ${window.text}.` };
}

function desireStep(context: Context, stepIndex: number, event: RolloutEvent): Update {
  const stable = context.foreign === null ? stableOf(context) : stableWithin(context, context.foreign.split);
  const percent = percentAt(context, stepIndex);
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
    promotedAt: null,
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
