/** Who gets through the proxy's door, how often and with how much, by key, by the platform's word, and from a page in a browser? */
import { createHash } from 'node:crypto';
import { beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { limits } from '../../functions/engine/limits.ts';
import { proxyConfigSchema } from '../../functions/proxy/config.ts';
import { captureLog } from '../log.ts';
import { goodKey, longPath, startWorld, type World } from './proxy/proxy-world.ts';

captureLog();
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
