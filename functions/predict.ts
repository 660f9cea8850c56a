/**
 * How do clients outside Google Cloud get their predictions? Through this door: the paths and bodies of Vertex's own REST
 * API, behind keys. It denies by default, forwards bytes, and counts how each DeployedModel does.
 */
import type { ServerResponse } from 'node:http';
import { setImmediate } from 'node:timers/promises';
import { Agent } from 'undici';
import type { ResourceName } from '../machines/rollout/resource-name.ts';
import { limits } from './engine/limits.ts';
import { log } from './engine/log.ts';
import type { Clock, PoliciesPort } from './engine/ports.ts';
import { type DoorRequest, readBody } from './proxy/body.ts';
import type { AnswerCache, CachedAnswer } from './proxy/cache.ts';
import { type Caller, createCallers } from './proxy/callers.ts';
import { type ProxyConfig, proxyConfigSchema } from './proxy/config.ts';
import { createCors } from './proxy/cors.ts';
import { createCounters, type EvidenceMessage } from './proxy/counters.ts';
import { createServedEndpoints, type ServedEndpoint } from './proxy/endpoints.ts';
import type { Outcome } from './proxy/forward.ts';
import { answerError, answerJson, answerTryLater } from './proxy/google-error.ts';
import { createGuardedForward } from './proxy/guarded.ts';
import { upstreamHeaders } from './proxy/headers.ts';
import type { ProxyKey } from './proxy/keys.ts';
import { openapi } from './proxy/openapi.ts';
import { type PredictVerb, type ProxyPath, parseProxyPath } from './proxy/path.ts';
import { createPinning } from './proxy/pin.ts';
import { createSampleBudget, predictionNumbers } from './proxy/prediction-sample.ts';
import { parseReports } from './proxy/report.ts';
import { createShadow } from './proxy/shadow.ts';

export interface PredictDependencies {
  /** None, and none in the configuration, means that nobody gets in. */
  proxyKeys: readonly ProxyKey[];
  /** Absent: the keys are all there is to know. */
  config?: ProxyConfig | undefined;
  policies: PoliciesPort;
  /** The origin that serves an endpoint, such as `https://us-central1-aiplatform.googleapis.com`. */
  upstreamOrigin(endpoint: ResourceName): string;
  /** Null where the upstream wants no credentials: an emulator. */
  accessToken: (() => Promise<string>) | null;
  /** Publishes to `rollout-evidence`; must have a deadline of its own. */
  publishEvidence(message: EvidenceMessage): Promise<void>;
  now: Clock;
  /** Random, new for each process. */
  instanceId: string;
  /** None is off. The handler closes it. */
  cache?: AnswerCache | undefined;
  /** In [0, 1): which predictions a shadow is asked too. */
  random?: () => number;
  /** Each in place of the bound in limits.ts. */
  bounds?: Partial<PredictBounds>;
}

export interface PredictBounds {
  bodyBytesMax: number;
  bodyDeadlineMs: number;
  deadlineMs: number;
  streamDeadlineMs: number;
  policiesKeepMs: number;
  evidenceIntervalMs: number;
  evidenceIdleMs: number;
}

export interface PredictHandler {
  (request: DoorRequest, response: ServerResponse): Promise<void>;
  /** Reports what is counted and not yet reported; never rejects. For SIGTERM, as far as the platform grants time. */
  flush(): Promise<void>;
  /** Flushes, and closes the connections to the upstream. */
  close(): Promise<void>;
}

/** What a known caller may ask. */
interface Asked {
  target: ServedEndpoint;
  verb: PredictVerb;
  body: Buffer;
}

type Live = Outcome & { startedAt: number };

const defaultBounds: PredictBounds = {
  bodyBytesMax: limits.predictBytesMax,
  bodyDeadlineMs: limits.predictBodyDeadlineMs,
  deadlineMs: limits.predictDeadlineMs,
  streamDeadlineMs: limits.predictStreamDeadlineMs,
  policiesKeepMs: limits.proxyPoliciesKeepMs,
  evidenceIntervalMs: limits.evidenceIntervalMs,
  evidenceIdleMs: limits.evidenceIdleMs,
};

