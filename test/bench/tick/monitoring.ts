/**
 * A Cloud Monitoring that knows ten thousand endpoints and looks up none: each that a filter names had the same requests
 * in every minute that had any. It answers Google's own client, in Google's own form, and counts the calls.
 */
import { z } from 'zod';
import { serveGrpc, toTimestamp, unaryService } from '../../../emulator/grpc.ts';
import { aMinuteOf, canaryId, minuteMs, stableId } from '../../functions/engine/watchers.ts';

export interface Monitoring {
  /** `host:port`. */
  host: string;
  /** Since it started. */
  calls(): number;
  close(): Promise<void>;
}

const time = z.object({ seconds: z.coerce.number() }).transform(({ seconds }) => seconds * 1000);
const requestSchema = z.object({
  filter: z.string(),
  interval: z.object({ startTime: time, endTime: time }),
  aggregation: z.object({ alignmentPeriod: time }),
});

/** Starts it. @param hadRequests of the minute that ends then */
export async function serveMonitoring(hadRequests: (endAt: number) => boolean): Promise<Monitoring> {
  let calls = 0;
  function listTimeSeries(request: unknown): object {
    calls += 1;
    const { filter, interval, aggregation } = requestSchema.parse(request);
    if (aggregation.alignmentPeriod !== minuteMs) throw new Error('Expected to be asked for minutes');
    const ends: number[] = [];
    for (let endAt = interval.startTime + minuteMs; endAt <= interval.endTime; endAt += minuteMs) ends.push(endAt);
    const isLatency = filter.includes('prediction_latencies');
    const [, list = ''] = /endpoint_id=one_of\(([^)]*)\)/.exec(filter) ?? [];
    const pointsOf = (requests: number): object[] =>
      ends.filter(hadRequests).map((endAt) => ({
        interval: { startTime: toTimestamp(endAt - minuteMs), endTime: toTimestamp(endAt) },
        value: isLatency ? distributionOf(requests) : { int64Value: String(requests) },
      }));
    const [atCanary, atStable] = [pointsOf(2), pointsOf(18)];
    const timeSeries = list.split(',').flatMap((quoted) => {
      const labels = { location: 'us-central1', endpoint_id: quoted.slice(1, -1) };
      const resource = { type: 'aiplatform.googleapis.com/Endpoint', labels };
      return [
        { resource, metric: { labels: { deployed_model_id: canaryId, response_code: '200' } }, points: atCanary },
        { resource, metric: { labels: { deployed_model_id: stableId, response_code: '200' } }, points: atStable },
      ];
    });
    return { timeSeries: ends.some(hadRequests) ? timeSeries : [] };
  }
  const service = unaryService('google.monitoring.v3.MetricService', { ListTimeSeries: listTimeSeries });
  const server = await serveGrpc(0, [service]);
  return { host: `127.0.0.1:${server.port}`, calls: () => calls, close: () => server.close() };
}

function distributionOf(requests: number): object {
  const { bounds, counts } = aMinuteOf(requests).latencyMs;
  const bucketOptions = { explicitBuckets: { bounds } };
  return { distributionValue: { count: String(requests), mean: 12, bucketOptions, bucketCounts: counts.map(String) } };
}
