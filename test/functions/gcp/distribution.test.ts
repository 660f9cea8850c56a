import { expect, test } from 'vitest';
import { histogramSchema } from '../../../machines/analysis/evidence.ts';
import { distributionSchema, histogramOf } from '../../../functions/gcp/distribution.ts';

/** As the client decodes a reply: an int64 is text. */
function read(distribution: unknown) {
  return histogramSchema.parse(histogramOf(distributionSchema.parse(distribution)));
}

test('explicit buckets keep their bounds; zeros that were left out at the end are filled in', () => {
  const bucketOptions = { explicitBuckets: { bounds: [10, 20, 50] } };
  expect(read({ count: '7', bucketOptions, bucketCounts: ['0', '4', '3'] })).toEqual({
    bounds: [10, 20, 50],
    counts: [0, 4, 3, 0],
  });
});

test('exponential buckets have the bounds scale × growth^i', () => {
  const bucketOptions = { exponentialBuckets: { numFiniteBuckets: 3, growthFactor: 2, scale: 5 } };
  expect(read({ count: '6', bucketOptions, bucketCounts: ['1', '2', '0', '0', '3'] })).toEqual({
    bounds: [5, 10, 20, 40],
    counts: [1, 2, 0, 0, 3],
  });
});

test('linear buckets have the bounds offset + width × i', () => {
  const bucketOptions = { linearBuckets: { numFiniteBuckets: 2, width: 100, offset: 50 } };
  expect(read({ count: '1', bucketOptions, bucketCounts: ['0', '0', '0', '1'] })).toEqual({
    bounds: [50, 150, 250],
    counts: [0, 0, 0, 1],
  });
});

test('a distribution without buckets says how many there were, and no quantile', () => {
  expect(read({ count: '9', bucketOptions: null, bucketCounts: [] })).toEqual({ bounds: [], counts: [9] });
});

test('a distribution of nothing is an empty histogram', () => {
  expect(read({ count: '0', bucketOptions: null, bucketCounts: [] })).toEqual({ bounds: [], counts: [0] });
});

test('a count that is no number is refused', () => {
  expect(distributionSchema.safeParse({ count: 'many', bucketCounts: [] }).success).toBe(false);
});
