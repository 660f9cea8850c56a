import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { VariantCounts } from '../../../machines/analysis/evidence.ts';
import type { Question } from '../../../machines/analysis/fitness.ts';
import { judge } from '../../../machines/analysis/judge.ts';
import { addEvidence, beginStep, emptyTally, type TallyState } from '../../../machines/analysis/tally.ts';
import { type Verdict, verdictSchema } from '../../../machines/analysis/verdict.ts';
import { policyOf } from '../rollout/life.ts';

const policy = policyOf('  analysis: { metricLag: 180s, minRequests: 50 }\n').analysis;
const withDrift = { ...policy, drift: { maxDistance: 0.3, dryRun: false } };
const roles = { canaryId: 'c', stableIds: ['s'] };
const memory = { windowsMax: 32, windowsInAllMax: 2048, sourcesMax: 64 };
const atQuarter: Question = { at: 1e7, percent: 25, nextPercent: 50, maxExcessErrors: 200 };

function counts(requests: number, errors: number, slow = 0, drifted?: number): VariantCounts {
  const latencyMs = { bounds: [10, 20, 50, 100], counts: [0, requests - slow, 0, slow, 0] };
  const predictions = {
    bounds: [0.25, 0.5, 0.75],
    counts: drifted === undefined ? [] : [requests - drifted, 0, 0, drifted],
  };
  return { requests, errors, latencyMs, ...(drifted === undefined ? {} : { predictions }) };
}

const minute = 60_000;
const add = (state: TallyState, at: number, variants: Record<string, VariantCounts>, source = 'monitoring') =>
  addEvidence(state, { source, window: { fromAt: at, toAt: at + minute }, variants }, roles, memory, policy);

/** An hour of stable: 20 requests a second, one in a hundred fails, one in fifty is slow. */
const past = Array.from({ length: 60 }).reduce<TallyState>(
  (state, _, i) => add(state, i * minute, { s: counts(1200, 12, 24) }),
  emptyTally,
);
const begun = beginStep(past, 60 * minute);

function after(windows: number, canary: VariantCounts, stable: VariantCounts, source = 'monitoring'): TallyState {
  let state = begun;
  for (let i = 0; i < windows; i += 1) state = add(state, (60 + i) * minute, { c: canary, s: stable }, source);
  return state;
}

function verdictOf(windows: number, canary: VariantCounts, stable = counts(900, 9, 18), question = atQuarter): Verdict {
  return judge(after(windows, canary, stable), 'monitoring', policy, question);
}

function reasonFor(check: string, verdict: Verdict) {
  return verdict.reasons.find((reason) => reason.check === check);
}

