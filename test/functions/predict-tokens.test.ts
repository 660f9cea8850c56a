/** Which tokens open the proxy's door, whoever signed them, and what becomes of callers while their keys cannot be had? */
import { exportJWK, generateKeyPair, type JWTPayload, SignJWT, UnsecuredJWT } from 'jose';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { limits } from '../../functions/engine/limits.ts';
import { proxyConfigSchema } from '../../functions/proxy/config.ts';
import { captureLog } from '../log.ts';
import { type Listening, listen, longPath, startWorld, type World } from './proxy/proxy-world.ts';

const logged = captureLog();
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

  it('do not wait long for an issuer that hangs, where there are keys', async () => {
    expect((await send(await sign())).status).toBe(200);
    const never = Promise.withResolvers<string>();
    answerKeys = () => never.promise;
    at += limits.jwksKeepMs;
    const token = await sign();
    expect((await send(token)).status).toBe(200);
    expect((await send(token)).status).toBe(200);
    // Both were answered while the one fetch was under way.
    expect(fetches).toBe(2);
    expect(logged.join('')).not.toContain('cannot be fetched');
    never.resolve('{}');
  });

  it('of a key that the issuer could not be asked for get a 503', async () => {
    expect((await send(await sign())).status).toBe(200);
    answerKeys = null;
    at += limits.jwksCooldownMs;
    const unknown = () => sign(claims(), { keys: next, kid: 'b' });
    expect((await send(await unknown())).status).toBe(503);
    expect((await send(await unknown())).status).toBe(503);
    answerKeys = () => jwksOf({ a: good, b: next });
    at += limits.jwksFailureCooldownMs;
    expect((await send(await unknown())).status).toBe(200);
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
