/** How much of something may happen in a while? Token buckets, in memory, each of one instance alone. */
/** Takes one request, at `at` (in ms): 0 when it is granted, or else the ms until the next one is. */
export type Rate = (at: number) => number;

/** Grants so many requests a minute, as many at once after a quiet minute, and then at an even pace. */
export function createRate(perMinute: number): Rate {
  const perMs = perMinute / 60_000;
  let tokens = perMinute;
  let filledAt = Number.NEGATIVE_INFINITY;
  return (at) => {
    // A clock that was set back must not empty the bucket.
    tokens = Math.min(perMinute, tokens + Math.max(0, at - filledAt) * perMs);
    filledAt = at;
    if (tokens >= 1) {
      tokens -= 1;
      return 0;
    }
    return (1 - tokens) / perMs;
  };
}

export interface RetryBudget {
  /** A first attempt, which earns a part of a retry. */
  attempted(): void;
  /** Takes a retry, if enough was earned. */
  takeRetry: () => boolean;
}

/** Grants retries as a share of first attempts, so that trying again never becomes the load that keeps an upstream down. */
export function createRetryBudget(ratio: number, savedMax: number): RetryBudget {
  // One at once: the first request of an instance is as worth a retry as any other.
  let saved = 1;
  return {
    attempted() {
      saved = Math.min(savedMax, saved + ratio);
    },
    takeRetry() {
      if (saved < 1) return false;
      saved -= 1;
      return true;
    },
  };
}
