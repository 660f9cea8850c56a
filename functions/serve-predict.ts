/** The prediction proxy, wired: its handler with this process's keys, configuration, policies and bus. */
import { randomUUID } from 'node:crypto';
import { topics } from './engine/publish.ts';
import { createPredict } from './predict.ts';
import { openCache } from './proxy/cache.ts';
import { readProxyConfig } from './proxy/config.ts';
import { takeOverServer } from './proxy/server.ts';
import { openTracing } from './proxy/tracing.ts';
import { googleAccessTokens, upstreamOrigin } from './proxy/upstream.ts';
import { wiredProxy } from './wiring.ts';

const { environment, ports, observing } = wiredProxy();
const { vertexPredict } = environment.emulators;
const config = await readProxyConfig(environment.proxyConfig, environment.proxyKeys);
const accessToken = vertexPredict === null ? googleAccessTokens(ports.now) : null;

export const predict = createPredict({
  proxyKeys: environment.proxyKeys,
  config,
  cache: await openCache(config.cache, environment.redisUrl, ports.now),
  policies: ports.policies,
  project: environment.project,
  tracing: await openTracing(config.tracing, accessToken, environment.project),
  upstreamOrigin: upstreamOrigin(vertexPredict, config.dedicated),
  accessToken,
  publishEvidence: (message) =>
    ports.bus.publish(topics.evidence, [
      { data: Buffer.from(JSON.stringify(message)), attributes: { endpoint: message.endpoint } },
    ]),
  now: ports.now,
  instanceId: randomUUID(),
  // Where a minute may pass in a second, what the proxy saw is told as often as the metrics are sampled.
  bounds: vertexPredict === null ? {} : { evidenceIntervalMs: observing.periodMs },
});

takeOverServer(predict);
