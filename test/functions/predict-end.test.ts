/** Does the proxy finish what it has begun when it is told to stop, and end in time? */
import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import { drain } from '../../functions/proxy/server.ts';
import { captureLog } from '../log.ts';
import { goodKey, healthyModel, longPath, servedBySeven, startWorld } from './proxy/proxy-world.ts';
import { dial, guarded, request } from './proxy/raw-http.ts';

captureLog();

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

  it('comes though its callers ask on: each is told that its next answer is the last', async () => {
    const arrived = Promise.withResolvers<void>();
    const ending = Promise.withResolvers<void>();
    await using world = await startWorld(async (_received, response) => {
      arrived.resolve();
      await ending.promise;
      response.writeHead(200, servedBySeven).end('ended');
    });
    await using server = await guarded(world, { headersDeadlineMs: 5000, requestDeadlineMs: 5000 });
    const socket = dial(server.origin);
    const asked = `${request('content-length: 0')}\r\n\r\n`;
    socket.write(asked);
    await arrived.promise;
    const drained = drain(server.server, world.handler, 60_000);
    const heard = once(server.server, 'request');
    socket.write(asked);
    await heard;
    ending.resolve();
    let got = '';
    for await (const chunk of socket) got += String(chunk);
    await drained;
    const [first, second] = got.split('HTTP/1.1 200 OK').slice(1);
    expect(first).not.toMatch(/connection: close/i);
    expect(second).toMatch(/connection: close/i);
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
