import { type ChildProcess, spawn, type StdioOptions } from 'node:child_process';
import { once } from 'node:events';
import { request } from 'node:http';
import { createInterface } from 'node:readline';
import { afterEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { catalogue } from '../../emulator/models/catalogue.ts';
import type { Flight } from '../../emulator/models/flights.ts';
import type { Version } from '../../emulator/models/variants.ts';

const morning: Flight = { origin: 'DTW', destination: 'LAS', distanceMiles: 1750, departureHour: 8, weekday: 3 };
const evening: Flight = { ...morning, departureHour: 19 };
const started: ChildProcess[] = [];

afterEach(async () => {
  const running = started.splice(0).filter((child) => child.exitCode === null && child.signalCode === null);
  await Promise.all(
    running.map((child) => {
      child.kill('SIGKILL');
      return once(child, 'exit');
    }),
  );
});

/** Starts a version as the platform does, from its container spec. */
function launch(version: Version, env: Record<string, string> = {}, stdio: StdioOptions = 'pipe'): ChildProcess {
  const spec = catalogue({ capacityRps: 5, crashAfter: 3 }).find((listed) => listed.version === version)?.containerSpec;
  const variables = Object.fromEntries((spec?.env ?? []).map(({ name, value }) => [name, value]));
  const child = spawn(process.execPath, spec?.args ?? [], {
    env: { ...variables, AIP_HTTP_PORT: '0', AIP_HEALTH_ROUTE: '/up', AIP_PREDICT_ROUTE: '/ask', ...env },
    stdio,
  });
  started.push(child);
  return child;
}

async function serve(version: Version, stdio: StdioOptions = 'pipe') {
  const child = launch(version, {}, stdio);
  if (child.stdout === null) throw new Error('the test must pipe stdout');
  const [line] = await once(createInterface({ input: child.stdout }), 'line');
  const { port } = z.object({ port: z.number() }).parse(JSON.parse(z.string().parse(line)));
  const get = (path: string, init?: RequestInit): Promise<Response> => fetch(`http://127.0.0.1:${port}${path}`, init);
  const post = (body: string): Promise<Response> => get('/ask', { method: 'POST', body });
  const ask = (...instances: unknown[]): Promise<Response> => post(JSON.stringify({ instances }));
  return { child, port, get, post, ask };
}

describe('a sound version', () => {
  it('is healthy, and gives one prediction per instance in order', async () => {
    const { get, ask } = await serve('2');
    expect((await get('/up')).status).toBe(200);
    const response = await ask(morning, evening);
    expect(response.status).toBe(200);
    const prediction = z.strictObject({ late: z.boolean(), probability: z.number().gt(0).lt(1) });
    const { predictions } = z.strictObject({ predictions: z.array(prediction) }).parse(await response.json());
    expect(predictions).toHaveLength(2);
    expect(predictions[1]?.probability).toBeGreaterThan(predictions[0]?.probability ?? 1);
  });

  it('takes parameters, which it does not need', async () => {
    const { post } = await serve('1');
    expect((await post(JSON.stringify({ instances: [morning], parameters: { threshold: 1 } }))).status).toBe(200);
  });

  it('refuses what it cannot read with 400 and says what is wrong', async () => {
    const { post } = await serve('1');
    for (const [body, said] of [
      ['{"instances":', 'not JSON'],
      ['null', 'expected object'],
      ['{}', 'instances'],
      ['{"instances":[]}', 'instances'],
      [JSON.stringify({ instances: [{ ...morning, weekday: 8 }] }), 'instances[0].weekday'],
      [JSON.stringify({ instances: [morning, { ...morning, origin: 'Detroit' }] }), 'instances[1].origin'],
      [JSON.stringify({ instances: Array.from({ length: 1001 }, () => morning) }), '1000'],
    ] as const) {
      const response = await post(body);
      expect(response.status).toBe(400);
      expect(z.strictObject({ error: z.string() }).parse(await response.json()).error).toContain(said);
    }
  });

  it('refuses a body over the limit, other paths and other methods, and serves on', async () => {
    const { get, post, ask } = await serve('1');
    expect((await post(' '.repeat(1_500_001))).status).toBe(413);
    expect((await get('/elsewhere')).status).toBe(404);
    expect((await get('/ask')).status).toBe(405);
    const wrong = await get('/up', { method: 'DELETE' });
    expect([wrong.status, wrong.headers.get('allow')]).toEqual([405, 'GET']);
    expect((await ask(morning)).status).toBe(200);
  });
});

describe('a broken version', () => {
  it('3 answers 500 in the evening only', async () => {
    const { ask } = await serve('3');
    expect((await ask(morning)).status).toBe(200);
    const failed = await ask(morning, evening);
    expect([failed.status, await failed.json()]).toEqual([500, { error: 'no schedule for hour 19' }]);
  });

  it.each(['4', '5'] as const)('%s is healthy and answers', async (version) => {
    const { get, ask } = await serve(version);
    expect([(await get('/up')).status, (await ask(evening)).status]).toEqual([200, 200]);
  });

  it('6 is reachable but never healthy, and predicts nothing', async () => {
    const { get, ask } = await serve('6');
    expect([(await get('/up')).status, (await ask(morning)).status, (await get('/up')).status]).toEqual([
      503, 503, 503,
    ]);
  });

  it('7 ends with an error after its last request, without an answer to the next', async () => {
    const { child, ask } = await serve('7');
    for (let i = 0; i < 3; i++) expect((await ask(morning)).status).toBe(200);
    const exited = once(child, 'exit');
    await expect(ask(morning)).rejects.toThrow('fetch failed');
    expect(await exited).toEqual([1, null]);
  });

  it('8 answers 503 to what exceeds its capacity', async () => {
    const { ask } = await serve('8');
    const statuses = await Promise.all(Array.from({ length: 20 }, async () => (await ask(morning)).status));
    expect(statuses.filter((status) => status === 200).length).toBeGreaterThanOrEqual(5);
    expect(statuses).toContain(503);
  });
});

describe('the process', () => {
  it('ends when the pipe to its parent closes', async () => {
    const { child } = await serve('1');
    const exited = once(child, 'exit');
    child.stdin?.end();
    expect(await exited).toEqual([0, null]);
  });

  it('ends when the channel to its parent closes', async () => {
    const { child } = await serve('1', ['ignore', 'pipe', 'inherit', 'ipc']);
    const exited = once(child, 'exit');
    child.disconnect();
    expect(await exited).toEqual([0, null]);
  });

  it('runs on without a pipe, until it is told to end', async () => {
    const { child, get } = await serve('1', ['ignore', 'pipe', 'inherit']);
    expect((await get('/up')).status).toBe(200);
    const exited = once(child, 'exit');
    child.kill('SIGTERM');
    expect(await exited).toEqual([0, null]);
  });

  it('answers what is under way before it ends', async () => {
    const { child, port } = await serve('4');
    const exited = once(child, 'exit');
    const headers = { expect: '100-continue' };
    const asking = request({ host: '127.0.0.1', port, path: '/ask', method: 'POST', headers });
    asking.flushHeaders();
    // The server says "continue" once it has begun to read: only then is the request under way.
    await once(asking, 'continue');
    child.kill('SIGTERM');
    asking.end(JSON.stringify({ instances: [morning] }));
    const [response] = await once(asking, 'response');
    expect(response).toMatchObject({ statusCode: 200, headers: { connection: 'close' } });
    expect(await exited).toEqual([0, null]);
  });

  it('refuses to start on an environment it does not understand, and names every bad variable', async () => {
    const child = launch('1', { DELAYS_VERSION: '9', AIP_HTTP_PORT: 'http' });
    let said = '';
    child.stderr?.on('data', (chunk) => (said += String(chunk)));
    expect(await once(child, 'close')).toEqual([1, null]);
    expect(said).toContain('DELAYS_VERSION');
    expect(said).toContain('AIP_HTTP_PORT');
  });
});
