/** What does the proxy answer, and what passes through it? Over real HTTP, from both sides. */
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import {
  delays,
  endpoint,
  goodKey,
  longPath,
  type Model,
  onlyEndpoints,
  servedBySeven,
  startWorld,
} from './proxy/proxy-world.ts';

const googleError = z.strictObject({
  error: z.strictObject({ code: z.int(), message: z.string().min(1), status: z.string().regex(/^[A-Z_]+$/) }),
});

async function errorOf(response: Response): Promise<{ code: number; message: string; status: string }> {
  expect(response.headers.get('content-type')).toMatch(/^application\/json/);
  const { error } = googleError.parse(await response.json());
  expect(error.code).toBe(response.status);
  return error;
}

const failingModel: Model = (_received, response) => {
  response.writeHead(500, { 'content-type': 'text/plain', ...servedBySeven });
  response.end('division by zero');
};

describe('who gets in', () => {
  it('refuses a caller without a key', async () => {
    await using world = await startWorld();
    expect(await errorOf(await world.post(`${longPath}:predict`, { key: null }))).toMatchObject({
      code: 401,
      status: 'UNAUTHENTICATED',
    });
    expect(world.received).toEqual([]);
  });

  it.for(['wrong', '', `${goodKey}x`, 'x'.repeat(5000)])(
    'refuses a key that nobody was given (case %#)',
    async (key) => {
      await using world = await startWorld();
      expect((await errorOf(await world.post(`${longPath}:predict`, { key }))).code).toBe(401);
      expect(world.received).toEqual([]);
    },
  );

  it('lets nobody in when no keys are configured', async () => {
    await using world = await startWorld(undefined, { proxyKeys: [] });
    expect((await errorOf(await world.post(`${longPath}:predict`))).code).toBe(401);
  });

  it('refuses a known caller who may not use the endpoint', async () => {
    await using world = await startWorld(undefined, { config: onlyEndpoints('other') });
    expect(await errorOf(await world.post(`${longPath}:predict`))).toMatchObject({
      code: 403,
      status: 'PERMISSION_DENIED',
    });
    expect(world.received).toEqual([]);
  });

  it.for([
    '/v1/endpoints/other:predict',
    '/v1/projects/demo/locations/us-central1/endpoints/457:predict',
    '/v1/projects/demo/locations/europe-west4/endpoints/456:predict',
  ])('knows no endpoint that no policy names: %s', async (path) => {
    await using world = await startWorld();
    expect(await errorOf(await world.post(path))).toMatchObject({ code: 404, status: 'NOT_FOUND' });
    expect(world.received).toEqual([]);
  });
});

it('does not say of an endpoint that it is not there while a policy cannot be read that may name it', async () => {
  const list = () => Promise.resolve({ policies: [delays], problems: ['other: spec.strategy: expected canary'] });
  await using world = await startWorld(undefined, { policies: { list } });
  const answer = await world.post('/v1/endpoints/other:predict');
  expect(answer.headers.get('retry-after')).not.toBeNull();
  expect(await errorOf(answer)).toMatchObject({ code: 503, status: 'UNAVAILABLE' });
  expect((await world.post('/v1/endpoints/delays:predict')).status).toBe(200);
});

describe('what is served', () => {
  it.for([
    '/',
    '/v1',
    '/v1/endpoints/delays',
    '/v1/endpoints/delays:explain',
    '/v1/endpoints/delays/more:predict',
    '/v2/endpoints/delays:predict',
    '/v1/endpoints/:predict',
    '/v1/endpoints/%zz:predict',
    `${longPath}/../457:predict/x`,
  ])('answers 404 at %s', async (path) => {
    await using world = await startWorld();
    expect((await errorOf(await world.post(path))).code).toBe(404);
  });

  it('answers 405 and says which method to use', async () => {
    await using world = await startWorld();
    const got = await fetch(`${world.origin}${longPath}:predict`);
    expect(got.headers.get('allow')).toBe('POST');
    expect((await errorOf(got)).code).toBe(405);
    const posted = await world.post('/openapi.json');
    expect(posted.headers.get('allow')).toBe('GET, HEAD');
    expect((await errorOf(posted)).code).toBe(405);
  });

  it('reaches the endpoint by its name, by the number of its project, and by its alias', async () => {
    await using world = await startWorld();
    for (const path of [longPath, '/v1/projects/12345/locations/us-central1/endpoints/456', '/v1/endpoints/delays']) {
      const answer = await world.post(`${path}:rawPredict?alt=json`);
      expect(answer.status).toBe(200);
      await answer.body?.cancel();
    }
    // The policy's spelling goes upstream, not the caller's, and no query does.
    expect(world.received.map(({ url }) => url)).toEqual(Array(3).fill(`/v1/${endpoint}:rawPredict`));
  });

  it('accepts a colon that a client has encoded', async () => {
    await using world = await startWorld();
    expect((await world.post('/v1/endpoints/delays%3Apredict')).status).toBe(200);
  });
});

