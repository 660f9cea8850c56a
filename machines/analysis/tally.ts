/**
 * What has been seen so far? Folds evidence into counts for people and running tests for the verdict, one of each per
 * source, constant in time and memory per window. A window counts once, however often it arrives, and only if it lies
 * wholly after the step took effect.
 */
import { z } from 'zod';
import type { AnalysisPolicy } from '../policy/policy.ts';
import {
  addCounts,
  type Evidence,
  type EvidenceWindow,
  type Histogram,
  noCounts,
  quantileMs,
  UNATTRIBUTED,
  type VariantCounts,
  variantCountsSchema,
} from './evidence.ts';
import { countSchema, recentMax } from './baseline.ts';
import type { Count } from './evalue.ts';
import { addPast, addWindow, type Allowance, hitTestSchema, noHitTest } from './hit-test.ts';

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
  /** Since the rollout began, and stable's past before it; the comparison when stable no longer takes traffic. */
  rollout: countsSchema,
  /** Answers that named no variant, since the current step took effect. */
  unattributed: variantCountsSchema,
  /** Windows since the current step took effect, and how long they were together. */
  windows: z.int().min(0),
  seenMs: z.number().min(0),
  /** Are errors, are slow answers, more frequent at the canary than the policy allows? Since the rollout began. */
  errors: hitTestSchema,
  slow: hitTestSchema,
  /** The canary's errors in the latest windows, newest last. */
  recent: z.array(countSchema),
  /** What counts as slow, in ms: the policy's multiple of stable's quantile as it was when the step began. */
  slowAboveMs: z.number().nullable(),
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
const noTally: Tally = {
  step: noPair,
  rollout: noPair,
  unattributed: noCounts,
  windows: 0,
  seenMs: 0,
  errors: noHitTest,
  slow: noHitTest,
  recent: [],
  slowAboveMs: null,
};

export const emptyTally: TallyState = { effectAt: null, monitoring: noTally, proxy: noTally, covered: {} };

/** Starts a step: the step's counts begin anew, the rollout's and the tests stay. */
export function beginStep(state: TallyState, effectAt: number): TallyState {
  return { effectAt, monitoring: withoutStep(state.monitoring), proxy: withoutStep(state.proxy), covered: {} };
}

