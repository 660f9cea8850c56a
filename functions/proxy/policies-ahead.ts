/** The policies, asked for before anyone needs them: a new instance loads its code while the store answers. */
import { limits } from '../engine/limits.ts';
import type { Clock, PoliciesPort } from '../engine/ports.ts';

/**
 * Asks at once, and gives that answer to whoever asks first. Where it failed before, or nobody wanted it for a while, the
 * policies are asked for anew, as ever after; who waits already is told that it failed.
 */
export function askedAhead(policies: PoliciesPort, now: Clock): PoliciesPort {
  const askedAt = now();
  let ahead: ReturnType<PoliciesPort['list']> | null = policies.list();
  ahead.catch(() => {
    ahead = null;
  });
  return {
    list() {
      const first = ahead;
      ahead = null;
      const isFresh = now() - askedAt < limits.policiesAheadKeepMs;
      return first !== null && isFresh ? first : policies.list();
    },
  };
}
