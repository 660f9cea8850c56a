import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { VariantCounts } from '../../../machines/analysis/evidence.ts';
import { judge } from '../../../machines/analysis/judge.ts';
import { addEvidence, beginStep, emptyTally, type TallyState } from '../../../machines/analysis/tally.ts';
import type { Verdict } from '../../../machines/analysis/verdict.ts';
import { policyOf } from '../rollout/life.ts';

const policy = policyOf('  analysis: { metricLag: 2s, minRequests: 50, drift: { maxDistance: 0.3 } }\n').analysis;
const roles = { canaryId: 'c', stableIds: ['s'] };
const memory = { windowsMax: 32, sourcesMax: 64 };

function counts(requests: number, errors: number, slow = 0, drifted?: number): VariantCounts {
  const latencyMs = { bounds: [10, 20, 50, 100], counts: [0, requests - slow, 0, slow, 0] };
  const predictions = {
    bounds: [0.25, 0.5, 0.75],
    counts: drifted === undefined ? [] : [requests - drifted, 0, 0, drifted],
  };
  return { requests, errors, latencyMs, ...(drifted === undefined ? {} : { predictions }) };
}

function tallied(canary: VariantCounts, stable: VariantCounts): TallyState {
  const evidence = { source: 'monitoring', window: { fromAt: 1000, toAt: 2000 }, variants: { c: canary, s: stable } };
  return addEvidence(beginStep(emptyTally, 1000), evidence, roles, memory);
}

function verdictOf(canary: VariantCounts, stable: VariantCounts): Verdict {
  return judge(tallied(canary, stable), 'monitoring', policy, 5000);
}

function reasonFor(check: string, verdict: Verdict) {
  return verdict.reasons.find((reason) => reason.check === check);
}

describe('a verdict', () => {
  it('is noData without a request, however many stable has: silence is never healthy', () => {
    const verdict = verdictOf(counts(0, 0), counts(1000, 0));
    expect(verdict.kind).toBe('noData');
    expect(verdict.reasons[0]?.text).toContain('has not answered a request');
  });

  it('is inconclusive with fewer requests than the policy asks for', () => {
    expect(verdictOf(counts(49, 0), counts(1000, 0)).kind).toBe('inconclusive');
    expect(verdictOf(counts(50, 0), counts(1000, 0)).kind).toBe('healthy');
  });

  it('is unhealthy above the ceiling, and says the numbers', () => {
    const verdict = verdictOf(counts(412, 31), counts(7810, 9));
    expect(verdict.kind).toBe('unhealthy');
    expect(reasonFor('errorRate', verdict)?.text).toBe(
      'Canary 31 errors in 412 requests (7.52 %), stable 9 errors in 7,810 requests (0.115 %): above the ceiling of 5 %.',
    );
    expect(reasonFor('errorRate', verdict)?.numbers).toMatchObject({ canaryErrors: 31, stableRequests: 7810 });
  });

  it('is unhealthy below the ceiling when it is worse than stable by more than the margin', () => {
    expect(verdictOf(counts(1000, 20), counts(1000, 14)).kind).toBe('unhealthy');
    expect(verdictOf(counts(1000, 20), counts(1000, 16)).kind).toBe('healthy');
  });

  it('holds in an outage that both share: rolling back would not help', () => {
    const verdict = verdictOf(counts(1000, 300), counts(1000, 300));
    expect(verdict.kind).toBe('inconclusive');
    expect(reasonFor('errorRate', verdict)?.text).toContain('outage');
    expect(verdictOf(counts(1000, 400), counts(1000, 300)).kind).toBe('unhealthy');
  });

  it('compares latency at the quantile as a ratio', () => {
    expect(verdictOf(counts(100, 0, 4), counts(1000, 0)).kind).toBe('healthy');
    const slow = verdictOf(counts(100, 0, 10), counts(1000, 0));
    expect(slow.kind).toBe('unhealthy');
    expect(reasonFor('latency', slow)?.numbers).toEqual({
      canaryMs: 100,
      stableMs: 20,
      quantileRatio: 0.95,
      maxRatio: 1.2,
    });
  });

  it('judges drift of predictions where the policy asks and the source looked', () => {
    expect(verdictOf(counts(200, 0, 0, 190), counts(2000, 0, 0, 100)).kind).toBe('unhealthy');
    expect(verdictOf(counts(200, 0, 0, 12), counts(2000, 0, 0, 100)).kind).toBe('healthy');
    expect(reasonFor('drift', verdictOf(counts(200, 0), counts(2000, 0)))).toBeUndefined();
  });

  it('is not comparable while stable is short of requests, but its ceiling holds', () => {
    expect(verdictOf(counts(100, 0), counts(10, 0)).kind).toBe('inconclusive');
    expect(verdictOf(counts(100, 10), counts(10, 0)).kind).toBe('unhealthy');
  });

  it('never gets healthier by more canary errors', () => {
    const order = ['healthy', 'inconclusive', 'noData', 'unhealthy'];
    fc.assert(
      fc.property(
        fc.integer({ min: 50, max: 500 }),
        fc.nat(500),
        fc.nat(500),
        fc.nat(500),
        (requests, a, b, stableErrors) => {
          const [few, many] = [Math.min(a, b, requests), Math.min(Math.max(a, b), requests)];
          const stable = counts(500, stableErrors);
          const worse = order.indexOf(verdictOf(counts(requests, many), stable).kind);
          // An outage that the canary shares is held; one that it does not share is not worse than that.
          expect(worse).toBeGreaterThanOrEqual(
            Math.min(1, order.indexOf(verdictOf(counts(requests, few), stable).kind)),
          );
          if (verdictOf(counts(requests, few), stable).kind === 'unhealthy') expect(worse).toBe(3);
        },
      ),
    );
  });

  it('is the same however the evidence was cut into windows', () => {
    const part = fc.record({ requests: fc.integer({ min: 1, max: 50 }), errors: fc.nat(1), slow: fc.nat(1) });
    fc.assert(
      fc.property(fc.array(fc.tuple(part, part), { minLength: 1, maxLength: 20 }), (parts) => {
        let cut = beginStep(emptyTally, 0);
        for (const [i, [canary, stable]] of parts.entries()) {
          const variants = {
            c: counts(canary.requests, canary.errors, canary.slow),
            s: counts(stable.requests, stable.errors, stable.slow),
          };
          cut = addEvidence(cut, { source: 'monitoring', window: { fromAt: i, toAt: i + 1 }, variants }, roles, memory);
        }
        const whole = { c: cut.monitoring.step.canary, s: cut.monitoring.step.stable };
        const at = { fromAt: 0, toAt: parts.length };
        const once = addEvidence(
          beginStep(emptyTally, 0),
          { source: 'monitoring', window: at, variants: whole },
          roles,
          memory,
        );
        expect(judge(once, 'monitoring', policy, 9)).toEqual(judge(cut, 'monitoring', policy, 9));
      }),
    );
  });
});
