/** Who gets through the proxy's door, how often and with how much, by key, by token, and from a page in a browser? */
import { createHash } from 'node:crypto';
import { exportJWK, generateKeyPair, type JWTPayload, SignJWT, UnsecuredJWT } from 'jose';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { limits } from '../../functions/engine/limits.ts';
import { proxyConfigSchema } from '../../functions/proxy/config.ts';
import { captureLog } from '../log.ts';
import { goodKey, type Listening, listen, longPath, startWorld, type World } from './proxy/proxy-world.ts';

const logged = captureLog();
const sha256 = (key: string): string => createHash('sha256').update(key).digest('hex');
const errorSchema = z.object({ error: z.object({ code: z.int(), message: z.string(), status: z.string() }) });
const start = Date.UTC(2027, 0, 1);
let at = start;
const now = (): number => at;
beforeEach(() => {
  at = start;
});

function startWith(config: unknown): Promise<World> {
  return startWorld(undefined, { config: proxyConfigSchema.parse(config), proxyKeys: [], now });
}

describe('keys', () => {
  const caller = (keys: unknown[], more: object = {}) => ({
    callers: [{ name: 'shop', keys, endpoints: '*', ...more }],
  });

  it('are changed without an outage: two are good at once, until the old one expires', async () => {
    const keys = [{ sha256: sha256('old'), expires: '2027-01-02' }, { sha256: sha256('new') }];
    await using world = await startWith(caller(keys));
    const statuses = async () =>
      Promise.all(['old', 'new', 'none'].map(async (key) => (await world.post(`${longPath}:predict`, { key })).status));
    expect(await statuses()).toEqual([200, 200, 401]);
    at = Date.UTC(2027, 0, 2) - 1;
    expect(await statuses()).toEqual([200, 200, 401]);
    at += 1;
    expect(await statuses()).toEqual([401, 200, 401]);
    const expired = await world.post(`${longPath}:predict`, { key: 'old' });
    expect(expired.headers.get('www-authenticate')).toMatch(/^ApiKey /);
    expect(errorSchema.parse(await expired.json()).error.message).toContain('The key has expired');
  });

  it('open the endpoints of their caller, and no others', async () => {
    const callers = [
      { name: 'shop', keys: [{ sha256: sha256('shop') }], endpoints: ['delays', 'other'] },
      { name: 'ads', keys: [{ sha256: sha256('ads') }], endpoints: ['other'] },
    ];
    await using world = await startWith({ callers });
    for (const path of [longPath, '/v1/endpoints/delays']) {
      for (const verb of ['predict', 'rawPredict', 'streamRawPredict', 'report']) {
        expect((await world.post(`${path}:${verb}`, { key: 'ads' })).status).toBe(403);
        expect((await world.post(`${path}:${verb}`, { key: 'shop' })).status).not.toBe(403);
      }
    }
    expect(world.received).toHaveLength(6);
  });

  it('count against the requests per minute of their caller, whichever of them is used', async () => {
    const keys = [{ sha256: sha256('one') }, { sha256: sha256('two') }];
    await using world = await startWith(caller(keys, { requestsPerMinute: 2 }));
    const post = (key: string) => world.post(`${longPath}:predict`, { key });
    expect([(await post('one')).status, (await post('two')).status]).toEqual([200, 200]);
    const refused = await post('one');
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([429, '30']);
    expect(errorSchema.parse(await refused.json()).error.status).toBe('RESOURCE_EXHAUSTED');
    at += 30_000;
    expect([(await post('two')).status, (await post('two')).status]).toEqual([200, 429]);
    expect(world.received).toHaveLength(3);
  });

  it('let bodies of their caller through up to its bound', async () => {
    await using world = await startWith(caller([{ sha256: sha256('one') }], { bodyBytes: 10 }));
    const post = (body: string) => world.post(`${longPath}:rawPredict`, { key: 'one', body });
    expect([(await post('x'.repeat(10))).status, (await post('x'.repeat(11))).status]).toEqual([200, 413]);
  });

  it('let larger bodies through to an endpoint with a host of its own', async () => {
    const endpoint = longPath.replace('/v1/', '');
    const dedicated = [{ endpoint, host: '456.us-central1-1234.prediction.vertexai.goog' }];
    const config = caller([{ sha256: sha256('one') }]);
    await using shared = await startWith(config);
    await using own = await startWith({ ...config, dedicated });
    const post = async (world: World, bytes: number) =>
      (await world.post(`${longPath}:rawPredict`, { key: 'one', body: 'x'.repeat(bytes) })).status;
    expect(await post(shared, limits.predictBytesMax + 1)).toBe(413);
    expect(await post(own, limits.predictBytesMax + 1)).toBe(200);
    expect(await post(own, limits.predictDedicatedBytesMax + 1)).toBe(413);
  });
});

