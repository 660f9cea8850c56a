/** The prediction proxy, made: its handler with this process's keys, configuration, policies and bus. */
import { randomUUID } from 'node:crypto';
import { topics } from './engine/publish.ts';
import { createPredict } from './predict.ts';
import { openCache } from './proxy/cache.ts';
import { readProxyConfig } from './proxy/config.ts';
import { type PredictHandler, takeOverServer } from './proxy/server.ts';
import { openTracing } from './proxy/tracing.ts';
import { googleAccessTokens, upstreamOrigin } from './proxy/upstream.ts';
import type { PartialWiring } from './wiring.ts';

/** Makes the handler, and has it answer what comes to this process. Rejects where the configuration is not usable. */
export async function openPredict({
  environment,
  ports,
  observing,
}: PartialWiring<'bus' | 'policies' | 'now'>): Promise<PredictHandler> {
  const { vertexPredict } = environment.emulators;
  const config = await readProxyConfig(environment.proxyConfig, environment.proxyKeys);
  const accessToken = vertexPredict === null ? googleAccessTokens(ports.now) : null;
  const predict = createPredict({
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
  // Whoever comes first would wait for it, and is told where there is none.
  Promise.resolve(accessToken?.()).catch(() => undefined);
  return predict;
}
