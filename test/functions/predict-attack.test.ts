/** What did an attack on the proxy find, and what did it try in vain? Each named for what the attacker wants. */
import { once } from 'node:events';
import { createServer as createTcpServer } from 'node:net';
import { connect, type Socket } from 'node:net';
import { describe, expect, it, vi } from 'vitest';
import { limits } from '../../functions/engine/limits.ts';
import { proxyConfigSchema } from '../../functions/proxy/config.ts';
import { captureLog } from '../log.ts';
import { delays, endpoint, goodKey, longPath, type Model, servedBySeven, startWorld } from './proxy/proxy-world.ts';

const logged = captureLog();

function dial(origin: string): Socket {
  const socket = connect(Number(new URL(origin).port), '127.0.0.1');
  socket.on('error', () => socket.destroy());
  return socket;
}

/** A request on one connection, whose whole answer is read. */
async function askRaw(origin: string, target: string, ...headers: string[]): Promise<string> {
  const socket = dial(origin);
  const lines = [`POST ${target} HTTP/1.1`, 'host: proxy', `x-goog-api-key: ${goodKey}`, ...headers];
  socket.write([...lines, 'connection: close', 'content-length: 2', '', '{}'].join('\r\n'));
  let got = '';
  for await (const chunk of socket) got += String(chunk);
  return got;
}

const config = (more: object) => proxyConfigSchema.parse({ callers: [{ name: 'partner', endpoints: '*' }], ...more });

describe('memory', () => {
  /** More than the buffers of both ends of a connection take. */
  const large: Model = (_received, response) => {
    response.writeHead(200, { 'content-type': 'application/json', ...servedBySeven });
    response.end(`{"predictions":["${'x'.repeat(9 * 1024 * 1024)}"]}`);
  };

  it('is not held for long by a caller who never reads its answer, and until then it keeps its place', async () => {
    await using world = await startWorld(large, {
      config: config({ inFlightMax: 1 }),
      bounds: { answerDeadlineMs: 1000 },
    });
    const reader = dial(world.origin);
    reader.pause();
    const lines = [`POST ${longPath}:predict HTTP/1.1`, 'host: proxy', `x-goog-api-key: ${goodKey}`];
    reader.write([...lines, 'content-length: 2', '', '{}'].join('\r\n'));
    await vi.waitFor(() => expect(world.received).toHaveLength(1));
    const other = await world.post('/v1/endpoints/delays:report', { body: '{}' });
    expect(other.status).toBe(503);
    await vi.waitFor(
      async () => expect((await world.post('/v1/endpoints/delays:report', { body: '{}' })).status).toBe(400),
      { timeout: 5000 },
    );
    reader.destroy();
  });

  it('of all bodies together has a bound, beyond which callers are told to come later', {
    timeout: 30_000,
  }, async () => {
    const megabyte = 'x'.repeat(1024 * 1024);
    await using world = await startWorld(() => undefined, { config: config({ heldBytesMax: 10.5 * 1024 * 1024 }) });
    const leaving = new AbortController();
    const waiting = Array.from({ length: 10 }, () =>
      fetch(`${world.origin}${longPath}:rawPredict`, {
        method: 'POST',
        headers: { 'x-goog-api-key': goodKey },
        body: megabyte,
        signal: leaving.signal,
      }).catch(() => null),
    );
    await vi.waitFor(() => expect(world.received).toHaveLength(10), { timeout: 10_000 });
    const answer = await world.post(`${longPath}:rawPredict`, { body: megabyte });
    expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '5']);
    leaving.abort();
    await Promise.all(waiting);
    // What they held is free again: this one reaches the model, which never answers.
    const last = AbortSignal.timeout(15_000);
    void fetch(`${world.origin}${longPath}:rawPredict`, {
      method: 'POST',
      headers: { 'x-goog-api-key': goodKey },
      body: megabyte,
      signal: last,
    }).catch(() => null);
    await vi.waitFor(() => expect(world.received).toHaveLength(11), { timeout: 10_000 });
  });

  const leastHeld = config({ heldBytesMax: limits.predictAnswerBytesMax });
  /** More than it has room for, of one byte each. */
  const crumbsMany = 22_000;

  it('is not taken by a body of crumbs, each of which takes more than its byte', async () => {
    await using world = await startWorld(undefined, { config: leastHeld });
    const socket = dial(world.origin);
    const lines = [`POST ${longPath}:rawPredict HTTP/1.1`, 'host: proxy', `x-goog-api-key: ${goodKey}`];
    socket.write([...lines, 'connection: close', 'transfer-encoding: chunked', '', ''].join('\r\n'));
    socket.write(`${'1\r\n1\r\n'.repeat(crumbsMany)}0\r\n\r\n`);
    let got = '';
    for await (const chunk of socket) got += String(chunk);
    expect(got).toMatch(/^HTTP\/1.1 503 .*The proxy holds as many bytes as it can/s);
    expect(world.received).toEqual([]);
    expect((await world.post(`${longPath}:rawPredict`)).status).toBe(200);
  });

  it('is not taken by an answer of crumbs, which is passed on where that needs no room', async () => {
    const crumbs: Model = (_received, response) => {
      response.writeHead(200, { 'content-type': 'application/json', ...servedBySeven });
      response.write('{"predictions":[');
      for (let i = 0; i < crumbsMany; i += 1) response.write('1,');
      response.end('1]}');
    };
    await using world = await startWorld(crumbs, { config: leastHeld });
    expect((await world.post(`${longPath}:predict`)).status).toBe(503);
    const passedOn = await world.post(`${longPath}:rawPredict`);
    expect([passedOn.status, (await passedOn.text()).length]).toEqual([200, 2 * crumbsMany + 19]);
    await world.handler.flush();
    // Neither was sampled.
    expect(world.published.flatMap(({ variants }) => Object.values(variants)).map((one) => one.predictions)).toEqual(
      world.published.map(() => undefined),
    );
  });

  it('of answers counts too, and what finds no room is no fault of the model', async () => {
    await using world = await startWorld(large, {
      config: leastHeld,
      bounds: { answerDeadlineMs: 5000 },
    });
    const reader = dial(world.origin);
    reader.pause();
    const lines = [`POST ${longPath}:predict HTTP/1.1`, 'host: proxy', `x-goog-api-key: ${goodKey}`];
    reader.write([...lines, 'content-length: 2', '', '{}'].join('\r\n'));
    await vi.waitFor(() => expect(world.published).toHaveLength(1));
    const answer = await world.post(`${longPath}:predict`);
    expect(answer.status).toBe(503);
    await world.handler.flush();
    const errors = world.published.map(({ variants }) => variants['7']?.errors ?? 0);
    expect(errors).toEqual(errors.map(() => 0));
    reader.destroy();
  });
});

