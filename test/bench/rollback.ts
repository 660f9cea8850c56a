/**
 * How long do callers suffer from a bad version, and what does it cost to notice? Several rollouts of version 3, which fails
 * on 18 % of flights. By Monitoring alone, sixty times as fast as Google's: the traffic goes straight to Vertex. By the proxy
 * alone, in real time, with thousands of requests in flight: under the policy as it is by default, Monitoring has nothing to
 * say for three minutes.
 *
 *   npm run bench -- rollback [--rounds 20] [--monitoring-rounds 3]
 */
import { parseArgs } from 'node:util';
import type { Bench } from '../bench.ts';
import { byMonitoring, byProxy, measure } from './rollback/rounds.ts';

export const bench: Bench = async (report, options) => {
  const { values } = parseArgs({
    args: options,
    options: {
      rounds: { type: 'string', default: '20' },
      'monitoring-rounds': { type: 'string', default: '3' },
    },
  });
  const monitored = await measure(Number(values['monitoring-rounds']), byMonitoring);
  report('monitoring_seconds_median', median(monitored.map(({ seconds }) => seconds)), 'seconds');
  report('monitoring_calls', median(monitored.map(({ calls }) => calls)), 'calls');
  const proxied = await measure(Number(values.rounds), byProxy);
  const seconds = proxied.map((round) => round.seconds);
  report('proxy_seconds_median', median(seconds), 'seconds');
  report('proxy_seconds_worst', Math.max(...seconds), 'seconds');
  report('proxy_in_flight', median(proxied.map(({ inFlight }) => inFlight)), 'requests');
};

function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return ((sorted[middle] ?? Number.NaN) + (sorted[sorted.length - 1 - middle] ?? Number.NaN)) / 2;
}
