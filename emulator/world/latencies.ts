/** How were latencies distributed? Counts over buckets that grow by 15 %, from 1 ms to above a minute. */
import type { Latencies, PointValue } from './state.ts';

type Distribution = Extract<PointValue, { kind: 'distribution' }>;

const growth = 1.15;
const bucketsMax = 80;

/** Ascending upper bounds in milliseconds; the bucket after the last takes what is slower. */
export const latencyBoundsMs: readonly number[] = Array.from(
  { length: bucketsMax },
  (_, i) => Math.round(growth ** i * 1000) / 1000,
);

export const noLatencies = (): Latencies => ({ count: 0, sumMs: 0, sumOfSquares: 0, buckets: {} });

/** Counts one latency; a value on a bound belongs to the bucket above it, as in Google's distributions. */
export function addLatency(latencies: Latencies, ms: number): void {
  const index = String(bucketOf(ms));
  latencies.count += 1;
  latencies.sumMs += ms;
  latencies.sumOfSquares += ms * ms;
  latencies.buckets[index] = (latencies.buckets[index] ?? 0) + 1;
}

/** Returns the distribution as Monitoring has it. */
export function toDistribution(latencies: Latencies): Distribution {
  const mean = latencies.count === 0 ? 0 : latencies.sumMs / latencies.count;
  return {
    kind: 'distribution',
    count: latencies.count,
    mean,
    sumOfSquaredDeviation: Math.max(0, latencies.sumOfSquares - latencies.count * mean * mean),
    bounds: [...latencyBoundsMs],
    counts: Array.from({ length: bucketsMax + 1 }, (_, i) => latencies.buckets[String(i)] ?? 0),
  };
}

/** Adds two distributions over the same bounds (Chan, Golub, LeVeque 1979, for the squared deviation). */
export function addDistributions(a: Distribution, b: Distribution): Distribution {
  if (a.count === 0) return b;
  if (b.count === 0) return a;
  if (a.bounds.length !== b.bounds.length || a.bounds.some((bound, i) => bound !== b.bounds[i])) {
    throw new RangeError('Expected distributions over the same bounds; different ones cannot be added.');
  }
  const count = a.count + b.count;
  const delta = b.mean - a.mean;
  return {
    kind: 'distribution',
    count,
    mean: a.mean + (delta * b.count) / count,
    sumOfSquaredDeviation:
      a.sumOfSquaredDeviation + b.sumOfSquaredDeviation + (delta * delta * a.count * b.count) / count,
    bounds: a.bounds,
    counts: a.counts.map((value, i) => value + (b.counts[i] ?? 0)),
  };
}

/** Returns what was added to the earlier distribution `b` to give `a`, over the same bounds. */
export function subtractDistributions(a: Distribution, b: Distribution): Distribution {
  if (b.count === 0) return a;
  const count = a.count - b.count;
  const mean = count === 0 ? 0 : (a.mean * a.count - b.mean * b.count) / count;
  const squares = (d: Distribution): number => d.sumOfSquaredDeviation + d.count * d.mean * d.mean;
  return {
    kind: 'distribution',
    count,
    mean,
    sumOfSquaredDeviation: Math.max(0, squares(a) - squares(b) - count * mean * mean),
    bounds: a.bounds,
    counts: a.counts.map((value, i) => value - (b.counts[i] ?? 0)),
  };
}

/**
 * Returns the percentile, interpolated within its bucket; the last bound for what lies above all bounds.
 * @param ratio in (0, 1], such as 0.95
 */
export function percentileOf(distribution: Distribution, ratio: number): number {
  const rank = ratio * distribution.count;
  let seen = 0;
  for (const [i, value] of distribution.counts.entries()) {
    if (value > 0 && seen + value >= rank) {
      const lower = distribution.bounds[i - 1] ?? 0;
      const upper = distribution.bounds[i] ?? lower;
      return lower + ((rank - seen) / value) * (upper - lower);
    }
    seen += value;
  }
  return distribution.bounds.at(-1) ?? 0;
}

function bucketOf(ms: number): number {
  const index = latencyBoundsMs.findIndex((bound) => ms < bound);
  return index === -1 ? bucketsMax : index;
}
