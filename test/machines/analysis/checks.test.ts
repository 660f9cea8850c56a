import { describe, expect, it } from 'vitest';
import { checksOf, partOf } from '../../../machines/analysis/checks.ts';
import type { Signals, VariantCounts } from '../../../machines/analysis/evidence.ts';
import type { Question } from '../../../machines/analysis/fitness.ts';
import { judge } from '../../../machines/analysis/judge.ts';
import { numbersOf, provenWorse } from '../../../machines/analysis/proof.ts';
import { seen as sentenceOf } from '../../../machines/analysis/said.ts';
import { addEvidence, beginStep, emptyTally, type TallyState } from '../../../machines/analysis/tally.ts';
import type { Verdict } from '../../../machines/analysis/verdict.ts';
import type { AnalysisPolicy, CheckPolicy } from '../../../machines/policy/policy.ts';
import { policyOf } from '../rollout/life.ts';

const plain = policyOf('  analysis: { metricLag: 180s, minRequests: 50 }\n').analysis;
const question: Question = { at: 1e7, percent: 25, nextPercent: 50, maxExcessErrors: 200 };
const roles = { canaryId: 'c', stableIds: ['s'] };
const windows = { windowsMax: 32, windowsInAllMax: 2048, sourcesMax: 8 };
const minute = 60_000;

const filter: CheckPolicy['from'] = { kind: 'filter', filter: 'metric.type="custom.googleapis.com/x"', of: null };
const rate: CheckPolicy = {
  name: 'refusals',
  from: filter,
  rule: { kind: 'rate', maxRatio: 0.2, marginRatio: 0.01 },
  dryRun: false,
};

function withChecks(...checks: CheckPolicy[]): AnalysisPolicy {
  return { ...plain, checks };
}

function counts(requests: number, signals?: Signals): VariantCounts {
  const latencyMs = { bounds: [10, 20, 50], counts: [0, requests, 0, 0] };
  return { requests, errors: Math.round(requests / 100), latencyMs, ...(signals === undefined ? {} : { signals }) };
}

interface Seen {
  canary: Signals | undefined;
  stable: Signals | undefined;
  source?: string;
  minutes?: number;
}

/** A canary and stable alike in all but the signals, after some minutes of a step. */
function lived(policy: AnalysisPolicy, { canary, stable, source = 'monitoring', minutes = 6 }: Seen): TallyState {
  let state = emptyTally;
  const add = (at: number, from: string, variants: Record<string, VariantCounts>): void => {
    const evidence = { source: from, window: { fromAt: at * minute, toAt: (at + 1) * minute }, variants };
    state = addEvidence(state, evidence, roles, windows, policy);
  };
  for (let i = 0; i < 60; i += 1)
    add(i, 'monitoring', { s: counts(1200, source === 'monitoring' ? stable : undefined) });
  state = beginStep(state, 60 * minute);
  for (let i = 60; i < 60 + minutes; i += 1) {
    if (source !== 'monitoring') add(i, 'monitoring', { c: counts(300), s: counts(900) });
    add(i, source, { c: counts(300, canary), s: counts(900, stable) });
  }
  return state;
}

function verdictOf(policy: AnalysisPolicy, seen: Seen, source: 'monitoring' | 'proxy' = 'monitoring'): Verdict {
  return judge(lived(policy, seen), source, policy, question);
}

function textOf(check: string, { reasons }: Verdict): string | undefined {
  return reasons.find((reason) => reason.check === check)?.text;
}

const hits = (bad: number, of: number): Signals => ({ refusals: { hits: bad, trials: of } });
const spread = (...bins: number[]): Signals => ({ tokens: { bounds: [10, 20, 40], counts: bins } });

/** Five seconds of a proxy: so many of the canary's requests failed, were slow, and are hits of each check by rate. */
function burst(policy: AnalysisPolicy, bad: number, of: number, times = 1): TallyState {
  const seen = (all: number, wrong: number): VariantCounts => ({
    requests: all,
    errors: wrong,
    latencyMs: { bounds: [10, 20, 50], counts: [0, all - wrong, 0, wrong] },
    signals: Object.fromEntries(policy.checks.map(({ name }) => [name, { hits: wrong, trials: all }])),
  });
  let state = lived(policy, { canary: {}, stable: hits(12, 900), minutes: 0 });
  for (let i = 0; i < times; i += 1) {
    const window = { fromAt: 60 * minute + i * 5000, toAt: 60 * minute + (i + 1) * 5000 };
    const evidence = { source: 'proxy a', window, variants: { c: seen(of, bad), s: seen(1900, 19) } };
    state = addEvidence(state, evidence, roles, windows, policy);
  }
  return state;
}

