/**
 * How do clients outside Google Cloud get their predictions? Through this door: the paths and bodies of Vertex's own REST
 * API, behind keys. It denies by default, forwards bytes, and counts how each DeployedModel does.
 */
import type { ServerResponse } from 'node:http';
import type { ResourceName } from '../machines/rollout/resource-name.ts';
import { limits } from './engine/limits.ts';
import { log } from './engine/log.ts';
import type { Clock, PoliciesPort } from './engine/ports.ts';
import { createAnswerCounts } from './proxy/answer-counts.ts';
import { type Answered, createAsk } from './proxy/ask.ts';
import { type Body, type DoorRequest, readBody } from './proxy/body.ts';
import type { AnswerCache } from './proxy/cache.ts';
import { type Caller, createCallers, type Identified } from './proxy/callers.ts';
import { type ProxyConfig, proxyConfigSchema } from './proxy/config.ts';
import { createCors } from './proxy/cors.ts';
import { createCounters, type EvidenceMessage } from './proxy/counters.ts';
import { createServedEndpoints, type ServedEndpoint, type ServedEndpoints } from './proxy/endpoints.ts';
import { answerError, answerJson, answerTryLater } from './proxy/google-error.ts';
import { createGuardedForward } from './proxy/guarded.ts';
import { overlongHeader } from './proxy/headers.ts';
import { createRoom, type Hold, onceSent } from './proxy/held.ts';
import type { ProxyKey } from './proxy/keys.ts';
import { openapi } from './proxy/openapi.ts';
import { type ProxyPath, parseProxyPath } from './proxy/path.ts';
import { createPinning } from './proxy/pin.ts';
import { parseReports } from './proxy/report.ts';
import type { PredictHandler } from './proxy/server.ts';
import { createShadow } from './proxy/shadow.ts';
import { traceContextOf, traceFields } from './proxy/trace-context.ts';
import { type RequestTrace, traced, type Tracing } from './proxy/tracing.ts';
import { type AccessTokens, bodyBytesMaxOf, createPools } from './proxy/upstream.ts';

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

type EndpointPath = Exclude<ProxyPath, { kind: 'openapi' }>;

/** A request of a caller who may ask. */
interface Entered {
  caller: string;
  target: ServedEndpoint;
  verb: EndpointPath['verb'];
  bytesMax: number;
  hold: Hold;
  trace: RequestTrace | undefined;
}

/** A request, and what is known of it so far. */
interface Visit {
  request: DoorRequest;
  response: ServerResponse;
  endpoint: string | null;
  /** From when the caller is let in until it leaves. */
  entered: Entered | null;
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
  const pools = createPools(config.inFlightMax);
  const sideOf = createPinning(config.pinning);
  const bytesMaxOf = bodyBytesMaxOf(config.dedicated, bounds.bodyBytesMax);
  const shadow =
    config.shadow.length === 0
      ? undefined
      : createShadow({
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
    forward: createGuardedForward((origin) => pools.of(origin), now),
    counters,
    shadow,
    cache,
    now,
    deadlineMs: bounds.deadlineMs,
    streamDeadlineMs: bounds.streamDeadlineMs,
  });
  const room = createRoom(config.heldBytesMax);
  const answers = createAnswerCounts();

  /** In steps, each called by what it waits for: promises would cost each request more. */
  function handle(request: DoorRequest, response: ServerResponse): void {
    attempt(arrive, { request, response, endpoint: null, entered: null }, null);
  }

  /** Takes a step with what there now is. Whatever fails in it, the caller is answered and leaves. */
  function attempt<T>(step: (visit: Visit, given: T) => void | Promise<void>, visit: Visit, given: T): void {
    try {
      const going = step(visit, given);
      if (going instanceof Promise) going.catch((error: unknown) => fail(visit, error));
    } catch (error) {
      fail(visit, error);
    }
  }

  function arrive(visit: Visit): void | Promise<void> {
    return whenThere(enter(visit), (entered) => {
      if (entered === null) {
        leave(visit, null);
        return;
      }
      visit.entered = entered;
      readBody(visit.request, entered.bytesMax, bounds.bodyDeadlineMs, entered.hold, (body) => {
        attempt(answer, visit, body);
      });
    });
  }

