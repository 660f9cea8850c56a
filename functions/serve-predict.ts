/** The prediction proxy, wired: its handler with this process's keys, policies and bus. */
import { randomUUID } from 'node:crypto';
import { topics } from './engine/publish.ts';
import { createPredict } from './predict.ts';
import { googleAccessTokens, upstreamOrigin } from './proxy/upstream.ts';
import { wired } from './wiring.ts';

const { environment, ports, observing } = wired();
const { vertexPredict } = environment.emulators;

export const predict = createPredict({
  proxyKeys: environment.proxyKeys,
  mayPredict: () => true,
  policies: ports.policies,
  upstreamOrigin: upstreamOrigin(vertexPredict),
  accessToken: vertexPredict === null ? googleAccessTokens() : null,
  publishEvidence: (message) =>
    ports.bus.publish(topics.evidence, [
      { data: Buffer.from(JSON.stringify(message)), attributes: { endpoint: message.endpoint } },
    ]),
  now: ports.now,
  instanceId: randomUUID(),
  // Where a minute may pass in a second, what the proxy saw is told as often as the metrics are sampled.
  bounds: vertexPredict === null ? {} : { evidenceIntervalMs: observing.periodMs },
});

process.once('SIGTERM', () => void predict.flush());
