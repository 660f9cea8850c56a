/**
 * How do clients outside Google Cloud get their predictions? Through this door: the paths and bodies of Vertex's own REST
 * API, behind keys. It denies by default, forwards bytes, and counts how each DeployedModel does.
 */
import type { ServerResponse } from 'node:http';
import { setImmediate } from 'node:timers/promises';
import { Agent } from 'undici';
import type { Policy } from '../machines/policy/policy.ts';
import type { ResourceName } from '../machines/rollout/resource-name.ts';
import { limits } from './engine/limits.ts';
import { log } from './engine/log.ts';
import type { Clock, PoliciesPort } from './engine/ports.ts';
import { type DoorRequest, readBody } from './proxy/body.ts';
import { createCounters, type EvidenceMessage } from './proxy/counters.ts';
import { createServedEndpoints, type ServedEndpoint } from './proxy/endpoints.ts';
import { forward, type Outcome } from './proxy/forward.ts';
import { answerError, answerJson } from './proxy/google-error.ts';
import { upstreamHeaders } from './proxy/headers.ts';
import { createKeyCheck, type ProxyKey } from './proxy/keys.ts';
import { openapi } from './proxy/openapi.ts';
import { type PredictVerb, type ProxyPath, parseProxyPath } from './proxy/path.ts';
import { createSampleBudget, predictionNumbers } from './proxy/prediction-sample.ts';
import { parseReports } from './proxy/report.ts';

export interface PredictDependencies {
  /** None means that nobody gets in. */
  proxyKeys: readonly ProxyKey[];
  /** Whether a known caller may use the endpoint of a policy, and report of it. @param caller the key's name */
  mayPredict(caller: string, policy: Policy): boolean;
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
  /** Each in place of the bound in limits.ts. */
  bounds?: Partial<PredictBounds>;
}

export interface PredictBounds {
  bodyBytesMax: number;
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

const defaultBounds: PredictBounds = {
  bodyBytesMax: limits.predictBytesMax,
  deadlineMs: limits.predictDeadlineMs,
  streamDeadlineMs: limits.predictStreamDeadlineMs,
  policiesKeepMs: limits.proxyPoliciesKeepMs,
  evidenceIntervalMs: limits.evidenceIntervalMs,
  evidenceIdleMs: limits.evidenceIdleMs,
};

/** Makes the proxy's handler, for functions-framework and plain node:http alike. It answers every request itself. */
export function createPredict(dependencies: PredictDependencies): PredictHandler {
  const { policies, accessToken, now } = dependencies;
  const bounds = { ...defaultBounds, ...dependencies.bounds };
  const callerOf = createKeyCheck(dependencies.proxyKeys);
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
    connect: { timeout: limits.predictConnectDeadlineMs },
  });

  async function handle(request: DoorRequest, response: ServerResponse): Promise<void> {
    const path = parseProxyPath(request.url ?? '/');
    if (path === null) {
      answerError(response, 404, 'Nothing is served at this path; GET /openapi.json lists what is');
    } else if (path.kind === 'openapi') {
      if (request.method === 'GET' || request.method === 'HEAD') answerJson(response, 200, openapi);
      else answerError(response, 405, 'Ask for /openapi.json with GET', { allow: 'GET, HEAD' });
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
    const key = request.headers['x-goog-api-key'];
    const caller = typeof key === 'string' ? callerOf(key) : null;
    if (caller === null) {
      const problem = key === undefined ? 'No key was sent' : 'The key is not known';
      answerError(response, 401, `${problem}; send a valid one in the header x-goog-api-key`);
      return;
    }
    const target = await findServed(response, path);
    if (target === null) return;
    if (!dependencies.mayPredict(caller, target.policy)) {
      answerError(response, 403, `"${caller}" may not use endpoint ${target.endpoint}; ask its owner`);
      return;
    }
    const bytesMax = path.verb === 'report' ? limits.reportBytesMax : bounds.bodyBytesMax;
    const body = await readBody(request, bytesMax);
    if (body.kind === 'aborted') return;
    if (body.kind === 'tooLarge') {
      answerError(response, 413, `Request payload size exceeds the limit: ${bytesMax} bytes.`);
      return;
    }
    if (path.verb === 'report') report(response, target, body.bytes);
    else await ask(request, response, { target, verb: path.verb, body: body.bytes });
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
      answerError(response, 503, 'The list of endpoints cannot be read now; try again in a few seconds');
      return null;
    }
  }

  /** What is refused is not counted at all, so that the client may mend it and send it again. */
  function report(response: ServerResponse, { endpoint, policy }: ServedEndpoint, body: Buffer): void {
    const reports = parseReports(body, policy);
    if (reports.kind === 'problem') {
      answerError(response, 400, `Nothing was counted: ${reports.text}`);
    } else if (!counters.countReported(endpoint, reports.outcomes)) {
      const seconds = Math.ceil(bounds.evidenceIntervalMs / 1000);
      const full = `more than ${limits.evidenceSignalsMax} pairs of DeployedModel and check at once`;
      answerError(response, 429, `Nothing was counted: ${full}; check the ids, and try again in ${seconds} s`, {
        'retry-after': String(seconds),
      });
    } else answerJson(response, 200, '{}');
  }

  async function ask(
    request: DoorRequest,
    response: ServerResponse,
    { target, verb, body }: { target: ServedEndpoint; verb: PredictVerb; body: Buffer },
  ): Promise<void> {
    const startedAt = now();
    let token: string | null = null;
    try {
      token = accessToken === null ? null : await accessToken();
    } catch (error) {
      log('ERROR', 'The proxy has no access token to predict with', { error: String(error) });
      answerError(response, 503, 'The proxy has no credentials for the upstream now; try again later');
      return;
    }
    if (response.destroyed) return; // The caller left before anything was asked.
    const isPredict = verb === 'predict';
    const outcome = await forward(
      agent,
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
        deadlineMs: verb === 'streamRawPredict' ? bounds.streamDeadlineMs : bounds.deadlineMs,
        isPredict,
        keepBytesMax: verb === 'streamRawPredict' ? 0 : limits.sampledAnswerBytesMax,
      },
      response,
      now,
    );
    if (outcome.failure !== null) log('WARNING', outcome.failure, { endpoint: target.endpoint });
    await count(target.endpoint, startedAt, outcome);
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
      await counters.flush();
      if (!agent.closed) await agent.close();
    },
  });
}