describe('the platform', () => {
  const callers = [{ name: 'inside', platformIam: true, endpoints: ['delays'] }];

  it('vouches for whoever shows no credential of ours, where it is told so', async () => {
    await using world = await startWith({ callers });
    expect((await world.post(`${longPath}:predict`, { key: null })).status).toBe(200);
    const headers = { authorization: 'Bearer a.b.SIGNATURE_REMOVED_BY_GOOGLE' };
    expect((await world.post(`${longPath}:predict`, { key: null, headers })).status).toBe(200);
    expect(world.received.map((received) => received.headers.authorization)).toEqual([undefined, undefined]);
  });

  it('does not make up for a key that is wrong', async () => {
    await using world = await startWith({ callers });
    for (const key of ['wrong', '']) expect((await world.post(`${longPath}:predict`, { key })).status).toBe(401);
    expect(world.received).toEqual([]);
  });
});

describe('tokens', () => {
  const issuer = 'https://accounts.example.com';
  type Keys = Awaited<ReturnType<typeof generateKeyPair>>;
  let good: Keys;
  let next: Keys;
  let stranger: Keys;
  let keyServer: Listening;
  let fetches = 0;
  let answerKeys: (() => Promise<string>) | null = null;
  let world: World;

  const jwksOf = async (pairs: Record<string, Keys>): Promise<string> => {
    const jwks = Object.entries(pairs).map(async ([kid, { publicKey }]) => ({ ...(await exportJWK(publicKey)), kid }));
    return JSON.stringify({ keys: await Promise.all(jwks) });
  };

  beforeAll(async () => {
    [good, next, stranger] = await Promise.all([
      generateKeyPair('ES256'),
      generateKeyPair('ES256'),
      generateKeyPair('ES256'),
    ]);
    keyServer = await listen((_request, response) => {
      fetches += 1;
      if (answerKeys === null) response.writeHead(500).end();
      else void answerKeys().then((text) => response.end(text));
    });
  });
  afterAll(() => keyServer[Symbol.asyncDispose]());

  const configOf = (more: object = {}) => ({
    callers: [{ name: 'shop', subjects: [{ issuer, subject: 'shop-7' }], endpoints: ['delays'] }],
    jwt: [
      {
        issuer,
        audiences: ['proxy', 'proxy-2'],
        jwksUri: `${keyServer.origin}/keys`,
        algorithms: ['ES256'],
        clockSkewSeconds: 60,
        ...more,
      },
    ],
  });

  beforeEach(async () => {
    fetches = 0;
    answerKeys = () => jwksOf({ a: good });
    world = await startWith(configOf());
    return () => world[Symbol.asyncDispose]();
  });

  const seconds = (offset: number): number => Math.floor(at / 1000) + offset;
  const claims = (more: JWTPayload = {}): JWTPayload => ({
    iss: issuer,
    aud: 'proxy',
    sub: 'shop-7',
    exp: seconds(300),
    ...more,
  });
  const sign = (payload: JWTPayload = claims(), { keys = good, kid = 'a', alg = 'ES256' } = {}): Promise<string> =>
    new SignJWT(payload).setProtectedHeader({ alg, kid }).sign(keys.privateKey);
  const send = (token: string, to = world): Promise<Response> =>
    to.post(`${longPath}:predict`, { key: null, headers: { authorization: `Bearer ${token}` } });

  it('let a caller in by its subject; the token stays here, and its keys are fetched once', async () => {
    for (let i = 0; i < 3; i += 1) expect((await send(await sign(claims({ aud: ['x', 'proxy-2'] })))).status).toBe(200);
    expect(fetches).toBe(1);
    expect(world.received.map(({ headers }) => headers.authorization)).toEqual([undefined, undefined, undefined]);
  });

  it.for<[string, () => Promise<string>]>([
    ['no token', () => Promise.resolve('')],
    ['not a token', () => Promise.resolve('a.b.c')],
    ['a token without a signature', () => Promise.resolve(new UnsecuredJWT(claims()).encode())],
    ['one that is signed by another key', () => sign(claims(), { keys: stranger })],
    [
      'one that is signed with a public key as a secret',
      async () => {
        const secret = new TextEncoder().encode(JSON.stringify(await exportJWK(good.publicKey)));
        return new SignJWT(claims()).setProtectedHeader({ alg: 'HS256', kid: 'a' }).sign(secret);
      },
    ],
    [
      'one that brings its own key, and says where to find it',
      async () => {
        const jwk = await exportJWK(stranger.publicKey);
        const head = {
          alg: 'ES256',
          kid: 'mine',
          jwk,
          jku: `${keyServer.origin}/mine`,
          x5u: `${keyServer.origin}/mine`,
        };
        return new SignJWT(claims()).setProtectedHeader(head).sign(stranger.privateKey);
      },
    ],
    ['one whose key id is a path', () => sign(claims(), { keys: stranger, kid: '../../../dev/null' })],
    [
      'one with an extension that must be understood',
      () =>
        new SignJWT(claims())
          .setProtectedHeader({ alg: 'ES256', kid: 'a', crit: ['x'], x: 1 })
          .sign(good.privateKey, { crit: { x: true } }),
    ],
    [
      'one whose claims were changed',
      async () => {
        const [head, , tail] = (await sign()).split('.');
        return `${head}.${Buffer.from(JSON.stringify(claims({ sub: 'admin' }))).toString('base64url')}.${tail}`;
      },
    ],
    ['one of another issuer', () => sign(claims({ iss: 'https://other.example.com' }))],
    ['one for another audience', () => sign(claims({ aud: 'elsewhere' }))],
    ['one that has expired', () => sign(claims({ exp: seconds(-60) }))],
    [
      'one that never expires',
      () => {
        const { exp: _, ...rest } = claims();
        return sign(rest);
      },
    ],
    ['one that is not valid yet', () => sign(claims({ nbf: seconds(61) }))],
    [
      'one without an audience',
      () => {
        const { aud: _, ...rest } = claims();
        return sign(rest);
      },
    ],
    [
      'one without a subject',
      () => {
        const { sub: _, ...rest } = claims();
        return sign(rest);
      },
    ],
    ['one that is far too long', () => sign(claims({ more: 'x'.repeat(limits.tokenCharactersMax) }))],
  ])('are refused: %s', async ([, token]) => {
    const text = await token();
    const answer = await send(text);
    expect(answer.status).toBe(401);
    expect(answer.headers.get('www-authenticate')).toMatch(/^Bearer realm="predict"/);
    expect(errorSchema.parse(await answer.json()).error.status).toBe('UNAUTHENTICATED');
    expect(world.received).toEqual([]);
    if (text !== '') expect(logged.join('')).not.toContain(text);
  });

  it('are refused when signed as nobody said they would be, even by a key of the issuer', async () => {
    const other = await generateKeyPair('RS256');
    answerKeys = () => jwksOf({ a: good, r: other });
    expect((await send(await sign(claims(), { keys: other, kid: 'r', alg: 'RS256' }))).status).toBe(401);
    await using both = await startWith(configOf({ algorithms: ['ES256', 'RS256'] }));
    expect((await send(await sign(claims(), { keys: other, kid: 'r', alg: 'RS256' }), both)).status).toBe(200);
  });

  it('may be a minute early or late, where the clocks may differ by one', async () => {
    expect((await send(await sign(claims({ exp: seconds(-59), nbf: seconds(60) })))).status).toBe(200);
  });

  it('of a subject that is no caller get a 403, and so does a caller at an endpoint of others', async () => {
    expect((await send(await sign(claims({ sub: 'somebody' })))).status).toBe(403);
    const { callers, jwt } = configOf();
    await using other = await startWith({
      jwt,
      callers: callers.map((caller) => ({ ...caller, endpoints: ['other'] })),
    });
    expect((await send(await sign(), other)).status).toBe(403);
  });

  it('name their caller by e-mail address only where the issuer has verified it', async () => {
    await using byMail = await startWith(configOf({ callerClaim: 'email' }));
    expect((await send(await sign(claims({ email: 'shop-7', email_verified: true })), byMail)).status).toBe(200);
    expect((await send(await sign(claims({ email: 'shop-7' })), byMail)).status).toBe(401);
  });

  it('of a new key are good as soon as the issuer has it; made-up keys make nobody fetch', async () => {
    expect((await send(await sign())).status).toBe(200);
    for (let i = 0; i < 5; i += 1) expect((await send(await sign(claims(), { kid: `made-up-${i}` }))).status).toBe(401);
    expect(fetches).toBe(1);
    answerKeys = () => jwksOf({ a: good, b: next });
    at += limits.jwksCooldownMs;
    const signed = await Promise.all(Array.from({ length: 5 }, () => sign(claims(), { keys: next, kid: 'b' })));
    const answers = await Promise.all(signed.map((token) => send(token)));
    expect(answers.map(({ status }) => status)).toEqual(Array(5).fill(200));
    expect(fetches).toBe(2);
  });

  it('of a key that the issuer took back are refused when the keys are fetched again', async () => {
    expect((await send(await sign())).status).toBe(200);
    answerKeys = () => jwksOf({ b: next });
    at += limits.jwksKeepMs;
    expect((await send(await sign())).status).toBe(401);
  });

  it('are checked with the keys there are while the issuer is down, for an hour', async () => {
    expect((await send(await sign())).status).toBe(200);
    answerKeys = null;
    at += limits.jwksKeepMsMax - 1;
    expect((await send(await sign())).status).toBe(200);
    at += 1;
    expect((await send(await sign())).status).toBe(503);
  });

  it('cannot be checked while no keys can be had: 503, and the issuer is not asked by every caller', async () => {
    answerKeys = null;
    for (let i = 0; i < 4; i += 1) {
      const answer = await send(await sign());
      expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '5']);
    }
    expect(fetches).toBe(1);
    answerKeys = () => jwksOf({ a: good });
    at += limits.jwksFailureCooldownMs;
    expect((await send(await sign())).status).toBe(200);
  });

  it.for<[string, () => Promise<string>]>([
    ['too many', () => Promise.resolve(JSON.stringify({ keys: [], more: 'x'.repeat(limits.jwksBytesMax) }))],
    ['no JSON', () => Promise.resolve('<html>')],
    ['no list', () => Promise.resolve('{}')],
    ['broken', () => Promise.resolve('{"keys":[{"kty":"EC","kid":"a","crv":"P-256"}]}')],
  ])('let nobody in when the keys are %s', async ([, keys]) => {
    answerKeys = keys;
    expect([401, 503]).toContain((await send(await sign())).status);
    expect(world.received).toEqual([]);
  });

  it('do not make up for a key that is wrong', async () => {
    const headers = { authorization: `Bearer ${await sign()}` };
    expect((await world.post(`${longPath}:predict`, { key: 'wrong', headers })).status).toBe(401);
  });
});

