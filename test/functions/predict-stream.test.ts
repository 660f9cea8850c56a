/** Does a stream flow, and stop, with its caller? */
import { createServer, request } from 'node:http';
import { describe, expect, it } from 'vitest';
import { goodKey, longPath, servedBySeven, startWorld } from './proxy/proxy-world.ts';

describe(':streamRawPredict', () => {
  it('passes the first chunk on before the upstream has sent the last', async () => {
    const seen = Promise.withResolvers<void>();
    await using world = await startWorld(async (_received, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream', ...servedBySeven });
      response.write('data: first\n\n');
      await seen.promise;
      response.end('data: last\n\n');
    });
    const answer = await world.post(`${longPath}:streamRawPredict`);
    const chunks = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
    expect((await chunks?.read())?.value).toBe('data: first\n\n');
    seen.resolve();
    expect((await chunks?.read())?.value).toBe('data: last\n\n');
    expect((await chunks?.read())?.done).toBe(true);
    expect(world.received[0]?.url).toBe(`${longPath}:streamRawPredict`);
  });

  it('passes the headers on before there is any body', async () => {
    const seen = Promise.withResolvers<void>();
    await using world = await startWorld(async (_received, response) => {
      response.writeHead(200, servedBySeven).flushHeaders();
      await seen.promise;
      response.end();
    });
    expect((await world.post(`${longPath}:streamRawPredict`)).status).toBe(200);
    seen.resolve();
  });

  it('makes a fast upstream wait for a slow caller, and loses nothing', async () => {
    const size = 8 * 1024 * 1024;
    let hadToWait = false;
    await using world = await startWorld((_received, response) => {
      response.writeHead(200, servedBySeven);
      hadToWait = !response.write(Buffer.alloc(size, 'x'));
      response.end();
    });
    const answer = await world.post(`${longPath}:streamRawPredict`);
    let got = 0;
    for await (const chunk of answer.body ?? []) {
      got += chunk.length;
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(got).toBe(size);
    expect(hadToWait).toBe(true);
  });

  it('ends a stream at its deadline', async () => {
    await using world = await startWorld(
      (_received, response) => {
        response.writeHead(200, servedBySeven);
        response.write('for ever');
      },
      { bounds: { streamDeadlineMs: 500 } },
    );
    const answer = await world.post(`${longPath}:streamRawPredict`);
    await expect(answer.text()).rejects.toThrow('terminated');
  });
});

describe('a caller who goes away', () => {
  it.for([
    { name: 'before the answer begins', begin: false },
    { name: 'in the middle of a stream', begin: true },
  ])('takes the upstream request along $name', async ({ begin }) => {
    const arrived = Promise.withResolvers<void>();
    const dropped = Promise.withResolvers<void>();
    await using world = await startWorld((_received, response) => {
      response.once('close', dropped.resolve);
      if (begin) response.writeHead(200, servedBySeven).write('first');
      arrived.resolve();
    });
    const caller = new AbortController();
    const answered = fetch(`${world.origin}${longPath}:streamRawPredict`, {
      method: 'POST',
      body: 'x',
      headers: { 'x-goog-api-key': goodKey },
      signal: caller.signal,
    });
    const settled = Promise.allSettled([answered]);
    await arrived.promise;
    if (begin) await answered;
    caller.abort();
    await dropped.promise;
    expect((await settled)[0].status).toBe(begin ? 'fulfilled' : 'rejected');
    await world.handler.flush();
    const counted = world.published.flatMap(({ variants }) => Object.entries(variants));
    expect(counted.map(([id, { requests, errors }]) => [id, requests, errors])).toEqual([
      [begin ? '7' : 'unattributed', 1, 0],
    ]);
  });

  it.for(['rawPredict', 'streamRawPredict'])('has had its 5xx all the same: %s', async (verb) => {
    const dropped = Promise.withResolvers<void>();
    await using world = await startWorld((_received, response) => {
      response.once('close', dropped.resolve);
      response.writeHead(500, servedBySeven).write('first');
    });
    const answer = await world.post(`${longPath}:${verb}`);
    expect(answer.status).toBe(500);
    await answer.body?.cancel();
    await dropped.promise;
    await world.handler.flush();
    expect(world.published.map(({ variants }) => variants['7']?.errors)).toEqual([1]);
  });

  it('asks nothing upstream when the body never came', async () => {
    await using world = await startWorld();
    const sending = request(`${world.origin}${longPath}:rawPredict`, {
      method: 'POST',
      headers: { 'x-goog-api-key': goodKey, 'content-length': 100 },
    });
    const closed = new Promise((resolve) => sending.once('close', resolve));
    sending.on('error', () => undefined);
    sending.write('half');
    sending.destroy();
    await closed;
    // A second request, answered whole, shows that the first is over.
    expect((await world.post(`${longPath}:rawPredict`)).status).toBe(200);
    expect(world.received.map(({ body }) => body.toString())).toEqual(['{"instances":[[1]]}']);
  });
});

describe('connections', () => {
  it('are kept and used again', async () => {
    const sockets = new Set<unknown>();
    const upstream = createServer((incoming, response) => {
      sockets.add(incoming.socket);
      incoming.resume();
      response.end('{}');
    });
    await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve));
    const address = upstream.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    await using world = await startWorld(undefined, { upstreamOrigin: () => `http://127.0.0.1:${port}` });
    for (let i = 0; i < 5; i += 1) await (await world.post(`${longPath}:predict`)).text();
    expect(sockets.size).toBe(1);
    await world.handler.close();
    await new Promise((resolve) => upstream.close(resolve));
  });
});
