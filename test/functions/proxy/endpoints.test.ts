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
  documents: [string, Policy | null][];
  problems: string[];
  calls: PromiseWithResolvers<Policy[]>[];
  clock: { now: number };
} {
  const calls: PromiseWithResolvers<Policy[]>[] = [];
  const documents: [string, Policy | null][] = [];
  const problems: string[] = [];
  const clock = { now: 0 };
  const list = async () => {
    const call = Promise.withResolvers<Policy[]>();
    calls.push(call);
    return { policies: await call.promise, problems: [...problems], documents: new Map(documents) };
  };
  const served = createServedEndpoints({ list }, () => clock.now, 30_000);
  return {
    find: (path) => served.find(path, clock.now),
    isWhole: () => served.isWhole(),
    documents,
    problems,
    calls,
    clock,
  };
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

  it('serves on what a document said that is not understood any more, and not what a document said that is gone', async () => {
    const third: Policy = { ...other, name: 'third' };
    const started = await startWith([delays, other, third]);
    const { find, isWhole, documents, problems, calls, clock } = started;
    const names = ['delays', 'other', 'third'];
    const renew = async (...policies: Policy[]): Promise<string[]> => {
      clock.now += 30_000;
      const missing = find(alias('nobody'));
      calls.at(-1)?.resolve(policies);
      expect(await missing).toBeNull();
      return names.filter((name) => find(alias(name)) !== null);
    };
    documents.push(['a', delays], ['b', other], ['c', third]);
    expect(await renew(delays, other, third)).toEqual(names);
    expect(isWhole()).toBe(true);
    documents[0] = ['a', null];
    problems.push('a: spec.strategy: expected one of canary');
    expect(await renew(other, third)).toEqual(names);
    documents.pop();
    expect(await renew(other)).toEqual(['delays', 'other']);
    expect(await renew(other)).toEqual(['delays', 'other']);
    expect(isWhole()).toBe(false);
    documents.pop();
    expect(await renew()).toEqual(['delays']);
    const told = logged.filter((line) => line.includes('does not understand all policies'));
    expect(told).toEqual([expect.stringContaining('"servedOn":["delays"]')]);
    documents[0] = ['a', { ...delays, name: 'other' }];
    problems.length = 0;
    expect(await renew({ ...delays, name: 'other' })).toEqual(['other']);
    expect(isWhole()).toBe(true);
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
