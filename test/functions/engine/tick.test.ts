/** Does a tick cost what its rollouts cost and no more: in calls, reads, writes, and instances side by side? */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { bless } from '../../../functions/engine/blessings.ts';
import { TransientError } from '../../../functions/engine/errors.ts';
import { limits } from '../../../functions/engine/limits.ts';
import { tickMessageSchema } from '../../../functions/engine/messages.ts';
import type { MetricsQuery, Ports, StorePort } from '../../../functions/engine/ports.ts';
import { topics } from '../../../functions/engine/publish.ts';
import { openSqliteStore } from '../../../functions/engine/sqlite-store.ts';
import { reconcile } from '../../../functions/engine/reconcile.ts';
import { tick } from '../../../functions/engine/tick.ts';
import type { Evidence } from '../../../machines/analysis/evidence.ts';
import { parseRecord } from '../../../machines/rollout/record.ts';
import { policyOf } from '../../machines/rollout/life.ts';
import { endpoint, laboratory, model } from '../../simulation/laboratory.ts';
import { aMinuteOf, canaryId, minuteMs, patientPolicy, stableId, watchedUntil, watcher } from './watchers.ts';

const observing = { periodMs: minuteMs };
const page = limits.recordsPerTick;

let store: StorePort;

beforeEach(() => {
  store = openSqliteStore(':memory:');
  vi.spyOn(process.stdout, 'write').mockReturnValue(true);
});

afterEach(async () => {
  vi.useRealTimers();
  await store.close();
});

describe('a tick over many rollouts', () => {
  it('takes two instances half the time of one, and no rollout is worked on twice', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'Date'] });
    await watchers(4 * page - 1);
    const alone = await timeOf(1, watchedUntil + minuteMs);
    const together = await timeOf(2, watchedUntil + 2 * minuteMs);
    for (const { looked, committed } of [alone, together]) {
      expect(looked).toHaveLength(4 * page - 1);
      expect(new Set(looked).size).toBe(looked.length);
      expect(committed.toSorted()).toEqual(looked.filter(isBusy).toSorted());
    }
    expect(together.seconds / alone.seconds).toBeLessThan(0.55);
  });

  it('hands on what does not fit into one page before it works, as a message that the door understands', async () => {
    await watchers(page + 1);
    const { ports, published, queries } = world();
    expect(await tick(ports, observing)).toEqual({ active: page, failed: 0 });
    const [first, ...more] = published;
    expect(more).toEqual([]);
    expect(first?.topic).toBe(topics.ticks);
    expect(first?.queriesBefore).toBe(0);
    const { kind, after } = tickMessageSchema.parse(JSON.parse(first?.text ?? ''));
    expect(kind).toBe('tick');
    expect(await tick(ports, observing, after)).toEqual({ active: 1, failed: 0 });
    expect(new Set(queries.map((query) => query.endpoint)).size).toBe(page + 1);
    expect(published).toHaveLength(1);
  });

  it('goes on by itself while the bus takes nothing', async () => {
    await watchers(page + 1);
    const { ports, queries } = world();
    ports.bus.publish = () => Promise.reject(new TransientError('unavailable', 'the bus is down'));
    expect(await tick(ports, observing)).toEqual({ active: page + 1, failed: 0 });
    expect(new Set(queries.map((query) => query.endpoint)).size).toBe(page + 1);
  });

  it('is not stopped by a record that cannot be read, which counts as failed', async () => {
    await watchers(2);
    const { commit } = watcher(7);
    await store.commit({ ...commit, data: 'damaged' });
    const { ports } = world();
    expect(await tick(ports, observing)).toEqual({ active: 3, failed: 1 });
    expect(await tick(ports, observing, watcher(1).commit.key)).toEqual({ active: 1, failed: 1 });
  });

  it('lets time pass for one whose evidence cannot be digested, so that its deadline is met', async () => {
    await watchers(2);
    const [first, second] = [watcher(0).commit.key, watcher(1).commit.key];
    const { ports } = world({ at: watchedUntil + 8 * 24 * 60 * minuteMs });
    const { metrics } = ports;
    const broken = { ...aMinuteOf(20), requests: Number.NaN };
    ports.metrics = {
      read: async (asked) => {
        const [bad = [], ...good] = await metrics.read(asked);
        return [bad.map((evidence) => ({ ...evidence, variants: { [canaryId]: broken } })), ...good];
      },
    };
    expect(await tick(ports, observing)).toEqual({ active: 2, failed: 1 });
    const pausedBy = async (key: string) =>
      parseRecord((await store.load(key))?.data).data?.active?.context.paused?.reason;
    expect(await pausedBy(first)).toContain('No conclusion');
    expect(await pausedBy(second)).toBeUndefined();
  });
});

