/**
 * What would the rule have done? One life of a rollout through the real statechart, in the data's own time: each window
 * is told when Monitoring would have shown it, the split is applied as soon as it is wanted, and nobody is there to help.
 */
import type { VariantCounts } from '../../machines/analysis/evidence.ts';
import type { Verdict } from '../../machines/analysis/verdict.ts';
import type { Policy } from '../../machines/policy/policy.ts';
import { percentOf, stateOf } from '../../machines/rollout/describe.ts';
import type { RolloutEvent } from '../../machines/rollout/events.ts';
import { dutyOf, startRollout, stepRollout, type StoredRollout } from '../../machines/rollout/snapshot.ts';
import type { RolloutState } from '../../machines/rollout/view.ts';
import type { SidedWindow, Sides } from './sides.ts';

export interface Short {
  requests: number;
  errors: number;
}

export interface Played {
  fromAt: number;
  toAt: number;
  canary: Short;
  stable: Short;
}

export interface Judged {
  at: number;
  window: { fromAt: number; toAt: number };
  /** From 0. */
  stepIndex: number;
  percent: number;
  /** Since the step took effect, as the verdict saw them. */
  canary: Short;
  stable: Short;
  kind: Verdict['kind'];
  reasons: string[];
}

/** Something other than a verdict: a share that moved, a pause, an end. */
export interface Change {
  at: number;
  state: RolloutState;
  /** From 0. */
  stepIndex: number;
  percent: number;
  reason: string;
}

export type Outcome = 'promoted' | 'rolledBack' | 'paused' | 'undecided';

export interface Life {
  outcome: Outcome;
  /** When it was so; the end of the data where nothing was decided. */
  at: number;
  reason: string;
  /** The canary's share, and its step from 0, just before. */
  percent: number;
  stepIndex: number;
  /** A rollback because the canary was proven worse, and not because evidence ran out. */
  isProof: boolean;
  startedAt: number;
  verdicts: Judged[];
  changes: Change[];
  /** What each window had for whom. */
  played: Played[];
  /** Windows with requests that the rule did not count: they began before the step took effect. */
  passedOver: number;
}

/** The requests of a window, given the canary's share in percent. */
export type Allot = (window: SidedWindow, index: number, percent: number) => Sides;

const stableId = '1';
const canaryId = '2';
const by = 'backtest';

/** Lives one life. Ends early when nothing can change any more: rolled back, or stable would be removed. */
export function replay(policy: Policy, windows: SidedWindow[], windowMs: number, allot: Allot): Life {
  const startedAt = windows[0]?.fromAt ?? 0;
  const lagMs = policy.analysis.metricLagSeconds * 1000;
  const told = tellRollout(policy, startedAt);
  const verdicts: Judged[] = [];
  const played: Played[] = [];
  let passedOver = 0;
  let at = startedAt;
  for (const [i, window] of windows.entries()) {
    const dueAt = window.toAt + lagMs;
    // Where nothing was recorded, time passes all the same; once paused, nothing but evidence can change anything.
    while (at + windowMs < dueAt && told.rollout().context.paused === null && !isOver(told.rollout())) {
      at += windowMs;
      told.tell({ type: 'clock.ticked', at });
    }
    if (isOver(told.rollout())) break;
    at = dueAt;
    const { canary, stable } = allot(window, i, percentOf(told.rollout()));
    played.push({ fromAt: window.fromAt, toAt: window.toAt, canary: shortOf(canary), stable: shortOf(stable) });
    const verdict = canary.requests + stable.requests === 0 ? null : told.show(at, window, { canary, stable });
    if (verdict !== null) verdicts.push(verdict);
    else told.tell({ type: 'clock.ticked', at });
    if (verdict === null && canary.requests + stable.requests > 0) passedOver += 1;
  }
  const { changes } = told;
  const end = endOf(told.rollout(), at, changes, verdicts.at(-1)?.kind);
  return { ...end, startedAt, verdicts, changes, played, passedOver };
}

