/** Does the proxy stay up, and answer at once, when its own parts fail, an upstream does, or too much is asked of it? */
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { limits } from '../../functions/engine/limits.ts';
import { proxyConfigSchema } from '../../functions/proxy/config.ts';
import { captureLog } from '../log.ts';
import { healthyModel, listen, longPath, servedBySeven, startWorld, type World } from './proxy/proxy-world.ts';

captureLog();

describe('a fault of our own', () => {
  const config = proxyConfigSchema.parse({ inFlightMax: 1 });
  const predict = (world: World) => world.post(`${longPath}:predict`);

  it.for(['nowhere', 'http://127.0.0.1:99999', 'http://%'])(
    'such as the origin "%s" is a 500 that says nothing more, and takes no place',
    async (origin) => {
      const origins = [origin, origin];
      await using good = await listen((_request, response) => void response.writeHead(200, servedBySeven).end('{}'));
      await using world = await startWorld(undefined, { config, upstreamOrigin: () => origins.pop() ?? good.origin });
      for (const _ of [1, 2]) {
        const answer = await predict(world);
        expect([answer.status, await answer.json()]).toEqual([
          500,
          { error: { code: 500, message: 'The proxy failed on this request', status: 'INTERNAL' } },
        ]);
      }
      expect((await predict(world)).status).toBe(200);
    },
  );

  it.for([[['begin']], [['beginUpstream']], [['upstreamEnd']], [['end']], [['upstreamEnd', 'end']]])(
    'in tracing (%j) costs no caller its answer, no later one its place, and the model no evidence',
    async ([broken]) => {
      const fail = (which: string) => {
        if (broken?.includes(which)) throw new Error('no spans today');
      };
      const context = { traceId: '1'.repeat(32), spanId: '1'.repeat(16), isSampled: true };
      const beginUpstream = () => {
        fail('beginUpstream');
        return { context, end: () => fail('upstreamEnd') };
      };
      const begin = () => {
        fail('begin');
        return { context, beginUpstream, end: () => fail('end') };
      };
      const done = () => Promise.resolve();
      await using world = await startWorld(undefined, { config, tracing: { begin, flush: done, close: done } });
      for (const _ of [1, 2, 3]) expect((await predict(world)).status).toBe(200);
      await world.handler.flush();
      const requests = world.published.map(({ variants }) => variants['7']?.requests ?? 0);
      expect(requests.reduce((sum, count) => sum + count, 0)).toBe(3);
    },
  );
});

it('an error that the model sends compressed, though nobody asked for it, can be read', async () => {
  await using world = await startWorld((_received, response) => {
    response.writeHead(500, { 'content-encoding': 'gzip', ...servedBySeven }).end(gzipSync('no room'));
  });
  const answer = await world.post(`${longPath}:predict`);
  expect(answer.status).toBe(500);
  expect(await answer.json()).toMatchObject({ error: { code: 500 } });
});

describe('overload', () => {
  it('is answered with a 503 at once, and over as soon as one is done', async () => {
    const waiting = Promise.withResolvers<void>();
    const arrived = Promise.withResolvers<void>();
    const config = proxyConfigSchema.parse({ inFlightMax: 2 });
    let asked = 0;
    await using world = await startWorld(
      async (received, response) => {
        asked += 1;
        if (asked === 2) arrived.resolve();
        await waiting.promise;
        await healthyModel(received, response);
      },
      { config },
    );
    const held = [world.post(`${longPath}:predict`), world.post(`${longPath}:predict`)];
    await arrived.promise;
    const refused = await world.post(`${longPath}:predict`);
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '5']);
    // A stranger takes no place, and is told apart from a caller who comes at a bad time.
    expect((await world.post(`${longPath}:predict`, { key: 'wrong' })).status).toBe(401);
    waiting.resolve();
    expect((await Promise.all(held)).map(({ status }) => status)).toEqual([200, 200]);
    expect((await world.post(`${longPath}:predict`)).status).toBe(200);
  });
});

describe('an upstream', () => {
  const failing = startWorld.bind(null, (_received, response) => void response.writeHead(503).end());

  it('that fails on everything is left alone, probed after a while, and trusted again when it answers', async () => {
    let at = 1_800_000_000_000;
    let isDown = true;
    await using world = await startWorld(
      (received, response) => (isDown ? void response.destroy() : healthyModel(received, response)),
      { now: () => at },
    );
    const ask = async () => (await world.post(`${longPath}:predict`)).status;
    for (let i = 0; i < limits.breakerFailuresMin; i += 1) expect(await ask()).toBe(502);
    const refused = await world.post(`${longPath}:predict`);
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '2']);
    expect(world.received).toHaveLength(limits.breakerFailuresMin);
    at += limits.breakerBackoffMs;
    expect([await ask(), await ask()]).toEqual([502, 503]);
    at += 2 * limits.breakerBackoffMs;
    isDown = false;
    expect([await ask(), await ask()]).toEqual([200, 200]);
    await world.handler.flush();
    const requests = world.published.flatMap(({ variants }) =>
      Object.values(variants).map((variant) => variant.requests),
    );
    // What was refused here is no evidence.
    expect(requests.reduce((sum, count) => sum + count, 0)).toBe(limits.breakerFailuresMin + 3);
  });

  it('whose platform answers 5xx without naming a model counts as failing', async () => {
    await using world = await failing({ now: () => 1_800_000_000_000 });
    for (let i = 0; i < limits.breakerFailuresMin; i += 1) await world.post(`${longPath}:rawPredict`);
    await world.post(`${longPath}:rawPredict`);
    expect(world.received).toHaveLength(limits.breakerFailuresMin);
  });

  it('is not blamed for a model that fails on everything: the rollout must see it fail', async () => {
    await using world = await startWorld((_received, response) => void response.writeHead(500, servedBySeven).end());
    const count = 3 * limits.breakerFailuresMin;
    for (let i = 0; i < count; i += 1) expect((await world.post(`${longPath}:rawPredict`)).status).toBe(500);
    expect(world.received).toHaveLength(count);
  });
});
