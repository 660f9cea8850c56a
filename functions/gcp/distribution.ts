/** How is a Cloud Monitoring distribution read as a histogram? @see google/api/distribution.proto */
import { z } from 'zod';
import type { Histogram } from '../../machines/analysis/evidence.ts';

/** A histogram of ours has at most 512 bounds. */
export const boundsMax = 512;
const finiteBuckets = z
  .int()
  .min(1)
  .max(boundsMax - 1);

const bucketOptionsSchema = z.object({
  explicitBuckets: z.object({ bounds: z.array(z.number()).max(boundsMax) }).nullish(),
  exponentialBuckets: z
    .object({ numFiniteBuckets: finiteBuckets, growthFactor: z.number().gt(1), scale: z.number().gt(0) })
    .nullish(),
  linearBuckets: z.object({ numFiniteBuckets: finiteBuckets, width: z.number().gt(0), offset: z.number() }).nullish(),
});

/** An int64 arrives as a string, so that none is rounded. */
const count = z.coerce.number().pipe(z.int().min(0));

export const distributionSchema = z
  .object({
    count,
    bucketOptions: bucketOptionsSchema.nullish(),
    /** The first is below every bound, the last above; zeros at the end may be left out. */
    bucketCounts: z.array(count),
  })
  .superRefine((distribution, context) => {
    const { bucketCounts, bucketOptions } = distribution;
    const bounds = boundsOf(bucketOptions);
    const isAscending = bounds.every((bound, i) => Number.isFinite(bound) && bound > (bounds[i - 1] ?? -Infinity));
    if (!isAscending) context.addIssue('expected bounds that are finite and ascend');
    if (bucketCounts.length === 0) return;
    if (bucketCounts.length > bounds.length + 1) {
      context.addIssue(`expected at most ${bounds.length + 1} bucketCounts, got ${bucketCounts.length}`);
    }
    const sum = bucketCounts.reduce((total, inBucket) => total + inBucket, 0);
    if (sum !== distribution.count)
      context.addIssue(`the buckets hold ${sum} values, but count is ${distribution.count}`);
  });

/**
 * The distribution's buckets. One that came without buckets still says how many values there were: they are then counted
 * above every bound, which makes each quantile unknown and none wrong.
 */
export function histogramOf({
  count: total,
  bucketOptions,
  bucketCounts,
}: z.output<typeof distributionSchema>): Histogram {
  const bounds = boundsOf(bucketOptions);
  if (bucketCounts.length === 0 || bounds.length === 0) return { bounds: [], counts: [total] };
  return { bounds, counts: Array.from({ length: bounds.length + 1 }, (_, i) => bucketCounts[i] ?? 0) };
}

function boundsOf(options: z.output<typeof bucketOptionsSchema> | null | undefined): number[] {
  if (options?.explicitBuckets) return options.explicitBuckets.bounds;
  if (options?.exponentialBuckets) {
    const { numFiniteBuckets, growthFactor, scale } = options.exponentialBuckets;
    return Array.from({ length: numFiniteBuckets + 1 }, (_, i) => scale * growthFactor ** i);
  }
  if (options?.linearBuckets) {
    const { numFiniteBuckets, width, offset } = options.linearBuckets;
    return Array.from({ length: numFiniteBuckets + 1 }, (_, i) => offset + width * i);
  }
  return [];
}
