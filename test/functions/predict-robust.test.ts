/** Does the proxy stay up, and answer at once, when callers are slow, broken or hostile? */
import { once } from 'node:events';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { proxyConfigSchema } from '../../functions/proxy/config.ts';
import { captureLog } from '../log.ts';
import { delays, longPath, servedBySeven, startWorld } from './proxy/proxy-world.ts';
import { dial, guarded, request, talk } from './proxy/raw-http.ts';

captureLog();

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

  it("and expects what nobody can do is told so in Google's JSON", async () => {
    await using world = await startWorld();
    await using server = await guarded(world, { headersDeadlineMs: 5000, requestDeadlineMs: 5000 });
    const answer = await talk(server.origin, `${request('expect: tea', 'content-length: 0')}\r\n\r\n`);
    expect(answer).toMatch(/^HTTP\/1\.1 417 .*"error":\{"code":417,/s);
    expect(world.received).toEqual([]);
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
