/**
 * Every sentence and number of the verdicts on a dozen tallies, as they were when they were last looked at. What changes here
 * changes what people read and what the machine does: look at the difference before `npx vitest -u` takes it over.
 */
import { expect, it } from 'vitest';
import type { Signals, VariantCounts } from '../../../machines/analysis/evidence.ts';
import {
  hasOutage,
  highRate,
  isUpset,
  lowRate,
  overdispersion,
  pastRate,
} from '../../../machines/analysis/baseline.ts';
import { excessAtMost, isSuspect, worseLog } from '../../../machines/analysis/hit-test.ts';
import { judge } from '../../../machines/analysis/judge.ts';
import { addEvidence, beginStep, emptyTally, type TallyState } from '../../../machines/analysis/tally.ts';
import type { AnalysisPolicy, CheckPolicy } from '../../../machines/policy/policy.ts';
import { policyOf } from '../rollout/life.ts';

const minute = 60_000;
const plain = policyOf('  analysis: { metricLag: 180s, minRequests: 50 }\n').analysis;
const from: CheckPolicy['from'] = { kind: 'filter', filter: 'metric.type="custom.googleapis.com/x"', of: null };
const reported: CheckPolicy['from'] = { kind: 'reported' };
const rate: CheckPolicy['rule'] = { kind: 'rate', maxRatio: 0.2, marginRatio: 0.01 };
const all: AnalysisPolicy = {
  ...plain,
  drift: { maxDistance: 0.2, dryRun: false },
  checks: [
    { name: 'refusals', from, rule: rate, dryRun: false },
    { name: 'tokens', from, rule: { kind: 'quantile', quantileRatio: 0.9, maxRatio: 1.5 }, dryRun: false },
    { name: 'memory', from, rule: { kind: 'limit', max: 10 }, dryRun: false },
    { name: 'complaints', from: reported, rule: rate, dryRun: true },
  ],
};

interface Kind {
  errors: number;
  slow?: number;
  drifted?: number;
  refused?: number;
  long?: number;
  memory?: number;
  complaints?: number;
}

function counts(
  requests: number,
  { errors, slow = 0, drifted, refused, long, memory, complaints }: Kind,
): VariantCounts {
  const signals: Signals = {
    ...(refused === undefined ? {} : { refusals: { hits: refused, trials: requests } }),
    ...(long === undefined ? {} : { tokens: { bounds: [10, 20, 40], counts: [0, requests - long, 0, long] } }),
    ...(memory === undefined ? {} : { memory: { value: memory } }),
    ...(complaints === undefined ? {} : { complaints: { hits: complaints, trials: requests } }),
  };
  const predictions = { bounds: [0.25, 0.5, 0.75], counts: [requests - (drifted ?? 0), 0, 0, drifted ?? 0] };
  return {
    requests,
    errors,
    latencyMs: { bounds: [10, 20, 50, 100], counts: [0, requests - slow, 0, slow, 0] },
    ...(drifted === undefined ? {} : { predictions }),
    ...(Object.keys(signals).length === 0 ? {} : { signals }),
  };
}

interface Scene {
  policy?: AnalysisPolicy;
  past?: Kind;
  windows: { source?: string; canary?: [number, Kind]; stable?: [number, Kind]; times?: number }[];
  nextPercent?: number | null;
  percent?: number;
}

function verdictsOn({
  policy = plain,
  past = { errors: 12, slow: 24 },
  windows,
  percent = 25,
  nextPercent = 50,
}: Scene) {
  let state: TallyState = emptyTally;
  let at = 0;
  const add = (source: string, variants: Record<string, VariantCounts>): void => {
    const evidence = { source, window: { fromAt: at, toAt: at + minute }, variants };
    state = addEvidence(
      state,
      evidence,
      { canaryId: 'c', stableIds: ['s'] },
      { windowsMax: 32, windowsInAllMax: 2048, sourcesMax: 8 },
      policy,
    );
    at += minute;
  };
  for (let i = 0; i < 60; i += 1) add('monitoring', { s: counts(1200, past) });
  state = beginStep(state, at);
  for (const { source = 'monitoring', canary, stable, times = 1 } of windows) {
    for (let i = 0; i < times; i += 1) {
      add(source, {
        ...(canary === undefined ? {} : { c: counts(...canary) }),
        ...(stable === undefined ? {} : { s: counts(...stable) }),
      });
    }
  }
  const question = { at, percent, nextPercent, maxExcessErrors: 200 };
  const sources = windows.some(({ source }) => source !== undefined)
    ? (['monitoring', 'proxy'] as const)
    : (['monitoring'] as const);
  return sources
    .filter((source) => state[source].windows > 0)
    .map((source) => ({ verdict: judge(state, source, policy, question), inside: insideOf(state, source) }));
}