  function fail(visit: Visit, error: unknown): void {
    log('ERROR', 'The proxy failed on a request', {
      error: error instanceof Error ? error.stack : String(error),
      ...traceFields(project, traceContextOf(visit.request.headers)),
    });
    answerError(visit.response, 500, 'The proxy failed on this request');
    leave(visit, null);
  }

  /** Lets in who may ask what it asks; null for others, who are told why not. */
  function enter(visit: Visit): Entered | null | Promise<Entered | null> {
    const { request, response } = visit;
    const path = route(request, response);
    if (path === null) return null;
    return whenThere(identify(request.headers), (identified) => {
      const at = now();
      const caller = admit(response, identified, at);
      if (caller === null) return null;
      return whenThere(findServed(response, path, at), (target) => {
        if (target === null) return null;
        visit.endpoint = target.endpoint;
        if (refuses(request, response, { caller, target, verb: path.verb })) return null;
        const side = sideOf(target, { headers: request.headers, caller: caller.name });
        visit.endpoint = side.endpoint;
        const endpointMax = path.verb === 'report' ? limits.reportBytesMax : bytesMaxOf(side.name);
        inFlight += 1;
        return {
          caller: caller.name,
          target: side,
          verb: path.verb,
          bytesMax: Math.min(caller.bodyBytesMax, endpointMax),
          hold: room(),
          trace: undefined,
        };
      });
    });
  }

  /** What is asked of an endpoint; null for all else, which then is answered. */
  function route(request: DoorRequest, response: ServerResponse): EndpointPath | null {
    const path = parseProxyPath(request.url ?? '/');
    cors.mark(request, response);
    if (path === null) {
      answerError(response, 404, 'Nothing is served at this path; GET /openapi.json lists what is');
    } else if (path.kind === 'openapi') {
      if (request.method === 'GET' || request.method === 'HEAD') answerJson(response, 200, openapi);
      else answerError(response, 405, 'Ask for /openapi.json with GET', { allow: 'GET, HEAD' });
    } else if (!cors.answerPreflight(request, response)) {
      if (request.method === 'POST') return path;
      answerError(response, 405, `Ask for :${path.verb} with POST`, { allow: 'POST' });
    }
    return null;
  }

  /** Whether there is a reason to say no before the body is read; then it was said. */
  function refuses(
    { headers, rawBody }: DoorRequest,
    response: ServerResponse,
    { caller, target, verb }: { caller: Caller; target: ServedEndpoint; verb: EndpointPath['verb'] },
  ): boolean {
    if (caller.endpoints !== '*' && !caller.endpoints.has(target.policy.name)) {
      answerError(response, 403, `"${caller.name}" may not use endpoint ${target.endpoint}; ask its owner`);
      return true;
    }
    if (inFlight >= config.inFlightMax) {
      answerTryLater(response, 503, 'The proxy has as much to do as it can', limits.tryLaterMs);
      return true;
    }
    const overlong = overlongHeader(headers);
    if (overlong !== null) {
      const problem = `The header ${overlong} is longer than ${limits.passedHeaderCharactersMax} characters`;
      answerError(response, 431, problem);
      return true;
    }
    const encoding = rawBody === undefined ? headers['content-encoding'] : undefined;
    if (verb !== 'report' || encoding === undefined || encoding === 'identity') return false;
    answerError(response, 415, `Reports are read as they come; send them without content-encoding: ${encoding}`);
    return true;
  }

  /** Answers a caller whose body was read, or not. */
  function answer(visit: Visit, body: Body): void {
    const { request, response, entered } = visit;
    if (entered === null) return;
    const { target, verb, hold } = entered;
    if (body.kind !== 'read') {
      answerUnread(response, body.kind, entered.bytesMax);
      leave(visit, null);
      return;
    }
    if (verb === 'report') {
      report(response, target, body.bytes);
      leave(visit, null);
      return;
    }
    const context = traceContextOf(request.headers);
    const about = { parent: context, verb, endpoint: target.endpoint, caller: entered.caller };
    const trace = tracing && traced(() => tracing.begin(about));
    entered.trace = trace;
    ask({ request, response, target, verb, body: body.bytes, hold, context, trace }, (answered) => {
      attempt(learn, visit, answered);
    });
  }

