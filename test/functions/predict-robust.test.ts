/** Does the proxy stay up, and answer at once, when callers or upstreams are slow, broken, hostile or too many? */
import { once } from 'node:events';
import { createServer } from 'node:http';
import { connect, type Socket } from 'node:net';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { limits } from '../../functions/engine/limits.ts';
import { proxyConfigSchema } from '../../functions/proxy/config.ts';
import { drain, guardServer } from '../../functions/proxy/server.ts';
import { captureLog } from '../log.ts';
import {
  delays,
  goodKey,
  healthyModel,
  listen,
  longPath,
  servedBySeven,
  startWorld,
  type World,
} from './proxy/proxy-world.ts';
import { portOf } from '../port.ts';

captureLog();

const head = [`POST ${longPath}:rawPredict HTTP/1.1`, 'host: proxy', `x-goog-api-key: ${goodKey}`];
const request = (...lines: string[]): string => [...head, ...lines].join('\r\n');

function dial(origin: string): Socket {
  const socket = connect(Number(new URL(origin).port), '127.0.0.1');
  socket.on('error', () => socket.destroy());
  return socket;
}

/** Everything that comes back until the other side ends, or until the text does what is wanted. */
async function talk(origin: string, text: string, isEnough: (got: string) => boolean = () => false): Promise<string> {
  const socket = dial(origin);
  socket.write(text);
  let got = '';
  for await (const chunk of socket) {
    got += String(chunk);
    if (isEnough?.(got)) break;
  }
  socket.destroy();
  return got;
}

