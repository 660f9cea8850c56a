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

const coveredSchema = z.strictObject({
  /** From the beginning of the earliest window to the end of the latest. */
  fromAt: z.number(),
  toAt: z.number(),
  /** Where the latest windows began, ascending: a window is known by its beginning. */
  starts: z.array(z.number()),
});

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
  /** What was already counted, per source. */
  covered: z.record(z.string(), coveredSchema),
});

export type Counts = z.infer<typeof countsSchema>;
export type Tally = z.infer<typeof tallySchema>;
export type TallyState = z.infer<typeof tallyStateSchema>;
type Covered = z.infer<typeof coveredSchema>;
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

/** How much is remembered, so that a copy of a window is known as one. */
export interface Memory {
  /** Windows per source. What began before the oldest of so many cannot be told from a copy, and is not counted. */
  windowsMax: number;
  sourcesMax: number;
}

/** Why the evidence must not be counted, as a sentence; null when it must. */
export function refusal(state: TallyState, { source, window }: Evidence, memory: Memory): string | null {
  if (state.effectAt === null) return 'the canary takes no traffic yet';
  if (window.fromAt < state.effectAt) return 'the window begins before the step took effect';
  if (window.fromAt === window.toAt) return 'the window is empty';
  const covered = state.covered[source];
  if (covered === undefined) {
    const isFull = Object.keys(state.covered).length >= memory.sourcesMax;
    return isFull ? `more than ${memory.sourcesMax} sources report` : null;
  }
  if (covered.starts.includes(window.fromAt)) return 'the window was counted before';
  const isTooOld = covered.starts.length >= memory.windowsMax && window.fromAt < (covered.starts[0] ?? 0);
  return isTooOld ? 'the window is too old to be told from a copy' : null;
}

/** Adds evidence that refusal() let pass. */
export function addEvidence(state: TallyState, evidence: Evidence, roles: Roles, memory: Memory): TallyState {
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
  const covered = {
    ...state.covered,
    [evidence.source]: cover(state.covered[evidence.source], evidence.window, memory),
  };
  return { ...state, [source]: after, covered };
}

/** Where Monitoring is to be read from next: the end of what was counted, or the step's effect; null before it. */
export function monitoringFrom(state: TallyState): number | null {
  return state.covered['monitoring']?.toAt ?? state.effectAt;
}

function addPair(a: Counts, b: Counts): Counts {
  return { canary: addCounts(a.canary, b.canary), stable: addCounts(a.stable, b.stable) };
}

function cover(before: Covered | undefined, { fromAt, toAt }: EvidenceWindow, memory: Memory): Covered {
  const starts = [...(before?.starts ?? []), fromAt].toSorted((a, b) => a - b).slice(-memory.windowsMax);
  return { fromAt: Math.min(before?.fromAt ?? fromAt, fromAt), toAt: Math.max(before?.toAt ?? toAt, toAt), starts };
}
