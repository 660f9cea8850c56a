/** Does the list of endpoints stay fresh without making predictions wait? */
import { describe, expect, it } from 'vitest';
import { createServedEndpoints, type ServedEndpoint } from '../../../functions/proxy/endpoints.ts';
import type { Policy } from '../../../machines/policy/policy.ts';
import { captureLog } from '../../log.ts';
import { delays } from './proxy-world.ts';

const logged = captureLog();
const other: Policy = { ...delays, name: 'other', endpoint: 'projects/demo/locations/us-central1/endpoints/9' };
const alias = (name: string) => ({ kind: 'alias', alias: name, verb: 'predict' }) as const;

/** A list that answers when it is told to. */
function startList(): {
  find: (path: ReturnType<typeof alias>) => ServedEndpoint | null | Promise<ServedEndpoint | null>;
  isWhole: () => boolean;
  problems: string[];
  calls: PromiseWithResolvers<Policy[]>[];
  clock: { now: number };
} {
  const calls: PromiseWithResolvers<Policy[]>[] = [];
  const problems: string[] = [];
  const clock = { now: 0 };
  const list = async () => {
    const call = Promise.withResolvers<Policy[]>();
    calls.push(call);
    return { policies: await call.promise, problems: [...problems] };
  };
  const served = createServedEndpoints({ list }, () => clock.now, 30_000);
  return { find: (path) => served.find(path, clock.now), isWhole: () => served.isWhole(), problems, calls, clock };
}

async function startWith(policies: Policy[]): Promise<ReturnType<typeof startList>> {
  const started = startList();
  const first = started.find(alias('delays'));
  started.calls[0]?.resolve(policies);
  await first;
  return started;
}

describe('the list of endpoints', () => {
  it('is read once for all who ask at the same time', async () => {
    const { find, calls } = startList();
    const asked = [find(alias('delays')), find(alias('delays')), find(alias('other'))];
    calls[0]?.resolve([delays]);
    const found = await Promise.all(asked.map((each) => Promise.resolve(each)));
    expect(found.map((each) => each?.endpoint)).toEqual([delays.endpoint, delays.endpoint, undefined]);
    expect(calls).toHaveLength(1);
  });

  it('is not read again while it is fresh', async () => {
    const { find, calls, clock } = await startWith([delays]);
    clock.now = 29_999;
    expect(await find(alias('delays'))).not.toBeNull();
    expect(await find(alias('nobody'))).toBeNull();
    expect(calls).toHaveLength(1);
  });

  it('serves on while a new one is read', async () => {
    const { find, calls, clock } = await startWith([delays]);
    clock.now = 30_000;
    expect(find(alias('delays'))).toMatchObject({ endpoint: delays.endpoint });
    expect(calls).toHaveLength(2);
  });

  it('lets only those wait for the new one who ask for what the old one lacks', async () => {
    const { find, calls, clock } = await startWith([delays]);
    clock.now = 30_000;
    const found = find(alias('other'));
    calls[1]?.resolve([delays, other]);
    expect((await found)?.endpoint).toBe(other.endpoint);
  });

  it('forgets an endpoint that no policy names any more', async () => {
    const { find, calls, clock } = await startWith([delays]);
    clock.now = 30_000;
    const missing = find(alias('nobody'));
    calls[1]?.resolve([other]);
    await missing;
    expect(await find(alias('delays'))).toBeNull();
  });

  it('serves on what a policy named that is not understood any more, and says so once', async () => {
    const { find, isWhole, problems, calls, clock } = await startWith([delays, other]);
    expect(isWhole()).toBe(true);
    problems.push('delays: spec.strategy: expected one of canary');
    for (const [i, renewed] of [[other], [], [delays]].entries()) {
      clock.now += 30_000;
      const missing = find(alias('nobody'));
      calls[i + 1]?.resolve(renewed);
      expect(await missing).toBeNull();
      expect([await find(alias('delays')), await find(alias('other'))]).not.toContain(null);
      expect(isWhole()).toBe(false);
    }
    expect(logged.filter((line) => line.includes('does not understand all policies'))).toHaveLength(1);
    expect(logged.join('')).toContain('expected one of canary');
    problems.length = 0;
    clock.now += 30_000;
    const missing = find(alias('other'));
    calls[4]?.resolve([delays]);
    await missing;
    clock.now += 1;
    expect([await find(alias('delays')), await find(alias('other')), isWhole()]).toEqual([
      expect.anything(),
      null,
      true,
    ]);
  });

  it('stays as it is when the new one cannot be read, and is not asked for at every request', async () => {
    const { find, calls, clock } = await startWith([delays]);
    clock.now = 30_000;
    const missing = find(alias('nobody'));
    calls[1]?.reject(new Error('down'));
    expect(await missing).toBeNull();
    expect(await find(alias('delays'))).not.toBeNull();
    expect(calls).toHaveLength(2);
  });

  it('leaves out a policy whose endpoint is no endpoint', async () => {
    const { find } = await startWith([{ ...delays, endpoint: 'somewhere' }, other]);
    expect(await find(alias('delays'))).toBeNull();
    expect(await find(alias('other'))).not.toBeNull();
  });
});
