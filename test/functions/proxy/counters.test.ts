/** Is every request, and every reported outcome, in exactly one window, whatever happens to the messages? */
import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { limits } from '../../../functions/engine/limits.ts';
import { createCounters, type EvidenceMessage } from '../../../functions/proxy/counters.ts';
import { latencyBoundsMs } from '../../../functions/proxy/evidence-window.ts';
import { predictionBounds } from '../../../functions/proxy/prediction-bounds.ts';
import { histogramSchema, variantCountsSchema } from '../../../machines/analysis/evidence.ts';

const endpoint = 'projects/demo/locations/us-central1/endpoints/456';
const start = Date.parse('2026-03-01T12:00:00.000Z');

beforeEach(() => void vi.useFakeTimers({ now: start }));
afterEach(() => void vi.useRealTimers());

function startCounters(publish: (message: EvidenceMessage) => Promise<void>): ReturnType<typeof createCounters> & {
  serve(deployedModelId?: string | null, latencyMs?: number, predictions?: number[]): void;
  fail(deployedModelId?: string | null): void;
} {
  const counters = createCounters({
    publish,
    now: Date.now,
    source: 'proxy:test',
    intervalMs: 5_000,
    idleMs: 60_000,
  });
  return {
    ...counters,
    serve: (deployedModelId = '7', latencyMs = 0, predictions = []) =>
      counters.count(endpoint, {
        deployedModelId,
        startedAt: Date.now() - latencyMs,
        latencyMs,
        isError: false,
        predictions,
      }),
    fail: (deployedModelId = '7') =>
      counters.count(endpoint, {
        deployedModelId,
        startedAt: Date.now(),
        latencyMs: 0,
        isError: true,
        predictions: [],
      }),
  };
}

function sent(): { messages: EvidenceMessage[]; publish: (message: EvidenceMessage) => Promise<void> } {
  const messages: EvidenceMessage[] = [];
  return {
    messages,
    publish: (message) => {
      messages.push(message);
      return Promise.resolve();
    },
  };
}

const requestsOf = (messages: EvidenceMessage[]) =>
  messages.flatMap(({ variants }) => Object.values(variants)).reduce((sum, { requests }) => sum + requests, 0);

const sumOf = (counts: number[]) => counts.reduce((sum, count) => sum + count, 0);

