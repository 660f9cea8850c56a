/**
 * How do clients outside Google Cloud get their predictions? Through this door: the paths and bodies of Vertex's own REST
 * API, behind keys. It denies by default, forwards bytes, and counts how each DeployedModel does.
 */
import type { ServerResponse } from 'node:http';
import { Agent } from 'undici';
import type { ResourceName } from '../machines/rollout/resource-name.ts';
import { limits } from './engine/limits.ts';
import { log } from './engine/log.ts';
import type { Clock, PoliciesPort } from './engine/ports.ts';
import { createAnswerCounts } from './proxy/answer-counts.ts';
import { createAsk } from './proxy/ask.ts';
import { type DoorRequest, readBody } from './proxy/body.ts';
import type { AnswerCache } from './proxy/cache.ts';
import { type Caller, createCallers } from './proxy/callers.ts';
import { type ProxyConfig, proxyConfigSchema } from './proxy/config.ts';
import { createCors } from './proxy/cors.ts';
import { createCounters, type EvidenceMessage } from './proxy/counters.ts';
import { createServedEndpoints, type ServedEndpoint } from './proxy/endpoints.ts';
import { answerError, answerJson, answerTryLater } from './proxy/google-error.ts';
import { createGuardedForward } from './proxy/guarded.ts';
import { overlongHeader } from './proxy/headers.ts';
import { createRoom, type Hold, onceSent } from './proxy/held.ts';
import type { ProxyKey } from './proxy/keys.ts';
import { openapi } from './proxy/openapi.ts';
import { type PredictVerb, type ProxyPath, parseProxyPath } from './proxy/path.ts';
import { createPinning } from './proxy/pin.ts';
import { parseReports } from './proxy/report.ts';
import { createShadow } from './proxy/shadow.ts';
import { traceContextOf, traceFields } from './proxy/trace-context.ts';
import type { Tracing } from './proxy/tracing.ts';
import { type AccessTokens, bodyBytesMaxOf } from './proxy/upstream.ts';

export interface PredictDependencies {
  /** None, and none in the configuration, means that nobody gets in. */
  proxyKeys: readonly ProxyKey[];
  /** Absent: the keys are all there is to know. */
  config?: ProxyConfig | undefined;
  policies: PoliciesPort;
  /** The origin that serves an endpoint, such as `https://us-central1-aiplatform.googleapis.com`. */
  upstreamOrigin(endpoint: ResourceName): string;
  /** Null where the upstream wants no credentials: an emulator. */
  accessToken: AccessTokens | null;
  /** Publishes to `rollout-evidence`; must have a deadline of its own. */
  publishEvidence(message: EvidenceMessage): Promise<void>;
  now: Clock;
  /** Random, new for each process. */
  instanceId: string;
  /** Of this process, for the names of its traces in the log. */
  project?: string;
  /** None is off. The handler closes them. */
  cache?: AnswerCache | undefined;
  tracing?: Tracing | undefined;
  /** In [0, 1): which predictions a shadow is asked too. */
  random?: () => number;
  /** Each in place of the bound in limits.ts. */
  bounds?: Partial<PredictBounds>;
}

export interface PredictBounds {
  /** Of a request to an endpoint without a host of its own. */
  bodyBytesMax: number;
  bodyDeadlineMs: number;
  answerDeadlineMs: number;
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

/** A request of a caller who may ask. */
interface Admitted {
  caller: Caller;
  target: ServedEndpoint;
  verb: PredictVerb | 'report';
  hold: Hold;
  seen: Seen;
}

/** What is known of a request so far, for those who count it. */
interface Seen {
  endpoint: string | null;
  deployedModelId: string | null;
}

const defaultBounds: PredictBounds = {
  bodyBytesMax: limits.predictBytesMax,
  bodyDeadlineMs: limits.predictBodyDeadlineMs,
  answerDeadlineMs: limits.predictAnswerDeadlineMs,
  deadlineMs: limits.predictDeadlineMs,
  streamDeadlineMs: limits.predictStreamDeadlineMs,
  policiesKeepMs: limits.proxyPoliciesKeepMs,
  evidenceIntervalMs: limits.evidenceIntervalMs,
  evidenceIdleMs: limits.evidenceIdleMs,
};

/** Makes the proxy's handler, for functions-framework and plain node:http alike. It answers every request itself. */
export function createPredict(dependencies: PredictDependencies): PredictHandler {
  const { policies, accessToken, now, cache, tracing, project = '' } = dependencies;
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
  // Every exchange has its own deadline; undici's would only be a second opinion.
  const agent = new Agent({
    headersTimeout: 0,
    bodyTimeout: 0,
    allowH2: false,
    // One for each request that may be under way: none waits for another's connection.
    connections: config.inFlightMax,
    connect: { timeout: limits.predictConnectDeadlineMs },
  });
  const sideOf = createPinning(config.pinning);
  const bytesMaxOf = bodyBytesMaxOf(config.dedicated, bounds.bodyBytesMax);
  const shadow = createShadow({
    rules: config.shadow,
    upstreamOrigin: (endpoint) => dependencies.upstreamOrigin(endpoint),
    accessToken,
    counters,
    now,
    random: dependencies.random ?? Math.random,
  });
  const ask = createAsk({
    project,
    upstreamOrigin: (endpoint) => dependencies.upstreamOrigin(endpoint),
    accessToken,
    forward: createGuardedForward(agent, now),
    counters,
    shadow,
    cache,
    now,
    deadlineMs: bounds.deadlineMs,
    streamDeadlineMs: bounds.streamDeadlineMs,
  });
  const room = createRoom(config.heldBytesMax);
  const answers = createAnswerCounts();

  function handle(request: DoorRequest, response: ServerResponse, seen: Seen): void | Promise<void> {
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
      return serve(request, response, path, seen);
    }
  }

