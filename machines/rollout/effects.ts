/**
 * What must be looked at, and what must be done? Orders as data, derived from the state each time anew: a state owes
 * the same thing until an event says that it is done, so nothing is lost in a crash and nothing needs an outbox.
 */
import type { EvidenceWindow } from '../analysis/evidence.ts';
import { monitoringFrom } from '../analysis/tally.ts';
import type { Context } from './context.ts';
import { machineLimits } from './limits.ts';
import { owedReserve, stableOf, stableWithin } from './moment.ts';
import { dutyOf, type StoredRollout } from './snapshot.ts';
import { isEmptySplit, isSameSplit, type Split, withoutCanary } from './split.ts';

/** Looking changes nothing and may be done by anybody, at any time, for many rollouts at once. */
export type Look =
  | { type: 'endpoint.read' }
  | { type: 'model.read' }
  | { type: 'operation.poll'; operation: string }
  | { type: 'evidence.read'; window: EvidenceWindow }
  /** How stable was before the first share. */
  | { type: 'past.read'; window: EvidenceWindow };

/** Doing changes the world. Each is level-triggered or carries a key of its own, so doing it twice does no harm. */
export type Effect =
  | { type: 'model.deploy'; deployedModelId: string }
  | { type: 'traffic.apply'; generation: number }
  | { type: 'operation.cancel'; operation: string }
  | { type: 'model.remove'; deployedModelId: string }
  | { type: 'replicas.resize'; deployedModelId: string; minReplicas: number };

/**
 * What to look at before the next decision.
 * @param periodMs windows begin and end on multiples of it, so that rollouts share their calls
 */
export function looksOf(rollout: StoredRollout, at: number, periodMs: number): Look[] {
  const { context } = rollout;
  const duty = dutyOf(rollout);
  if (context.operation !== null) return [{ type: 'operation.poll', operation: context.operation.name }];
  if (duty === 'readWorld') return [{ type: 'model.read' }, { type: 'endpoint.read' }];
  if (duty === 'readEndpoint') return [{ type: 'endpoint.read' }, ...pastRead(context, at, periodMs)];
  if (duty !== 'watch' && duty !== 'shift') return [];
  const window = evidenceWindow(context, at, periodMs);
  return window === null ? [] : [{ type: 'evidence.read', window }];
}

/** What the rollout owes the world now; nothing while an operation runs, before a retry is due, or when it is over. */
export function effectsOf(rollout: StoredRollout, at: number): Effect[] {
  const { context } = rollout;
  if (at < (context.retryAt ?? at)) return [];
  const { operation, traffic } = context;
  switch (dutyOf(rollout)) {
    case 'holdReplicas': {
      const next = owedReserve(context);
      return operation === null && next !== null ? [resize(next.id, next.to)] : [];
    }
    case 'deploy':
      return operation === null ? [{ type: 'model.deploy', deployedModelId: context.canaryId }] : [];
    case 'shift':
      return context.foreign === null ? [{ type: 'traffic.apply', generation: traffic.generation }] : [];
    case 'restore':
      return [{ type: 'traffic.apply', generation: traffic.generation }];
    case 'clean':
      return cleaning(context, at);
    case 'retire': {
      const next = context.stableModels.find(({ id }) => !context.removed.includes(id));
      return operation === null && next !== undefined ? [{ type: 'model.remove', deployedModelId: next.id }] : [];
    }
    default:
      return [];
  }
}

/** What the split is to be, given what it is: the answer that traffic.apply writes, or why it must not write. */
export type SplitAnswer =
  | { kind: 'write'; split: Split }
  /** Somebody else changed it; going forward, it is not overwritten (law 11). */
  | { kind: 'foreign'; found: Split }
  /** Who is to get traffic, or to take it back, is not ready (law 12). */
  | { kind: 'unready'; message: string };

export interface ObservedSplit {
  split: Split;
  /** DeployedModels on the endpoint, and whether each has a replica that can serve. */
  models: { id: string; canServe: boolean }[];
}

