/** What does the dashboard's API answer, and whose commands does it take? Over real HTTP. */
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { RolloutCommand } from '../../functions/dashboard/command.ts';
import { createDashboard, type DashboardDependencies } from '../../functions/dashboard.ts';
import { PermanentError, TransientError } from '../../functions/engine/errors.ts';
import { journal, rollout } from './dashboard/fixtures.ts';
import { listen } from './proxy/proxy-world.ts';

const googleError = z.strictObject({
  error: z.strictObject({ code: z.int(), message: z.string().min(1), status: z.string() }),
});

interface Dashboard extends AsyncDisposable {
  origin: string;
  sent: RolloutCommand[];
  command(body: unknown, headers?: Record<string, string>, id?: string): Promise<Response>;
}

async function startDashboard(overrides: Partial<DashboardDependencies> = {}): Promise<Dashboard> {
  const sent: RolloutCommand[] = [];
  const handler = createDashboard({
    listRollouts: () => Promise.resolve([rollout]),
    readRollout: (id) => Promise.resolve(id === rollout.id ? rollout : null),
    readJournal: (id) => Promise.resolve(id === rollout.id ? journal : null),
    sendCommand: (command) => {
      sent.push(command);
      return Promise.resolve();
    },
    now: () => 10_000,
    ...overrides,
  });
  const { origin, [Symbol.asyncDispose]: dispose } = await listen(
    (request, response) => void handler(request, response),
  );
  return {
    origin,
    sent,
    command: (body, headers = {}, id = rollout.id) =>
      fetch(`${origin}/api/rollouts/${encodeURIComponent(id)}/commands`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: typeof body === 'string' ? body : JSON.stringify(body),
      }),
    [Symbol.asyncDispose]: dispose,
  };
}

async function expectError(response: Response, code: number): Promise<string> {
  expect(response.status).toBe(code);
  const { error } = googleError.parse(await response.json());
  expect(error.code).toBe(code);
  return error.message;
}

describe('reading', () => {
  it('gives the rollouts, one rollout, and its journal', async () => {
    await using dashboard = await startDashboard();
    const read = async (path: string): Promise<unknown> => (await fetch(`${dashboard.origin}${path}`)).json();
    expect(await read('/api/rollouts')).toEqual({ rollouts: [rollout], now: 10_000 });
    expect(await read(`/api/rollouts/${rollout.id}`)).toEqual(rollout);
    expect(await read(`/api/rollouts/${encodeURIComponent(rollout.id)}/journal?x=1`)).toEqual({ entries: journal });
  });

  it('gives data as JSON that no browser takes for a page', async () => {
    const hostile = { ...rollout, reason: '<script>alert(1)</script>' };
    await using dashboard = await startDashboard({ listRollouts: () => Promise.resolve([hostile]) });
    const { headers } = await fetch(`${dashboard.origin}/api/rollouts`);
    expect(headers.get('content-type')).toBe('application/json; charset=utf-8');
    expect(headers.get('x-content-type-options')).toBe('nosniff');
    expect(headers.get('cache-control')).toBe('no-store');
  });

  it('gives the page, with a policy that lets nothing foreign run', async () => {
    await using dashboard = await startDashboard();
    const answer = await fetch(`${dashboard.origin}/?from=mail`);
    expect(answer.headers.get('content-type')).toBe('text/html; charset=utf-8');
    expect(answer.headers.get('content-security-policy')).toMatch(/default-src 'none'.*frame-ancestors 'none'/);
    expect(await answer.text()).toMatch(/^<!doctype html>/);
    expect((await fetch(`${dashboard.origin}/`, { method: 'HEAD' })).status).toBe(200);
  });

  it.for([
    '/api',
    '/api/rollout',
    '/api/rollouts/',
    '/api/rollouts/other',
    '/api/rollouts/other/journal',
    `/api/rollouts/${rollout.id}/verdicts`,
    `/api/rollouts/${rollout.id}/journal/1`,
    '/api/rollouts/%zz',
    '/index.html',
  ])('answers 404 at %s', async (path) => {
    await using dashboard = await startDashboard();
    expect(await expectError(await fetch(`${dashboard.origin}${path}`), 404)).toContain('api/rollouts');
  });

  it('answers 405 and says which method to use', async () => {
    await using dashboard = await startDashboard();
    const posted = await fetch(`${dashboard.origin}/api/rollouts`, { method: 'POST' });
    expect(posted.headers.get('allow')).toBe('GET, HEAD');
    await expectError(posted, 405);
    const got = await fetch(`${dashboard.origin}/api/rollouts/${rollout.id}/commands`);
    expect(got.headers.get('allow')).toBe('POST');
    await expectError(got, 405);
  });

  it('answers 503 when trying again may help, 500 when it will not, and tells no secrets', async () => {
    await using away = await startDashboard({
      listRollouts: () => Promise.reject(new TransientError('unavailable', 'store at 10.0.0.7 is away')),
    });
    expect(await expectError(await fetch(`${away.origin}/api/rollouts`), 503)).not.toContain('10.0.0.7');
    await using broken = await startDashboard({
      listRollouts: () => Promise.reject(new PermanentError('internal', 'store at 10.0.0.7 is broken')),
    });
    expect(await expectError(await fetch(`${broken.origin}/api/rollouts`), 500)).not.toContain('10.0.0.7');
  });
});