  async function serve(
    request: DoorRequest,
    response: ServerResponse,
    path: Exclude<ProxyPath, { kind: 'openapi' }>,
    seen: Seen,
  ): Promise<void> {
    // Nothing is waited for that is there: each wait costs more than the check before it.
    const identifying = identify(request.headers);
    const identified = identifying instanceof Promise ? await identifying : identifying;
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
    const finding = findServed(response, path);
    const target = finding instanceof Promise ? await finding : finding;
    if (target === null) return;
    seen.endpoint = target.endpoint;
    if (caller.endpoints !== '*' && !caller.endpoints.has(target.policy.name)) {
      answerError(response, 403, `"${caller.name}" may not use endpoint ${target.endpoint}; ask its owner`);
      return;
    }
    if (inFlight >= config.inFlightMax) {
      answerTryLater(response, 503, 'The proxy has as much to do as it can', limits.tryLaterMs);
      return;
    }
    inFlight += 1;
    const hold = room();
    try {
      await admit(request, response, { caller, target, verb: path.verb, hold, seen });
    } finally {
      // A caller who does not read its answer keeps its place, and the answer its bytes.
      onceSent(response, bounds.answerDeadlineMs, () => {
        inFlight -= 1;
        hold.release();
      });
    }
  }

  /** For a caller who may ask: reads what it asks, within its bounds. */
  async function admit(
    request: DoorRequest,
    response: ServerResponse,
    { caller, target, verb, hold, seen }: Admitted,
  ): Promise<void> {
    const overlong = overlongHeader(request.headers);
    if (overlong !== null) {
      answerError(
        response,
        431,
        `The header ${overlong} is longer than ${limits.passedHeaderCharactersMax} characters`,
      );
      return;
    }
    const encoding = request.rawBody === undefined ? request.headers['content-encoding'] : undefined;
    if (verb === 'report' && encoding !== undefined && encoding !== 'identity') {
      answerError(response, 415, `Reports are read as they come; send them without content-encoding: ${encoding}`);
      return;
    }
    const side = sideOf(target, { headers: request.headers, caller: caller.name });
    seen.endpoint = side.endpoint;
    const endpointMax = verb === 'report' ? limits.reportBytesMax : bytesMaxOf(side.name);
    const bytesMax = Math.min(caller.bodyBytesMax, endpointMax);
    const body = await readBody(request, bytesMax, bounds.bodyDeadlineMs, hold);
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
    if (body.kind === 'noRoom') {
      answerTryLater(response, 503, 'The proxy holds as many bytes as it can', limits.tryLaterMs);
      return;
    }
    if (verb === 'report') {
      report(response, side, body.bytes);
      return;
    }
    const context = traceContextOf(request.headers);
    const trace = tracing?.begin({ parent: context, verb, endpoint: side.endpoint, caller: caller.name });
    try {
      const answered = await ask(request, response, { target: side, verb, body: body.bytes, hold, context, trace });
      seen.deployedModelId = answered?.deployedModelId ?? null;
    } finally {
      trace?.end({ statusCode: codeOf(response), deployedModelId: seen.deployedModelId });
    }
  }

  /** Answers the caller where there is none. */
  function findServed(
    response: ServerResponse,
    path: Exclude<ProxyPath, { kind: 'openapi' }>,
  ): ServedEndpoint | null | Promise<ServedEndpoint | null> {
    const found = served.find(path);
    if (found instanceof Promise) return found.then(orNotFound, notKnown);
    return orNotFound(found);

    function orNotFound(target: ServedEndpoint | null): ServedEndpoint | null {
      if (target === null) {
        const named = path.kind === 'alias' ? `alias "${path.alias}"` : `endpoint "${path.id}" in ${path.location}`;
        answerError(response, 404, `No policy names ${named}; check the path, or write a policy for it`);
      }
      return target;
    }

    function notKnown(error: unknown): null {
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

  async function handleSafely(request: DoorRequest, response: ServerResponse): Promise<void> {
    const seen: Seen = { endpoint: null, deployedModelId: null };
    try {
      await handle(request, response, seen);
    } catch (error) {
      log('ERROR', 'The proxy failed on a request', {
        error: error instanceof Error ? error.stack : String(error),
        ...traceFields(project, traceContextOf(request.headers)),
      });
      answerError(response, 500, 'The proxy failed on this request');
    }
    answers.count(seen.endpoint, seen.deployedModelId, codeOf(response));
  }

  async function flush(): Promise<void> {
    answers.flush();
    await Promise.all([counters.flush(), tracing?.flush()]);
  }

  return Object.assign(handleSafely, {
    flush,
    close: async () => {
      cache?.close();
      await shadow.close();
      await flush();
      await tracing?.close();
      if (!agent.closed) await agent.close();
    },
  });
}

/** What the caller got; 499, as others have it, where it left before there was anything to get. */
function codeOf({ headersSent, statusCode }: ServerResponse): number {
  return headersSent ? statusCode : 499;
}