/** Decides what to write. Going back, a split of somebody else's loses only the canary's share, in proportion. */
export function answerSplit(rollout: StoredRollout, observed: ObservedSplit): SplitAnswer {
  const { context } = rollout;
  const isKnown = knownSplits(context).some((known) => isSameSplit(known, observed.split));
  if (context.ending === null) {
    if (!isKnown) return { kind: 'foreign', found: observed.split };
    const unready = Object.entries(context.traffic.desired).find(
      ([id, percent]) =>
        percent > 0 &&
        (observed.split[id] ?? 0) === 0 &&
        !observed.models.some((model) => model.id === id && model.canServe),
    );
    if (unready === undefined) return { kind: 'write', split: context.traffic.desired };
    return {
      kind: 'unready',
      message: `DeployedModel ${unready[0]} is to get ${unready[1]} %, and has no ready replica`,
    };
  }
  const wanted = isKnown ? context.traffic.desired : stableWithin(context, observed.split);
  if (isKnown && isEmptySplit(wanted)) return { kind: 'write', split: {} };
  const able = Object.entries(wanted).filter(([id]) =>
    observed.models.some((model) => model.id === id && model.canServe),
  );
  if (able.length === 0) {
    const message = `no stable model can take the traffic back: wanted ${JSON.stringify(wanted)}, the endpoint has ${observed.models.map(({ id }) => id).join(', ') || 'none'}`;
    return { kind: 'unready', message };
  }
  return { kind: 'write', split: withoutCanary(Object.fromEntries(able), context.canaryId) };
}

/** Splits that we wrote, or may have written if a reply was lost. */
function knownSplits(context: Context): Split[] {
  const { traffic } = context;
  return [traffic.desired, traffic.confirmed ?? stableOf(context), ...traffic.attempted];
}

function cleaning(context: Context, at: number): Effect[] {
  const { operation } = context;
  if (operation !== null) {
    const mustCancel = operation.kind === 'deploy' && !operation.isCancelled;
    return mustCancel ? [{ type: 'operation.cancel', operation: operation.name }] : [];
  }
  // Replicas go back to their owner first: they may bill, and a kept canary may be kept for days.
  const reserve = owedReserve(context);
  if (reserve !== null) return [resize(reserve.id, reserve.from)];
  // The canary remains: a rollout that has nothing to clean is over.
  const isKept = context.keepUntil !== null && at < context.keepUntil;
  return isKept ? [] : [{ type: 'model.remove', deployedModelId: context.canaryId }];
}

function resize(deployedModelId: string, minReplicas: number): Effect {
  return { type: 'replicas.resize', deployedModelId, minReplicas };
}

/**
 * From where Monitoring was read to now minus its lag, on whole periods; null while no whole period has passed.
 * A step's first window begins one period late: a point that ends inside it may have begun before the step took effect.
 */
function evidenceWindow(context: Context, at: number, periodMs: number): EvidenceWindow | null {
  const { effectAt } = context.tally;
  const from = monitoringFrom(context.tally);
  if (from === null) return null;
  const toAt = visibleUntil(context, at, periodMs);
  const nextAt = Math.ceil((from === effectAt ? from + periodMs : from) / periodMs) * periodMs;
  const fromAt = Math.max(nextAt, toAt - machineLimits.periodsMax * periodMs);
  return toAt > fromAt ? { fromAt, toAt } : null;
}

/** Once, while the canary warms up: what stable was like in the last periods, if any of them can be seen. */
function pastRead(context: Context, at: number, periodMs: number): Look[] {
  if (context.tally.effectAt !== null || context.tally.covered['monitoring'] !== undefined) return [];
  const toAt = visibleUntil(context, at, periodMs);
  return [{ type: 'past.read', window: { fromAt: toAt - machineLimits.periodsMax * periodMs, toAt } }];
}

function visibleUntil({ policy }: Context, at: number, periodMs: number): number {
  return Math.floor((at - policy.analysis.metricLagSeconds * 1000) / periodMs) * periodMs;
}
