/** Recorded requests for tests, in each format; times count from one noon, in minutes. */
import { seededRandom } from '../../../emulator/models/random.ts';
import { drawBinomial } from '../../../cli/chance.ts';

export const noon = Date.parse('2026-03-02T12:00:00Z');
export const minute = (i: number): string => new Date(noon + i * 60_000).toISOString();

/** Steps of ten minutes, three of lag, as short a life as minutes allow. */
export const policyText = (analysis = ''): string => `
apiVersion: rollouts/v1
kind: RolloutPolicy
metadata: { name: delays }
spec:
  match: { model: projects/demo/locations/us-central1/models/delays }
  endpoint: projects/demo/locations/us-central1/endpoints/456
  steps: [ { percent: 10, hold: 10m }, { percent: 50, hold: 10m }, { percent: 100, hold: 10m } ]
  analysis: { metricLag: 3m, noData: { after: 30m, then: pause }${analysis} }
  keepStable: 30m
`;

/** One row a minute and variant, with errors drawn at its ratio. */
export function csvOf(variants: Record<string, { requests: number; errorRatio: number }>, minutes: number): string {
  const random = seededRandom(7);
  const rows = Array.from({ length: minutes }, (_, i) =>
    Object.entries(variants).map(
      ([id, { requests, errorRatio }]) =>
        `${minute(i)},${id},${requests},${drawBinomial(random, requests, errorRatio)}`,
    ),
  );
  return `timestamp,variant,requests,errors\n${rows.flat().join('\n')}\n`;
}

export interface SeriesOptions {
  id: string;
  code?: string;
  kind?: string;
  endpoint?: string;
}

type Value = { int64Value: string } | { doubleValue: number } | { distributionValue: unknown };

/** One time series as REST has it, newest first, a point a minute. */
export function timeSeries(
  type: string,
  { id, code, kind = 'DELTA', endpoint = '456' }: SeriesOptions,
  values: Value[],
) {
  const points = values.map((value, i) => ({ interval: { startTime: minute(i), endTime: minute(i + 1) }, value }));
  return {
    metric: {
      type: `aiplatform.googleapis.com/prediction/online/${type}`,
      labels: { deployed_model_id: id, ...(code === undefined ? {} : { response_code: code }) },
    },
    resource: {
      type: 'aiplatform.googleapis.com/Endpoint',
      labels: { location: 'us-central1', endpoint_id: endpoint },
    },
    metricKind: kind,
    valueType: 'INT64',
    points: points.toReversed(),
  };
}

export const int64 = (value: number | string): Value => ({ int64Value: String(value) });

export const distribution = (counts: number[], bounds = [10, 100]): Value => ({
  distributionValue: {
    count: String(counts.reduce((a, b) => a + b, 0)),
    bucketOptions: { explicitBuckets: { bounds } },
    bucketCounts: counts.map(String),
  },
});