describe('a tick with nothing to do', () => {
  it('reads once where nothing is active', async () => {
    const { ports, reads } = world();
    expect(await tick(ports, observing)).toEqual({ active: 0, failed: 0 });
    expect(reads()).toBe(1);
  });

  it('writes and says nothing, at any second of a rollout', async () => {
    let writes = 0;
    const gate = (call: string, moment: string): Promise<void> => {
      if (moment === 'before' && ['store.commit', 'bus.publish', 'endpoints.writeSplit'].includes(call)) writes += 1;
      return Promise.resolve();
    };
    const lab = laboratory({ gate, policies: [policyOf()] });
    const places = new Set<string>();
    await bless({ ports: lab.ports, project: 'demo' }, { eventId: 'first', model, versionId: '2', endpoint }, 'm');
    for (let second = 0; second < 120; second += 1) {
      lab.pass(1);
      await tick(lab.ports, { periodMs: 1000 });
      const { active } = (await lab.record()) ?? {};
      // What a first tick begins, such as an order, may be followed up at once; the third has nothing left.
      await tick(lab.ports, { periodMs: 1000 });
      writes = 0;
      await tick(lab.ports, { periodMs: 1000 });
      expect([JSON.stringify(active?.value), writes]).toEqual([JSON.stringify(active?.value), 0]);
      places.add(JSON.stringify(active?.value));
    }
    expect(places.size).toBeGreaterThan(5);
    await lab.close();
  });
});

describe('metrics of many endpoints', () => {
  it('are asked about few windows, however long each has waited for requests, and each counts its own', async () => {
    const quiet = [0, 1, 2, 3, 5, 8, 13, 21, 34, 55];
    for (const quietMinutes of quiet) await store.commit(watcher(quietMinutes, { quietMinutes }).commit);
    const { ports, queries } = world();
    await tick(ports, observing);
    expect(new Set(queries.map(({ window }) => JSON.stringify(window))).size).toBe(7);
    for (const quietMinutes of quiet) {
      const counted = (await store.listJournal(`delays-2-${quietMinutes}`, 100)).map(({ data }) => data);
      expect(counted).toHaveLength(quietMinutes + 1);
      expect(JSON.stringify(counted)).not.toContain('Ignored');
    }
  });

  it('are asked about one window by rollouts that began at different times and have requests', async () => {
    await watchers(20);
    await store.commit(watcher(30, { quietMinutes: 9 }).commit);
    const { ports, queries } = world();
    await tick(ports, observing);
    queries.length = 0;
    await tick({ ...ports, now: () => watchedUntil + 2 * minuteMs }, observing);
    expect(queries).toHaveLength(21);
    expect(new Set(queries.map(({ window }) => JSON.stringify(window))).size).toBe(1);
  });

  it('are asked about exactly its own window by a rollout whose checks they read', async () => {
    const filter = `'metric.type="custom.googleapis.com/clicks"'`;
    const checks = `[ { name: clicks, rate: { max: 5%, margin: 1% }, from: { filter: ${filter} } } ]`;
    const policy = patientPolicy(checks);
    await store.commit(watcher(1, { quietMinutes: 4, policy }).commit);
    const { ports, queries } = world();
    await tick(ports, observing);
    expect(queries.map(({ window }) => (window.toAt - window.fromAt) / minuteMs)).toEqual([5]);
  });
});

describe('a reconcile over many records', () => {
  it('hands on what does not fit into one page, and only the first part ticks', async () => {
    await watchers(page + 1);
    const { ports, published } = world();
    const looked: string[] = [];
    ports.endpoints.read = (name) => {
      looked.push(name);
      return Promise.reject(new TransientError('unavailable', 'not now'));
    };
    await reconcile({ ports, project: 'demo' }, observing);
    const parts = published.map(({ text }) => tickMessageSchema.parse(JSON.parse(text)));
    expect(parts.map(({ kind }) => kind)).toEqual(['reconcile', 'tick']);
    expect(looked).toHaveLength(page);
    const rest = await reconcile({ ports, project: 'demo' }, observing, parts[0]?.after);
    expect(rest).toEqual({ active: 0, failed: 1 });
    expect(new Set(looked).size).toBe(page + 1);
    expect(published).toHaveLength(2);
  });
});

