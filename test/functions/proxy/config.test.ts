/** Is a configuration understood, and one that is not understood refused, with everything that is wrong? */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { proxyConfigSchema, readProxyConfig } from '../../../functions/proxy/config.ts';

const sha256 = 'a'.repeat(64);
const issuer = {
  issuer: 'https://accounts.example.com',
  audiences: ['proxy'],
  jwksUri: 'https://accounts.example.com/keys',
  algorithms: ['RS256'],
};

const read = (config: unknown, keys: { name: string; sha256: string }[] = []) =>
  readProxyConfig(JSON.stringify(config), keys);

describe('a configuration', () => {
  it('that is absent lets only the keys of the environment in, and has no other way', async () => {
    const config = await readProxyConfig(null, [{ name: 'partner', sha256 }]);
    expect(config).toMatchObject({ callers: [], jwt: [], cors: null });
  });

  it('is read whole, with what is not said filled in', async () => {
    const config = await read({
      callers: [
        {
          name: 'shop',
          keys: [
            { sha256, expires: '2027-01-31' },
            { sha256: 'b'.repeat(64), expires: '2027-01-31T12:00:00+01:00' },
          ],
          subjects: [{ issuer: issuer.issuer, subject: 'shop@example.com' }],
          endpoints: ['delays'],
          requestsPerMinute: 600,
        },
      ],
      jwt: [issuer],
      cors: { origins: ['https://shop.example.com'] },
    });
    expect(config.callers[0]?.keys.map(({ expires }) => expires)).toEqual([
      Date.UTC(2027, 0, 31),
      Date.UTC(2027, 0, 31, 11),
    ]);
    expect(config.jwt[0]).toMatchObject({ clockSkewSeconds: 30, callerClaim: 'sub' });
    expect(config.cors).toEqual({ origins: ['https://shop.example.com'], maxAgeSeconds: 3600 });
  });

  it('can be a file of YAML', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'proxy-config-'));
    try {
      const file = join(folder, 'proxy.yaml');
      writeFileSync(
        file,
        `callers:\n  - name: shop\n    keys: [{ sha256: ${sha256}, expires: 2027-01-31 }]\n    endpoints: "*"\n`,
      );
      const config = await readProxyConfig(`@${file}`, []);
      expect(config.callers[0]).toMatchObject({
        name: 'shop',
        endpoints: '*',
        keys: [{ expires: Date.UTC(2027, 0, 31) }],
      });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it.for(['{', 'callers: []', '@/no/such/file.yaml'])('that cannot be read is refused: %s', async (value) => {
    await expect(readProxyConfig(value, [])).rejects.toThrow('ROLLOUT_PROXY_CONFIG is not usable');
  });

  it('is refused with all that is wrong at once', async () => {
    const reading = read({ callers: [{ name: 'a b', endpoints: [], keys: [{ sha256: 'A' }] }], jwt: 1, extra: true });
    for (const part of ['callers.0.name', 'callers.0.endpoints', 'callers.0.keys.0.sha256', 'jwt', 'extra']) {
      await expect(reading).rejects.toThrow(part);
    }
  });
});

describe('what would let the wrong ones in', () => {
  const caller = { name: 'shop', keys: [{ sha256 }], endpoints: '*' };

  it.for<[string, unknown, string]>([
    ['two callers of one name', { callers: [caller, { ...caller, keys: [] }] }, 'callers.1.name: is there twice'],
    ['one key of two callers', { callers: [caller, { ...caller, name: 'other' }] }, 'callers.1.keys.0: is there twice'],
    ['a caller of unsaid endpoints', { callers: [{ name: 'shop', keys: [{ sha256 }] }] }, 'callers.0.endpoints'],
    ['a key that never was a hash', { callers: [{ ...caller, keys: [{ sha256: 'secret' }] }] }, '64 lower-case hex'],
    ['an expiry that is no date', { callers: [{ ...caller, keys: [{ sha256, expires: 'soon' }] }] }, 'expected a date'],
    ['a caller without a credential', { callers: [{ name: 'shop', endpoints: '*' }] }, '"shop" has no credential'],
    ['no signature at all', { jwt: [{ ...issuer, algorithms: ['none'] }] }, 'jwt.0.algorithms.0'],
    ['a shared secret', { jwt: [{ ...issuer, algorithms: ['HS256'] }] }, 'jwt.0.algorithms.0'],
    ['no algorithm', { jwt: [{ ...issuer, algorithms: [] }] }, 'jwt.0.algorithms'],
    ['no audience', { jwt: [{ ...issuer, audiences: [] }] }, 'jwt.0.audiences'],
    [
      'keys over plain http',
      { jwt: [{ ...issuer, jwksUri: 'http://accounts.example.com/keys' }] },
      'expected an https URL',
    ],
    ['a skew of more than five minutes', { jwt: [{ ...issuer, clockSkewSeconds: 301 }] }, 'jwt.0.clockSkewSeconds'],
    ['two of one issuer', { jwt: [issuer, issuer] }, 'jwt.1.issuer: is there twice'],
    [
      "a subject of nobody's issuer",
      { callers: [{ ...caller, subjects: [{ issuer: 'https://other', subject: 'x' }] }], jwt: [issuer] },
      'callers.0.subjects.0.issuer: is not an issuer',
    ],
    [
      'tokens beside the platform',
      { callers: [{ ...caller, platformIam: true }], jwt: [issuer] },
      'cannot stand beside',
    ],
    ['an origin with a path', { cors: { origins: ['https://a.example.com/'] } }, 'cors.origins.0'],
    ['every origin', { cors: { origins: ['*'] } }, 'cors.origins.0'],
  ])('is refused: %s', async ([, config, problem]) => {
    await expect(read(config)).rejects.toThrow(problem);
  });

  it('is refused: a key of the environment whose name is no caller, where callers are listed', async () => {
    const keys = [{ name: 'shpo', sha256: 'c'.repeat(64) }];
    await expect(read({ callers: [caller] }, keys)).rejects.toThrow('ROLLOUT_PROXY_KEYS has a key of "shpo"');
    expect((await read({ callers: [{ name: 'shpo', endpoints: ['delays'] }] }, keys)).callers).toHaveLength(1);
  });

  it('is refused: a key that is there twice, of which one might have expired', async () => {
    const again = /the key of "shop" in ROLLOUT_PROXY_KEYS is there or in callers already/;
    const expired = { ...caller, keys: [{ sha256, expires: '2020-01-01' }] };
    await expect(read({ callers: [expired] }, [{ name: 'shop', sha256 }])).rejects.toThrow(again);
    const both = [
      { name: 'partner', sha256 },
      { name: 'shop', sha256 },
    ];
    await expect(read({}, both)).rejects.toThrow(again);
    await expect(read({}, both.slice(0, 1))).resolves.toBeDefined();
  });

  it('an empty object is a whole configuration', () => {
    expect(proxyConfigSchema.parse({}).inFlightMax).toBeGreaterThan(1000);
  });
});