describe('commanding', () => {
  it('accepts a command, and publishes it with the rollout it is for', async () => {
    await using dashboard = await startDashboard();
    const body = { command: 'pause', reason: 'holiday', by: 'ana', commandId: 'c-1' };
    const answer = await dashboard.command(body);
    expect(answer.status).toBe(202);
    expect(await answer.json()).toEqual({ ...body, rollout: rollout.id });
    expect(dashboard.sent).toEqual([{ ...body, rollout: rollout.id }]);
  });

  it('gives a command an id of its own when it has none', async () => {
    await using dashboard = await startDashboard();
    await dashboard.command({ command: 'abort' });
    await dashboard.command({ command: 'abort' });
    expect(new Set(dashboard.sent.map(({ commandId }) => commandId)).size).toBe(2);
  });

  it.for([
    { body: '', says: 'expected object' },
    { body: '{', says: 'expected object' },
    { body: '[]', says: 'expected object' },
    { body: '{"command":"explode"}', says: 'promote-full' },
    { body: '{}', says: 'command' },
    { body: '{"command":"pause","rollout":"other"}', says: 'rollout' },
    { body: '{"command":"pause","reason":7}', says: 'reason' },
  ])('answers 400 to $body, and says what was wrong', async ({ body, says }) => {
    await using dashboard = await startDashboard();
    expect(await expectError(await dashboard.command(body), 400)).toContain(says);
    expect(dashboard.sent).toEqual([]);
  });

  it('answers 404 for a rollout that there is not, and 413 to a novel', async () => {
    await using dashboard = await startDashboard();
    await expectError(await dashboard.command({ command: 'pause' }, {}, 'other'), 404);
    await expectError(await dashboard.command({ command: 'pause', reason: 'x'.repeat(20_000) }), 413);
    expect(dashboard.sent).toEqual([]);
  });

  it('does not say accepted when the bus did not take it', async () => {
    await using dashboard = await startDashboard({
      sendCommand: () => Promise.reject(new TransientError('unavailable', 'the bus is away')),
    });
    expect(await expectError(await dashboard.command({ command: 'pause' }), 503)).toContain('try again');
  });

  it.for([
    { name: 'a form', headers: { 'content-type': 'application/x-www-form-urlencoded' }, code: 415 },
    { name: 'a form that smuggles JSON', headers: { 'content-type': 'text/plain; application/json' }, code: 415 },
    { name: 'another site', headers: { origin: 'https://evil.example' }, code: 403 },
    { name: 'an opaque origin', headers: { origin: 'null' }, code: 403 },
  ])('refuses $name', async ({ headers, code }) => {
    await using dashboard = await startDashboard();
    await expectError(await dashboard.command({ command: 'abort' }, headers), code);
    expect(dashboard.sent).toEqual([]);
  });

  it.for(['cross-site', 'same-site', 'none'])('refuses what a browser calls %s', async (site) => {
    await using dashboard = await startDashboard();
    await expectError(await postFromBrowser(dashboard.origin, { 'sec-fetch-site': site }), 403);
    expect(dashboard.sent).toEqual([]);
  });

  it('takes what its own page sends', async () => {
    await using dashboard = await startDashboard();
    const own = { 'sec-fetch-site': 'same-origin', origin: dashboard.origin };
    expect((await postFromBrowser(dashboard.origin, own)).status).toBe(202);
  });
});

/** Node's fetch writes Sec-Fetch headers of its own, so these go out by hand. */
async function postFromBrowser(origin: string, headers: Record<string, string>): Promise<Response> {
  const { request } = await import('node:http');
  return new Promise((resolve, reject) => {
    const sending = request(
      `${origin}/api/rollouts/${encodeURIComponent(rollout.id)}/commands`,
      { method: 'POST', headers: { 'content-type': 'application/json', ...headers } },
      (incoming) => {
        const chunks: Buffer[] = [];
        incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
        incoming.on('end', () => resolve(new Response(Buffer.concat(chunks), { status: incoming.statusCode ?? 0 })));
      },
    );
    sending.once('error', reject);
    sending.end('{"command":"abort"}');
  });
}
