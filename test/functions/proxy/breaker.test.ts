/** Does the breaker break when an upstream is gone, and never for a bad model? */
import { beforeEach, describe, expect, it } from 'vitest';
import { limits } from '../../../functions/engine/limits.ts';
import { createBreaker, type Passage, type Reached } from '../../../functions/proxy/breaker.ts';
import { captureLog } from '../../log.ts';

captureLog();
let at = 0;
let passage: () => Passage;

beforeEach(() => {
  at = 1_000_000;
  passage = createBreaker('one', () => at);
});

function ask(reached: Reached): boolean {
  const taken = passage();
  if (taken.kind === 'broken') return false;
  taken.settle(reached, at);
  return true;
}

function breakIt(): void {
  for (let i = 0; i < limits.breakerFailuresMin; i += 1) ask('failed');
}

describe('a breaker', () => {
  it('breaks when everything fails, and says how long', () => {
    for (let i = 1; i < limits.breakerFailuresMin; i += 1) expect(ask('failed')).toBe(true);
    expect(passage().kind).toBe('open');
    ask('failed');
    expect(passage()).toEqual({ kind: 'broken', retryAfterMs: limits.breakerBackoffMs });
  });

  it.for([5, 25, 50])(
    'stays whole when a canary that has %d percent of the requests fails on all of them',
    (percent) => {
      for (let i = 0; i < 10_000; i += 1) {
        at += 1;
        expect(ask((i * 7919) % 100 < percent ? 'failed' : 'reached')).toBe(true);
      }
    },
  );

  it('stays whole when a few fail now and then, and when callers leave', () => {
    for (let i = 0; i < 1000; i += 1) {
      at += 1000;
      expect(ask('failed')).toBe(true);
    }
    at += limits.breakerWindowMs;
    for (let i = 0; i < 1000; i += 1) expect(ask('unknown')).toBe(true);
  });

  it('lets one request through after the back-off, and all when that one gets there', () => {
    breakIt();
    at += limits.breakerBackoffMs - 1;
    expect(passage()).toEqual({ kind: 'broken', retryAfterMs: 1 });
    at += 1;
    const probe = passage();
    expect([probe.kind, passage().kind]).toEqual(['open', 'broken']);
    if (probe.kind === 'open') probe.settle('reached', at);
    for (let i = 1; i < limits.breakerFailuresMin; i += 1) expect(ask('failed')).toBe(true);
  });

  it('waits twice as long after each probe that fails, up to a minute', () => {
    breakIt();
    const waits = [];
    for (let i = 0; i < 8; i += 1) {
      const taken = passage();
      if (taken.kind === 'broken') waits.push(taken.retryAfterMs / 1000);
      at += taken.kind === 'broken' ? taken.retryAfterMs : 0;
      expect(ask('failed')).toBe(true);
    }
    expect(waits).toEqual([2, 4, 8, 16, 32, 60, 60, 60]);
  });

  it('probes again when the caller of the probe left', () => {
    breakIt();
    at += limits.breakerBackoffMs;
    expect([ask('unknown'), ask('reached'), ask('reached')]).toEqual([true, true, true]);
  });

  it('is not mended, nor broken again, by requests that began before it broke', () => {
    const early = Array.from({ length: 2 + limits.breakerFailuresMin }, () => passage());
    const settle = (taken: Passage, reached: Reached): void => {
      if (taken.kind === 'open') taken.settle(reached, at);
    };
    breakIt();
    for (const [i, taken] of early.slice(0, 2).entries()) settle(taken, i === 0 ? 'reached' : 'failed');
    expect(passage()).toEqual({ kind: 'broken', retryAfterMs: limits.breakerBackoffMs });
    at += limits.breakerBackoffMs;
    expect(ask('reached')).toBe(true);
    for (const taken of early.slice(2)) settle(taken, 'failed');
    expect(passage().kind).toBe('open');
  });

  it('counts anew, and asks again at once, when the clock was set back', () => {
    for (let i = 0; i < 1000; i += 1) ask('reached');
    at -= 1_800_000;
    breakIt();
    expect(passage().kind).toBe('broken');
    at -= 1_800_000;
    expect([ask('reached'), ask('reached')]).toEqual([true, true]);
  });
});