describe('pages of other origins', () => {
  const origin = 'https://shop.example.com';
  const config = {
    callers: [{ name: 'shop', keys: [{ sha256: sha256(goodKey) }], endpoints: '*' }],
    cors: { origins: [origin], maxAgeSeconds: 600 },
  };
  const preflight = (world: World, from: string) =>
    fetch(`${world.origin}${longPath}:predict`, {
      method: 'OPTIONS',
      headers: {
        origin: from,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'x-goog-api-key',
      },
    });

  it('may ask when they are configured, and read who served', async () => {
    await using world = await startWith(config);
    const asked = await preflight(world, origin);
    expect(asked.status).toBe(204);
    expect(Object.fromEntries(asked.headers)).toMatchObject({
      'access-control-allow-origin': origin,
      'access-control-allow-methods': 'POST',
      'access-control-allow-headers': expect.stringContaining('x-goog-api-key'),
      'access-control-max-age': '600',
      vary: 'origin',
    });
    expect(asked.headers.has('access-control-allow-credentials')).toBe(false);
    for (const verb of ['predict', 'rawPredict']) {
      const answer = await world.post(`${longPath}:${verb}`, { headers: { origin } });
      expect(answer.headers.get('access-control-allow-origin')).toBe(origin);
      expect(answer.headers.get('access-control-expose-headers')).toContain('x-vertex-ai-deployed-model-id');
    }
    const refused = await world.post(`${longPath}:predict`, { key: 'wrong', headers: { origin } });
    expect([refused.status, refused.headers.get('access-control-allow-origin')]).toEqual([401, origin]);
  });

  it('may not when they are not', async () => {
    await using world = await startWith(config);
    await using closed = await startWith({ ...config, cors: null });
    for (const [to, from] of [
      [world, 'https://evil.example.com'],
      [world, 'https://shop.example.com.evil.example.com'],
      [world, 'null'],
      [closed, origin],
    ] as const) {
      const asked = await preflight(to, from);
      const answer = await to.post(`${longPath}:predict`, { headers: { origin: from } });
      expect([asked.status, answer.status]).toEqual([405, 200]);
      for (const { headers } of [asked, answer]) expect(headers.has('access-control-allow-origin')).toBe(false);
    }
  });

  it('need a key for the request itself', async () => {
    await using world = await startWith(config);
    const answer = await world.post(`${longPath}:predict`, { key: null, headers: { origin } });
    expect([answer.status, world.received]).toEqual([401, []]);
  });
});
