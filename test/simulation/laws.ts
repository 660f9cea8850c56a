/**
 * Do the laws of the design hold? Checkers apart from the code they check: they look at what was written to the endpoint,
 * at the record that was active then, and at the endpoint itself, and know nothing of how a decision is made.
 */
import { expect } from 'vitest';
import type { Laboratory } from './laboratory.ts';

/** Checks every write since the last call; throws on the first law that is broken. */
export function checkLaws(lab: Laboratory): void {
  for (const { split, record } of lab.writes.splice(0)) {
    const shares = Object.values(split);
    expect(shares.every(Number.isInteger), 'law 1: shares are integers').toBe(true);
    if (shares.length > 0)
      expect(
        shares.reduce((a, b) => a + b, 0),
        'law 1: shares sum to 100',
      ).toBe(100);
    const active = record?.active ?? null;
    expect(active, 'law 10: only an active rollout moves traffic').not.toBeNull();
    if (active === null) continue;
    const { context, value } = active;
    const share = split[context.canaryId] ?? 0;
    const step = context.policy.steps[context.stepIndex]?.percent ?? 0;
    const isFirst = Object.keys(context.stable ?? {}).length === 0;
    if (!isFirst) expect(share, 'law 2: the share never exceeds its step').toBeLessThanOrEqual(step);
    if (context.ending !== null) expect(share, 'law 4: going back, the canary has nothing').toBe(0);
    const before = context.traffic.confirmed?.[context.canaryId] ?? 0;
    if (value.pause === 'paused' && context.traffic.confirmed !== null) {
      expect(share, 'law 5: a paused rollout rises no more').toBeLessThanOrEqual(before);
    }
  }
}
