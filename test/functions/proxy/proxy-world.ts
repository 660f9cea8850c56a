/** A proxy and an upstream that behaves like Vertex, both on real sockets, with everything around them in memory. */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import { createPredict, type PredictDependencies } from '../../../functions/predict.ts';
import type { EvidenceMessage } from '../../../functions/proxy/counters.ts';
import { type ProxyConfig, proxyConfigSchema } from '../../../functions/proxy/config.ts';
import type { PredictHandler } from '../../../functions/proxy/server.ts';
import type { Policy } from '../../../machines/policy/policy.ts';
import { portOf } from '../../port.ts';

export const endpoint = 'projects/demo/locations/us-central1/endpoints/456';
export const goodKey = 'correct horse battery staple';
export const longPath = `/v1/${endpoint}`;

export const delays: Policy = {
  name: 'delays',
  match: { kind: 'any' },
  endpoint,
  strategy: 'canary',
  steps: [{ percent: 100, holdSeconds: 0, approval: false }],
  analysis: {
    metricLagSeconds: 0,
    falseRollbackRatio: 0.01,
    minRequests: 1,
    errorRate: { maxRatio: 0.05, marginRatio: 0.005, dryRun: false },
    latency: null,
    drift: null,
    checks: [],
    inconclusive: { afterSeconds: 0, outcome: 'pause' },
    noData: { afterSeconds: 0, outcome: 'pause' },
    incident: 'pause',
  },
  exposure: { maxExcessErrors: 200 },
  deploy: {
    machineType: 'n1-standard-4',
    minReplicas: 1,
    maxReplicas: 1,
    accelerator: null,
    autoscaling: [],
    serviceAccount: null,
    deadlineSeconds: 0,
  },
  keepStableSeconds: 0,
  keepFailedCanarySeconds: 0,
  onNewBlessing: 'replace',
  freeze: [],
};

export interface Listening extends AsyncDisposable {
  origin: string;
}

/** Serves a handler on a free port of this machine until disposed. */
export async function listen(handler: RequestListener): Promise<Listening> {
  const server = createServer(handler);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const port = portOf(server);
  return {
    origin: `http://127.0.0.1:${port}`,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** A request as the upstream received it. */
export interface Received {
  method: string | undefined;
  url: string | undefined;
  headers: IncomingMessage['headers'];
  body: Buffer;
}

export type Model = (received: Received, response: ServerResponse) => void | Promise<void>;

export const servedBySeven = {
  'x-vertex-ai-endpoint-id': '456',
  'x-vertex-ai-deployed-model-id': '7',
  'x-vertex-ai-model': 'projects/1/locations/us-central1/models/delays',
  'x-vertex-ai-model-version-id': '3',
};

/** Answers with one prediction, as a model container behind `:rawPredict` does. */
export const healthyModel: Model = (_received, response) => {
  response.writeHead(200, { 'content-type': 'application/json', ...servedBySeven });
  response.end('{"predictions":[0.5]}');
};

/** The caller with the good key, who may use only these. */
export function onlyEndpoints(...endpoints: string[]): ProxyConfig {
  return proxyConfigSchema.parse({ callers: [{ name: 'partner', endpoints }] });
}

export interface World extends AsyncDisposable {
  origin: string;
  handler: PredictHandler;
  received: Received[];
  published: EvidenceMessage[];
  post(
    path: string,
    init?: { key?: string | null; body?: string | Uint8Array<ArrayBuffer>; headers?: Record<string, string> },
  ): Promise<Response>;
}

/** Starts both; what the test names in `overrides` stands in place of the usual. */
export async function startWorld(
  model: Model = healthyModel,
  overrides: Partial<PredictDependencies> = {},
): Promise<World> {
  const received: Received[] = [];
  const published: EvidenceMessage[] = [];
  const upstream = await listen((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const { method, url, headers } = request;
      const whole = { method, url, headers, body: Buffer.concat(chunks) };
      received.push(whole);
      void model(whole, response);
    });
  });
  const handler = createPredict({
    proxyKeys: [{ name: 'partner', sha256: createHash('sha256').update(goodKey).digest('hex') }],
    policies: { list: () => Promise.resolve({ policies: [delays], problems: [] }) },
    upstreamOrigin: () => upstream.origin,
    accessToken: null,
    publishEvidence: (message) => {
      published.push(message);
      return Promise.resolve();
    },
    now: Date.now,
    instanceId: 'test',
    ...overrides,
  });
  const proxy = await listen(handler);
  return {
    origin: proxy.origin,
    handler,
    received,
    published,
    post: (path, { key = goodKey, body = '{"instances":[[1]]}', headers = {} } = {}) =>
      fetch(`${proxy.origin}${path}`, {
        method: 'POST',
        body,
        headers: { 'content-type': 'application/json', ...(key === null ? {} : { 'x-goog-api-key': key }), ...headers },
      }),
    [Symbol.asyncDispose]: async () => {
      await proxy[Symbol.asyncDispose]();
      await upstream[Symbol.asyncDispose]();
      await handler.close();
    },
  };
}