function withoutStep(tally: Tally): Tally {
  return { ...tally, step: noPair, unattributed: noCounts, windows: 0, seenMs: 0 };
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

/** Why the evidence must not be counted, as a sentence; null when it must. Before the first share, Monitoring tells of stable. */
export function refusal(state: TallyState, evidence: Evidence, memory: Memory): string | null {
  const { source, window } = evidence;
  if (state.effectAt === null && sourceOf(evidence) === 'proxy') return 'the canary takes no traffic yet';
  if (state.effectAt !== null && window.fromAt < state.effectAt) return 'the window begins before the step took effect';
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

/** Adds evidence that refusal() let pass. Before the first share it is stable's past, for both sources alike. */
export function addEvidence(
  state: TallyState,
  evidence: Evidence,
  roles: Roles,
  memory: Memory,
  policy: AnalysisPolicy,
): TallyState {
  const source = sourceOf(evidence);
  const seen: Counts = {
    canary: evidence.variants[roles.canaryId] ?? noCounts,
    stable: roles.stableIds.map((id) => evidence.variants[id] ?? noCounts).reduce(addCounts, noCounts),
  };
  const covered = {
    ...state.covered,
    [evidence.source]: cover(state.covered[evidence.source], evidence.window, memory),
  };
  const seconds = (evidence.window.toAt - evidence.window.fromAt) / 1000;
  if (state.effectAt === null) {
    const { monitoring, proxy } = state;
    const errors = addPast(proxy.errors, errorsOf(seen.stable), seconds);
    return {
      ...state,
      monitoring: remembered(monitoring, seen.stable, seconds, policy),
      proxy: { ...proxy, errors },
      covered,
    };
  }
  const before = state[source];
  const after: Tally = {
    ...tested(before, seen, seconds, policy),
    step: addPair(before.step, seen),
    rollout: addPair(before.rollout, seen),
    unattributed: addCounts(before.unattributed, evidence.variants[UNATTRIBUTED] ?? noCounts),
    windows: before.windows + 1,
    seenMs: before.seenMs + seconds * 1000,
    recent: [...before.recent, errorsOf(seen.canary)].slice(-recentMax),
  };
  return { ...state, [source]: after, covered };
}

/** Where Monitoring is to be read from next: the end of what was counted, or the step's effect; null before it. */
export function monitoringFrom(state: TallyState): number | null {
  return state.covered['monitoring']?.toAt ?? state.effectAt;
}

/** How many answers were surely slower than the bound: a bucket that straddles it counts as not slow. */
export function slowerThan({ bounds, counts }: Histogram, ms: number): number {
  return counts.reduce((sum, count, i) => (i > 0 && (bounds[i - 1] ?? 0) >= ms ? sum + count : sum), 0);
}

/** What the policy allows: errors up to stable's and the margin, but not above the ceiling unless stable is. */
export function errorAllowance({ errorRate }: AnalysisPolicy): Allowance {
  return { margin: errorRate.marginRatio, floor: 0, ceiling: errorRate.maxRatio };
}

/** Slower than a multiple of stable's quantile: as many as lie above a quantile anyway are fine. */
export function slowAllowance({ latency }: AnalysisPolicy): Allowance {
  return { margin: 0, floor: latency === null ? 1 : 1 - latency.quantileRatio, ceiling: 1 };
}

/** The tests after one more window; a window that lacks a variant tells of the other alone. */
function tested(before: Tally, { canary, stable }: Counts, seconds: number, policy: AnalysisPolicy): Tally {
  const errors = { canary: errorsOf(canary), stable: errorsOf(stable), seconds };
  const slowAboveMs = before.slowAboveMs ?? slowBound(addCounts(before.rollout.stable, stable), policy);
  const slow =
    slowAboveMs === null
      ? before.slow
      : addWindow(
          before.slow,
          { canary: slowOf(canary, slowAboveMs), stable: slowOf(stable, slowAboveMs), seconds },
          slowAllowance(policy),
        );
  return { ...before, errors: addWindow(before.errors, errors, errorAllowance(policy)), slow, slowAboveMs };
}

/** A window from before the first share: stable alone. */
function remembered(before: Tally, stable: VariantCounts, seconds: number, policy: AnalysisPolicy): Tally {
  const rollout = addPair(before.rollout, { canary: noCounts, stable });
  const slowAboveMs = before.slowAboveMs ?? slowBound(rollout.stable, policy);
  return {
    ...before,
    rollout,
    errors: addPast(before.errors, errorsOf(stable), seconds),
    slow: slowAboveMs === null ? before.slow : addPast(before.slow, slowOf(stable, slowAboveMs), seconds),
    slowAboveMs,
  };
}

export function errorsOf({ errors, requests }: VariantCounts): Count {
  return { hits: errors, trials: requests };
}

function slowOf({ latencyMs }: VariantCounts, slowAboveMs: number): Count {
  return {
    hits: slowerThan(latencyMs, slowAboveMs),
    trials: latencyMs.counts.reduce((sum, count) => sum + count, 0),
  };
}

/** Null while stable's quantile is not known from enough requests, or the policy does not ask. */
function slowBound(stable: VariantCounts, { latency, minRequests }: AnalysisPolicy): number | null {
  if (latency === null || stable.requests < minRequests) return null;
  const quantile = quantileMs(stable.latencyMs, latency.quantileRatio);
  return quantile === null ? null : quantile * latency.maxRatio;
}

function addPair(a: Counts, b: Counts): Counts {
  return { canary: addCounts(a.canary, b.canary), stable: addCounts(a.stable, b.stable) };
}

function cover(before: Covered | undefined, { fromAt, toAt }: EvidenceWindow, memory: Memory): Covered {
  const starts = [...(before?.starts ?? []), fromAt].toSorted((a, b) => a - b).slice(-memory.windowsMax);
  return { fromAt: Math.min(before?.fromAt ?? fromAt, fromAt), toAt: Math.max(before?.toAt ?? toAt, toAt), starts };
}