/** What the running tests have come to. */
function insideOf(state: TallyState, source: 'monitoring' | 'proxy') {
  return Object.fromEntries(
    Object.entries(state[source].checks).map(([name, { hits, above, latest }]) => {
      const { baseline, seconds, spent, aloneTrials } = hits;
      const worse = worseLog(hits);
      const excess = [0.2, 0.05, 0.001].map((beta) => excessAtMost(hits, 0.005, beta));
      const variance = overdispersion(baseline, { hits: 0, trials: 300 }, { hits: 0, trials: 900 }, 60);
      const rates = [pastRate(baseline), lowRate(baseline), highRate(baseline, { hits: 9, trials: 900 })];
      const told = [isSuspect(hits), hasOutage(baseline), isUpset(baseline, { hits: 90, trials: 900 }, 0.02)];
      return [name, { worse, excess, variance, rates, told, seconds, spent, aloneTrials, above, latest, baseline }];
    }),
  );
}

const good: Kind = { errors: 3, slow: 6 };
const fine: Kind = { errors: 9, slow: 18 };
const whole: Kind = { ...good, drifted: 30, refused: 9, long: 3, memory: 8, complaints: 6 };
const wholeStable: Kind = { ...fine, drifted: 90, refused: 27, long: 9, memory: 7, complaints: 18 };

const scenes: Record<string, Scene> = {
  'nothing yet': { windows: [{ stable: [900, fine] }] },
  'too few': { windows: [{ canary: [49, good], stable: [900, fine] }] },
  'as good, early': { windows: [{ canary: [60, { errors: 0 }], stable: [180, { errors: 2 }] }] },
  'as good': { windows: [{ canary: [300, good], stable: [900, fine], times: 5 }] },
  'as good, before 100 %': { windows: [{ canary: [300, good], stable: [900, fine], times: 2 }], nextPercent: 100 },
  'as good, at the last step': {
    windows: [{ canary: [1200, { errors: 12, slow: 24 }], times: 9 }],
    percent: 100,
    nextPercent: null,
  },
  'a little worse': { windows: [{ canary: [300, { errors: 6, slow: 6 }], stable: [900, fine], times: 3 }] },
  'much worse': { windows: [{ canary: [300, { errors: 30, slow: 6 }], stable: [900, fine], times: 3 }] },
  slower: { windows: [{ canary: [300, { errors: 3, slow: 60 }], stable: [900, fine], times: 3 }] },
  'a shared outage': { windows: [{ canary: [300, { errors: 90 }], stable: [900, { errors: 270 }], times: 5 }] },
  'another split': { windows: [{ canary: [300, good], stable: [300, good], times: 5 }] },
  'alone and failing': { windows: [{ canary: [1200, { errors: 600 }], times: 2 }], percent: 100, nextPercent: null },
  'every check, as good': {
    policy: all,
    past: { errors: 12, slow: 24, refused: 36, long: 12 },
    windows: [{ canary: [300, whole], stable: [900, wholeStable], times: 6 }],
  },
  'every check, all bad': {
    policy: all,
    past: { errors: 12, slow: 24, refused: 36, long: 12 },
    windows: [
      {
        canary: [300, { errors: 3, slow: 6, drifted: 290, refused: 90, long: 200, memory: 12, complaints: 90 }],
        stable: [900, wholeStable],
        times: 3,
      },
    ],
  },
  'every check, without numbers': { policy: all, windows: [{ canary: [300, good], stable: [900, fine], times: 5 }] },
  'two sources, of which the proxy doubts': {
    windows: [
      { canary: [300, good], stable: [900, fine], times: 5 },
      { source: 'proxy a', canary: [300, { errors: 9, slow: 6 }], stable: [900, fine], times: 3 },
    ],
  },
  'bursts of stable’s, then a proxy alone by the second': {
    past: { errors: 12, slow: 24 },
    windows: [
      { source: 'proxy a', canary: [60, { errors: 1 }], stable: [180, { errors: 2 }], times: 3 },
      { source: 'proxy a', canary: [60, { errors: 1 }], stable: [180, { errors: 60 }], times: 2 },
      { source: 'proxy a', canary: [60, { errors: 9 }], stable: [180, { errors: 2 }] },
      { source: 'proxy a', canary: [240, { errors: 30 }], times: 4 },
    ],
  },
  'only dry runs': {
    policy: { ...plain, latency: null, errorRate: { ...plain.errorRate, dryRun: true } },
    windows: [{ canary: [300, { errors: 60 }], stable: [900, fine], times: 3 }],
  },
};

it('are as they were looked at', async () => {
  const verdicts = Object.fromEntries(Object.entries(scenes).map(([name, scene]) => [name, verdictsOn(scene)]));
  const rounded = (_: string, value: unknown) => (typeof value === 'number' ? Number(value.toPrecision(9)) : value);
  await expect(`${JSON.stringify(verdicts, rounded, 2)}\n`).toMatchFileSnapshot('verdicts.golden');
});
