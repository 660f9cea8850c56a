/**
 * What has been seen so far? Folds evidence into one tally per source, for the step and for the whole rollout.
 * A window counts once, however often it arrives, and only if it lies wholly after the step took effect.
 */
import { z } from 'zod';
import {
  addCounts,
  type Evidence,
  type EvidenceWindow,
  noCounts,
  UNATTRIBUTED,
  variantCountsSchema,
} from './evidence.ts';

const intervalSchema = z.tuple([z.number(), z.number()]);

const countsSchema = z.strictObject({ canary: variantCountsSchema, stable: variantCountsSchema });

const tallySchema = z.strictObject({
  /** Since the current step took effect. */
  step: countsSchema,
  /** Since the rollout began; the comparison when stable no longer takes traffic. */
  rollout: countsSchema,
  /** Answers that named no variant, since the current step took effect. */
  unattributed: variantCountsSchema,
});

export const tallyStateSchema = z.strictObject({
  /** When the current share took effect: nothing that began earlier counts. Null before the first step. */
  effectAt: z.number().nullable(),
  monitoring: tallySchema,
  proxy: tallySchema,
  /** Windows already counted, per source, contiguous ones merged: ascending [from, to]. */
  covered: z.record(z.string(), z.array(intervalSchema)),
});

export type Counts = z.infer<typeof countsSchema>;
export type Tally = z.infer<typeof tallySchema>;
export type TallyState = z.infer<typeof tallyStateSchema>;
export type Source = 'monitoring' | 'proxy';

/** Who is who among the evidence's DeployedModel ids. Ids that are neither are somebody else's and do not count. */
export interface Roles {
  canaryId: string;
  stableIds: string[];
}

const noPair: Counts = { canary: noCounts, stable: noCounts };
const noTally: Tally = { step: noPair, rollout: noPair, unattributed: noCounts };

export const emptyTally: TallyState = { effectAt: null, monitoring: noTally, proxy: noTally, covered: {} };

/** Starts a step: the step's counts begin anew, the rollout's stay. */
export function beginStep(state: TallyState, effectAt: number): TallyState {
  return { effectAt, monitoring: withoutStep(state.monitoring), proxy: withoutStep(state.proxy), covered: {} };
}

function withoutStep(tally: Tally): Tally {
  return { ...tally, step: noPair, unattributed: noCounts };
}

export function sourceOf(evidence: Evidence): Source {
  return evidence.source === 'monitoring' ? 'monitoring' : 'proxy';
}

/** Why the evidence must not be counted, as a sentence; null when it must. */
export function refusal(
  state: TallyState,
  evidence: Evidence,
  limits: { windowsMax: number; sourcesMax: number },
): string | null {
  const { fromAt, toAt } = evidence.window;
  if (state.effectAt === null) return 'the canary takes no traffic yet';
  if (fromAt < state.effectAt) return 'the window begins before the step took effect';
  if (fromAt === toAt) return 'the window is empty';
  const covered = state.covered[evidence.source];
  if (covered === undefined) {
    return Object.keys(state.covered).length >= limits.sourcesMax
      ? `more than ${limits.sourcesMax} sources report`
      : null;
  }
  if (covered.some(([from, to]) => fromAt < to && toAt > from)) return 'the window was counted before';
  const touches = covered.some(([from, to]) => fromAt === to || toAt === from);
  return !touches && covered.length >= limits.windowsMax ? 'the source left too many gaps' : null;
}

/** Adds evidence that refusal() let pass. */
export function addEvidence(state: TallyState, evidence: Evidence, roles: Roles): TallyState {
  const source = sourceOf(evidence);
  const seen: Counts = {
    canary: evidence.variants[roles.canaryId] ?? noCounts,
    stable: roles.stableIds.map((id) => evidence.variants[id] ?? noCounts).reduce(addCounts, noCounts),
  };
  const before = state[source];
  const after: Tally = {
    step: addPair(before.step, seen),
    rollout: addPair(before.rollout, seen),
    unattributed: addCounts(before.unattributed, evidence.variants[UNATTRIBUTED] ?? noCounts),
  };
  const covered = { ...state.covered, [evidence.source]: cover(state.covered[evidence.source] ?? [], evidence.window) };
  return { ...state, [source]: after, covered };
}

/** Where Monitoring is to be read from next: the end of what was counted, or the step's effect; null before it. */
export function monitoringFrom(state: TallyState): number | null {
  return state.covered['monitoring']?.at(-1)?.[1] ?? state.effectAt;
}

function addPair(a: Counts, b: Counts): Counts {
  return { canary: addCounts(a.canary, b.canary), stable: addCounts(a.stable, b.stable) };
}

function cover(covered: [number, number][], window: EvidenceWindow): [number, number][] {
  const merged: [number, number][] = [];
  const all: [number, number][] = [...covered, [window.fromAt, window.toAt]];
  for (const [from, to] of all.toSorted((a, b) => a[0] - b[0])) {
    const last = merged.at(-1);
    if (last !== undefined && from <= last[1]) last[1] = Math.max(last[1], to);
    else merged.push([from, to]);
  }
  return merged;
}
