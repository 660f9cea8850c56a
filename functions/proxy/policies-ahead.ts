/** The policies, asked for before anyone needs them: a new instance loads its code while the store answers. */
import { limits } from '../engine/limits.ts';
import type { Clock, PoliciesPort } from '../engine/ports.ts';

/**
 * Asks at once, and gives that answer to whoever asks first. Nobody gets one that failed, or that nobody wanted for so long
 * that it is old: then the policies are asked for anew, as ever after.
 */
export function askedAhead(policies: PoliciesPort, now: Clock): PoliciesPort {
  const askedAt = now();
  let ahead: ReturnType<PoliciesPort['list']> | null = policies.list();
  // Whoever asks first sees to it; nobody may.
  ahead.catch(() => undefined);
  return {
    list() {
      const first = ahead;
      ahead = null;
      const isFresh = now() - askedAt < limits.proxyPoliciesKeepMs;
      return first !== null && isFresh ? first.catch(() => policies.list()) : policies.list();
    },
  };
}
