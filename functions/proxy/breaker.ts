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
  | { kind: 'open'; settle: (reached: Reached, at: number) => void }
  /** Do not ask; it may be worth it after so long. */
  | { kind: 'broken'; retryAfterMs: number };

interface State {
  /** Counted from the window's first request on. */
  windowAt: number;
  failed: number;
  total: number;
  /** Null: requests pass. */
  brokenAt: number | null;
  isProbing: boolean;
  backoffMs: number;
}

/** Makes the breaker of one endpoint; it knows nothing of the others. */
export function createBreaker(endpoint: string, now: Clock): () => Passage {
  const state = closed(now());
  let passage = newPassage();

  return () => (state.brokenAt === null ? passage : probe(state.brokenAt));

  /** Of all requests that are only counted, until the breaker breaks: whoever began before says nothing of what is then. */
  function newPassage(): Passage {
    const open: Passage = {
      kind: 'open',
      settle(reached, at) {
        if (reached !== 'unknown' && open === passage) count(reached, at);
      },
    };
    return open;
  }

  function count(reached: Reached, at: number): void {
    const isOver = at < state.windowAt || at - state.windowAt >= limits.breakerWindowMs;
    if (isOver) Object.assign(state, { windowAt: at, failed: 0, total: 0 });
    state.total += 1;
    if (reached === 'reached') return;
    state.failed += 1;
    const isEnough = state.failed >= limits.breakerFailuresMin;
    if (isEnough && state.failed >= state.total * limits.breakerFailedRatio) breakOff(at);
  }

  /** One request at a time, once the back-off is over. */
  function probe(brokenAt: number): Passage {
    const waitedMs = now() - brokenAt;
    // A clock that was set back says nothing of how long it was.
    if (waitedMs >= 0 && waitedMs < state.backoffMs)
      return { kind: 'broken', retryAfterMs: state.backoffMs - waitedMs };
    if (state.isProbing) return { kind: 'broken', retryAfterMs: limits.breakerBackoffMs };
    state.isProbing = true;
    return {
      kind: 'open',
      settle(reached, at) {
        state.isProbing = false;
        if (reached === 'failed') breakOff(at);
        if (reached !== 'reached') return;
        Object.assign(state, closed(at));
        log('INFO', 'The upstream of an endpoint can be reached again', { endpoint });
      },
    };
  }

  function breakOff(at: number): void {
    state.backoffMs =
      state.brokenAt === null ? limits.breakerBackoffMs : Math.min(limits.breakerBackoffMsMax, state.backoffMs * 2);
    state.brokenAt = at;
    passage = newPassage();
    log('ERROR', 'The upstream of an endpoint fails on nearly every request; callers get a 503 until it is back', {
      endpoint,
      failed: state.failed,
      total: state.total,
      backoffMs: state.backoffMs,
    });
  }
}

function closed(at: number): State {
  return { windowAt: at, failed: 0, total: 0, brokenAt: null, isProbing: false, backoffMs: limits.breakerBackoffMs };
}