async function watchers(count: number): Promise<void> {
  for (let number = 0; number < count; number += 1) await store.commit(watcher(number).commit);
}

interface Published {
  topic: string;
  text: string;
  queriesBefore: number;
}

/** Everybody has requests in every period. Only what watching needs answers; the rest is not to be called. */
function world({ at = watchedUntil + minuteMs } = {}) {
  const queries: MetricsQuery[] = [];
  const published: Published[] = [];
  let reads = 0;
  const unexpected = (): Promise<never> => Promise.reject(new Error('nobody who watches calls this'));
  const ports: Ports = {
    now: () => at,
    endpoints: {
      read: unexpected,
      writeSplit: unexpected,
      deploy: unexpected,
      undeploy: unexpected,
      resize: unexpected,
      readOperation: unexpected,
      cancelOperation: unexpected,
    },
    models: { readVersion: unexpected, readAlias: unexpected },
    policies: { list: () => Promise.resolve({ policies: [], problems: [] }) },
    metrics: {
      read(asked) {
        queries.push(...asked);
        return Promise.resolve(asked.map(evidenceOf));
      },
    },
    bus: {
      publish(topic, messages) {
        const queriesBefore = queries.length;
        for (const { data } of messages) published.push({ topic, text: Buffer.from(data).toString(), queriesBefore });
        return Promise.resolve();
      },
    },
    schedule: { pause: unexpected, resume: unexpected, isPaused: () => Promise.resolve(false) },
    store: {
      ...store,
      listActive: (asked) => {
        reads += 1;
        return store.listActive(asked);
      },
    },
  };
  return { ports, queries, published, reads: () => reads };
}

function evidenceOf({ window: { fromAt, toAt }, periodMs }: MetricsQuery): Evidence[] {
  return Array.from({ length: (toAt - fromAt) / periodMs }, (_, i) => ({
    source: 'monitoring',
    window: { fromAt: fromAt + i * periodMs, toAt: fromAt + (i + 1) * periodMs },
    variants: { [canaryId]: aMinuteOf(2), [stableId]: aMinuteOf(18) },
  }));
}

/** Has requests, in the world below. */
function isBusy(endpointName: string): boolean {
  return endpointName.endsWith('0');
}

/** Lets so many instances tick, each with one message at a time, in a world where calls take as long as Google's do. */
async function timeOf(instances: number, at: number) {
  const { ports, queries } = world({ at });
  const committed: string[] = [];
  const waiting: (string | null)[] = [null];
  const after = <T>(ms: number, act: () => Promise<T>): Promise<T> =>
    new Promise((resolve) => setTimeout(() => resolve(act()), ms));
  const slow: Ports = {
    ...ports,
    metrics: {
      read: async (asked) => {
        const answers = await after(3000, () => ports.metrics.read(asked));
        return answers.map((evidence, i) => (isBusy(asked[i]?.endpoint ?? '') ? evidence : []));
      },
    },
    store: {
      ...ports.store,
      listActive: (asked) => after(300, () => ports.store.listActive(asked)),
      commit(change) {
        committed.push(`projects/demo/locations/${change.key.replace('~', '/endpoints/')}`);
        return after(50, () => ports.store.commit(change));
      },
    },
    bus: {
      publish: (_, messages) =>
        after(100, () => {
          for (const { data } of messages)
            waiting.push(tickMessageSchema.parse(JSON.parse(Buffer.from(data).toString())).after ?? null);
          return Promise.resolve();
        }),
    },
  };
  const startedAt = Date.now();
  const runs: Promise<unknown>[] = [];
  const underWay = new Set<number>();
  while (waiting.length > 0 || underWay.size > 0) {
    if (waiting.length > 0 && underWay.size < instances) {
      const run = runs.length;
      underWay.add(run);
      runs.push(tick(slow, observing, waiting.shift()).finally(() => underWay.delete(run)));
    } else {
      await vi.advanceTimersByTimeAsync(50);
    }
  }
  await Promise.all(runs);
  return { seconds: (Date.now() - startedAt) / 1000, looked: queries.map((query) => query.endpoint), committed };
}
