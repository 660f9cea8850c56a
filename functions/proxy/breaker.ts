/**
 * Is an upstream worth asking? When nearly everything that was sent to an endpoint fails on the way, callers are told so at
 * once, and one request from time to time tries whether it is back. What a model answers for itself never counts as
 * failing: a bad canary is for the rollout to judge, and hiding it would hide the evidence.
 */
import { limits } from '../engine/limits.ts';
import { log } from '../engine/log.ts';
import type { Clock } from '../engine/ports.ts';

/** What an exchange says of the way to the model: it was reached, it was not, or the caller left before anyone could tell. */
export type Reached = 'reached' | 'failed' | 'unknown';

export type Passage =
  /** Ask, and tell what came of it, exactly once. */
  | { kind: 'open'; settle: (reached: Reached) => void }
  /** Do not ask; it may be worth it after so long. */
  | { kind: 'broken'; retryAfterMs: number };

interface State {
  /** Counted from the window's first request on. */
  windowAt: number;
  failed: number;
  total: number;
  /** Null: requests pass. */
  brokenUntil: number | null;
  isProbing: boolean;
  backoffMs: number;
}

/** With the passage of all requests that are only counted, for it knows nothing of any one. */
interface Breaker {
  state: State;
  counted: Passage;
}

/** Makes the breakers of one instance, one for each endpoint that was asked; a breaker knows nothing of the others. */
export function createBreakers(now: Clock): (endpoint: string) => Passage {
  const breakers = new Map<string, Breaker>();

  return (endpoint) => {
    const { state, counted } = breakers.get(endpoint) ?? made(endpoint);
    return state.brokenUntil === null ? counted : probe(endpoint, state, state.brokenUntil);
  };

  function made(endpoint: string): Breaker {
    const state = closed(now());
    const breaker = { state, counted: countedPassage(endpoint, state) };
    breakers.set(endpoint, breaker);
    return breaker;
  }

  function countedPassage(endpoint: string, state: State): Passage {
    return {
      kind: 'open',
      settle(reached) {
        // Whoever began before the breaker broke says nothing of what is now.
        if (reached === 'unknown' || state.brokenUntil !== null) return;
        if (now() - state.windowAt >= limits.breakerWindowMs)
          Object.assign(state, { windowAt: now(), failed: 0, total: 0 });
        state.total += 1;
        if (reached === 'reached') return;
        state.failed += 1;
        const isEnough = state.failed >= limits.breakerFailuresMin;
        if (isEnough && state.failed >= state.total * limits.breakerFailedRatio) breakOff(endpoint, state);
      },
    };
  }

  /** One request at a time, once the back-off is over. */
  function probe(endpoint: string, state: State, brokenUntil: number): Passage {
    const waitMs = brokenUntil - now();
    if (waitMs > 0) return { kind: 'broken', retryAfterMs: waitMs };
    if (state.isProbing) return { kind: 'broken', retryAfterMs: limits.breakerBackoffMs };
    state.isProbing = true;
    return {
      kind: 'open',
      settle(reached) {
        state.isProbing = false;
        if (reached === 'failed') breakOff(endpoint, state);
        if (reached !== 'reached') return;
        Object.assign(state, closed(now()));
        log('INFO', 'The upstream of an endpoint can be reached again', { endpoint });
      },
    };
  }

  function breakOff(endpoint: string, state: State): void {
    state.brokenUntil = now() + state.backoffMs;
    log('ERROR', 'The upstream of an endpoint fails on nearly every request; callers get a 503 until it is back', {
      endpoint,
      failed: state.failed,
      total: state.total,
      backoffMs: state.backoffMs,
    });
    state.backoffMs = Math.min(limits.breakerBackoffMsMax, state.backoffMs * 2);
  }
}

function closed(at: number): State {
  return { windowAt: at, failed: 0, total: 0, brokenUntil: null, isProbing: false, backoffMs: limits.breakerBackoffMs };
}