describe('checks', () => {
  it('share what is bet, errors most; a limit has no part in it, and a dry run bets by itself', () => {
    const limit: CheckPolicy = { ...rate, name: 'queue', rule: { kind: 'limit', max: 5 } };
    const all = checksOf(withChecks(rate, limit, { ...rate, name: 'tried', dryRun: true }));
    const parts = Object.fromEntries(all.map((check) => [check.name, partOf(check, all)]));
    expect(parts).toMatchObject({ errorRate: 5 / 9, latency: 2 / 9, refusals: 2 / 9, tried: 1 });
  });

  it.for([[], [rate], [rate, { ...rate, name: 'second' }, { ...rate, name: 'third' }]])(
    'count a burst once, however many of them it hits: with %j too it proves nothing at once, and does when it goes on',
    (own) => {
      const policy = withChecks(...own);
      for (const [bad, of] of [
        [4, 4],
        [4, 5],
        [4, 12],
        [12, 50],
        [30, 200],
      ] as const) {
        expect(provenWorse(burst(policy, bad, of), 'proxy', checksOf(policy), policy), `${bad} of ${of}`).toBeNull();
        expect(provenWorse(burst(policy, bad, of, 12), 'proxy', checksOf(policy), policy)).not.toBeNull();
      }
      const once = burst(policy, 30, 200, 3);
      expect(provenWorse(once, 'proxy', checksOf(policy), policy)).not.toBeNull();
    },
  );

  it('count a burst once, though two senders tell of it by different checks', () => {
    const reported: CheckPolicy = { ...rate, from: { kind: 'reported' } };
    const policy = { ...withChecks(reported), latency: null };
    const begun = lived(policy, { canary: {}, stable: hits(12, 900), minutes: 0 });
    const window = { fromAt: 60 * minute, toAt: 60 * minute + 5000 };
    const none = { bounds: [], counts: [0] };
    const add = (state: TallyState, source: string, c: VariantCounts, s: VariantCounts): TallyState =>
      addEvidence(state, { source, window, variants: { c, s } }, roles, windows, policy);
    const requests = (all: number, errors: number) => ({ requests: all, errors, latencyMs: none });
    const signals = (all: number, bad: number) => ({ ...requests(0, 0), signals: hits(bad, all) });
    const seen = add(begun, 'proxy a', requests(200, 30), requests(1900, 19));
    const told = add(seen, 'proxy client', signals(200, 30), signals(1900, 19));
    const proof = (state: TallyState) => provenWorse(state, 'proxy', checksOf(policy), policy);
    expect([proof(seen), proof(told)]).toEqual([null, null]);
    expect(told.proxy.spent).toBeGreaterThan(3);
  });
});

