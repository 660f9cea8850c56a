/** Do instances share answers through Redis, and does a Redis that is dead, slow or lying cost no more than a miss? */
import { createServer } from 'node:net';
import { createClient } from '@redis/client';
import { describe, expect, it, vi } from 'vitest';
import { limits } from '../../../functions/engine/limits.ts';
import type { AnswerStore, CachedAnswer } from '../../../functions/proxy/cache.ts';
import { createMemoryCache } from '../../../functions/proxy/memory-cache.ts';
import { answerValue, createRedisCache, parseAnswer } from '../../../functions/proxy/redis-cache.ts';
import { freePort } from '../../port.ts';
import { startRedis, withRedis } from '../../redis.ts';

const answer: CachedAnswer = {
  deployedModelId: '7',
  askedAt: 1_772_366_400_000,
  headers: { 'x-vertex-ai-deployed-model-id': '7', 'x-vertex-ai-model': 'projects/1/locations/l/models/delays' },
  // With line feeds, and bytes that are no text.
  body: Buffer.from('{"predictions":[0.5]}\n\n\u0000\u00e9', 'latin1'),
};

/** Stores of one test, closed at its end, however it ends. */
function openStores() {
  const stores: AnswerStore[] = [];
  const clock = { now: Date.now() };
  return {
    clock,
    open(url: string): AnswerStore {
      const store = createRedisCache(url, () => clock.now);
      stores.push(store);
      return store;
    },
    [Symbol.dispose]() {
      for (const store of stores) store.close();
    },
  };
}

/** Waits until a store that has just begun to connect keeps what it is given; on a busy machine it may have to begin again. */
async function isKeeping(store: AnswerStore, clock: { now: number }, key = 'probe'): Promise<void> {
  await vi.waitFor(
    async () => {
      clock.now += limits.redisRestMs;
      store.set(key, answer, 60_000);
      expect(await store.get(key)).not.toBeNull();
    },
    { timeout: 10_000, interval: 200 },
  );
}

function silenced() {
  return vi.spyOn(process.stdout, 'write').mockReturnValue(true);
}

describe('a value', () => {
  const value = answerValue('key', answer);
  const changed = (change: object) =>
    Buffer.from(
      value.toString('latin1').replace(/^.*?\n/, (head) => `${JSON.stringify({ ...parsed(head), ...change })}\n`),
      'latin1',
    );

  it('is read as it was written', () => {
    expect(parseAnswer('key', value)).toEqual(answer);
    expect(parseAnswer('key', changed({}))).toEqual(answer);
  });

  it.for([
    ['nothing', Buffer.alloc(0)],
    ['no value of ours', Buffer.from('hello\nworld')],
    ['null', Buffer.from('null\n{}')],
    ['cut short', value.subarray(0, -1)],
    ['changed in a byte', Buffer.concat([value.subarray(0, -1), Buffer.from('x')])],
    ["another key's", answerValue('other', answer)],
    ['with another header', changed({ headers: { 'set-cookie': 'a=b' } })],
    ['with a header that splits the head', changed({ headers: { 'x-vertex-ai-model': 'a\r\nset-cookie: b' } })],
    ['of nobody', changed({ deployedModelId: '' })],
    ['of no time', changed({ askedAt: null })],
    ['of another form', changed({ more: 1 })],
  ] as const)('that is %s is a miss', ([, bytes]) => {
    expect(parseAnswer('key', bytes)).toBeNull();
  });
});

