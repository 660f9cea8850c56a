/** With which token does the proxy ask, and how often is one fetched? Google's library asks a metadata server on this machine. */
import type { ServerResponse } from 'node:http';
import { afterEach, expect, it, vi } from 'vitest';
import { googleAccessTokens } from '../../../functions/proxy/upstream.ts';
import { type Listening, listen } from './proxy-world.ts';

afterEach(() => vi.unstubAllEnvs());

/** As on Cloud Run: no credentials but the metadata server's. */
function runBeside(server: Listening): void {
  vi.stubEnv('METADATA_SERVER_DETECTION', 'assume-present');
  vi.stubEnv('GCE_METADATA_HOST', new URL(server.origin).host);
  vi.stubEnv('GOOGLE_APPLICATION_CREDENTIALS', undefined);
  vi.stubEnv('HOME', '/nowhere');
}

/** The library asks for the next token each time. */
const nearItsEnd = 250;

/** As the metadata server does. */
function answerToken(response: ServerResponse, token: string, { status = 200, seconds = 3600 } = {}): void {
  response.writeHead(status, { 'metadata-flavor': 'Google', 'content-type': 'application/json' });
  response.end(JSON.stringify({ access_token: token, expires_in: seconds, token_type: 'Bearer' }));
}

it('a token is fetched once, and kept for a minute; then the library is asked, which keeps it longer', async () => {
  let fetched = 0;
  await using metadata = await listen((request, response) => {
    if (request.url?.includes('/token')) fetched += 1;
    answerToken(response, `ya29.${fetched}`);
  });
  runBeside(metadata);
  let at = 0;
  const accessToken = googleAccessTokens(() => at);
  expect(await accessToken()).toBe('ya29.1');
  at += 59_999;
  expect(accessToken()).toBe('ya29.1');
  at += 1;
  const again = accessToken();
  expect(again).toBeInstanceOf(Promise);
  expect(await again).toBe('ya29.1');
  expect(fetched).toBe(1);
  // A clock that was set back makes no token younger.
  at -= 3_600_000;
  expect(accessToken()).toBeInstanceOf(Promise);
});

it('a token goes on for as long as it is surely good while no other can be had', async () => {
  let isDown = false;
  await using metadata = await listen((_request, response) => {
    answerToken(response, 'ya29.1', { status: isDown ? 404 : 200, seconds: nearItsEnd });
  });
  runBeside(metadata);
  let at = 0;
  const accessToken = googleAccessTokens(() => at);
  expect(await accessToken()).toBe('ya29.1');
  isDown = true;
  at = 239_999;
  expect(await accessToken()).toBe('ya29.1');
  at += 1;
  await expect(accessToken()).rejects.toThrow(/Not Found/);
});

it('a token goes on while the next one is long in coming', async () => {
  const never = Promise.withResolvers<void>();
  let fetched = 0;
  await using metadata = await listen((request, response) => {
    if (request.url?.includes('/token')) fetched += 1;
    const end = (): void => answerToken(response, `ya29.${fetched}`, { seconds: nearItsEnd });
    if (fetched > 1) void never.promise.then(end);
    else end();
  });
  runBeside(metadata);
  let at = 0;
  const accessToken = googleAccessTokens(() => at);
  expect(await accessToken()).toBe('ya29.1');
  at = 60_000;
  expect(await Promise.all([accessToken(), accessToken()])).toEqual(['ya29.1', 'ya29.1']);
  expect(fetched).toBe(2);
  never.resolve();
  await vi.waitFor(async () => expect(await accessToken()).toBe('ya29.2'));
});

it('without credentials it rejects, and goes on trying', async () => {
  let isDown = true;
  await using metadata = await listen((_request, response) => {
    answerToken(response, 'ya29.1', { status: isDown ? 404 : 200 });
  });
  runBeside(metadata);
  const accessToken = googleAccessTokens(() => 0);
  await expect(accessToken()).rejects.toThrow(/Not Found/);
  isDown = false;
  expect(await accessToken()).toBe('ya29.1');
});
