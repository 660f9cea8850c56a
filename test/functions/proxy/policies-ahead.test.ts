/** Who gets the policies that were asked for ahead of time? */
import { expect, it } from 'vitest';
import { limits } from '../../../functions/engine/limits.ts';
import type { PoliciesPort } from '../../../functions/engine/ports.ts';
import { askedAhead } from '../../../functions/proxy/policies-ahead.ts';

type Listed = Awaited<ReturnType<PoliciesPort['list']>>;

function start() {
  const calls: PromiseWithResolvers<Listed>[] = [];
  const clock = { now: 1000 };
  const list = () => {
    const call = Promise.withResolvers<Listed>();
    calls.push(call);
    return call.promise;
  };
  return { ahead: askedAhead({ list }, () => clock.now), calls, clock };
}

const answer = (problem: string): Listed => ({ policies: [], problems: [problem] });

it('asks at once, and gives that answer to the first alone', async () => {
  const { ahead, calls } = start();
  expect(calls).toHaveLength(1);
  const first = ahead.list();
  expect(calls).toHaveLength(1);
  calls[0]?.resolve(answer('first'));
  expect(await first).toEqual(answer('first'));
  const second = ahead.list();
  calls[1]?.resolve(answer('second'));
  expect(await second).toEqual(answer('second'));
});

it('asks anew for the first, where what was asked ahead failed before', async () => {
  const { ahead, calls } = start();
  calls[0]?.reject(new Error('no store'));
  // Nobody has asked: it is no rejection that nobody handles.
  await new Promise(setImmediate);
  const first = ahead.list();
  expect(calls).toHaveLength(2);
  calls[1]?.resolve(answer('first'));
  expect(await first).toEqual(answer('first'));
});

it('lets nobody wait for a second try', async () => {
  const { ahead, calls } = start();
  const first = ahead.list();
  calls[0]?.reject(new Error('no store'));
  await expect(first).rejects.toThrow('no store');
  expect(calls).toHaveLength(1);
});

it('does not give an answer that nobody wanted for long', async () => {
  const { ahead, calls, clock } = start();
  calls[0]?.resolve(answer('old'));
  clock.now += limits.policiesAheadKeepMs;
  const first = ahead.list();
  calls[1]?.resolve(answer('new'));
  expect(await first).toEqual(answer('new'));
});