/** Makes the proxy's handler, for functions-framework and plain node:http alike. It answers every request itself. */
export function createPredict(dependencies: PredictDependencies): PredictHandler {
  const { policies, accessToken, now, cache } = dependencies;
  const bounds = { ...defaultBounds, ...dependencies.bounds };
  const config = dependencies.config ?? proxyConfigSchema.parse({});
  const identify = createCallers(config, dependencies.proxyKeys, now);
  const cors = createCors(config.cors);
  let inFlight = 0;
  const served = createServedEndpoints(policies, now, bounds.policiesKeepMs);
  const counters = createCounters({
    publish: (message) => dependencies.publishEvidence(message),
    now,
    source: `proxy:${dependencies.instanceId}`,
    intervalMs: bounds.evidenceIntervalMs,
    idleMs: bounds.evidenceIdleMs,
  });
  const mayBeSampled = createSampleBudget(now, limits.sampledAnswersPerSecondMax);
  // Every exchange has its own deadline; undici's would only be a second opinion.
  const agent = new Agent({
    headersTimeout: 0,
    bodyTimeout: 0,
    allowH2: false,
    // One for each request that may be under way: none waits for another's connection.
    connections: config.inFlightMax,
    connect: { timeout: limits.predictConnectDeadlineMs },
  });
  const forward = createGuardedForward(agent, now);
  const sideOf = createPinning(config.pinning);
  const shadow = createShadow({
    rules: config.shadow,
    upstreamOrigin: (endpoint) => dependencies.upstreamOrigin(endpoint),
    accessToken,
    counters,
    now,
    random: dependencies.random ?? Math.random,
  });

  async function handle(request: DoorRequest, response: ServerResponse): Promise<void> {
    const path = parseProxyPath(request.url ?? '/');
    cors.mark(request, response);
    if (path === null) {
      answerError(response, 404, 'Nothing is served at this path; GET /openapi.json lists what is');
    } else if (path.kind === 'openapi') {
      if (request.method === 'GET' || request.method === 'HEAD') answerJson(response, 200, openapi);
      else answerError(response, 405, 'Ask for /openapi.json with GET', { allow: 'GET, HEAD' });
    } else if (cors.answerPreflight(request, response)) {
      return;
    } else if (request.method !== 'POST') {
      answerError(response, 405, `Ask for :${path.verb} with POST`, { allow: 'POST' });
    } else {
      await serve(request, response, path);
    }
  }

  async function serve(
    request: DoorRequest,
    response: ServerResponse,
    path: Exclude<ProxyPath, { kind: 'openapi' }>,
  ): Promise<void> {
    const identified = await identify(request.headers);
    if (identified.kind === 'refused') {
      answerError(response, identified.code, identified.message, identified.headers);
      return;
    }
    if (identified.kind === 'unavailable') {
      answerTryLater(response, 503, identified.message, limits.tryLaterMs);
      return;
    }
    const { caller } = identified;
    const waitMs = caller.takeRequest();
    if (waitMs > 0) {
      answerTryLater(response, 429, `"${caller.name}" asks more often than it may`, waitMs);
      return;
    }
    const target = await findServed(response, path);
    if (target === null) return;
    if (caller.endpoints !== '*' && !caller.endpoints.has(target.policy.name)) {
      answerError(response, 403, `"${caller.name}" may not use endpoint ${target.endpoint}; ask its owner`);
      return;
    }
    if (inFlight >= config.inFlightMax) {
      answerTryLater(response, 503, 'The proxy has as much to do as it can', limits.tryLaterMs);
      return;
    }
    inFlight += 1;
    try {
      await admit(request, response, { caller, target, verb: path.verb });
    } finally {
      inFlight -= 1;
    }
  }

  /** For a caller who may ask: reads what it asks, within its bounds. */
  async function admit(
    request: DoorRequest,
    response: ServerResponse,
    { caller, target, verb }: { caller: Caller; target: ServedEndpoint; verb: PredictVerb | 'report' },
  ): Promise<void> {
    const encoding = request.rawBody === undefined ? request.headers['content-encoding'] : undefined;
    if (verb === 'report' && encoding !== undefined && encoding !== 'identity') {
      answerError(response, 415, `Reports are read as they come; send them without content-encoding: ${encoding}`);
      return;
    }
    const bytesMax = Math.min(caller.bodyBytesMax, verb === 'report' ? limits.reportBytesMax : bounds.bodyBytesMax);
    const body = await readBody(request, bytesMax, bounds.bodyDeadlineMs);
    if (body.kind === 'aborted') return;
    if (body.kind === 'tooLarge') {
      answerError(response, 413, `Request payload size exceeds the limit: ${bytesMax} bytes.`);
      return;
    }
    if (body.kind === 'tooSlow') {
      const problem = `The body was not there within ${bounds.bodyDeadlineMs} ms`;
      answerError(response, 408, `${problem}; send it faster, or less of it`, { connection: 'close' });
      return;
    }
    const side = sideOf(target, { headers: request.headers, caller: caller.name });
    if (verb === 'report') report(response, side, body.bytes);
    else await ask(request, response, { target: side, verb, body: body.bytes });
  }

  async function findServed(
    response: ServerResponse,
    path: Exclude<ProxyPath, { kind: 'openapi' }>,
  ): Promise<ServedEndpoint | null> {
    try {
      const target = await served.find(path);
      if (target === null) {
        const named = path.kind === 'alias' ? `alias "${path.alias}"` : `endpoint "${path.id}" in ${path.location}`;
        answerError(response, 404, `No policy names ${named}; check the path, or write a policy for it`);
      }
      return target;
    } catch (error) {
      log('ERROR', 'The policies cannot be read, so the proxy knows no endpoint yet', { error: String(error) });
      answerTryLater(response, 503, 'The list of endpoints cannot be read now', limits.tryLaterMs);
      return null;
    }
  }

  /** What is refused is not counted at all, so that the client may mend it and send it again. */
  function report(response: ServerResponse, { endpoint, policy }: ServedEndpoint, body: Buffer): void {
    const reports = parseReports(body, policy);
    if (reports.kind === 'problem') {
      answerError(response, 400, `Nothing was counted: ${reports.text}`);
    } else if (!counters.countReported(endpoint, reports.outcomes)) {
      const full = `more than ${limits.evidenceSignalsMax} pairs of DeployedModel and check at once`;
      answerTryLater(response, 429, `Nothing was counted: ${full}; check the ids`, bounds.evidenceIntervalMs);
    } else answerJson(response, 200, '{}');
  }

  /** From the cache, where that is on and has an answer; else from the model, whose answer then may be kept. */
  async function ask(request: DoorRequest, response: ServerResponse, asked: Asked): Promise<void> {
    const deadlineMs = asked.verb === 'streamRawPredict' ? bounds.streamDeadlineMs : bounds.deadlineMs;
    if (cache === undefined) {
      await askModel(request, response, { ...asked, deadlineMs });
      return;
    }
    const askedAt = now();
    const { target, verb, body } = asked;
    const { headers } = request;
    const alias = target.policy.name;
    const waitMs = deadlineMs / 2;
    const found = await cache.find({ alias, endpoint: target.endpoint, verb, headers, body, waitMs });
    if (found.kind === 'hit') {
      answerHit(response, found.answer);
      return;
    }
    let live: Live | null = null;
    try {
      live = await askModel(request, response, {
        ...asked,
        deadlineMs: Math.max(waitMs, deadlineMs - (now() - askedAt)),
      });
    } finally {
      found.settle(live);
    }
  }

  /** Null when nothing was asked. */
  async function askModel(
    request: DoorRequest,
    response: ServerResponse,
    { target, verb, body, deadlineMs }: Asked & { deadlineMs: number },
  ): Promise<Live | null> {
    const startedAt = now();
    let token: string | null = null;
    try {
      token = accessToken === null ? null : await accessToken();
    } catch (error) {
      log('ERROR', 'The proxy has no access token to predict with', { error: String(error) });
      answerTryLater(response, 503, 'The proxy has no credentials for the upstream now', limits.tryLaterMs);
      return null;
    }
    if (response.destroyed) return null; // The caller left before anything was asked.
    const isPredict = verb === 'predict';
    const outcome = await forward(
      target.endpoint,
      {
        origin: dependencies.upstreamOrigin(target.name),
        // `:predict` names its DeployedModel in successes only; `:rawPredict` does in the headers of failures too.
        path: `/v1/${target.endpoint}:${isPredict ? 'rawPredict' : verb}`,
        headers: upstreamHeaders(request.headers, {
          isBodyEncoded: request.rawBody === undefined,
          isAnswerPassedOn: !isPredict,
          accessToken: token,
        }),
        body,
        deadlineMs,
        isPredict,
        keepBytesMax: verb === 'streamRawPredict' ? 0 : limits.sampledAnswerBytesMax,
      },
      response,
    );
    if (outcome === null) return null;
    if (outcome.failure !== null) log('WARNING', outcome.failure, { endpoint: target.endpoint });
    await count(target.endpoint, startedAt, outcome);
    shadow.mirror({
      alias: target.policy.name,
      endpoint: target.endpoint,
      verb,
      headers: request.headers,
      isBodyEncoded: request.rawBody === undefined,
      body,
      answer: outcome.answer,
    });
    return { ...outcome, startedAt };
  }

  /** A request and its predictions are counted in one go, so that they are in the same window. */
  async function count(endpoint: string, startedAt: number, { answer, ...outcome }: Outcome): Promise<void> {
    const { deployedModelId } = outcome;
    let predictions: number[] = [];
    if (answer !== null && deployedModelId !== null && mayBeSampled(endpoint, deployedModelId)) {
      // The answer leaves the process before it is looked at: no caller waits for this.
      await setImmediate();
      predictions = predictionNumbers(answer);
    }
    counters.count(endpoint, { ...outcome, startedAt, predictions });
  }

  async function handleSafely(request: DoorRequest, response: ServerResponse): Promise<void> {
    try {
      await handle(request, response);
    } catch (error) {
      log('ERROR', 'The proxy failed on a request', { error: error instanceof Error ? error.stack : String(error) });
      answerError(response, 500, 'The proxy failed on this request');
    }
  }

  return Object.assign(handleSafely, {
    flush: () => counters.flush(),
    close: async () => {
      cache?.close();
      await shadow.close();
      await counters.flush();
      if (!agent.closed) await agent.close();
    },
  });
}

/** What is told twice is no evidence: it is not counted. */
function answerHit(response: ServerResponse, { headers, body }: CachedAnswer): void {
  response.writeHead(200, {
    ...headers,
    'content-type': 'application/json; charset=utf-8',
    'content-length': String(body.length),
    'x-rollouts-cache': 'hit',
  });
  response.end(body);
}