describe('a verdict', () => {
  it('is noData without a request, however many stable has: silence is never healthy', () => {
    const verdict = verdictOf(5, counts(0, 0));
    expect(verdict.kind).toBe('noData');
    expect(verdict.reasons[0]?.text).toContain('has not answered a request');
  });

  it('is inconclusive with fewer requests than the policy asks for', () => {
    const verdict = verdictOf(1, counts(49, 0));
    expect(verdict.kind).toBe('inconclusive');
    expect(verdict.reasons.map(({ check }) => check)).toEqual(['requests']);
  });

  it('is healthy when the next share is worth its risk, and says what the risk is', () => {
    const verdict = verdictOf(5, counts(300, 3, 6));
    expect(verdict.kind).toBe('healthy');
    expect(reasonFor('errorRate', verdict)?.text).toMatch(
      /^Canary 15 errors in 1,500 requests \(1 %\), stable 45 errors in 4,500 requests \(1 %\); at most [\d.]+ points more than stable: 50 % would serve 3,000 requests before evidence could act/,
    );
  });

  it('is inconclusive before that, and asks more of 100 % than of less', () => {
    expect(verdictOf(1, counts(60, 0, 1)).kind).toBe('inconclusive');
    const [canary, stable] = [counts(300, 3, 6), counts(900, 9, 18)];
    expect(verdictOf(2, canary, stable).kind).toBe('healthy');
    expect(verdictOf(2, canary, stable, { ...atQuarter, nextPercent: 100 }).kind).toBe('inconclusive');
  });

  it('is unhealthy when it is proven, and says the odds', () => {
    const verdict = verdictOf(3, counts(300, 30, 6));
    expect(verdict.kind).toBe('unhealthy');
    expect(reasonFor('errorRate', verdict)?.text).toMatch(
      /^Canary 90 errors in 900 requests \(10 %\), stable 27 errors in 2,700 requests \(1 %\): odds [\d,]+ : 1 that it is worse by more than 0.5 points; the limit is 100 : 1\.$/,
    );
    expect(reasonFor('errorRate', verdict)?.numbers).toMatchObject({
      canaryErrors: 90,
      oddsLimit: expect.closeTo(100),
    });
  });

  it('is not unhealthy after one bad minute', () => {
    expect(verdictOf(1, counts(300, 300)).kind).not.toBe('unhealthy');
    expect(verdictOf(2, counts(300, 300)).kind).toBe('unhealthy');
  });

  it('does not find a canary at the margin worse', () => {
    expect(verdictOf(60, counts(400, 6, 8), counts(1200, 12, 24)).kind).not.toBe('unhealthy');
  });

  it('holds in an outage that both share: rolling back would not help', () => {
    const verdict = verdictOf(5, counts(300, 90), counts(900, 270));
    expect(verdict.kind).toBe('inconclusive');
    expect(reasonFor('outage', verdict)?.text).toContain('which is an outage and not the canary');
    expect(verdictOf(5, counts(300, 270), counts(900, 270)).kind).toBe('unhealthy');
  });

  it('is not healthy while most requests fail, whatever an outage that stable met harder said of it', () => {
    const tolerant = { ...policy, latency: null, errorRate: { maxRatio: 0.5, marginRatio: 0.2, dryRun: false } };
    const see = (state: TallyState, at: number, variants: Record<string, VariantCounts>): TallyState =>
      addEvidence(
        state,
        { source: 'monitoring', window: { fromAt: at, toAt: at + minute }, variants },
        roles,
        memory,
        tolerant,
      );
    const early = [0, 1].reduce((state, i) => see(state, i * minute, { s: counts(4800, 0) }), emptyTally);
    const outage = see(beginStep(early, 2 * minute), 2 * minute, { c: counts(240, 144), s: counts(4560, 3632) });
    const alone = see(beginStep(outage, 3 * minute), 3 * minute, { c: counts(240, 144), s: counts(4560, 0) });
    for (const state of [outage, alone]) {
      const verdict = judge(state, 'monitoring', tolerant, { ...atQuarter, percent: 5, nextPercent: 100 });
      expect(verdict.kind).toBe('inconclusive');
      expect(reasonFor('ceiling', verdict)?.text).toContain('above the ceiling of 50 %');
    }
  });

  it('is free again soon after an outage', () => {
    let state = after(5, counts(300, 90), counts(900, 270));
    for (let i = 5; i < 12; i += 1) state = add(state, (60 + i) * minute, { c: counts(300, 3), s: counts(900, 9) });
    expect(judge(state, 'monitoring', policy, atQuarter).kind).toBe('healthy');
  });

  it('finds a slower canary: more answers above a multiple of stable’s quantile than a quantile leaves', () => {
    const slow = verdictOf(3, counts(300, 3, 60));
    expect(slow.kind).toBe('unhealthy');
    expect(reasonFor('latency', slow)?.text).toMatch(
      /^At the 95 % quantile canary takes 100 ms, stable 20 ms: odds [\d,a-z ]+ : 1 that it is more than 1.2 times slower/,
    );
    expect(verdictOf(5, counts(300, 3, 14)).kind).not.toBe('unhealthy');
  });

  it('judges drift of predictions where the policy asks and the source looked', () => {
    const stable = counts(900, 9, 18, 90);
    const judged = (windows: number, canary: VariantCounts) =>
      judge(after(windows, canary, stable), 'monitoring', withDrift, atQuarter);
    expect(judged(2, counts(300, 3, 6, 290)).kind).toBe('unhealthy');
    expect(reasonFor('drift', judged(5, counts(300, 3, 6, 30)))?.kind).toBe('healthy');
    const unseen = judged(5, counts(300, 3, 6));
    expect([unseen.kind, reasonFor('drift', unseen)?.text]).toEqual([
      'inconclusive',
      'drift: nobody has sampled or reported any numbers of the canary since the step took effect.',
    ]);
  });

  it('holds when the shares are not what was intended', () => {
    const verdict = verdictOf(5, counts(300, 3, 6), counts(300, 3, 6));
    expect(verdict.kind).toBe('inconclusive');
    expect(reasonFor('sampleRatio', verdict)?.text).toBe(
      'The canary was meant to get 25 % of the requests and got 50 % of 3,000: the split is not in effect, or counts are missing.',
    );
  });

  it('says nothing of shares where nobody or everybody is meant to get some, or chance or a little explains it', () => {
    const saysOf = (canary: number, stable: number, percent: number, windows = 5) =>
      reasonFor('sampleRatio', verdictOf(windows, counts(canary, 3), counts(stable, 9), { ...atQuarter, percent }));
    expect(saysOf(300, 300, 100)).toBeUndefined();
    expect(saysOf(300, 300, 0)).toBeUndefined();
    // 30 % of 60 may be chance; 28 % of 500,000 is none, and 3 points are less than a fifth of a quarter.
    expect(saysOf(18, 42, 25, 1)).toBeUndefined();
    expect(saysOf(28_000, 72_000, 25)).toBeUndefined();
    expect(saysOf(31_000, 69_000, 25)?.kind).toBe('inconclusive');
    expect(saysOf(31_000, 69_000, 75)?.kind).toBe('inconclusive');
  });

  it('takes a drift that is large in few values, or not yet proven, for a reason to wait', () => {
    const judged = (windows: number, canary: VariantCounts, stable: VariantCounts) =>
      reasonFor('drift', judge(after(windows, canary, stable), 'monitoring', withDrift, atQuarter));
    const few = { ...counts(300, 3, 6), predictions: { bounds: [0.25, 0.5, 0.75], counts: [3, 0, 0, 2] } };
    expect(judged(5, few, counts(900, 9, 18, 90))).toMatchObject({
      kind: 'inconclusive',
      text: 'drift: 25 values of the canary and 4,500 of stable are too few to compare.',
    });
    const half = { ...counts(300, 3, 6), predictions: { bounds: [0.25, 0.5, 0.75], counts: [30, 0, 0, 30] } };
    expect(
      judged(1, half, { ...counts(900, 9, 18), predictions: { bounds: [0.25, 0.5, 0.75], counts: [60, 0, 0, 0] } })
        ?.kind,
    ).not.toBe('healthy');
  });

  it('says of a limit that it has no value, or which', () => {
    const rule = { kind: 'limit' as const, max: 10 };
    const from = { kind: 'filter' as const, filter: 'metric.type="custom.googleapis.com/x"', of: null };
    const limited = { ...policy, checks: [{ name: 'memory', from, rule, dryRun: false }] };
    const see = (value: number | null): Verdict => {
      const canary = { ...counts(300, 3, 6), ...(value === null ? {} : { signals: { memory: { value } } }) };
      const window = { fromAt: 60 * minute, toAt: 61 * minute };
      const evidence = { source: 'monitoring', window, variants: { c: canary, s: counts(900, 9, 18) } };
      return judge(addEvidence(begun, evidence, roles, memory, limited), 'monitoring', limited, atQuarter);
    };
    expect(reasonFor('memory', see(null))?.kind).toBe('inconclusive');
    expect(reasonFor('memory', see(10))).toMatchObject({
      kind: 'healthy',
      text: 'memory: the canary has 10; at most 10 is fine.',
      numbers: { value: 10, max: 10 },
    });
    expect(reasonFor('memory', see(11))?.kind).toBe('inconclusive');
  });

  it('asks twice the odds of each source where two report', () => {
    const both = after(3, counts(300, 30, 6), counts(900, 9, 18));
    const alone = judge(both, 'monitoring', policy, atQuarter).reasons[0]?.numbers;
    const proxy = add(both, 63 * minute, { c: counts(300, 3), s: counts(900, 9) }, 'proxy a');
    const together = judge(proxy, 'monitoring', policy, atQuarter).reasons[0]?.numbers;
    expect([alone?.['oddsLimit'], together?.['oddsLimit']]).toEqual([expect.closeTo(100), expect.closeTo(200)]);
  });

  it('never gets healthier by more canary errors, and always survives JSON', () => {
    const order = ['healthy', 'inconclusive', 'noData', 'unhealthy'];
    fc.assert(
      fc.property(
        fc.integer({ min: 50, max: 500 }),
        fc.nat(500),
        fc.nat(500),
        fc.integer({ min: 1, max: 6 }),
        (requests, a, b, windows) => {
          const at = (errors: number) =>
            verdictOf(windows, counts(requests, Math.min(errors, requests)), counts(3 * requests, 0));
          const [few, many] = [at(Math.min(a, b)), at(Math.max(a, b))];
          expect(order.indexOf(many.kind)).toBeGreaterThanOrEqual(order.indexOf(few.kind));
          expect(verdictSchema.parse(JSON.parse(JSON.stringify(many)))).toEqual(many);
        },
      ),
    );
  });
});