describe(':predict', () => {
  it("answers as Vertex's own :predict, naming who served", async () => {
    await using world = await startWorld();
    const answer = await world.post(`${longPath}:predict`);
    expect(answer.status).toBe(200);
    expect(await answer.json()).toEqual({
      predictions: [0.5],
      deployedModelId: '7',
      model: 'projects/1/locations/us-central1/models/delays',
      modelVersionId: '3',
    });
    expect(world.received[0]).toMatchObject({ method: 'POST', url: `/v1/${endpoint}:rawPredict` });
    expect(world.received[0]?.body.toString()).toBe('{"instances":[[1]]}');
  });

  it("puts a model's failure into Google's JSON, and keeps its status and who failed", async () => {
    await using world = await startWorld(failingModel);
    const answer = await world.post(`${longPath}:predict`);
    expect(answer.headers.get('x-vertex-ai-deployed-model-id')).toBe('7');
    expect(await errorOf(answer)).toEqual({ code: 500, message: 'division by zero', status: 'INTERNAL' });
  });

  it('passes an error of Google on as it came', async () => {
    const original = { error: { code: 429, message: 'Quota', status: 'RESOURCE_EXHAUSTED', details: [1] } };
    await using world = await startWorld((_received, response) => {
      response.writeHead(429, { 'content-type': 'application/json', 'retry-after': '3' });
      response.end(JSON.stringify(original));
    });
    const answer = await world.post(`${longPath}:predict`);
    expect(answer.status).toBe(429);
    expect(answer.headers.get('retry-after')).toBe('3');
    expect(await answer.json()).toEqual(original);
  });

  it('answers 502 when the model gives no JSON object', async () => {
    await using world = await startWorld((_received, response) => {
      response.writeHead(200, servedBySeven);
      response.end('[1]');
    });
    expect((await errorOf(await world.post(`${longPath}:predict`))).code).toBe(502);
  });
});

describe('bytes and headers', () => {
  it('passes bytes through untouched, in and out', async () => {
    const bytes = Buffer.from([0, 255, 10, 13, 128, 0]);
    await using world = await startWorld(({ body }, response) => {
      response.writeHead(201, { 'content-type': 'application/octet-stream' });
      response.end(body);
    });
    const answer = await world.post(`${longPath}:rawPredict`, {
      body: bytes,
      headers: { 'content-type': 'application/x-tensor' },
    });
    expect(answer.status).toBe(201);
    expect(answer.headers.get('content-type')).toBe('application/octet-stream');
    expect(Buffer.from(await answer.arrayBuffer())).toEqual(bytes);
    expect(world.received[0]?.headers['content-type']).toBe('application/x-tensor');
  });

  it('sends upstream only the headers it knows, and never the key of the caller', async () => {
    await using world = await startWorld(undefined, { accessToken: () => Promise.resolve('ours') });
    await world.post(`${longPath}:rawPredict`, {
      headers: {
        authorization: 'Bearer theirs',
        cookie: 'session=1',
        'x-forwarded-for': '10.0.0.1',
        'x-goog-user-project': 'somebody',
        'x-anything': 'else',
        traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
        accept: 'application/json',
      },
    });
    const headers = world.received[0]?.headers ?? {};
    expect(Object.keys(headers).toSorted()).toEqual(
      'accept accept-encoding authorization connection content-length content-type host traceparent'.split(' '),
    );
    expect(headers.authorization).toBe('Bearer ours');
    expect(JSON.stringify(headers)).not.toContain(goodKey);
  });

  it('sends back only the headers it knows', async () => {
    await using world = await startWorld((_received, response) => {
      response.writeHead(200, {
        ...servedBySeven,
        'content-type': 'text/plain',
        'set-cookie': 'a=b',
        server: 'scaffolding on HTTPServer2',
        'x-internal-host': '10.1.2.3',
        'cache-control': 'no-store',
      });
      response.end('hello');
    });
    const answer = await world.post(`${longPath}:rawPredict`);
    expect([...answer.headers.keys()].filter((name) => !name.startsWith('x-vertex-ai-')).toSorted()).toEqual(
      'cache-control connection content-type date keep-alive transfer-encoding'.split(' '),
    );
    expect(answer.headers.get('x-vertex-ai-deployed-model-id')).toBe('7');
  });

  it.for([
    { name: 'that says its length', chunked: false },
    { name: 'that does not', chunked: true },
  ])('answers 413 to a body above the bound $name', async ({ chunked }) => {
    await using world = await startWorld(undefined, { bounds: { bodyBytesMax: 1000 } });
    const body = Buffer.alloc(200_000, 'x');
    const answer = await fetch(`${world.origin}${longPath}:rawPredict`, {
      method: 'POST',
      headers: { 'x-goog-api-key': goodKey },
      ...(chunked ? { body: new Blob([body]).stream(), duplex: 'half' } : { body }),
    });
    expect((await errorOf(answer)).code).toBe(413);
    expect(world.received).toEqual([]);
  });

  it('takes a body of exactly the bound', async () => {
    await using world = await startWorld(undefined, { bounds: { bodyBytesMax: 1000 } });
    expect((await world.post(`${longPath}:rawPredict`, { body: Buffer.alloc(1000) })).status).toBe(200);
    expect((await world.post(`${longPath}:rawPredict`, { body: Buffer.alloc(1001) })).status).toBe(413);
  });
});

