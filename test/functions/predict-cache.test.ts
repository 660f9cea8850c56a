/** Does the door answer from its cache, and only what would be answered now? Over real HTTP, and a real Redis. */
import { describe, expect, it, vi } from 'vitest';
import { limits } from '../../functions/engine/limits.ts';
import { cacheConfigSchema, createCache, openCache } from '../../functions/proxy/cache.ts';
import { createMemoryCache } from '../../functions/proxy/memory-cache.ts';
import { createRedisCache } from '../../functions/proxy/redis-cache.ts';
import { freePort } from '../port.ts';
import { startRedis, withRedis } from '../redis.ts';
import { goodKey, longPath, type Model, servedBySeven, startWorld, type World } from './proxy/proxy-world.ts';

const rules = cacheConfigSchema.parse([{ alias: 'delays' }]);
const [{ leaseSeconds, quietSeconds } = { leaseSeconds: 0, quietSeconds: 0 }] = rules;
const body = '{"instances":[[1,2]]}';

/** Everything goes to one DeployedModel, which says who it is and how often anybody was asked. */
function endpointOf(initial: string) {
  const state = { id: initial, asked: 0 };
  const model: Model = (_received, response) => {
    state.asked += 1;
    response.writeHead(200, { ...servedBySeven, 'x-vertex-ai-deployed-model-id': state.id });
    response.end(`{"predictions":["${state.id}",${state.asked}]}`);
  };
  return { state, model };
}

const post = (world: World, text = body, headers: Record<string, string> = {}) =>
  world.post(`${longPath}:predict`, { body: text, headers });

async function ask(world: World, text = body): Promise<{ text: string; isHit: boolean }> {
  const answer = await post(world, text);
  expect(answer.status).toBe(200);
  return { text: await answer.text(), isHit: answer.headers.get('x-rollouts-cache') === 'hit' };
}

/** Asks so many different things, for so long, that whoever answers is known to serve alone. */
async function settle(clock: { now: number }, ...worlds: World[]): Promise<void> {
  for (let i = 0; i <= limits.cacheAnswersMin; i += 1) {
    for (const world of worlds) await ask(world, `{"instances":["${i}"]}`);
    clock.now += (quietSeconds * 1000) / limits.cacheAnswersMin;
  }
  for (const world of worlds) await ask(world, '{"instances":["fresh"]}');
}

const instant = Date.parse('2026-03-01T12:00:00.000Z');

async function startCached(model: Model, clock: { now: number }): Promise<World> {
  const now = () => clock.now;
  return startWorld(model, { now, cache: createCache(rules, createMemoryCache(), now) });
}