/** The world's handler on a server with the bounds of the real one, made short. */
async function guarded(world: World, bounds = { headersDeadlineMs: 100, requestDeadlineMs: 200 }) {
  const server = createServer({ connectionsCheckingInterval: 20 }, world.handler);
  guardServer(server, bounds);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const port = portOf(server);
  return {
    server,
    origin: `http://127.0.0.1:${port}`,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

describe('slow callers', () => {
  it('whose headers never end are cut off with a 408', async () => {
    await using world = await startWorld();
    await using server = await guarded(world);
    expect(await talk(server.origin, `${request()}\r\nx-more: `)).toMatch(
      /^HTTP\/1\.1 408 .*"status":"DEADLINE_EXCEEDED"/s,
    );
  });

  it('whose body never ends get a 408, and their place is free again', async () => {
    const config = proxyConfigSchema.parse({ inFlightMax: 1 });
    await using world = await startWorld(undefined, { bounds: { bodyDeadlineMs: 50 }, config });
    const answer = await talk(world.origin, `${request('content-length: 10')}\r\n\r\nhalf`);
    expect(answer).toMatch(/^HTTP\/1\.1 408 .*connection: close.*"code":408/is);
    expect((await world.post(`${longPath}:rawPredict`)).status).toBe(200);
    expect(world.received).toHaveLength(1);
  });

  it('who hang up in the middle of a body leave nothing behind, and nothing is asked upstream', async () => {
    const config = proxyConfigSchema.parse({ inFlightMax: 1 });
    await using world = await startWorld(undefined, { config });
    for (const ending of ['end', 'resetAndDestroy'] as const) {
      const socket = dial(world.origin);
      socket.write(`${request('content-length: 10', 'expect: 100-continue')}\r\n\r\nhalf`);
      // The answer to `expect` says that the request has arrived.
      await once(socket, 'data');
      socket[ending]();
      await once(socket, 'close');
    }
    await expect.poll(async () => (await world.post(`${longPath}:rawPredict`)).status).toBe(200);
    expect(world.received).toHaveLength(1);
  });
});

describe('a caller who leaves while the policies are read', () => {
  it('takes no place', async () => {
    const read = Promise.withResolvers<void>();
    const asked = Promise.withResolvers<void>();
    const config = proxyConfigSchema.parse({ inFlightMax: 1 });
    await using world = await startWorld(undefined, {
      config,
      policies: {
        list: async () => {
          asked.resolve();
          await read.promise;
          return { policies: [delays], problems: [] };
        },
      },
    });
    const socket = dial(world.origin);
    socket.write(`${request('content-length: 10')}\r\n\r\nhalf`);
    await asked.promise;
    const waiting = world.post(`${longPath}:rawPredict`);
    socket.resetAndDestroy();
    await once(socket, 'close');
    // Over the same loopback, so that the reset has arrived before this answer does.
    expect((await fetch(`${world.origin}/openapi.json`)).status).toBe(200);
    read.resolve();
    await waiting;
    expect((await world.post(`${longPath}:rawPredict`)).status).toBe(200);
  });
});

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

  it.for<[what: string, broken: ('begin' | 'beginUpstream' | 'upstreamEnd' | 'end')[], status: number]>([
    ['when it begins', ['begin'], 500],
    ['when the upstream is asked', ['beginUpstream'], 500],
    ['when the upstream has answered', ['upstreamEnd'], 200],
    ['when the request is over', ['end'], 200],
    ['twice', ['upstreamEnd', 'end'], 200],
  ])('in tracing (%s) costs no caller its answer, and no later one its place', async ([, broken, status]) => {
    const fail = (which: (typeof broken)[number]) => {
      if (broken.includes(which)) throw new Error('no spans today');
    };
    const context = { traceId: '1'.repeat(32), spanId: '1'.repeat(16), isSampled: true };
    const begin = () => {
      fail('begin');
      return {
        context,
        beginUpstream() {
          fail('beginUpstream');
          return { context, end: () => fail('upstreamEnd') };
        },
        end: () => fail('end'),
      };
    };
    const done = () => Promise.resolve();
    await using world = await startWorld(undefined, { config, tracing: { begin, flush: done, close: done } });
    for (const _ of [1, 2, 3]) expect((await predict(world)).status).toBe(status);
  });
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

describe('bodies', () => {
  it('of 100 MB are refused by their length before they are sent, and chunk by chunk when it is not said', async () => {
    await using world = await startWorld();
    const said = await talk(world.origin, `${request('content-length: 104857600')}\r\n\r\n`, (text) =>
      text.includes('}}'),
    );
    expect(said).toMatch(/^HTTP\/1\.1 413 /);
    const chunk = `${(1024 * 1024).toString(16)}\r\n${'x'.repeat(1024 * 1024)}\r\n`;
    const socket = dial(world.origin);
    socket.write(`${request('transfer-encoding: chunked')}\r\n\r\n`);
    const got: string[] = [];
    socket.on('data', (data) => got.push(String(data)));
    let sent = 0;
    // oxlint-disable-next-line no-unmodified-loop-condition -- the socket's listener changes it
    for (; sent < 100 && got.length === 0; sent += 1) {
      if (!socket.write(chunk)) await once(socket, 'drain');
    }
    await expect.poll(() => got.join('')).toMatch(/^HTTP\/1\.1 413 /);
    expect(sent).toBeLessThan(100);
    socket.destroy();
    expect(world.received).toEqual([]);
  });

  it('of JSON a million deep, and of bytes that are no UTF-8, pass through as they are', async () => {
    const deep = '['.repeat(700_000) + ']'.repeat(700_000);
    await using world = await startWorld(({ body }, response) => {
      response.writeHead(200, { 'content-type': 'application/json', ...servedBySeven });
      response.end(
        body.length > 100
          ? `{"predictions":${'['.repeat(30_000)}${']'.repeat(30_000)}}`
          : Buffer.from('{"predictions":["\xff"]}', 'latin1'),
      );
    });
    const answered = await world.post(`${longPath}:predict`, { body: deep });
    expect([answered.status, (await answered.text()).length > 60_000]).toEqual([200, true]);
    const bad = Uint8Array.from([0x22, 0xff, 0xc0, 0x80, 0x22]);
    expect((await world.post(`${longPath}:predict`, { body: bad })).status).toBe(200);
    expect(world.received.map(({ body }) => body)).toEqual([Buffer.from(deep), Buffer.from(bad)]);
  });

  it('of a report that are deep, no UTF-8, or compressed are refused', async () => {
    await using world = await startWorld();
    const statusOf = async (body: string | Uint8Array<ArrayBuffer>, headers = {}) =>
      (await world.post(`${longPath}:report`, { body, headers })).status;
    expect(await statusOf('['.repeat(60_000))).toBe(400);
    expect(await statusOf(`{"deployedModelId":"7","outcomes":${'{"a":'.repeat(10_000)}1${'}'.repeat(10_001)}`)).toBe(
      400,
    );
    expect(await statusOf(Uint8Array.from([0x7b, 0xff, 0x7d]))).toBe(400);
    expect(await statusOf(gzipSync('{}'), { 'content-encoding': 'gzip' })).toBe(415);
  });
});

describe('what is no HTTP', () => {
  it.for<[string, string[], string]>([
    ['a length and chunks', ['content-length: 5', 'transfer-encoding: chunked'], '0\r\n\r\n'],
    ['chunks and a length', ['transfer-encoding: chunked', 'content-length: 5'], '0\r\n\r\n'],
    ['two lengths', ['content-length: 5', 'content-length: 6'], 'hello!'],
    ['two equal lengths', ['content-length: 5', 'content-length: 5'], 'hello'],
    ['a list of lengths', ['content-length: 5, 6'], 'hello!'],
    ['a negative length', ['content-length: -5'], 'hello'],
    ['a length with a sign', ['content-length: +5'], 'hello'],
    ['a length in hex', ['content-length: 0x5'], 'hello'],
    ['chunks that are not the last encoding', ['transfer-encoding: chunked, identity'], '0\r\n\r\n'],
    ['an encoding that is nearly chunked', ['transfer-encoding: xchunked'], '0\r\n\r\n'],
    ['a space before the colon', ['content-length : 5'], 'hello'],
    ['a name with a space', ['x y: 1', 'content-length: 5'], 'hello'],
    ['a chunk size that is none', ['transfer-encoding: chunked'], 'zz\r\nhello\r\n0\r\n\r\n'],
    ['a chunk longer than it says', ['transfer-encoding: chunked'], '3\r\nhello\r\n0\r\n\r\n'],
    ['a bare carriage return', ['x: a\rcontent-length: 5', 'content-length: 5'], 'hello'],
    ['a header of 20 KB', [`cookie: ${'c'.repeat(20_000)}`, 'content-length: 5'], 'hello'],
    ['five thousand headers', [...Array.from({ length: 5000 }, (_, i) => `x-${i}: 1`), 'content-length: 5'], 'hello'],
  ])('is refused before it is asked: %s', async ([, lines, body]) => {
    await using world = await startWorld();
    await using server = await guarded(world, { headersDeadlineMs: 1000, requestDeadlineMs: 1000 });
    // What a proxy before us took for a second request must not be answered as one.
    const smuggled = `${request('content-length: 3')}\r\n\r\nbad`;
    const answer = await talk(server.origin, `${request(...lines)}\r\n\r\n${body}${smuggled}`);
    expect(answer).toMatch(/^HTTP\/1\.1 4(?:00|31) /);
    expect(answer.match(/HTTP\/1\.1 /g)).toHaveLength(1);
    expect(world.received.filter((received) => received.body.toString() === 'bad')).toEqual([]);
  });

  it('a header that is folded over two lines adds no header, neither here nor upstream', async () => {
    await using world = await startWorld();
    const answer = await talk(
      world.origin,
      `${request('accept: a', ' x-injected: b', 'content-length: 5', 'connection: close')}\r\n\r\nhello`,
    );
    expect(answer).toMatch(/^HTTP\/1\.1 (?:200|400) /);
    for (const { headers } of world.received) expect(headers['x-injected']).toBeUndefined();
  });

  it('and comes in the middle of an answer is not answered into it', async () => {
    await using world = await startWorld((_received, response) => {
      response.writeHead(200, servedBySeven);
      response.write('begun');
    });
    await using server = await guarded(world, { headersDeadlineMs: 5000, requestDeadlineMs: 5000 });
    const socket = dial(server.origin);
    socket.write(`${request('content-length: 0')}\r\n\r\n`);
    let got = '';
    for await (const chunk of socket) {
      if (got === '') socket.write('\0\0\0\r\n\r\n');
      got += String(chunk);
    }
    expect(got.match(/HTTP\/1\.1 /g)).toHaveLength(1);
  });

  it('two requests in one packet are two', async () => {
    await using world = await startWorld();
    const one = (text: string, ...more: string[]) =>
      `${request(`content-length: ${text.length}`, ...more)}\r\n\r\n${text}`;
    const answer = await talk(world.origin, one('first') + one('second', 'connection: close'));
    expect(answer.match(/HTTP\/1\.1 200 /g)).toHaveLength(2);
    expect(world.received.map(({ body }) => body.toString()).toSorted()).toEqual(['first', 'second']);
  });
});

describe('the end', () => {
  it('lets a running request finish, takes no new ones, and tells what was counted', async () => {
    const waiting = Promise.withResolvers<void>();
    const arrived = Promise.withResolvers<void>();
    await using world = await startWorld(async (received, response) => {
      arrived.resolve();
      await waiting.promise;
      await healthyModel(received, response);
    });
    await using server = await guarded(world, { headersDeadlineMs: 5000, requestDeadlineMs: 5000 });
    const init = { method: 'POST', body: '{}', headers: { 'x-goog-api-key': goodKey } };
    const running = fetch(`${server.origin}${longPath}:predict`, init);
    await arrived.promise;
    const drained = drain(server.server, world.handler);
    await expect(fetch(`${server.origin}${longPath}:predict`, init)).rejects.toThrow('fetch failed');
    waiting.resolve();
    expect((await running).status).toBe(200);
    await drained;
    expect(world.published.map(({ variants }) => variants['7']?.requests)).toEqual([1]);
  });

  it('comes as soon as a stream has ended, whose connection would have been kept', async () => {
    const ending = Promise.withResolvers<void>();
    await using world = await startWorld(async (_received, response) => {
      response.writeHead(200, servedBySeven);
      response.write('begun');
      await ending.promise;
      response.end('ended');
    });
    await using server = await guarded(world, { headersDeadlineMs: 5000, requestDeadlineMs: 5000 });
    const socket = dial(server.origin);
    socket.write(`${request('content-length: 0')}\r\n\r\n`);
    let drained: Promise<void> | null = null;
    let got = '';
    for await (const chunk of socket) {
      got += String(chunk);
      drained ??= drain(server.server, world.handler, 60_000);
      ending.resolve();
    }
    await drained;
    expect(got).toContain('ended');
  });

  it('comes even when a request does not', async () => {
    const arrived = Promise.withResolvers<void>();
    await using world = await startWorld(() => arrived.resolve());
    await using server = await guarded(world, { headersDeadlineMs: 5000, requestDeadlineMs: 5000 });
    const running = fetch(`${server.origin}${longPath}:predict`, {
      method: 'POST',
      body: '{}',
      headers: { 'x-goog-api-key': goodKey },
    });
    await arrived.promise;
    await drain(server.server, world.handler, 50);
    server.server.closeAllConnections();
    await expect(running).rejects.toThrow('fetch failed');
  });
});
