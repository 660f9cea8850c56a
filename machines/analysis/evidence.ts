/**
 * What was seen? Counts and latency histograms per variant over a window: sufficient statistics that add, never ratios.
 */
import { z } from 'zod';
import { nth } from '../nth.ts';

const count = z.number().min(0).max(Number.MAX_SAFE_INTEGER);

export const histogramSchema = z
  .strictObject({
    /** Ascending upper bounds in milliseconds. */
    bounds: z.array(z.number().finite()).max(512),
    /** One entry more than `bounds`; the last counts what lies above every bound. */
    counts: z.array(count).max(513),
  })
  .refine((h) => h.counts.length === h.bounds.length + 1, 'counts must have one entry more than bounds')
  .refine(
    (h) => h.bounds.every((bound, i) => bound > (h.bounds[i - 1] ?? Number.NEGATIVE_INFINITY)),
    'bounds must ascend',
  );

/** What a check of the owner's reads: hits of trials, a histogram of values, or the latest value. */
export const signalSchema = z.union([
  z
    .strictObject({ hits: count, trials: count })
    .refine(({ hits, trials }) => hits <= trials, 'hits cannot exceed trials'),
  histogramSchema,
  z.strictObject({ value: z.number() }),
]);

export const signalsSchema = z
  .record(z.string().max(64), signalSchema)
  .refine((signals) => Object.keys(signals).length <= 32, 'at most 32 signals');

export const variantCountsSchema = z
  .strictObject({
    requests: count,
    errors: count,
    latencyMs: histogramSchema,
    /** What was predicted: the first number of each sampled prediction. Absent where the source does not look. */
    predictions: histogramSchema.optional(),
    /** By the name of the check that reads it. */
    signals: signalsSchema.optional(),
  })
  .refine((v) => v.errors <= v.requests, 'errors cannot exceed requests');

/** Half-open window (fromAt, toAt], in milliseconds since the epoch. */
const windowSchema = z.strictObject({ fromAt: z.number(), toAt: z.number() }).refine((w) => w.toAt >= w.fromAt, {
  message: 'a window must not end before it begins',
});

export const evidenceSchema = z.strictObject({
  window: windowSchema,
  /** `monitoring`, or whoever counted: an instance of the proxy. */
  source: z.string().min(1).max(200),
  /** By DeployedModel id; the key `unattributed` holds answers that named no variant. */
  variants: z.record(z.string(), variantCountsSchema),
  /** What was refused or repaired on the way, and why: for the journal. */
  notes: z.array(z.string().max(1000)).max(20).optional(),
});

export type Histogram = z.infer<typeof histogramSchema>;
export type Signal = z.infer<typeof signalSchema>;
export type Signals = z.infer<typeof signalsSchema>;
export type VariantCounts = z.infer<typeof variantCountsSchema>;
export type Evidence = z.infer<typeof evidenceSchema>;
export type EvidenceWindow = z.infer<typeof windowSchema>;

export const UNATTRIBUTED = 'unattributed';

export const noHistogram: Histogram = { bounds: [], counts: [0] };

export const noCounts: VariantCounts = { requests: 0, errors: 0, latencyMs: noHistogram };

/** Adds two variants' counts. Histograms with different bounds merge onto the bounds both share (see addHistograms). */
export function addCounts(a: VariantCounts, b: VariantCounts): VariantCounts {
  const predictions = addHistograms(a.predictions ?? noHistogram, b.predictions ?? noHistogram);
  return {
    requests: a.requests + b.requests,
    errors: a.errors + b.errors,
    latencyMs: addHistograms(a.latencyMs, b.latencyMs),
    ...(isEmpty(predictions) ? {} : { predictions }),
    ...(a.signals === undefined && b.signals === undefined ? {} : { signals: addSignals(a.signals, b.signals) }),
  };
}

/** The greatest number that adding it makes greater: its requests, the values of a histogram, or the trials of a signal. */
export function greatestIn({ requests, latencyMs, predictions = noHistogram, signals = {} }: VariantCounts): number {
  const inSignals = Object.values(signals).map((signal) => {
    if ('hits' in signal) return signal.trials;
    return 'bounds' in signal ? countIn(signal) : 0;
  });
  return Math.max(requests, countIn(latencyMs), countIn(predictions), ...inSignals);
}

/** How many values. */
export function countIn({ counts }: Histogram): number {
  return counts.reduce((sum, value) => sum + value, 0);
}

/** Counts and histograms add; of two values the greater stays. What a name no longer means what it did, the later one stands. */
function addSignals(a: Signals = {}, b: Signals = {}): Signals {
  const sum = { ...a };
  for (const [name, signal] of Object.entries(b)) {
    const before = sum[name];
    sum[name] = before === undefined ? signal : addSignal(before, signal);
  }
  return sum;
}

function addSignal(a: Signal, b: Signal): Signal {
  if ('hits' in a && 'hits' in b) return { hits: a.hits + b.hits, trials: a.trials + b.trials };
  if ('bounds' in a && 'bounds' in b) return addHistograms(a, b);
  if ('value' in a && 'value' in b) return { value: Math.max(a.value, b.value) };
  return b;
}

/**
 * Adds two histograms. Where bounds differ, the sum keeps only the bounds that both have: nothing is interpolated, so
 * no count ever moves across a bound it was not measured against. An empty histogram is neutral.
 */
export function addHistograms(a: Histogram, b: Histogram): Histogram {
  if (isEmpty(a)) return b;
  if (isEmpty(b)) return a;
  const bounds = a.bounds.filter((bound) => b.bounds.includes(bound));
  const coarseA = coarsen(a, bounds);
  const coarseB = coarsen(b, bounds);
  return { bounds, counts: coarseA.map((value, i) => value + nth(coarseB, i)) };
}

/**
 * Upper bound in milliseconds of the bucket in which the quantile lies; null without data, or above the last bound.
 * @param quantileRatio in (0, 1), such as 0.95
 */
export function quantileMs(histogram: Histogram, quantileRatio: number): number | null {
  const total = countIn(histogram);
  if (total === 0) return null;
  let seen = 0;
  for (const [i, value] of histogram.counts.entries()) {
    seen += value;
    if (seen >= quantileRatio * total) return histogram.bounds[i] ?? null;
  }
  return null;
}

function isEmpty(histogram: Histogram): boolean {
  return histogram.counts.every((value) => value === 0);
}

/** The counts over fewer bounds, each of which the histogram must have. */
export function coarsen(histogram: Histogram, bounds: number[]): number[] {
  const counts = Array.from({ length: bounds.length + 1 }, () => 0);
  for (const [i, value] of histogram.counts.entries()) {
    const upper = histogram.bounds[i] ?? Number.POSITIVE_INFINITY;
    const slot = bounds.findIndex((bound) => upper <= bound);
    const target = slot === -1 ? bounds.length : slot;
    counts[target] = nth(counts, target) + value;
  }
  return counts;
}
