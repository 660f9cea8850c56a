/** How is a caller's question answered? From the cache, where that is on, or by the model; and what it says of the model is counted. */
import type { ServerResponse } from 'node:http';
import { setImmediate } from 'node:timers/promises';
import type { ResourceName } from '../../machines/rollout/resource-name.ts';
import { limits } from '../engine/limits.ts';
import { log } from '../engine/log.ts';
import type { Clock } from '../engine/ports.ts';
import type { DoorRequest } from './body.ts';
import type { AnswerCache, CachedAnswer } from './cache.ts';
import type { Counters } from './counters.ts';
import type { ServedEndpoint } from './endpoints.ts';
import type { Outcome } from './forward.ts';
import { answerTryLater } from './google-error.ts';
import type { GuardedForward } from './guarded.ts';
import { upstreamHeaders } from './headers.ts';
import type { Hold } from './held.ts';
import type { PredictVerb } from './path.ts';
import { createSampleBudget, predictionNumbers } from './prediction-sample.ts';
import type { Shadow } from './shadow.ts';
import { type TraceContext, traceFields } from './trace-context.ts';
import { type RequestTrace, traced } from './tracing.ts';
import type { AccessTokens } from './upstream.ts';

/** What a known caller asks. */
export interface Asked {
  request: DoorRequest;
  response: ServerResponse;
  target: ServedEndpoint;
  verb: PredictVerb;
  body: Buffer;
  hold: Hold;
  /** The caller's; null where it has none. */
  context: TraceContext | null;
  /** Undefined where tracing is off. */
  trace: RequestTrace | undefined;
}

export interface AskDependencies {
  project: string;
  upstreamOrigin(endpoint: ResourceName): string;
  accessToken: AccessTokens | null;
  forward: GuardedForward;
  counters: Counters;
  shadow: Shadow | undefined;
  cache: AnswerCache | undefined;
  now: Clock;
  deadlineMs: number;
  streamDeadlineMs: number;
}

/** Who answered. */
export interface Answered {
  deployedModelId: string | null;
}

/** Told once by what it is learned who answered, null being nobody. To learn it may take a while, and may fail. */
type Tell<T> = (learned: () => T | null | Promise<T | null>) => void;

/** Answers the caller, unless it throws or what it tells fails. */
export type Ask = (asked: Asked, tell: Tell<Answered>) => void;

