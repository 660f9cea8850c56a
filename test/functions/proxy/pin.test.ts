/** Does everybody stay on their side? */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createPinning, isOnSecondSide, pinningConfigSchema } from '../../../functions/proxy/pin.ts';
import { delays, endpoint } from './proxy-world.ts';

const second = 'projects/demo/locations/us-central1/endpoints/789';
const target = { policy: delays, endpoint, name: { project: 'demo', location: 'us-central1', id: '456' } };
const percents = fc.double({ min: 0, max: 100, noNaN: true });

describe('sides', () => {
  it('are nested: a growing share moves nobody back', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), percents, percents, (salt, pin, one, other) => {
        const [less, more] = [Math.min(one, other), Math.max(one, other)];
        if (isOnSecondSide(salt, pin, less)) expect(isOnSecondSide(salt, pin, more)).toBe(true);
      }),
    );
  });

  it('hold nobody at 0 %, and everybody at 100 %', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (salt, pin) => {
        expect([isOnSecondSide(salt, pin, 0), isOnSecondSide(salt, pin, 100)]).toEqual([false, true]);
      }),
    );
  });

  it.for([0.5, 5, 25, 50, 99])('hold their share of many users: %d %', (percent) => {
    const users = Array.from({ length: 20_000 }, (_, i) => `user-${i}`);
    const held = users.filter((user) => isOnSecondSide('salt', user, percent)).length;
    const share = percent / 100;
    const deviation = Math.sqrt(users.length * share * (1 - share));
    expect(Math.abs(held - users.length * share)).toBeLessThan(4 * deviation);
  });

  it('are the same on every instance and in every version', () => {
    // Of SHA-256 over ["delays","ann"]: python3 -c 'import hashlib;
    // print(int(hashlib.sha256(b"""["delays","ann"]""").hexdigest()[:12], 16) % 10000)'
    expect([isOnSecondSide('delays', 'ann', 6342 / 100), isOnSecondSide('delays', 'ann', (6342 + 1) / 100)]).toEqual([
      false,
      true,
    ]);
  });

  it('are drawn anew by another salt', () => {
    const users = Array.from({ length: 1000 }, (_, i) => `user-${i}`);
    const both = users.filter((user) => isOnSecondSide('one', user, 50) && isOnSecondSide('two', user, 50)).length;
    expect(both).toBeGreaterThan(150);
    expect(both).toBeLessThan(350);
  });
});

describe('a rule', () => {
  const pinning = (rule: object) =>
    createPinning(pinningConfigSchema.parse([{ alias: 'delays', to: second, percent: 100, ...rule }]));
  const asking = (pin?: string) => ({ headers: pin === undefined ? {} : { 'x-rollouts-pin': pin }, caller: 'partner' });

  it('sends who is pinned to the second endpoint, under the same policy', () => {
    expect(pinning({})(target, asking('ann'))).toEqual({
      policy: delays,
      endpoint: second,
      name: { project: 'demo', location: 'us-central1', id: '789' },
    });
    expect(pinning({ percent: 0 })(target, asking('ann'))).toBe(target);
  });

  it('leaves who brings no pin, and every other policy, where it is', () => {
    expect(pinning({})(target, asking())).toBe(target);
    expect(pinning({})(target, asking(''))).toBe(target);
    expect(pinning({ alias: 'other' })(target, asking('ann'))).toBe(target);
  });

  it('can pin whoever calls, whatever the header says', () => {
    const sideOf = pinning({ by: 'caller', percent: 50 });
    const sides = ['ann', 'bob', 'cid', 'dan'].map((pin) => sideOf(target, asking(pin)).endpoint);
    expect(new Set(sides).size).toBe(1);
    expect(sides[0]).toBe(isOnSecondSide(`delays ${second}`, 'partner', 50) ? second : endpoint);
  });

  it.for([{ to: 'endpoints/7' }, { percent: 101 }, { percent: -1 }, { by: 'cookie' }, { unknown: 1 }])(
    'is refused when it makes no sense: %j',
    (rule) => {
      expect(pinningConfigSchema.safeParse([{ alias: 'delays', to: second, percent: 100, ...rule }]).success).toBe(
        false,
      );
    },
  );
});