describe('the upstream', () => {
  it.for(['accept', 'content-type', 'content-encoding', 'accept-encoding'])(
    'is not made to fail without a name by an endless %s, which would break it for all',
    async (name) => {
      await using world = await startWorld();
      const answer = await world.post(`${longPath}:rawPredict`, {
        headers: { [name]: 'x'.repeat(limits.passedHeaderCharactersMax + 1) },
      });
      expect(answer.status).toBe(431);
      expect(world.received).toEqual([]);
    },
  );

  it('is told of a trace that is one, and of nothing else by that name', async () => {
    await using world = await startWorld();
    const good = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    for (const traceparent of [
      good,
      `${good}'; DROP TABLE spans`,
      '00-0-0-0',
      `00-${'0'.repeat(32)}-${'0'.repeat(16)}-00`,
    ])
      await world.post(`${longPath}:rawPredict`, { headers: { traceparent } });
    expect(world.received.map(({ headers }) => headers['traceparent'])).toEqual([
      good,
      undefined,
      undefined,
      undefined,
    ]);
  });

  it.for([
    `${longPath}/../../endpoints/999:predict`,
    `/v1/projects/demo/locations/us-central1/endpoints/..%2f999:predict`,
    `/v1/projects/demo/locations/evil.example%2f%23/endpoints/456:predict`,
    `/v1/projects/demo/locations/us-central1@evil.example/endpoints/456:predict`,
    `/v1/projects/demo/locations/us-central1/endpoints/456%00:predict`,
    `/v1/projects/demo/locations/us-central1%7e456/endpoints/:predict`,
    `/v1/projects/demo/locations/us-central1/endpoints/456%253Apredict`,
    `/v1/projects/demo/locations/US-CENTRAL1/endpoints/456:predict`,
    `/V1/endpoints/delays:predict`,
    `/v1/endpoints/Delays:predict`,
    `/v1/endpoints/delays:Predict`,
    `//v1/endpoints/delays:predict`,
    `/v1//endpoints/delays:predict`,
    `/v1/endpoints/delays/:predict`,
    `/v1/endpoints/__proto__:predict`,
    `/v1/endpoints/constructor:predict`,
    `/v1/endpoints/delays:predict#`,
    `/v1/endpoints/delays;a=b:predict`,
    `\\v1\\endpoints\\delays:predict`,
    `http://evil.example/v1/endpoints/delays:predict`,
    `http://evil.example${longPath}:predict`,
    `*`,
  ])('is asked at no other place than a policy names: %s', async (target) => {
    await using world = await startWorld();
    expect(await askRaw(world.origin, target)).toMatch(/^HTTP\/1\.1 40[045] /);
    expect(world.received).toEqual([]);
  });
});

