/** What was counted in one window? Requests, latencies and sampled predictions by DeployedModel, and what clients reported. */
import { noCounts, type Signal, UNATTRIBUTED, type VariantCounts } from '../../machines/analysis/evidence.ts';
import { limits } from '../engine/limits.ts';
import { predictionBounds } from './prediction-bounds.ts';
import type { ReportedOutcome } from './report.ts';

/** One request that went upstream, once it is over. */
export interface CountedRequest {
  /** Null when the answer did not say which one served. */
  deployedModelId: string | null;
  startedAt: number;
  /** Up to the answer's first byte, or to the failure. */
  latencyMs: number;
  isError: boolean;
  /** The number of each prediction; empty when the answer was not sampled. */
  predictions: readonly number[];
}

/**
 * Upper bounds of the latency histogram in ms: four to the octave, so that a bucket is 19 % wide, from 1 ms to 17
 * minutes. Fixed, so that the histograms of all instances and versions add.
 */
export const latencyBoundsMs: readonly number[] = Array.from({ length: 81 }, (_, i) =>
  Number((2 ** (i / 4)).toPrecision(4)),
);

interface Tally {
  requests: number;
  errors: number;
  latencyCounts: number[];
  /** Null until a prediction comes. */
  predictionCounts: number[] | null;
}

/** Apart from the tallies: ids that a client makes up must not take the places of those that answer. */
type Reported = Map<string, { deployedModelId: string; check: string; signal: Signal }>;

/** The counts of one endpoint from `fromAt` on. */
export interface Window {
  fromAt: number;
  tallies: Map<string, Tally>;
  reported: Reported;
}

/** Makes a window with nothing in it. */
export function emptyWindow(fromAt: number): Window {
  return { fromAt, tallies: new Map(), reported: new Map() };
}

/** Counts a request. DeployedModels beyond the bound are counted together, as unattributed. */
export function addRequest({ tallies }: Window, request: CountedRequest): void {
  const named = request.deployedModelId ?? UNATTRIBUTED;
  const tally = tallies.get(named) ?? newTally(tallies, named);
  tally.requests += 1;
  // What failed has no latency: a timeout would count as an error and as slow, and a quick refusal as fast.
  if (request.isError) tally.errors += 1;
  else addValue(tally.latencyCounts, latencyBoundsMs, request.latencyMs);
  for (const number of request.predictions) {
    tally.predictionCounts ??= emptyCounts(predictionBounds);
    addValue(tally.predictionCounts, predictionBounds, number);
  }
}

function newTally(tallies: Map<string, Tally>, named: string): Tally {
  const id = tallies.size < limits.evidenceVariantsMax ? named : UNATTRIBUTED;
  const together = tallies.get(id);
  if (together !== undefined) return together;
  const tally = { requests: 0, errors: 0, latencyCounts: emptyCounts(latencyBoundsMs), predictionCounts: null };
  tallies.set(id, tally);
  return tally;
}

function emptyCounts(bounds: readonly number[]): number[] {
  return Array.from({ length: bounds.length + 1 }, () => 0);
}

/** Counts in the first bucket whose bound is not below the value; the last bucket has no bound. */
function addValue(counts: number[], bounds: readonly number[], value: number): void {
  let low = 0;
  let high = bounds.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((bounds[middle] ?? Number.POSITIVE_INFINITY) < value) low = middle + 1;
    else high = middle;
  }
  counts[low] = (counts[low] ?? 0) + 1;
}

/** Whether a window can hold the outcomes too; it is open to all or to none of them. */
export function hasRoom(window: Window | null, outcomes: readonly ReportedOutcome[]): boolean {
  const keys = new Set(window?.reported.keys());
  for (const outcome of outcomes) keys.add(signalKey(outcome));
  return keys.size <= limits.evidenceSignalsMax;
}

/** Counts what clients report, where there is room for it. */
export function addReported({ reported }: Window, outcomes: readonly ReportedOutcome[]): void {
  for (const outcome of outcomes) {
    const { deployedModelId, check, value } = outcome;
    const key = signalKey(outcome);
    const before = reported.get(key)?.signal;
    const signal = typeof value === 'boolean' ? withTrial(before, value) : withValue(before, value);
    reported.set(key, { deployedModelId, check, signal });
  }
}

function signalKey({ deployedModelId, check }: ReportedOutcome): string {
  return `${deployedModelId} ${check}`;
}

function withTrial(before: Signal | undefined, isHit: boolean): Signal {
  const { hits, trials } = before !== undefined && 'hits' in before ? before : { hits: 0, trials: 0 };
  return { hits: hits + Number(isHit), trials: trials + 1 };
}

function withValue(before: Signal | undefined, value: number): Signal {
  const histogram =
    before !== undefined && 'bounds' in before
      ? before
      : { bounds: [...predictionBounds], counts: emptyCounts(predictionBounds) };
  addValue(histogram.counts, predictionBounds, value);
  return histogram;
}

/** The counts as they are published. A variant that was only reported of has no requests in the window. */
export function variantsOf({ tallies, reported }: Window): Record<string, VariantCounts> {
  const variants = new Map<string, VariantCounts>();
  for (const [id, tally] of tallies) variants.set(id, published(tally));
  for (const { deployedModelId, check, signal } of reported.values()) {
    const variant = variants.get(deployedModelId) ?? noCounts;
    variants.set(deployedModelId, { ...variant, signals: { ...variant.signals, [check]: signal } });
  }
  // A map until here: an id such as "__proto__" is a name like any other.
  return Object.fromEntries(variants);
}

function published({ requests, errors, latencyCounts, predictionCounts }: Tally): VariantCounts {
  return {
    requests,
    errors,
    latencyMs: { bounds: [...latencyBoundsMs], counts: latencyCounts },
    ...(predictionCounts && { predictions: { bounds: [...predictionBounds], counts: predictionCounts } }),
  };
}