  function learn(visit: Visit, answered: () => Answered | null | Promise<Answered | null>): void | Promise<void> {
    return whenThere(answered(), (who) => leave(visit, who));
  }

  /** A caller who does not read its answer keeps its place, and the answer its bytes. */
  function leave(visit: Visit, answered: Answered | null): void {
    const { response, endpoint, entered } = visit;
    const deployedModelId = answered === null ? null : answered.deployedModelId;
    const code = codeOf(response);
    visit.entered = null;
    if (entered !== null) {
      onceSent(response, bounds.answerDeadlineMs, () => {
        inFlight -= 1;
        entered.hold.release();
      });
      const { trace } = entered;
      if (trace !== undefined) traced(() => trace.end({ statusCode: code, deployedModelId }));
    }
    answers.count(endpoint, deployedModelId, code);
  }

  /** Says why a body was not read; to a caller who left, nothing. */
  function answerUnread(response: ServerResponse, why: Exclude<Body['kind'], 'read'>, bytesMax: number): void {
    if (why === 'tooLarge') {
      answerError(response, 413, `Request payload size exceeds the limit: ${bytesMax} bytes.`);
    } else if (why === 'tooSlow') {
      const problem = `The body was not there within ${bounds.bodyDeadlineMs} ms`;
      answerError(response, 408, `${problem}; send it faster, or less of it`, { connection: 'close' });
    } else if (why === 'noRoom') {
      answerTryLater(response, 503, 'The proxy holds as many bytes as it can', limits.tryLaterMs);
    }
  }

  /** Answers the caller where there is none. */
  function findServed(
    response: ServerResponse,
    path: EndpointPath,
    at: number,
  ): ServedEndpoint | null | Promise<ServedEndpoint | null> {
    const found = served.find(path, at);
    if (!(found instanceof Promise)) return orNotFound(response, path, found, served);
    return found.then(
      (target) => orNotFound(response, path, target, served),
      (error: unknown) => {
        log('ERROR', 'The policies cannot be read, so the proxy knows no endpoint yet', { error: String(error) });
        answerTryLater(response, 503, 'The list of endpoints cannot be read now', limits.tryLaterMs);
        return null;
      },
    );
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

  async function flush(): Promise<void> {
    answers.flush();
    await Promise.all([counters.flush(), tracing?.flush()]);
  }

  return Object.assign(handle, {
    flush,
    close: async () => {
      cache?.close();
      await shadow?.close();
      await flush();
      await tracing?.close();
      await pools.close();
    },
  });
}

/** Takes one of the caller's requests of this minute; null for a stranger, and one who has none left. */
function admit(response: ServerResponse, identified: Identified, at: number): Caller | null {
  if (identified.kind === 'refused') {
    answerError(response, identified.code, identified.message, identified.headers);
    return null;
  }
  if (identified.kind === 'unavailable') {
    answerTryLater(response, 503, identified.message, limits.tryLaterMs);
    return null;
  }
  const { caller } = identified;
  const waitMs = caller.takeRequest(at);
  if (waitMs === 0) return caller;
  answerTryLater(response, 429, `"${caller.name}" asks more often than it may`, waitMs);
  return null;
}

/** Tells the caller where nothing is served. */
function orNotFound(
  response: ServerResponse,
  path: EndpointPath,
  target: ServedEndpoint | null,
  served: ServedEndpoints,
): ServedEndpoint | null {
  if (target === null) {
    const named = path.kind === 'alias' ? `alias "${path.alias}"` : `endpoint "${path.id}" in ${path.location}`;
    // One that cannot be read may name it: what is not known is not said to be absent.
    if (!served.isWhole()) {
      answerTryLater(response, 503, `Not all policies can be read, and no other names ${named}`, limits.tryLaterMs);
    } else answerError(response, 404, `No policy names ${named}; check the path, or write a policy for it`);
  }
  return target;
}

/** What comes of a value that is there, at once; or of one that is waited for. */
function whenThere<T, R>(value: T | Promise<T>, use: (value: T) => R | Promise<R>): R | Promise<R> {
  return value instanceof Promise ? value.then(use) : use(value);
}

/** What the caller got; 499, as others have it, where it left before there was anything to get. */
function codeOf({ headersSent, statusCode }: ServerResponse): number {
  return headersSent ? statusCode : 499;
}