describe('reports', () => {
  it('tell a lone request at once, as the evidence message of the contract', async () => {
    const { messages, publish } = sent();
    startCounters(publish).serve('7', 40);
    await vi.advanceTimersByTimeAsync(0);
    expect(messages).toHaveLength(1);
    expect(messages[0]).toMatchObject({
      endpoint,
      window: { from: '2026-03-01T11:59:59.960Z', to: '2026-03-01T12:00:00.000Z' },
      source: 'proxy:test',
    });
    expect(variantCountsSchema.parse(messages[0]?.variants['7'])).toMatchObject({ requests: 1, errors: 0 });
  });

  it('are of one endpoint, however its project is written', async () => {
    const { messages, publish } = sent();
    const counters = startCounters(publish);
    counters.serve();
    const byNumber = endpoint.replace('demo', '1234');
    const request = { deployedModelId: '7', startedAt: start, latencyMs: 0, isError: false, predictions: [] };
    counters.count(byNumber, request);
    await counters.flush();
    expect(requestsOf(messages)).toBe(2);
    expect(new Set(messages.map(({ window }) => window.from)).size).toBe(messages.length);
    expect(new Set(messages.map((message) => message.endpoint)).size).toBe(1);
  });

  it('have no latency of what failed, which is an error and not slow as well', async () => {
    const { messages, publish } = sent();
    const counters = startCounters(publish);
    counters.serve();
    counters.fail();
    await counters.flush();
    const variants = messages.map((message) => variantCountsSchema.parse(message.variants['7']));
    const all = { requests: 0, errors: 0, latencies: 0 };
    for (const { requests, errors, latencyMs } of variants) {
      all.requests += requests;
      all.errors += errors;
      all.latencies += sumOf(latencyMs.counts);
    }
    expect(all).toEqual({ requests: 2, errors: 1, latencies: 1 });
  });

  it('go on when the clock was set back', async () => {
    const { messages, publish } = sent();
    const counters = startCounters(publish);
    counters.serve();
    await vi.advanceTimersByTimeAsync(0);
    vi.setSystemTime(start - 1_800_000);
    counters.serve();
    await vi.advanceTimersByTimeAsync(5_000);
    expect(requestsOf(messages)).toBe(2);
  });

  it('come at most once in each interval while requests do', async () => {
    const { messages, publish } = sent();
    const counters = startCounters(publish);
    for (let i = 0; i < 100; i += 1) {
      counters.serve();
      await vi.advanceTimersByTimeAsync(200);
    }
    expect(messages.length).toBeLessThanOrEqual(5);
    await vi.advanceTimersByTimeAsync(5_000);
    expect(requestsOf(messages)).toBe(100);
  });

  it('follow each other without overlap, and begin with their first request', async () => {
    const { messages, publish } = sent();
    const counters = startCounters(publish);
    for (const idleMs of [0, 0, 1, 4_999, 5_001, 3_600_000, 2]) {
      await vi.advanceTimersByTimeAsync(idleMs);
      counters.serve();
    }
    await counters.flush();
    const windows = messages.map(({ window }) => ({ from: Date.parse(window.from), to: Date.parse(window.to) }));
    for (const [i, { from, to }] of windows.entries()) {
      expect(to).toBeGreaterThan(from);
      expect(from).toBeGreaterThanOrEqual(windows[i - 1]?.to ?? 0);
    }
    expect(windows.some(({ from }) => from === start + 10_001 + 3_600_000)).toBe(true);
    expect(requestsOf(messages)).toBe(7);
  });

  it('leave no timer behind once everything has arrived', async () => {
    const { publish } = sent();
    const counters = startCounters(publish);
    counters.serve();
    counters.serve();
    await vi.advanceTimersByTimeAsync(10_000);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('stop trying when no requests come, and go on with the next one', async () => {
    const arrived = new Map<string, EvidenceMessage>();
    let attempts = 0;
    let isDown = true;
    const counters = startCounters((message) => {
      attempts += 1;
      if (isDown) return Promise.reject(new Error('down'));
      arrived.set(message.window.from, message);
      return Promise.resolve();
    });
    counters.serve();
    await vi.advanceTimersByTimeAsync(3_600_000);
    expect(attempts).toBeGreaterThan(5);
    expect(attempts).toBeLessThan(20);
    expect(vi.getTimerCount()).toBe(0);
    isDown = false;
    counters.serve();
    await vi.advanceTimersByTimeAsync(10_000);
    expect(requestsOf([...arrived.values()])).toBe(2);
  });
});

describe('a report that cannot wait', () => {
  it('leaves when one DeployedModel fails and the other does not, and the next ones follow within a second', async () => {
    const { messages, publish } = sent();
    const counters = startCounters(publish);
    for (let i = 0; i < 200; i += 1) {
      counters.serve('7');
      await vi.advanceTimersByTimeAsync(25);
    }
    await vi.advanceTimersByTimeAsync(5_000);
    counters.serve('7');
    const before = messages.length;
    for (let i = 0; i < 20; i += 1) {
      counters.serve('7');
      if (i % 5 === 0) counters.fail('8');
      await vi.advanceTimersByTimeAsync(100);
    }
    expect(messages.length).toBeGreaterThanOrEqual(before + 2);
    for (const { variants } of messages.slice(before, before + 2)) expect(variants['8']?.errors).toBeGreaterThan(0);
  });

  it('does not come with every request of an endpoint that has failed for long', async () => {
    const { messages, publish } = sent();
    const counters = startCounters(publish);
    for (let i = 0; i < 6_000; i += 1) {
      counters.fail('7');
      await vi.advanceTimersByTimeAsync(100);
    }
    expect(messages.length).toBeGreaterThan(600_000 / 5_000);
    expect(messages.length).toBeLessThan(600_000 / 5_000 + 60);
  });

  it('does not come for what names nobody', async () => {
    const { messages, publish } = sent();
    const counters = startCounters(publish);
    for (let i = 0; i < 200; i += 1) {
      counters.fail(null);
      await vi.advanceTimersByTimeAsync(50);
    }
    expect(messages.length).toBeLessThanOrEqual(3);
  });
});

describe('reports of an endpoint that one DeployedModel has had to itself for an hour', () => {
  const hourMs = 3_600_000;
  const steady = async (counters: ReturnType<typeof startCounters>, ms: number): Promise<void> => {
    for (let passed = 0; passed < ms; passed += 1_000) {
      counters.serve('7');
      await vi.advanceTimersByTimeAsync(1_000);
    }
  };

  it('come once a minute', async () => {
    const { messages, publish } = sent();
    const counters = startCounters(publish);
    await steady(counters, hourMs + 60_000);
    const before = messages.length;
    await steady(counters, 600_000);
    expect(messages.length - before).toBe(10);
  });

  it('come every few seconds again from the first answer of another one on, which is in none of the long windows', async () => {
    const { messages, publish } = sent();
    const counters = startCounters(publish);
    await steady(counters, hourMs + 90_000);
    const before = messages.length;
    counters.serve('8');
    await vi.advanceTimersByTimeAsync(0);
    await steady(counters, 10_000);
    expect(Object.keys(messages[before]?.variants ?? {})).toEqual(['7']);
    const [first, second] = messages.slice(before);
    expect(Date.parse(second?.window.from ?? '')).toBeGreaterThanOrEqual(Date.parse(first?.window.to ?? ''));
    expect(Object.keys(second?.variants ?? {}).toSorted()).toEqual(['7', '8']);
    expect(Date.parse(second?.window.to ?? '') - Date.parse(second?.window.from ?? '')).toBeLessThanOrEqual(5_000);
  });
});

describe('counts', () => {
  it('put a latency into the first bucket that holds it', async () => {
    const { messages, publish } = sent();
    const counters = startCounters(publish);
    const highest = latencyBoundsMs.at(-1) ?? 0;
    for (const latencyMs of [0, 1, 1.1, 100, highest, highest + 1]) counters.serve('7', latencyMs);
    await counters.flush();
    const total = Array.from({ length: latencyBoundsMs.length + 1 }, () => 0);
    for (const { variants } of messages) {
      for (const [i, value] of (variants['7']?.latencyMs.counts ?? []).entries()) total[i] = (total[i] ?? 0) + value;
    }
    const expected = new Map([
      [0, 2],
      [1, 1],
      [latencyBoundsMs.findIndex((bound) => bound >= 100), 1],
      [latencyBoundsMs.length - 1, 1],
      [latencyBoundsMs.length, 1],
    ]);
    expect(total).toEqual(total.map((_, i) => expected.get(i) ?? 0));
  });

  it('have predictions only where some were sampled', async () => {
    const { messages, publish } = sent();
    const counters = startCounters(publish);
    counters.serve('7');
    await vi.advanceTimersByTimeAsync(0);
    counters.serve('7', 0, [0.5]);
    counters.serve('8');
    await counters.flush();
    const seen = messages.map(({ variants }) => Object.values(variants).map((counts) => 'predictions' in counts));
    expect(seen).toEqual([[false], [true, false]]);
  });

  it('put a prediction into the first bin that holds it', async () => {
    const bins: [prediction: number, upperBound: number | undefined][] = [
      [Number.NEGATIVE_INFINITY, -1e6],
      [-1.5, -1],
      [-0.0001, 0],
      [-0, 0],
      [0, 0],
      [0.0005, 0.001],
      [0.5, 0.5],
      [0.51, 0.55],
      [0.9999, 1],
      [1, 1],
      [37, 50],
      [1e6, 1e6],
      [1e6 + 1, undefined],
      [Number.POSITIVE_INFINITY, undefined],
    ];
    for (const [prediction, upperBound] of bins) {
      const { messages, publish } = sent();
      startCounters(publish).serve('7', 0, [prediction]);
      await vi.advanceTimersByTimeAsync(0);
      const { bounds, counts } = histogramSchema.parse(messages[0]?.variants['7']?.predictions);
      expect(counts.flatMap((count, i) => (count === 0 ? [] : [[bounds[i], count]]))).toEqual([[upperBound, 1]]);
    }
  });

  it('keep answers that named nobody under "unattributed", and those beyond the bound of variants too', async () => {
    const { messages, publish } = sent();
    const counters = startCounters(publish);
    counters.serve(null);
    await vi.advanceTimersByTimeAsync(0);
    for (let id = 0; id < 100; id += 1) counters.serve(String(id));
    await counters.flush();
    expect(Object.keys(messages[0]?.variants ?? {})).toEqual(['unattributed']);
    expect(Object.keys(messages[1]?.variants ?? {}).length).toBeLessThanOrEqual(33);
    expect(requestsOf(messages)).toBe(101);
  });

  it('fit into a message, however many variants there are', async () => {
    const { messages, publish } = sent();
    const counters = startCounters(publish);
    counters.serve(null);
    await vi.advanceTimersByTimeAsync(0);
    for (let id = 0; id < 100; id += 1) counters.serve(`1234567890123456${id}`, id * 1000, [id / 100, id, -id]);
    await counters.flush();
    expect(JSON.stringify(messages[1]).length).toBeLessThan(limits.messageBytesMax / 4);
  });
});

describe('every request', () => {
  it('arrives exactly once, with predictions and reports, though messages are lost, and arrive though they seem lost', async () => {
    const step = fc.oneof(
      {
        weight: 6,
        arbitrary: fc.record({
          kind: fc.constant('serve' as const),
          id: fc.constantFrom('7', '8', null),
          predictions: fc.array(fc.double({ noNaN: true }), { maxLength: 4 }),
        }),
      },
      {
        weight: 3,
        arbitrary: fc.record({
          kind: fc.constant('report' as const),
          deployedModelId: fc.constantFrom('7', '8', '9'),
          value: fc.oneof(fc.boolean(), fc.double({ noNaN: true })),
        }),
      },
      {
        weight: 3,
        arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.integer({ min: 0, max: 9_000 }) }),
      },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('flush' as const) }) },
    );
    const fate = fc.record({
      outcome: fc.constantFrom('arrives', 'lost', 'seems lost'),
      delayMs: fc.constantFrom(0, 0, 30, 7_000),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), fc.array(fate, { maxLength: 40 }), async (steps, fates) => {
        // As the contract says: of a source, a window that begins when one before did is a copy.
        const arrived = new Map<string, EvidenceMessage>();
        const copies: [EvidenceMessage, EvidenceMessage][] = [];
        const counters = startCounters(async (message) => {
          const { outcome, delayMs } = fates.shift() ?? { outcome: 'arrives', delayMs: 0 };
          if (delayMs > 0) await new Promise((resolve) => setTimeout(resolve, delayMs));
          if (outcome !== 'lost') {
            const before = arrived.get(message.window.from);
            if (before !== undefined) copies.push([before, structuredClone(message)]);
            arrived.set(message.window.from, structuredClone(message));
          }
          if (outcome !== 'arrives') throw new Error(outcome);
        });
        const flushing: Promise<void>[] = [];
        type Seen = [requests: number, predictions: number, hits: number, trials: number, values: number];
        const served: Record<string, Seen> = {};
        const add = (seen: typeof served, id: string, more: Seen) => {
          const [a, b, c, d, e] = seen[id] ?? [0, 0, 0, 0, 0];
          seen[id] = [a + more[0], b + more[1], c + more[2], d + more[3], e + more[4]];
        };
        const serve = (id: string | null, predictions: number[]) => {
          counters.serve(id, 0, predictions);
          add(served, id ?? 'unattributed', [1, predictions.length, 0, 0, 0]);
        };
        const report = (deployedModelId: string, value: boolean | number) => {
          const check = typeof value === 'boolean' ? 'rate' : 'values';
          expect(counters.countReported(endpoint, [{ deployedModelId, check, value }])).toBe(true);
          const isTrial = check === 'rate';
          add(served, deployedModelId, [0, 0, Number(value === true), Number(isTrial), Number(!isTrial)]);
        };
        for (const action of steps) {
          if (action.kind === 'wait') await vi.advanceTimersByTimeAsync(action.ms);
          else if (action.kind === 'report') report(action.deployedModelId, action.value);
          else if (action.kind === 'flush') flushing.push(counters.flush());
          else serve(action.id, action.predictions);
        }
        fates.length = 0;
        // An idle endpoint's last window may wait for the next request: that is this one.
        await vi.advanceTimersByTimeAsync(60_000);
        if (Object.keys(served).length > 0) serve('7', []);
        await vi.advanceTimersByTimeAsync(60_000);
        await Promise.all([...flushing, counters.flush()]);

        const seen: typeof served = {};
        for (const [id, counts] of [...arrived.values()].flatMap(({ variants }) => Object.entries(variants))) {
          const { rate, values } = counts.signals ?? {};
          const { hits, trials } = rate !== undefined && 'hits' in rate ? rate : { hits: 0, trials: 0 };
          const valued = values !== undefined && 'bounds' in values ? sumOf(values.counts) : 0;
          add(seen, id, [counts.requests, sumOf(counts.predictions?.counts ?? []), hits, trials, valued]);
        }
        expect(seen).toEqual(served);
        for (const [before, copy] of copies) expect(copy).toEqual(before);
      }),
      { numRuns: 150 },
    );
  });
});

describe('the bounds of predictions', () => {
  it('ascend, and are few enough for a message', () => {
    expect(predictionBounds.length).toBeLessThanOrEqual(120);
    expect([...new Set(predictionBounds)].toSorted((a, b) => a - b)).toEqual(predictionBounds);
  });
});
