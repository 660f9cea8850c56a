/** Does the breaker break when an upstream is gone, and never for a bad model? */
import { beforeEach, describe, expect, it } from 'vitest';
import { limits } from '../../../functions/engine/limits.ts';
import { createBreakers, type Passage, type Reached } from '../../../functions/proxy/breaker.ts';
import { captureLog } from '../../log.ts';

captureLog();
let at = 0;
let passageTo: (endpoint: string) => Passage;

beforeEach(() => {
  at = 1_000_000;
  passageTo = createBreakers(() => at);
});

function ask(reached: Reached, endpoint = 'one'): boolean {
  const passage = passageTo(endpoint);
  if (passage.kind === 'broken') return false;
  passage.settle(reached);
  return true;
}

function breakIt(): void {
  for (let i = 0; i < limits.breakerFailuresMin; i += 1) ask('failed');
}

describe('a breaker', () => {
  it('breaks when everything fails, for its endpoint alone, and says how long', () => {
    for (let i = 1; i < limits.breakerFailuresMin; i += 1) expect(ask('failed')).toBe(true);
    expect(passageTo('one').kind).toBe('open');
    ask('failed');
    expect(passageTo('one')).toEqual({ kind: 'broken', retryAfterMs: limits.breakerBackoffMs });
    expect(ask('reached', 'two')).toBe(true);
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
    expect(passageTo('one')).toEqual({ kind: 'broken', retryAfterMs: 1 });
    at += 1;
    const probe = passageTo('one');
    expect([probe.kind, passageTo('one').kind]).toEqual(['open', 'broken']);
    if (probe.kind === 'open') probe.settle('reached');
    for (let i = 1; i < limits.breakerFailuresMin; i += 1) expect(ask('failed')).toBe(true);
  });

  it('waits twice as long after each probe that fails, up to a minute', () => {
    breakIt();
    const waits = [];
    for (let i = 0; i < 8; i += 1) {
      const passage = passageTo('one');
      if (passage.kind === 'broken') waits.push(passage.retryAfterMs / 1000);
      at += passage.kind === 'broken' ? passage.retryAfterMs : 0;
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
    const early = [passageTo('one'), passageTo('one')];
    breakIt();
    for (const [i, passage] of early.entries()) {
      if (passage.kind === 'open') passage.settle(i === 0 ? 'reached' : 'failed');
    }
    expect(passageTo('one')).toEqual({ kind: 'broken', retryAfterMs: limits.breakerBackoffMs });
  });
});
