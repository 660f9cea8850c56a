/** Our proxy as it is deployed, with keys, limits and evidence on; only what lies beyond the process is left out. */
import { createHash, randomUUID } from 'node:crypto';
import { createPredict } from '../../../functions/predict.ts';
import type { PredictHandler } from '../../../functions/proxy/server.ts';
import { proxyConfigSchema } from '../../../functions/proxy/config.ts';
import { parsePolicy } from '../../../machines/policy/document.ts';
import { endpoint, key } from './request.ts';

/** @param upstream an origin, in place of Vertex */
export function ours(upstream: string): PredictHandler {
  const parsed = parsePolicy(
    `apiVersion: rollouts/v1\nkind: RolloutPolicy\nmetadata: { name: delays }\nspec: { match: "*", endpoint: ${endpoint} }`,
  );
  if (parsed.kind === 'invalid') throw new Error(JSON.stringify(parsed));
  const sha256 = createHash('sha256').update(key).digest('hex');
  return createPredict({
    proxyKeys: [],
    config: proxyConfigSchema.parse({
      callers: [{ name: 'bench', endpoints: ['delays'], keys: [{ sha256 }], requestsPerMinute: 1e7 }],
    }),
    policies: { list: () => Promise.resolve({ policies: [parsed.policy], problems: [] }) },
    upstreamOrigin: () => upstream,
    accessToken: () => 'ya29.token',
    publishEvidence: (message) => Promise.resolve(void JSON.stringify(message)),
    now: Date.now,
    instanceId: randomUUID(),
  });
}
