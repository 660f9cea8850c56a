import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  addHistograms,
  type Evidence,
  histogramSchema,
  noHistogram,
  quantileMs,
} from '../../../machines/analysis/evidence.ts';
import {
  addEvidence,
  beginStep,
  emptyTally,
  monitoringFrom,
  refusal,
  type TallyState,
  tallyStateSchema,
} from '../../../machines/analysis/tally.ts';
import { machineLimits } from '../../../machines/rollout/limits.ts';
import { policyOf } from '../rollout/life.ts';

const roles = { canaryId: 'c', stableIds: ['s', 't'] };
const memory = { windowsMax: 3, windowsInAllMax: 6, sourcesMax: 2 };
const policy = policyOf().analysis;

function seen(fromAt: number, toAt: number, source = 'monitoring', requests = 1): Evidence {
  const counts = { requests, errors: 0, latencyMs: { bounds: [1], counts: [requests, 0] } };
  return { source, window: { fromAt, toAt }, variants: { c: counts, s: counts, t: counts, other: counts } };
}

function after(state: TallyState, ...all: Evidence[]): TallyState {
  return all.reduce((next, evidence) => addEvidence(next, evidence, roles, memory, policy), state);
}

describe('a tally', () => {
  const step = beginStep(emptyTally, 100);

  it('adds all stable models, and nothing of models that are neither', () => {
    const { canary, stable } = after(step, seen(100, 200)).monitoring.step;
    expect([canary.requests, stable.requests]).toEqual([1, 2]);
  });

  it('keeps what proxies and Monitoring saw apart', () => {
    const state = after(step, seen(100, 200), seen(100, 150, 'proxy a', 5));
    expect(state.monitoring.step.canary.requests).toBe(1);
    expect(state.proxy.step.canary.requests).toBe(5);
  });

  it('begins anew with a step; the rollout’s counts stay', () => {
    const state = beginStep(after(step, seen(100, 200)), 300);
    expect(state.monitoring.step.canary.requests).toBe(0);
    expect(state.monitoring.rollout.canary.requests).toBe(1);
  });

  it('takes a window without requests for seen, and for no window of the step', () => {
    const state = after(step, seen(100, 200), seen(200, 300, 'monitoring', 0));
    const { windows, seenMs, recent } = state.monitoring;
    expect([windows, seenMs, recent]).toEqual([1, 100, [{ hits: 0, trials: 1 }]]);
    expect(refusal(state, seen(200, 300), memory)).toContain('counted before');
  });

  it('refuses what is dated before the step, empty, seen before, or too old to be told from a copy', () => {
    expect(refusal(emptyTally, seen(100, 200, 'proxy a'), memory)).toContain('no traffic');
    expect(refusal(step, seen(99, 200), memory)).toContain('before the step');
    expect(refusal(step, seen(200, 200), memory)).toContain('empty');
    const full = after(step, seen(200, 300), seen(300, 400), seen(400, 500));
    expect(refusal(full, seen(300, 400), memory)).toContain('counted before');
    expect(refusal(full, seen(150, 180), memory)).toContain('too old');
    expect(refusal(full, seen(500, 600), memory)).toBeNull();
  });

  it('takes the same seconds for the same, however many proxies tell of them', () => {
    const hitsOf = (state: TallyState) => state.proxy.checks['errorRate']?.hits;
    const alone = after(step, seen(100, 5100, 'a', 100), seen(5100, 10_100, 'a', 100));
    expect(hitsOf(alone)?.seconds).toBe(10);
    let both = after(step, seen(100, 5100, 'a', 50), seen(100, 5100, 'b', 50));
    const before = hitsOf(both)?.seconds ?? 0;
    both = after(both, seen(5100, 10_100, 'a', 50), seen(5100, 10_100, 'b', 50));
    expect((hitsOf(both)?.seconds ?? 0) - before).toBe(5);
    const later = after(both, seen(50_000, 55_000, 'a', 50));
    expect((hitsOf(later)?.seconds ?? 0) - (hitsOf(both)?.seconds ?? 0)).toBe(5);
  });

  it('forgets the proxy that was silent for longest when another comes, and counts none of its windows again', () => {
    const full = after(step, seen(100, 200), seen(100, 200, 'a'), seen(150, 250, 'b'), seen(210, 300, 'a'));
    expect(refusal(full, seen(140, 240, 'c'), memory)).toBeNull();
    const state = after(full, seen(140, 240, 'c'));
    expect(Object.keys(state.covered).toSorted()).toEqual(['a', 'c', 'monitoring']);
    expect(refusal(state, seen(150, 250, 'b'), memory)).toContain('older than what is remembered');
    expect(refusal(state, seen(120, 250, 'd'), memory)).toContain('older than what is remembered');
    expect(refusal(state, seen(110, 120), memory)).toBeNull();
    expect(refusal(state, seen(210, 300, 'a'), memory)).toContain('counted before');
    expect(refusal(state, seen(251, 300, 'b'), memory)).toBeNull();
    expect(refusal(beginStep(state, 100), seen(150, 250, 'b'), memory)).toBeNull();
    expect(tallyStateSchema.parse(state)).toEqual(state);
  });

  it.each([
    memory,
    // Fewer windows of each the more proxies there are.
    { windowsMax: 8, windowsInAllMax: 16, sourcesMax: 8 },
  ])('counts every window once, however many proxies there are and however often each is told: %j', (remembers) => {
    const windows = fc.array(fc.tuple(fc.nat(9), fc.nat(20)), { maxLength: 100 });
    fc.assert(
      fc.property(windows, (told) => {
        let state = step;
        const counted: string[] = [];
        for (const [proxy, at] of told) {
          const evidence = seen(100 + at * 10, 110 + at * 10, `proxy ${proxy}`);
          if (refusal(state, evidence, remembers) !== null) continue;
          state = addEvidence(state, evidence, roles, remembers, policy);
          counted.push(`${proxy} ${at}`);
        }
        expect(new Set(counted).size).toBe(counted.length);
        expect(Object.keys(state.covered).length).toBeLessThanOrEqual(remembers.sourcesMax);
      }),
      { numRuns: 1500 },
    );
  });

  it('counts what 200 proxies tell that come and go, whose clocks differ, and of which some tell more often', () => {
    const proxies = Array.from({ length: 200 }, (_, i) => ({
      skewMs: ((i * 7919) % 6000) - 3000,
      everyMs: i % 10 === 0 ? 1000 : 5000,
    }));
    let [state, told, counted] = [beginStep(emptyTally, 0), 0, 0];
    for (let at = 10_000; at < 130_000; at += 1000) {
      for (const [i, { skewMs, everyMs }] of proxies.entries()) {
        if ((at + i * 1000) % everyMs !== 0) continue;
        const generation = Math.floor((at + i * 600) / 60_000);
        const evidence = seen(at + skewMs - everyMs, at + skewMs, `proxy ${i} ${generation}`);
        told += 1;
        if (refusal(state, evidence, machineLimits) !== null) continue;
        counted += 1;
        state = addEvidence(state, evidence, roles, machineLimits, policy);
      }
    }
    expect(counted / told).toBeGreaterThan(0.99);
    expect(JSON.stringify(state.covered).length).toBeLessThan(100_000);
  });

  it('counts all windows of more proxies than it remembers, as long as they come in turn', () => {
    let state = step;
    for (let round = 0; round < 5; round += 1) {
      for (let proxy = 0; proxy < 10; proxy += 1) {
        const evidence = seen(100 + round * 100 + proxy, 190 + round * 100 + proxy, `proxy ${proxy}`);
        expect(refusal(state, evidence, memory)).toBeNull();
        state = after(state, evidence);
      }
    }
    expect(state.proxy.step.canary.requests).toBe(50);
  });

  it('refuses what would make a sum that is not exact any more, and takes what is left of its source', () => {
    const most = Number.MAX_SAFE_INTEGER;
    // Four variants with the same counts: two of them are stable, and their sum must be exact too.
    const large = seen(100, 200, 'monitoring', most / 4 - 2);
    expect(refusal(step, large, memory)).toBeNull();
    const state = after(step, large);
    expect(tallyStateSchema.parse(state)).toEqual(state);
    expect(refusal(state, seen(200, 300, 'monitoring', most / 4), memory)).toContain('too large to be added');
    expect(refusal(state, seen(200, 300), memory)).toBeNull();
    expect(refusal(state, seen(200, 300, 'proxy a', most / 4 - 2), memory)).toBeNull();
    const signals = { checked: { hits: 0, trials: most } };
    const told = { ...seen(200, 300), variants: { c: { requests: 0, errors: 0, latencyMs: noHistogram, signals } } };
    expect(refusal(state, told, memory)).toContain('too large to be added');
  });

  it('takes what Monitoring shows before the first share for stable’s past, of both sources, and for nothing else', () => {
    const past = after(emptyTally, seen(0, 60_000), seen(60_000, 120_000));
    expect(refusal(past, seen(60_000, 120_000), memory)).toContain('counted before');
    for (const { step: counted, windows, checks } of [past.monitoring, past.proxy]) {
      const errors = checks['errorRate']?.hits;
      expect([counted.canary.requests, counted.stable.requests, windows, errors?.bar.length]).toEqual([0, 0, 0, 0]);
      expect(errors?.baseline.past.trials).toBe(4);
    }
    const begun = beginStep(past, 200_000);
    expect(refusal(begun, seen(60_000, 120_000), memory)).toContain('before the step');
    expect(begun.monitoring.checks).toEqual(past.monitoring.checks);
    expect(tallyStateSchema.parse(JSON.parse(JSON.stringify(begun)))).toEqual(begun);
  });

  it('counts as slow what stable’s past makes slow, once enough of it is known', () => {
    const slow = (requests: number): Evidence => {
      const latencyMs = { bounds: [100, 200], counts: [requests, 0, 0] };
      return { ...seen(0, 60_000), variants: { s: { requests, errors: 0, latencyMs } } };
    };
    expect(after(emptyTally, slow(5)).monitoring.checks['latency']?.above ?? null).toBeNull();
    expect(after(emptyTally, slow(100)).monitoring.checks['latency']?.above ?? null).toBeCloseTo(120);
  });

  it('counts late windows of a source once, in whatever order they come', () => {
    fc.assert(
      fc.property(fc.shuffledSubarray([100, 200, 300], { minLength: 3 }), fc.nat(2), (starts, twice) => {
        let state = step;
        for (const start of [...starts, starts[twice] ?? 100]) {
          const evidence = seen(start, start + 100, 'proxy a');
          if (refusal(state, evidence, memory) === null) state = after(state, evidence);
        }
        expect(state.proxy.step.canary.requests).toBe(3);
      }),
    );
  });

  it('knows where Monitoring is to be read from next', () => {
    expect(monitoringFrom(emptyTally)).toBeNull();
    expect(monitoringFrom(step)).toBe(100);
    expect(monitoringFrom(after(step, seen(100, 250)))).toBe(250);
  });
});

