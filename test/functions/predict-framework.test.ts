/** Does the proxy work under functions-framework, which reads the body before the door sees the request? */

import { gzipSync } from 'node:zlib';
import * as functions from '@google-cloud/functions-framework';
import { getTestServer } from '@google-cloud/functions-framework/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { goodKey, longPath, startWorld, type World } from './proxy/proxy-world.ts';

let world: World;
let origin = '';
let stop: () => Promise<void>;

beforeAll(async () => {
  world = await startWorld(({ body, headers }, response) => {
    response.writeHead(200, { 'content-type': headers['content-type'] ?? 'none' });
    response.end(body);
  });
  functions.http('predict', world.handler);
  const server = getTestServer('predict');
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  origin = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;
  stop = async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
});

afterAll(async () => {
  await stop();
  await world[Symbol.asyncDispose]();
});

const post = (path: string, body: string | Uint8Array<ArrayBuffer>, headers: Record<string, string>) =>
  fetch(`${origin}${path}`, { method: 'POST', body, headers: { 'x-goog-api-key': goodKey, ...headers } });

describe('under functions-framework', () => {
  it.for([
    { type: 'application/json', body: '{ "instances" : [1.50] }' },
    { type: 'text/plain', body: 'héllo' },
    { type: 'application/x-www-form-urlencoded', body: 'a=1&b=%20' },
    { type: 'application/octet-stream', body: '\u0000\u0001' },
  ])('bytes of type $type go through untouched', async ({ type, body }) => {
    const answer = await post(`${longPath}:rawPredict`, body, { 'content-type': type });
    expect(answer.status).toBe(200);
    expect(answer.headers.get('content-type')).toBe(type);
    expect(await answer.text()).toBe(body);
  });

  it('a body that the framework has inflated is not said to be compressed', async () => {
    const answer = await post(`${longPath}:rawPredict`, gzipSync('{"instances":[1]}'), {
      'content-type': 'application/json',
      'content-encoding': 'gzip',
    });
    expect(await answer.text()).toBe('{"instances":[1]}');
    expect(world.received.at(-1)?.headers['content-encoding']).toBeUndefined();
  });

  it('a body without a type is read by the door itself', async () => {
    const answer = await post(`${longPath}:rawPredict`, new Uint8Array([1, 2, 3]), {});
    expect(new Uint8Array(await answer.arrayBuffer())).toEqual(new Uint8Array([1, 2, 3]));
  });

  it('a request without a key is refused, and a body above the bound too', async () => {
    expect((await post(`${longPath}:predict`, '{}', { 'x-goog-api-key': 'wrong' })).status).toBe(401);
    expect((await post(`${longPath}:predict`, 'x'.repeat(1_572_865), { 'content-type': 'text/plain' })).status).toBe(
      413,
    );
  });

  it('GET /openapi.json is open', async () => {
    expect((await fetch(`${origin}/openapi.json`)).status).toBe(200);
  });
});