/** A rollout that is told facts, and the world's replies to what it wants: each split is applied, each step approved. */
function tellRollout(policy: Policy, startedAt: number) {
  const changes: Change[] = [];
  let rollout = begin(policy, startedAt);

  function step(event: RolloutEvent): void {
    const before = rollout;
    rollout = stepRollout(rollout, event);
    const reason = newsIn(before, rollout);
    if (reason !== null) note(event.at, reason);
  }
  function note(at: number, reason: string): void {
    const last = changes.at(-1);
    // A rollback and the share that it takes away are one piece of news.
    if (last?.at === at && last.reason === reason) changes.pop();
    const { stepIndex } = rollout.context;
    changes.push({ at, state: stateOf(rollout), stepIndex, percent: percentOf(rollout), reason });
  }
  function reply(at: number): void {
    // The longest chain is approved, shifted, applied; a bound keeps a mistake from hanging.
    for (let i = 0; i < 10; i++) {
      const next = replyTo(rollout, at);
      if (next === null) return;
      if (next.type === 'operator.approved') note(at, 'A person is asked to approve; here, nobody waits.');
      step(next);
    }
  }
  function tell(event: RolloutEvent): void {
    step(event);
    reply(event.at);
  }
  /** The verdict on a window; null when the rule does not count it. */
  function show(at: number, window: SidedWindow, { canary, stable }: Sides): Judged | null {
    const { fromAt, toAt } = window;
    const variants = { [canaryId]: canary, [stableId]: stable };
    const [before, percent] = [rollout, percentOf(rollout)];
    step({ type: 'evidence.observed', at, evidence: { source: 'monitoring', window: { fromAt, toAt }, variants } });
    const verdict = rollout.context.verdicts.monitoring;
    if (verdict === null || verdict === before.context.verdicts.monitoring || rollout === before) return null;
    const judgement = judged(rollout, verdict, window, percent, before.context.stepIndex);
    reply(at);
    return judgement;
  }

  for (const event of arrival(rollout, startedAt)) tell(event);
  return { tell, show, changes, rollout: () => rollout };
}

/** What a person would be told: another share, a hold, a pause, a decision; null when there is nothing new. */
function newsIn(before: StoredRollout, after: StoredRollout): string | null {
  const [from, to] = [before.context, after.context];
  const isNews =
    (to.effectAt !== null && to.effectAt !== from.effectAt) ||
    percentOf(before) !== percentOf(after) ||
    (['paused', 'heldBy', 'promotedAt', 'ending'] as const).some((key) => to[key] !== null && from[key] === null);
  return isNews ? (to.ending?.reason ?? to.paused?.reason ?? to.reason) : null;
}

function isOver({ context }: StoredRollout): boolean {
  return context.ending !== null || context.retiringAt !== null;
}

function begin(policy: Policy, at: number): StoredRollout {
  const model = 'projects/backtest/locations/backtest/models/backtest';
  const blessing = { eventId: by, model, versionId: 'canary', blessedAt: at, by };
  return startRollout({ id: by, endpoint: policy.endpoint, canaryId, blessing, policy, at });
}

/** The canary is there and ready from the first moment: deploying takes none of the recorded time. */
function arrival({ context: { model } }: StoredRollout, at: number): RolloutEvent[] {
  const ready = { model, minReplicas: null, availableReplicas: null };
  const stable = { id: stableId, versionId: 'stable', ...ready };
  const split = { [stableId]: 100 };
  return [
    { type: 'endpoint.observed', at, split, models: [stable] },
    { type: 'deploy.found', at },
    { type: 'endpoint.observed', at, split, models: [stable, { id: canaryId, versionId: 'canary', ...ready }] },
  ];
}

function replyTo(rollout: StoredRollout, at: number): RolloutEvent | null {
  const { desired: split, generation } = rollout.context.traffic;
  const duty = dutyOf(rollout);
  if (duty === 'shift' || duty === 'restore') return { type: 'traffic.applied', at, split, generation };
  if (stateOf(rollout) !== 'awaitingApproval' || rollout.context.paused !== null) return null;
  return { type: 'operator.approved', at, by, reason: 'nobody else is there' };
}

function judged(
  { context }: StoredRollout,
  { at, kind, reasons }: Verdict,
  { fromAt, toAt }: SidedWindow,
  percent: number,
  stepIndex: number,
): Judged {
  const { canary, stable } = context.tally.monitoring.step;
  // What speaks for the verdict comes first; the rest agrees with something better.
  const spoken = reasons.filter((reason) => reason.kind === kind).map(({ text }) => text);
  const counts = { canary: shortOf(canary), stable: shortOf(stable) };
  return { at, window: { fromAt, toAt }, stepIndex, percent, ...counts, kind, reasons: spoken };
}

function shortOf({ requests, errors }: VariantCounts): Short {
  return { requests, errors };
}

function endOf(
  rollout: StoredRollout,
  at: number,
  changes: Change[],
  lastKind: Verdict['kind'] | undefined,
): Omit<Life, 'startedAt' | 'verdicts' | 'changes' | 'played' | 'passedOver'> {
  const { ending, promotedAt, paused, stepIndex } = rollout.context;
  const percent = changes.findLast((change) => change.percent > 0)?.percent ?? 0;
  const place = { percent, stepIndex };
  const isProof = ending !== null && lastKind === 'unhealthy';
  if (ending !== null) return { outcome: 'rolledBack', at: ending.at, reason: ending.reason, isProof, ...place };
  const reason = changes.find((change) => change.at === promotedAt)?.reason ?? '';
  if (promotedAt !== null) return { outcome: 'promoted', at: promotedAt, reason, isProof, ...place };
  if (paused !== null) return { outcome: 'paused', at: paused.at, reason: paused.reason, isProof, ...place };
  return { outcome: 'undecided', at, reason: 'The recording ends before the rollout does.', isProof, ...place };
}
