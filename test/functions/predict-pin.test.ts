/** Does a pinned user reach one side only, at the door? */
import { describe, expect, it } from 'vitest';
import { proxyConfigSchema } from '../../functions/proxy/config.ts';
import { isOnSecondSide } from '../../functions/proxy/pin.ts';
import { delays, endpoint, longPath, startWorld, type World } from './proxy/proxy-world.ts';

const second = 'projects/demo/locations/us-central1/endpoints/789';
const users = Array.from({ length: 12 }, (_, i) => `user-${i}`);
const pinning = (percent: number) =>
  proxyConfigSchema.parse({ pinning: [{ alias: 'delays', to: second, percent, salt: 'test' }] });

/** The endpoint that a user's request reached. */
async function reached(world: World, user: string | null, path = longPath): Promise<string | undefined> {
  const headers: Record<string, string> = user === null ? {} : { 'x-rollouts-pin': user };
  await (await world.post(`${path}:predict`, { headers })).text();
  return world.received.at(-1)?.url?.replace(/^\/v1\/(.*):rawPredict$/, '$1');
}

describe('a pin', () => {
  it('decides which endpoint serves, by every path, and nobody goes back as the share grows', async () => {
    const before = new Set<string>();
    for (const percent of [0, 30, 70, 100]) {
      await using world = await startWorld(undefined, { config: pinning(percent) });
      for (const user of users) {
        const expected = isOnSecondSide('test', user, percent) ? second : endpoint;
        expect(await reached(world, user)).toBe(expected);
        expect(await reached(world, user, '/v1/endpoints/delays')).toBe(expected);
        if (before.has(user)) expect(expected).toBe(second);
        if (expected === second) before.add(user);
      }
      expect(before.size).toBe(
        percent === 0 ? 0 : users.filter((user) => isOnSecondSide('test', user, percent)).length,
      );
    }
    expect(before.size).toBe(users.length);
  });

  it('goes no further than the proxy, and is not needed', async () => {
    await using world = await startWorld(undefined, { config: pinning(100) });
    expect(await reached(world, 'ann')).toBe(second);
    expect(JSON.stringify(world.received)).not.toContain('ann"');
    expect(world.received[0]?.headers).not.toHaveProperty('x-rollouts-pin');
    expect(await reached(world, null)).toBe(endpoint);
  });

  it('brings the evidence and the reports to the side that served', async () => {
    const check = {
      name: 'complaints',
      from: { kind: 'reported' as const },
      rule: { kind: 'rate' as const, maxRatio: 0.1, marginRatio: 0.1 },
      dryRun: false,
    };
    const policy = { ...delays, analysis: { ...delays.analysis, checks: [check] } };
    await using world = await startWorld(undefined, {
      config: pinning(100),
      policies: { list: () => Promise.resolve({ policies: [policy], problems: [] }) },
    });
    await reached(world, 'ann');
    const told = await world.post(`${longPath}:report`, {
      headers: { 'x-rollouts-pin': 'ann' },
      body: '{"deployedModelId":"7","outcomes":{"complaints":true}}',
    });
    expect(told.status).toBe(200);
    await world.handler.flush();
    expect(new Set(world.published.map((message) => message.endpoint))).toEqual(new Set([second]));
    expect(
      world.published.flatMap(({ variants }) => Object.values(variants)).map(({ signals }) => signals),
    ).toContainEqual({
      complaints: { hits: 1, trials: 1 },
    });
  });
});