describe('an answer', () => {
  it('is not split by what a model puts into its headers', async () => {
    const heads = [
      'x-vertex-ai-model: a\x01b',
      'content-type: text/plain\rset-cookie: a=b',
      'content-type: text/\u00e9',
      'x-vertex-ai-deployed-model-id: 7\nset-cookie: a=b',
    ];
    const upstream = createTcpServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', () => {
        const head = heads.shift() ?? '';
        socket.end(Buffer.from(`HTTP/1.1 200 OK\r\n${head}\r\ncontent-length: 2\r\n\r\n{}`, 'latin1'));
      });
    });
    upstream.listen(0, '127.0.0.1');
    await once(upstream, 'listening');
    const address = upstream.address();
    const origin = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;
    await using world = await startWorld(undefined, { upstreamOrigin: () => origin });
    for (const verb of ['predict', 'rawPredict', 'predict', 'rawPredict']) {
      const answer = await askRaw(world.origin, `${longPath}:${verb}`);
      expect(answer).toMatch(/^HTTP\/1\.1 (?:200|502) /);
      expect(answer).not.toMatch(/^set-cookie/im);
      expect(answer.match(/HTTP\/1\.1 /g)).toHaveLength(1);
    }
    upstream.close();
  });

  it('of the proxy is the same for what a caller may not use, whoever asks, until the caller is known', async () => {
    await using world = await startWorld();
    const answers = await Promise.all(
      ['/v1/endpoints/delays:predict', '/v1/endpoints/other:predict', '/v1/endpoints/delays:report'].map(
        async (path) => {
          const answer = await world.post(path, { key: 'wrong' });
          return [answer.status, await answer.text()];
        },
      ),
    );
    expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1);
  });
});

describe('evidence', () => {
  it.for(['__proto__', 'constructor', 'toString', 'shadow-differs'])(
    'takes no report of %s, which no policy has, and no prototype is changed by it',
    async (name) => {
      await using world = await startWorld();
      const body = `{"deployedModelId":"7","outcomes":{"${name}":true}}`;
      expect((await world.post('/v1/endpoints/delays:report', { body })).status).toBe(400);
      const nested = `{"__proto__":{"reports":[]},"reports":[{"deployedModelId":"7","outcomes":{"${name}":true}}]}`;
      expect((await world.post('/v1/endpoints/delays:report', { body: nested })).status).toBe(400);
      await world.handler.flush();
      expect(world.published).toEqual([]);
      expect(Object.keys(Object.prototype)).toEqual([]);
    },
  );

  it('cannot be sent for a caller in the headers of a request', async () => {
    await using world = await startWorld();
    await world.post(`${longPath}:predict`, {
      headers: { 'x-vertex-ai-deployed-model-id': '9', 'x-vertex-ai-endpoint-id': '9' },
    });
    expect(world.received[0]?.headers).not.toHaveProperty('x-vertex-ai-deployed-model-id');
    await world.handler.flush();
    expect(world.published.flatMap(({ variants }) => Object.keys(variants))).toEqual(['7']);
  });

  it('of an endpoint is sent by those only who may use it', async () => {
    await using world = await startWorld(undefined, {
      config: proxyConfigSchema.parse({ callers: [{ name: 'partner', endpoints: ['other'] }] }),
      policies: { list: () => Promise.resolve({ policies: [delays], problems: [] }) },
    });
    const body = '{"deployedModelId":"7","outcomes":{"complaints":true}}';
    expect((await world.post('/v1/endpoints/delays:report', { body })).status).toBe(403);
  });
});

describe('the log', () => {
  it('is told of no key, token or body, whatever goes wrong with them', async () => {
    const secret = 'hunter2-hunter2';
    await using world = await startWorld((_received, response) => {
      response.socket?.destroy();
    });
    await world.post(`${longPath}:predict`, {
      body: secret,
      headers: { authorization: `Bearer ${secret}`, cookie: secret },
    });
    await world.post(`${longPath}:predict`, { key: secret });
    await world.handler.flush();
    expect(logged.join('')).not.toContain(secret);
    expect(logged.join('')).not.toContain(goodKey);
    expect(logged.join('')).toContain(endpoint);
  });
});
