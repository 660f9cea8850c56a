/** Does a deadline pass once, not before its time nor long after it, and never when what it guards is over? */
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { limits } from '../../../functions/engine/limits.ts';
import { beginDeadline, type Deadline, endDeadline } from '../../../functions/proxy/deadline.ts';

describe('a deadline', () => {
  it('passes once, in the order of time, and not before it', async () => {
    const begun = performance.now();
    const passed: { name: string; ms: number }[] = [];
    const pass = (name: string) => () => passed.push({ name, ms: performance.now() - begun });
    beginDeadline(400, pass('long'));
    beginDeadline(50, pass('short'));
    await expect.poll(() => passed.length, { timeout: 5000 }).toBe(2);
    await sleep(3 * limits.deadlineLookMs);
    expect(passed.map(({ name }) => name)).toEqual(['short', 'long']);
    const [short = 0, long = 0] = passed.map(({ ms }) => ms);
    expect(short).toBeGreaterThanOrEqual(50);
    expect(long).toBeGreaterThanOrEqual(400);
  });

  it('that was ended does not pass, though those around it do; ended twice, it harms no other', async () => {
    const passed: string[] = [];
    const [first, second] = ['first', 'second', 'third'].map((name) => beginDeadline(20, () => passed.push(name)));
    for (const ended of [second, second, first, second]) if (ended !== undefined) endDeadline(ended);
    await expect.poll(() => passed, { timeout: 5000 }).toEqual(['third']);
    await sleep(2 * limits.deadlineLookMs);
    expect(passed).toEqual(['third']);
  });

  it('that passes may end others of its time, and begin new ones', async () => {
    const passed: string[] = [];
    const others: Deadline[] = [];
    beginDeadline(20, () => {
      passed.push('first');
      for (const other of others) endDeadline(other);
      beginDeadline(20, () => passed.push('new'));
    });
    others.push(
      beginDeadline(20, () => passed.push('ended')),
      beginDeadline(20, () => passed.push('ended')),
    );
    beginDeadline(20, () => passed.push('last'));
    await expect.poll(() => passed, { timeout: 5000 }).toEqual(['first', 'last', 'new']);
  });

  it('is looked at again after a rest', async () => {
    for (const round of [1, 2]) {
      const passed = await new Promise((resolve) => beginDeadline(10, () => resolve(round)));
      expect(passed).toBe(round);
      await sleep(2 * limits.deadlineLookMs);
    }
  });
});
