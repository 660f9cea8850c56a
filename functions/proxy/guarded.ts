/** May this request go upstream, and once more if it found no way? Around forward(): a breaker and a retry budget for each endpoint. */
import type { ServerResponse } from 'node:http';
import type { Dispatcher } from 'undici';
import { limits } from '../engine/limits.ts';
import type { Clock } from '../engine/ports.ts';
import { createBreakers, type Reached } from './breaker.ts';
import { forward, type Outcome, type UpstreamCall } from './forward.ts';
import { answerTryLater } from './google-error.ts';
import { createRetryBudget, type RetryBudget } from './rate.ts';

export type GuardedForward = (
  endpoint: string,
  call: Omit<UpstreamCall, 'takeRetry'>,
  response: ServerResponse,
) => Promise<Outcome | null>;

/** Makes the forward() of one instance. It answers the caller in any case; null means that nothing was asked upstream. */
export function createGuardedForward(dispatcher: Dispatcher, now: Clock): GuardedForward {
  const passageTo = createBreakers(now);
  const budgets = new Map<string, RetryBudget>();

  return async (endpoint, call, response) => {
    const passage = passageTo(endpoint);
    if (passage.kind === 'broken') {
      answerTryLater(response, 503, 'The upstream fails on nearly every request', passage.retryAfterMs);
      return null;
    }
    const budget = budgets.get(endpoint) ?? createRetryBudget(limits.retryRatio, limits.retriesSavedMax);
    budgets.set(endpoint, budget);
    budget.attempted();
    let reached: Reached = 'unknown';
    try {
      const outcome = await forward(dispatcher, { ...call, takeRetry: () => budget.takeRetry() }, response, now);
      reached = outcome.reached;
      return outcome;
    } finally {
      passage.settle(reached);
    }
  };
}
