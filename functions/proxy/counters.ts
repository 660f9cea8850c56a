/**
 * How did each DeployedModel do? Counts what the proxy saw and what clients reported, in windows: each is in exactly one,
 * and a window's message is sent unchanged until the bus has it, so that a copy is recognised as one.
 */
import { noCounts, type Signal, UNATTRIBUTED, type VariantCounts } from '../../machines/analysis/evidence.ts';
import { limits } from '../engine/limits.ts';
import { log } from '../engine/log.ts';
import type { Clock } from '../engine/ports.ts';
import { predictionBounds } from './prediction-bounds.ts';
import type { ReportedOutcome } from './report.ts';

/** The message on `rollout-evidence`, as JSON. */
export interface EvidenceMessage {
  endpoint: string;
  /** ISO 8601; half-open: (from, to]. Of one source and endpoint, no two windows begin at the same instant. */
  window: { from: string; to: string };
  source: string;
  variants: Record<string, VariantCounts>;
}

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

export interface CounterDependencies {
  publish: (message: EvidenceMessage) => Promise<void>;
  now: Clock;
  source: string;
  intervalMs: number;
  idleMs: number;
}

export interface Counters {
  /** Counts a request, and starts a report when the endpoint's last one is long enough ago. Never throws. */
  count(endpoint: string, request: CountedRequest): void;
  /**
   * Counts what clients report, and starts a report as count() does. False when the window has no room for all of it: then
   * none of it is counted. Never throws.
   */
  countReported(endpoint: string, outcomes: readonly ReportedOutcome[]): boolean;
  /** Reports everything counted, without regard to the interval; resolves when it was tried, and never rejects. */
  flush(): Promise<void>;
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

interface Window {
  fromAt: number;
  tallies: Map<string, Tally>;
  reported: Reported;
}

interface EndpointCounts {
  endpoint: string;
  open: Window | null;
  /** Closed, and not yet known to have arrived. */
  pending: EvidenceMessage | null;
  closedAt: number;
  lastTriedAt: number;
  lastCountedAt: number;
  sending: Promise<void> | null;
  timer: NodeJS.Timeout | null;
}

/** Makes the counters of one instance. The timer it uses is unref'd, and rests when no requests come. */
export function createCounters({ publish, now, source, intervalMs, idleMs }: CounterDependencies): Counters {
  const byEndpoint = new Map<string, EndpointCounts>();

  function count(endpoint: string, request: CountedRequest): void {
    const counts = countsOf(endpoint);
    add(opened(counts, request.startedAt).tallies, request);
    reportWhenDue(counts);
  }

  function countReported(endpoint: string, outcomes: readonly ReportedOutcome[]): boolean {
    const counts = countsOf(endpoint);
    if (!hasRoom(counts.open?.reported, outcomes)) return false;
    addReported(opened(counts, now()).reported, outcomes);
    reportWhenDue(counts);
    return true;
  }

  function countsOf(endpoint: string): EndpointCounts {
    const counts = byEndpoint.get(endpoint) ?? newCounts(endpoint);
    byEndpoint.set(endpoint, counts);
    return counts;
  }

  /** A window opens with what it first counts, not where the last one closed: idle hours would make it too old to judge by. */
  function opened(counts: EndpointCounts, startedAt: number): Window {
    counts.lastCountedAt = now();
    counts.open ??= {
      fromAt: Math.max(counts.closedAt, Math.floor(startedAt)),
      tallies: new Map(),
      reported: new Map(),
    };
    return counts.open;
  }

  function reportWhenDue(counts: EndpointCounts): void {
    if (counts.sending !== null || counts.timer !== null) return;
    const waitMs = counts.lastTriedAt + intervalMs - now();
    if (waitMs <= 0) void send(counts);
    else {
      counts.timer = setTimeout(() => {
        counts.timer = null;
        void send(counts);
      }, waitMs).unref();
    }
  }

  /** One report at a time for each endpoint: the next window is not sent before this one has arrived. */
  function send(counts: EndpointCounts): Promise<void> {
    counts.sending ??= attempt(counts).finally(() => {
      counts.sending = null;
      const isIdle = now() - counts.lastCountedAt > idleMs;
      if ((counts.open !== null || counts.pending !== null) && !isIdle) reportWhenDue(counts);
    });
    return counts.sending;
  }

  async function attempt(counts: EndpointCounts): Promise<void> {
    counts.pending ??= close(counts);
    if (counts.pending === null) return;
    counts.lastTriedAt = now();
    try {
      await publish(counts.pending);
      counts.pending = null;
    } catch (error) {
      log('WARNING', 'Evidence could not be published; the same window is sent again with the next report', {
        endpoint: counts.endpoint,
        error: String(error),
      });
    }
  }

  function close(counts: EndpointCounts): EvidenceMessage | null {
    const { open } = counts;
    if (open === null) return null;
    // Never empty: two windows of one source must not begin at the same instant, for that is how a copy is known.
    counts.closedAt = Math.max(Math.floor(now()), open.fromAt + 1);
    counts.open = null;
    return {
      endpoint: counts.endpoint,
      window: { from: new Date(open.fromAt).toISOString(), to: new Date(counts.closedAt).toISOString() },
      source,
      variants: variantsOf(open),
    };
  }

  async function flush(): Promise<void> {
    await Promise.all(
      [...byEndpoint.values()].map(async (counts) => {
        if (counts.timer !== null) clearTimeout(counts.timer);
        counts.timer = null;
        // What is on its way, then what failed before, then what is still open.
        for (let round = 0; round < 3 && (counts.pending !== null || counts.open !== null); round += 1) {
          await send(counts);
        }
      }),
    );
  }

  return { count, countReported, flush };
}

function newCounts(endpoint: string): EndpointCounts {
  return {
    endpoint,
    open: null,
    pending: null,
    closedAt: Number.NEGATIVE_INFINITY,
    lastTriedAt: Number.NEGATIVE_INFINITY,
    lastCountedAt: Number.NEGATIVE_INFINITY,
    sending: null,
    timer: null,
  };
}

function add(tallies: Map<string, Tally>, request: CountedRequest): void {
  const named = request.deployedModelId ?? UNATTRIBUTED;
  const id = tallies.has(named) || tallies.size < limits.evidenceVariantsMax ? named : UNATTRIBUTED;
  let tally = tallies.get(id);
  if (tally === undefined) {
    tally = { requests: 0, errors: 0, latencyCounts: emptyCounts(latencyBoundsMs), predictionCounts: null };
    tallies.set(id, tally);
  }
  tally.requests += 1;
  if (request.isError) tally.errors += 1;
  addValue(tally.latencyCounts, latencyBoundsMs, request.latencyMs);
  for (const number of request.predictions) {
    tally.predictionCounts ??= emptyCounts(predictionBounds);
    addValue(tally.predictionCounts, predictionBounds, number);
  }
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
function hasRoom(reported: Reported | undefined, outcomes: readonly ReportedOutcome[]): boolean {
  const keys = new Set(reported?.keys());
  for (const outcome of outcomes) keys.add(signalKey(outcome));
  return keys.size <= limits.evidenceSignalsMax;
}

function addReported(reported: Reported, outcomes: readonly ReportedOutcome[]): void {
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

/** A variant that was only reported of has no requests in the window. */
function variantsOf({ tallies, reported }: Window): Record<string, VariantCounts> {
  const variants: Record<string, VariantCounts> = {};
  for (const [id, tally] of tallies) variants[id] = published(tally);
  for (const { deployedModelId, check, signal } of reported.values()) {
    const variant = variants[deployedModelId] ?? noCounts;
    variants[deployedModelId] = { ...variant, signals: { ...variant.signals, [check]: signal } };
  }
  return variants;
}

function published({ requests, errors, latencyCounts, predictionCounts }: Tally): VariantCounts {
  return {
    requests,
    errors,
    latencyMs: { bounds: [...latencyBoundsMs], counts: latencyCounts },
    ...(predictionCounts && { predictions: { bounds: [...predictionBounds], counts: predictionCounts } }),
  };
}