withRedis('on a real Redis', () => {
  it('keeps answers as memory does, and shares them between instances', async () => {
    await using redis = await startRedis();
    using stores = openStores();
    const [one, other] = [stores.open(redis.url), stores.open(redis.url)];
    await Promise.all([isKeeping(one, stores.clock), isKeeping(other, stores.clock, 'elsewhere')]);
    one.set('a', answer, 60_000);
    const memory = createMemoryCache();
    memory.set('a', answer, 60_000);
    for (const key of ['a', 'b']) {
      const expected = await memory.get(key);
      expect(await one.get(key)).toEqual(expected);
      expect(await other.get(key)).toEqual(expected);
    }
  });

  it('lets Redis forget an answer when its time is over', async () => {
    await using redis = await startRedis();
    using stores = openStores();
    const store = stores.open(redis.url);
    await isKeeping(store, stores.clock);
    store.set('a', answer, 123_456.5);
    await store.get('a');
    const client = await createClient({ url: redis.url }).connect();
    const left = await client.pTTL('rollouts:answer:1:a');
    client.destroy();
    expect(left).toBeGreaterThan(0);
    expect(left).toBeLessThanOrEqual(123_457);
  });

  it('finds nothing in what others put there, and goes on', async () => {
    await using redis = await startRedis();
    using stores = openStores();
    const store = stores.open(redis.url);
    await isKeeping(store, stores.clock);
    const client = await createClient({ url: redis.url }).connect();
    await client.set('rollouts:answer:1:text', 'x'.repeat(3_000_000));
    await client.lPush('rollouts:answer:1:list', 'x');
    client.destroy();
    expect(await store.get('text')).toBeNull();
    expect(await store.get('list')).toBeNull();
    expect(await store.get('probe')).toEqual(answer);
  });

  it('asks a slow one no more, for a while, and then again', async () => {
    const logged = silenced();
    await using redis = await startRedis();
    using stores = openStores();
    const store = stores.open(redis.url);
    await isKeeping(store, stores.clock);
    logged.mockClear();
    redis.pause();
    for (let i = 0; i < limits.redisLateMax; i += 1) {
      const beganAt = performance.now();
      expect(await store.get('probe')).toBeNull();
      // Generous, for a loaded machine; a read that waited for Redis would never end.
      expect(performance.now() - beganAt).toBeLessThan(20 * limits.redisDeadlineMs);
    }
    // No promise: nobody is asked.
    expect(store.get('probe')).toBeNull();
    expect(logged).toHaveBeenCalledTimes(1);
    redis.resume();
    expect(store.get('probe')).toBeNull();
    stores.clock.now += limits.redisRestMs;
    await isKeeping(store, stores.clock);
  });

  it('asks a dead one no more, and finds the one that takes its place', async () => {
    const logged = silenced();
    using stores = openStores();
    const port = await freePort();
    let store: AnswerStore;
    {
      await using redis = await startRedis(port);
      store = stores.open(redis.url);
      await isKeeping(store, stores.clock);
      logged.mockClear();
    }
    await vi.waitFor(() => expect(logged).toHaveBeenCalledTimes(1), { timeout: 10_000 });
    expect(store.get('probe')).toBeNull();
    stores.clock.now += limits.redisRestMs;
    // Refused: told once more, and not asked again before the rest is over.
    expect(store.get('probe')).toBeNull();
    await vi.waitFor(() => expect(logged).toHaveBeenCalledTimes(2), { timeout: 10_000 });
    for (let i = 0; i < 100; i += 1) expect(store.get('probe')).toBeNull();
    expect(logged).toHaveBeenCalledTimes(2);
    await using next = await startRedis(port);
    expect(next.url).toContain(String(port));
    stores.clock.now += limits.redisRestMs;
    await isKeeping(store, stores.clock);
  });

  it('tells no password when it cannot connect', async () => {
    const logged = silenced();
    await using redis = await startRedis();
    using stores = openStores();
    const store = stores.open(redis.url.replace('//', '//user:hunter2@'));
    await vi.waitFor(() => expect(logged).toHaveBeenCalled());
    expect(store.get('a')).toBeNull();
    expect(JSON.stringify(logged.mock.calls)).not.toContain('hunter2');
  });
});

describe('what is no Redis', () => {
  it.for([
    { kind: 'says nothing', reply: null },
    { kind: 'speaks another language', reply: 'HTTP/1.1 400 Bad Request\r\n\r\n' },
    { kind: 'answers nonsense', reply: '$-5\r\n*99999999\r\n%%%\r\n' },
    { kind: 'hangs up', reply: '' },
  ])('and $kind costs a miss', async ({ reply }) => {
    const logged = silenced();
    const server = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.on('data', () => {
        if (reply === '') socket.destroy();
        else if (reply !== null) socket.write(reply);
      });
    });
    const port = await freePort();
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
    using stores = openStores();
    const store = stores.open(`redis://127.0.0.1:${port}`);
    store.set('a', answer, 1000);
    expect(store.get('a')).toBeNull();
    await vi.waitFor(() => expect(logged).toHaveBeenCalledTimes(1), { timeout: 3 * limits.redisConnectDeadlineMs });
    expect(store.get('a')).toBeNull();
    server.close();
  });
});

function parsed(text: string): object {
  const value: unknown = JSON.parse(text);
  return typeof value === 'object' && value !== null ? value : {};
}
