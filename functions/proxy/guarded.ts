/** May this request go upstream, and once more if it found no way? Around forward(): a breaker and a retry budget for each endpoint. */
import type { ServerResponse } from 'node:http';
import type { Dispatcher } from 'undici';
import { limits } from '../engine/limits.ts';
import type { Clock } from '../engine/ports.ts';
import { createBreaker, type Passage } from './breaker.ts';
import { forward, type Outcome, type UpstreamCall } from './forward.ts';
import { answerTryLater } from './google-error.ts';
import { createRetryBudget, type RetryBudget } from './rate.ts';

/** As forward(); `over` is told null where nothing was asked upstream, and nothing is to be learned. */
export type GuardedForward = (
  endpoint: string,
  call: UpstreamCall,
  response: ServerResponse,
  over: (outcome: Outcome | null) => void,
) => void;

/** What is kept of an endpoint that was asked. */
interface Way {
  passage(): Passage;
  budget: RetryBudget;
}

/** Makes the forward() of one instance. It answers the caller in any case. */
export function createGuardedForward(dispatcherOf: (origin: string) => Dispatcher, now: Clock): GuardedForward {
  const ways = new Map<string, Way>();

  function newWay(endpoint: string): Way {
    const way = {
      passage: createBreaker(endpoint, now),
      budget: createRetryBudget(limits.retryRatio, limits.retriesSavedMax),
    };
    ways.set(endpoint, way);
    return way;
  }

  return (endpoint, call, response, over) => {
    // First, for it throws where an origin is none; a passage that was taken must be settled.
    const dispatcher = dispatcherOf(call.origin);
    const way = ways.get(endpoint) ?? newWay(endpoint);
    const passage = way.passage();
    if (passage.kind === 'broken') {
      answerTryLater(response, 503, 'The upstream fails on nearly every request', passage.retryAfterMs);
      over(null);
      return;
    }
    way.budget.attempted();
    const guard = { takeRetry: way.budget.takeRetry, settle: passage.settle };
    forward(dispatcher, call, guard, response, now, over);
  };
}