/** Makes the way of one instance. */
export function createAsk(dependencies: AskDependencies): Ask {
  const { project, accessToken, cache, counters, shadow, now } = dependencies;
  /** By endpoint, those of the policies and of pins: put together once. */
  const paths = new Map<string, { rawPredict: string; streamRawPredict: string }>();
  const mayBeSampled = createSampleBudget(limits.sampledAnswersPerSecondMax);

  /** From the cache, where that is on and has an answer; else from the model, whose answer then may be kept. */
  const ask: Ask = (asked, tell) => {
    const deadlineMs = asked.verb === 'streamRawPredict' ? dependencies.streamDeadlineMs : dependencies.deadlineMs;
    if (cache === undefined) askModel(asked, deadlineMs, tell);
    else tell(() => askCache(cache, asked, deadlineMs));
  };

  async function askCache(kept: AnswerCache, asked: Asked, deadlineMs: number): Promise<Outcome | CachedAnswer | null> {
    const { request, response, target, verb, body } = asked;
    const askedAt = now();
    const { headers } = request;
    const alias = target.policy.name;
    const waitMs = deadlineMs / 2;
    const found = await kept.find({ alias, endpoint: target.endpoint, verb, headers, body, waitMs });
    if (found.kind === 'hit') {
      answerHit(response, found.answer);
      return found.answer;
    }
    let live: Outcome | null = null;
    try {
      const leftMs = Math.max(waitMs, deadlineMs - (now() - askedAt));
      live = await new Promise<Outcome | null>((resolve) => {
        askModel(asked, leftMs, (learned) => resolve(run(learned)));
      });
    } finally {
      found.settle(live);
    }
    return live;
  }

  function askModel(asked: Asked, deadlineMs: number, tell: Tell<Outcome>): void {
    const token = accessToken === null ? null : accessToken();
    if (!(token instanceof Promise)) {
      askWith(token, asked, deadlineMs, tell);
      return;
    }
    token
      .then(
        (fetched) => askWith(fetched, asked, deadlineMs, tell),
        (error: unknown) => {
          log('ERROR', 'The proxy has no access token to predict with', { error: String(error) });
          answerTryLater(asked.response, 503, 'The proxy has no credentials for the upstream now', limits.tryLaterMs);
          tell(() => null);
        },
      )
      .catch((error: unknown) => tell(() => Promise.reject(error)));
  }

  function askWith(token: string | null, asked: Asked, deadlineMs: number, tell: Tell<Outcome>): void {
    const { request, response, target, verb, body, hold, context, trace } = asked;
    // The caller left before anything was asked.
    if (response.destroyed) {
      tell(() => null);
      return;
    }
    const isPredict = verb === 'predict';
    const upstreamTrace = trace && traced(() => trace.beginUpstream());
    dependencies.forward(
      target.endpoint,
      {
        origin: dependencies.upstreamOrigin(target.name),
        path: pathOf(target.endpoint, verb),
        headers: upstreamHeaders(request.headers, {
          isBodyEncoded: request.rawBody === undefined,
          isAnswerPassedOn: !isPredict,
          accessToken: token,
          trace: upstreamTrace?.context ?? context,
        }),
        body,
        deadlineMs,
        isPredict,
        hold,
        keepBytesMax: verb === 'streamRawPredict' ? 0 : limits.sampledAnswerBytesMax,
        isSentKept: cache !== undefined,
      },
      response,
      (outcome) => {
        tell(() => {
          if (upstreamTrace !== undefined) traced(() => upstreamTrace.end(outcome === null || outcome.isError));
          return outcome === null ? null : learn(asked, outcome);
        });
      },
    );
  }

  function pathOf(endpoint: string, verb: PredictVerb): string {
    let known = paths.get(endpoint);
    if (known === undefined) {
      const path = `/v1/${endpoint}`;
      known = { rawPredict: `${path}:rawPredict`, streamRawPredict: `${path}:streamRawPredict` };
      paths.set(endpoint, known);
    }
    // `:predict` names its DeployedModel in successes only; `:rawPredict` does in the headers of failures too.
    return verb === 'streamRawPredict' ? known.streamRawPredict : known.rawPredict;
  }

  /** What an exchange says of the model. */
  function learn(asked: Asked, outcome: Outcome): Outcome | Promise<Outcome> {
    const { deployedModelId, failure, answer, endedAt } = outcome;
    const { endpoint } = asked.target;
    if (failure !== null) {
      log('WARNING', failure, { endpoint, ...traceFields(project, asked.trace?.context ?? asked.context) });
    }
    if (answer !== null && deployedModelId !== null && mayBeSampled(endpoint, deployedModelId, endedAt)) {
      // The answer leaves the process before it is looked at: no caller waits for this.
      return setImmediate(answer).then((left) => count(asked, outcome, predictionNumbers(left)));
    }
    return count(asked, outcome, []);
  }

  /** In one go, so that a request and its predictions are in the same window. */
  function count({ request, target, verb, body }: Asked, outcome: Outcome, predictions: readonly number[]): Outcome {
    const { deployedModelId, startedAt, latencyMs, isError, answer } = outcome;
    counters.count(target.endpoint, { deployedModelId, startedAt, latencyMs, isError, predictions });
    shadow?.mirror({
      alias: target.policy.name,
      endpoint: target.endpoint,
      verb,
      headers: request.headers,
      isBodyEncoded: request.rawBody === undefined,
      body,
      answer,
    });
    return outcome;
  }

  return ask;
}

async function run<T>(learned: () => T | Promise<T>): Promise<T> {
  return learned();
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