describe('the cache', () => {
  it('is off unless it is asked for', async () => {
    expect(await openCache([], 'redis://localhost', Date.now)).toBeUndefined();
    const clock = { now: instant };
    await using world = await startWorld(undefined, { now: () => clock.now });
    await settle(clock, world);
    expect([(await ask(world)).isHit, (await ask(world)).isHit]).toEqual([false, false]);
  });

  it('gives an answer again, byte for byte and with the names of who gave it, and counts it once', async () => {
    const clock = { now: instant };
    await using world = await startCached(endpointOf('7').model, clock);
    await settle(clock, world);
    const first = await post(world);
    const again = await post(world, '{ "instances" : [[1,2]] }');
    expect(first.headers.get('x-rollouts-cache')).toBeNull();
    expect(again.headers.get('x-rollouts-cache')).toBe('hit');
    for (const name of [...Object.keys(servedBySeven), 'content-type', 'content-length']) {
      expect(again.headers.get(name)).toBe(first.headers.get(name));
    }
    expect(await again.text()).toBe(await first.text());
    await world.handler.flush();
    const counted = world.published.map(({ variants }) => variants['7']?.requests ?? 0);
    expect(counted.reduce((sum, requests) => sum + requests)).toBe(world.received.length);
  });

  it('asks anew for :rawPredict, for other numbers, and for who wants no cache', async () => {
    const clock = { now: instant };
    await using world = await startCached(endpointOf('7').model, clock);
    await settle(clock, world);
    await ask(world);
    const before = world.received.length;
    await (await world.post(`${longPath}:rawPredict`, { body })).text();
    await ask(world, '{"instances":[[1,2.0]]}');
    await (await post(world, body, { 'cache-control': 'no-cache' })).text();
    expect(world.received.length).toBe(before + 3);
  });

  it('keeps no failure', async () => {
    const clock = { now: instant };
    let status = 200;
    await using world = await startCached(
      (_received, response) => void response.writeHead(status, servedBySeven).end('{"predictions":[1]}'),
      clock,
    );
    await settle(clock, world);
    status = 500;
    expect((await post(world)).status).toBe(500);
    status = 200;
    expect((await ask(world)).isHit).toBe(false);
    expect((await ask(world)).isHit).toBe(true);
  });

  it('gives nothing of a canary that was rolled back, once the lease of its last live answer is over', async () => {
    const clock = { now: instant };
    const { state, model } = endpointOf('77');
    await using world = await startCached(model, clock);
    await settle(clock, world);
    await ask(world);
    expect(await ask(world)).toMatchObject({ isHit: true, text: expect.stringContaining('"77"') });
    state.id = '1';
    clock.now += leaseSeconds * 1000;
    for (let i = 0; i < 2 * limits.cacheAnswersMin; i += 1) {
      expect((await ask(world)).text).toContain('"1"');
      clock.now += 1000;
    }
  });

  it('gives nothing of a canary from the first live answer of another on', async () => {
    const clock = { now: instant };
    const { state, model } = endpointOf('77');
    await using world = await startCached(model, clock);
    await settle(clock, world);
    await ask(world);
    state.id = '1';
    await ask(world, '{"instances":["anything else"]}');
    expect((await ask(world)).text).toContain('"1"');
  });

  it('asks once for what many ask at once, and answers who is left when the first one leaves', async () => {
    const clock = { now: instant };
    const asked = Promise.withResolvers<void>();
    const held = Promise.withResolvers<void>();
    let isHolding = false;
    const { model } = endpointOf('7');
    await using world = await startCached(async (received, response) => {
      if (isHolding) {
        asked.resolve();
        await held.promise;
      }
      await model(received, response);
    }, clock);
    await settle(clock, world);
    isHolding = true;
    const before = world.received.length;
    const leaving = new AbortController();
    const left = fetch(`${world.origin}${longPath}:predict`, {
      method: 'POST',
      body,
      headers: { 'x-goog-api-key': goodKey, 'content-type': 'application/json' },
      signal: leaving.signal,
    });
    await asked.promise;
    const others = Array.from({ length: 5 }, () => ask(world));
    leaving.abort();
    await expect(left).rejects.toThrow('aborted');
    held.resolve();
    for (const { text } of await Promise.all(others)) expect(text).toContain('"7"');
    isHolding = false;
    const onceMore = world.received.length;
    // Those whom the first one left behind ask for themselves; nobody else does.
    expect(onceMore - before).toBeLessThanOrEqual(6);
    const together = await Promise.all(Array.from({ length: 10 }, () => ask(world, '{"instances":["together"]}')));
    expect(new Set(together.map(({ text }) => text)).size).toBe(1);
    expect(world.received.length - onceMore).toBe(1);
  });

  it('costs nobody an answer when there is no Redis where one should be', async () => {
    vi.spyOn(process.stdout, 'write').mockReturnValue(true);
    const clock = { now: instant };
    const now = () => clock.now;
    const url = `redis://127.0.0.1:${await freePort()}`;
    await using world = await startWorld(endpointOf('7').model, { now, cache: await openCache(rules, url, now) });
    await settle(clock, world);
    expect([(await ask(world)).isHit, (await ask(world)).isHit]).toEqual([false, false]);
  });
});

withRedis('two instances on a real Redis', () => {
  it('share answers, and each keeps its own eyes on who serves', async () => {
    await using redis = await startRedis();
    const clock = { now: Date.now() };
    const now = () => clock.now;
    const { state, model } = endpointOf('7');
    const cacheOf = () => createCache(rules, createRedisCache(redis.url, now), now);
    await using one = await startWorld(model, { now, cache: cacheOf() });
    await using other = await startWorld(model, { now, cache: cacheOf() });
    const question = '{"instances":["of one"]}';
    await settle(clock, one);
    // From when on its connection stands.
    await vi.waitFor(async () => {
      await ask(one, question);
      expect((await ask(one, question)).isHit).toBe(true);
    });
    // The other one knows nothing yet of who serves, so it must ask.
    expect((await ask(other, question)).isHit).toBe(false);
    await settle(clock, one, other);
    await ask(one, question);
    // Asked again, so that what was kept has reached Redis: both went through one connection.
    const { text } = await ask(one, question);
    expect(await ask(other, question)).toEqual({ isHit: true, text });
    state.id = '8';
    clock.now += leaseSeconds * 1000;
    for (const world of [one, other, one, other]) expect((await ask(world, question)).text).toContain('"8"');
  });
});