describe('histograms', () => {
  const histogram = fc
    .uniqueArray(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 8 })
    .map((bounds) => bounds.toSorted((a, b) => a - b))
    .chain((bounds) =>
      fc
        .array(fc.nat(20), { minLength: bounds.length + 1, maxLength: bounds.length + 1 })
        .map((counts) => ({ bounds, counts })),
    );
  const total = (counts: number[]) => counts.reduce((a, b) => a + b, 0);

  it('keep every count when they are added, whatever their bounds', () => {
    fc.assert(
      fc.property(histogram, histogram, (a, b) => {
        const sum = addHistograms(a, b);
        expect(total(sum.counts)).toBe(total(a.counts) + total(b.counts));
        expect(histogramSchema.safeParse(sum).success).toBe(true);
        expect(addHistograms(b, a)).toEqual(sum);
      }),
    );
  });

  it('answer a quantile by the bound that covers it, and null when nothing or nobody knows', () => {
    expect(quantileMs({ bounds: [10, 20], counts: [94, 6, 0] }, 0.95)).toBe(20);
    expect(quantileMs({ bounds: [10, 20], counts: [95, 5, 0] }, 0.95)).toBe(10);
    expect(quantileMs({ bounds: [10], counts: [1, 99] }, 0.95)).toBeNull();
    expect(quantileMs(noHistogram, 0.5)).toBeNull();
  });
});