describe("a check of the owner's", () => {
  it('on a rate rolls back when the canary is worse by more than the margin, and says the odds', () => {
    const bad = verdictOf(withChecks(rate), { canary: hits(45, 300), stable: hits(27, 900) });
    expect(bad.kind).toBe('unhealthy');
    expect(textOf('refusals', bad)).toMatch(
      /^refusals: canary 270 of 1,800 \(15 %\), stable 162 of 5,400 \(3 %\): odds [\d,a-z ]+ : 1 that it is worse by more than 1 points/,
    );
    expect(verdictOf(withChecks(rate), { canary: hits(9, 300), stable: hits(27, 900) }).kind).toBe('healthy');
  });

  it("on a quantile compares with stable's own past", () => {
    const tokens: CheckPolicy = {
      name: 'tokens',
      from: filter,
      rule: { kind: 'quantile', quantileRatio: 0.9, maxRatio: 1.5 },
      dryRun: false,
    };
    const stable = spread(0, 900, 0, 0);
    expect(verdictOf(withChecks(tokens), { canary: spread(0, 300, 0, 0), stable }).kind).toBe('healthy');
    const bad = verdictOf(withChecks(tokens), { canary: spread(0, 0, 0, 300), stable });
    expect(bad.kind).toBe('unhealthy');
    expect(textOf('tokens', bad)).toContain('tokens: at the 90 % quantile canary has more than 40, stable 20');
  });

  it('on drift asks for distance and proof', () => {
    const tokens: CheckPolicy = {
      name: 'tokens',
      from: filter,
      rule: { kind: 'drift', maxDistance: 0.2 },
      dryRun: false,
    };
    const stable = spread(300, 300, 300, 0);
    expect(verdictOf(withChecks(tokens), { canary: spread(100, 100, 100, 0), stable }).kind).toBe('healthy');
    const bad = verdictOf(withChecks(tokens), { canary: spread(0, 0, 20, 280), stable });
    expect([bad.kind, textOf('tokens', bad)]).toEqual([
      'unhealthy',
      expect.stringMatching(/^tokens: the canary's values lie 0\.\d+ from stable's .* that they differ/),
    ]);
  });

  it('on a limit only holds: a gauge says nothing of chance', () => {
    const memory: CheckPolicy = { name: 'memory', from: filter, rule: { kind: 'limit', max: 8e9 }, dryRun: false };
    const at = (value: number): Verdict =>
      verdictOf(withChecks(memory), { canary: { memory: { value } }, stable: undefined });
    expect(at(8e9).kind).toBe('healthy');
    expect([at(9e9).kind, textOf('memory', at(9e9))]).toEqual([
      'inconclusive',
      'memory: the canary has 9,000,000,000; at most 8,000,000,000 is fine.',
    ]);
  });

  it('on a limit goes by the latest value, whatever order the windows come in', () => {
    const memory: CheckPolicy = { name: 'memory', from: filter, rule: { kind: 'limit', max: 10 }, dryRun: false };
    const policy = withChecks(memory);
    let state = lived(policy, { canary: { memory: { value: 5 } }, stable: undefined });
    for (const [at, value] of [
      [80, 7],
      [79, 99],
    ] as const) {
      const window = { fromAt: at * minute, toAt: (at + 1) * minute };
      const variants = { c: counts(300, { memory: { value } }), s: counts(900) };
      state = addEvidence(state, { source: 'monitoring', window, variants }, roles, windows, policy);
    }
    expect(judge(state, 'monitoring', policy, question).kind).toBe('healthy');
    const again = beginStep(state, 90 * minute);
    expect(again.monitoring.checks['memory']?.latest).toBeNull();
  });

  it('holds the share while it has no numbers of the canary: nothing is never healthy', () => {
    const verdict = verdictOf(withChecks(rate), { canary: undefined, stable: hits(27, 900) });
    expect([verdict.kind, textOf('refusals', verdict)]).toEqual([
      'inconclusive',
      'refusals: Monitoring has no numbers of the canary since the step took effect.',
    ]);
  });

  it("takes a signal of another kind than its rule's for none", () => {
    const verdict = verdictOf(withChecks(rate), {
      canary: { refusals: { value: 3 } },
      stable: { refusals: { value: 3 } },
    });
    expect(verdict.kind).toBe('inconclusive');
  });

  it('whose numbers are reported is judged by the proxy, and Monitoring raises no share without them', () => {
    const reported = withChecks({ ...rate, from: { kind: 'reported' } });
    const none = verdictOf(reported, { canary: undefined, stable: undefined });
    expect(textOf('refusals', none)).toContain('nobody has sampled or reported');
    const fine = { canary: hits(9, 300), stable: hits(27, 900), source: 'proxy a' };
    expect(verdictOf(reported, fine).kind).toBe('healthy');
    const bad = { canary: hits(60, 300), stable: hits(27, 900), source: 'proxy a' };
    expect(verdictOf(reported, bad, 'proxy').kind).toBe('unhealthy');
  });

  it('in a dry run is judged and shown, and never acted on', () => {
    const bad = { canary: hits(60, 300), stable: hits(27, 900) };
    const dry = verdictOf(withChecks({ ...rate, dryRun: true }), bad);
    expect(dry.kind).toBe('healthy');
    expect(dry.reasons.find(({ check }) => check === 'refusals')).toMatchObject({
      kind: 'unhealthy',
      dryRun: true,
      text: expect.stringContaining('Dry run: refusals: canary 360 of 1,800'),
    });
    const missing = verdictOf(withChecks({ ...rate, dryRun: true }), { canary: undefined, stable: undefined });
    expect(missing.kind).toBe('healthy');
  });

  it('of which a proxy has no numbers is not asked of it: without another that acts, it has no data', () => {
    const dry = { ...plain, errorRate: { ...plain.errorRate, dryRun: true } };
    const latencyMs = { bounds: [], counts: [0] };
    const window = { fromAt: 60 * minute, toAt: 61 * minute };
    const evidence = { source: 'proxy a', window, variants: { c: { ...counts(300), latencyMs }, s: counts(900) } };
    const verdictBy = (policy: AnalysisPolicy): Verdict => {
      const state = addEvidence(beginStep(emptyTally, 60 * minute), evidence, roles, windows, policy);
      return judge(state, 'proxy', policy, question);
    };
    const { kind, reasons } = verdictBy(dry);
    expect([kind, reasons.map(({ check }) => check)]).toEqual(['noData', ['errorRate']]);
    const { reasons: others } = verdictBy({ ...plain, latency: { quantileRatio: 0.95, maxRatio: 1.2, dryRun: true } });
    expect(others.map(({ check }) => check)).toEqual(['errorRate']);
  });

  it('on a limit says that it has no value, too', () => {
    const rule = { kind: 'limit' as const, max: 10 };
    const [check] = checksOf(withChecks({ name: 'memory', from: filter, rule, dryRun: false })).slice(-1);
    const tally = lived(plain, { canary: undefined, stable: undefined }).monitoring;
    expect(check && [sentenceOf(tally, check), numbersOf(tally, check)]).toEqual([
      'memory: the canary has no value; at most 10 is fine',
      { value: null, max: 10 },
    ]);
  });

  it('says of a quantile that it is above the last bound, and of nothing that it is above 0', () => {
    const [, latency] = checksOf(plain);
    const text = 'At the 95 % quantile canary takes more than 0 ms, stable more than 0 ms';
    expect(latency && sentenceOf(emptyTally.monitoring, latency)).toBe(text);
  });

  it('in a dry run leaves the share to a person where no other acts', () => {
    const dry = { ...plain, latency: null, errorRate: { ...plain.errorRate, dryRun: true } };
    const verdict = verdictOf(dry, { canary: undefined, stable: undefined });
    expect([verdict.kind, textOf('checks', verdict)]).toEqual([
      'inconclusive',
      'Every check is a dry run: only a person can raise the share.',
    ]);
  });

  it('in a dry run takes nothing from what the others may bet', () => {
    const bad = { canary: hits(45, 300), stable: hits(27, 900) };
    const oddsOf = (policy: AnalysisPolicy) => {
      const { reasons } = verdictOf(policy, { ...bad, minutes: 2 });
      return reasons.find(({ check, dryRun }) => check === 'refusals' && dryRun !== true)?.numbers['odds'];
    };
    const dryRun: CheckPolicy = { ...rate, name: 'other', dryRun: true };
    expect(oddsOf(withChecks(rate))).toBeDefined();
    expect(oddsOf(withChecks(rate, dryRun))).toBe(oddsOf(withChecks(rate)));
  });
});

describe('two sources', () => {
  it("do not raise a share against each other: the proxy's doubt holds what Monitoring would allow", () => {
    let state = lived(plain, { canary: undefined, stable: undefined });
    expect(judge(state, 'monitoring', plain, question).kind).toBe('healthy');
    const doubtful = { ...counts(300), errors: 9 };
    for (let i = 60; i < 63; i += 1) {
      const window = { fromAt: i * minute, toAt: (i + 1) * minute };
      const evidence = { source: 'proxy a', window, variants: { c: doubtful, s: counts(900) } };
      state = addEvidence(state, evidence, roles, windows, plain);
    }
    const verdict = judge(state, 'monitoring', plain, question);
    expect([verdict.kind, textOf('sources', verdict)]).toEqual([
      'inconclusive',
      expect.stringMatching(/^The proxy does not agree: Canary 27 errors in 900 requests .* odds \d+ : 1/),
    ]);
  });
});
