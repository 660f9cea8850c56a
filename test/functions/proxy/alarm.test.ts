/** Does the local test go off for the one that is worse, and only for it? */
import { describe, expect, it } from 'vitest';
import { createAlarm } from '../../../functions/proxy/alarm.ts';

/** Answers at an even pace; each id's share of them and how many of its own fail. */
interface Traffic {
  seconds: number;
  perSecond: number;
  shares: Record<string, number>;
  failing: Record<string, number>;
}

/** In how many seconds the alarm goes off, for each time that it does. */
function runs(alarm: ReturnType<typeof createAlarm>, startAt: number, traffic: Traffic, draw: () => number): number[] {
  const { seconds, perSecond, shares, failing } = traffic;
  const wentOff: number[] = [];
  for (let i = 0; i < seconds * perSecond; i += 1) {
    const drawn = draw();
    let sum = 0;
    const [id = ''] = Object.entries(shares).find(([, share]) => drawn < (sum += share)) ?? [];
    const atMs = (i * 1000) / perSecond;
    if (alarm.saw(id, draw() < (failing[id] ?? 0), startAt + atMs)) wentOff.push(atMs / 1000);
  }
  return wentOff;
}

/** Mulberry32: the same numbers in [0, 1) for the same seed. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

const seeds = Array.from({ length: 20 }, (_, i) => i + 1);

describe('the alarm', () => {
  it('goes off within two seconds when a twentieth of 200 requests a second fail by half', () => {
    for (const seed of seeds) {
      const draw = seeded(seed);
      const alarm = createAlarm();
      runs(alarm, 0, { seconds: 60, perSecond: 200, shares: { '7': 1 }, failing: { '7': 0.001 } }, draw);
      const shares = { '8': 0.05, '7': 0.95 };
      const [first] = runs(
        alarm,
        60_000,
        { seconds: 10, perSecond: 200, shares, failing: { '7': 0.001, '8': 0.5 } },
        draw,
      );
      expect(first).toBeLessThan(2);
    }
  });

  it('goes off for what serves alone and was well for hours', () => {
    for (const seed of seeds.slice(0, 5)) {
      const draw = seeded(seed);
      const alarm = createAlarm();
      runs(alarm, 0, { seconds: 7_200, perSecond: 20, shares: { '8': 1 }, failing: { '8': 0.001 } }, draw);
      const failing = { '8': 0.5 };
      const [first] = runs(alarm, 7_200_000, { seconds: 60, perSecond: 20, shares: { '8': 1 }, failing }, draw);
      expect(first).toBeLessThan(60);
    }
  });

  it('seldom goes off where both are equally good', () => {
    const failing = { '7': 0.01, '8': 0.01 };
    const traffic = { seconds: 600, perSecond: 50, shares: { '8': 0.1, '7': 0.9 }, failing };
    const falsely = seeds.filter((seed) => runs(createAlarm(), 0, traffic, seeded(seed)).length > 0);
    expect(falsely.length).toBeLessThanOrEqual(4);
  });

  it('goes off once in a watch for each one that is worse, and again in the next', () => {
    const shares = { '8': 0.5, '7': 0.5 };
    const traffic = { seconds: 599, perSecond: 20, shares, failing: { '8': 0.9 } };
    const alarm = createAlarm();
    expect(runs(alarm, 0, traffic, seeded(1))).toHaveLength(1);
    expect(runs(alarm, 600_000, traffic, seeded(2))).toHaveLength(1);
  });

  it('goes on when the clock is set back', () => {
    const shares = { '8': 0.5, '7': 0.5 };
    const alarm = createAlarm();
    runs(alarm, 3_600_000, { seconds: 10, perSecond: 20, shares, failing: {} }, seeded(1));
    expect(runs(alarm, 0, { seconds: 10, perSecond: 20, shares, failing: { '8': 0.9 } }, seeded(2))).toHaveLength(1);
  });
});