describe('a faulty upstream', () => {
  it('answers 504 when the deadline passes, and lets the upstream go', async () => {
    const abandoned = Promise.withResolvers<void>();
    await using world = await startWorld((_received, response) => void response.once('close', abandoned.resolve), {
      bounds: { deadlineMs: 250 },
    });
    expect(await errorOf(await world.post(`${longPath}:predict`))).toMatchObject({
      code: 504,
      status: 'DEADLINE_EXCEEDED',
    });
    await abandoned.promise;
  });

  it('answers 502 when the upstream hangs up', async () => {
    await using world = await startWorld((_received, response) => void response.destroy());
    expect((await errorOf(await world.post(`${longPath}:rawPredict`))).code).toBe(502);
  });

  it('answers 503 when the upstream cannot be reached', async () => {
    await using world = await startWorld(undefined, { upstreamOrigin: () => 'http://127.0.0.1:1' });
    expect((await errorOf(await world.post(`${longPath}:predict`))).code).toBe(503);
  });

  it('does not blame the caller when Google refuses the proxy', async () => {
    await using world = await startWorld((_received, response) => {
      response.writeHead(403, { 'content-type': 'application/json' });
      response.end('{"error":{"code":403,"message":"no permission","status":"PERMISSION_DENIED"}}');
    });
    expect((await errorOf(await world.post(`${longPath}:rawPredict`))).code).toBe(502);
  });

  it("passes on a model's own refusal", async () => {
    await using world = await startWorld((_received, response) => {
      response.writeHead(403, servedBySeven);
      response.end('not for you');
    });
    const answer = await world.post(`${longPath}:rawPredict`);
    expect([answer.status, await answer.text()]).toEqual([403, 'not for you']);
  });

  it('cuts an answer that the upstream breaks off, so that nobody takes it for whole', async () => {
    await using world = await startWorld((_received, response) => {
      response.writeHead(200, servedBySeven);
      response.write('half');
      setImmediate(() => response.destroy());
    });
    const answer = await world.post(`${longPath}:rawPredict`);
    await expect(answer.text()).rejects.toThrow('terminated');
  });

  it('answers 503 without credentials of its own, and asks nothing', async () => {
    await using world = await startWorld(undefined, { accessToken: () => Promise.reject(new Error('no metadata')) });
    expect((await errorOf(await world.post(`${longPath}:predict`))).code).toBe(503);
    expect(world.received).toEqual([]);
  });

  it('answers 503 while no policies could ever be read, and serves as soon as they can', async () => {
    let isDown = true;
    await using world = await startWorld(undefined, {
      policies: {
        list: () =>
          isDown ? Promise.reject(new Error('down')) : Promise.resolve({ policies: [delays], problems: [] }),
      },
    });
    expect((await errorOf(await world.post(`${longPath}:predict`))).code).toBe(503);
    isDown = false;
    expect((await world.post(`${longPath}:predict`)).status).toBe(200);
  });
});
