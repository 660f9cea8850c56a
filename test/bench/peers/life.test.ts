import { describe, expect, it } from 'vitest';
import { hardCells, plainCells } from '../../../cli/simulate/cells.ts';
import { liveByRule } from './life.ts';
import { type Look, type Rule, rollBack, stay } from './rule.ts';

const cell = (name: string) => {
  const found = [...plainCells, ...hardCells].find((one) => one.name === name);
  if (found === undefined) throw new Error(`no cell "${name}"`);
  return found;
};

/** Keeps its share for ten minutes and remembers what it was shown. */
function watcher(looks: Look[]): Rule {
  return {
    name: 'watcher',
    firstPercent: 10,
    begin: () => (look) => {
      looks.push({ ...look, minutes: [...look.minutes] });
      return look.heldMinutes < 15 ? stay : rollBack('enough');
    },
  };
}

describe('a life by another rule', () => {
  it('is shown a minute three minutes after it ended, and what a gap swallowed never', () => {
    const looks: Look[] = [];
    liveByRule(watcher(looks), cell('8 min data gap'), 1);
    expect(looks.slice(0, 6).map(({ minutes }) => minutes.length)).toEqual([0, 0, 0, 0, 1, 2]);
    expect(looks.at(-1)?.minutes.map((minute) => minute === null)).toEqual(
      Array.from({ length: 12 }, (_, minute) => minute >= 5),
    );
  });

  it('is the same for the same seed, and its harm is what the canary served beyond stable', () => {
    const rule = watcher([]);
    const life = liveByRule(rule, cell('30 v 1 %'), 7);
    expect(liveByRule(rule, cell('30 v 1 %'), 7)).toEqual(life);
    expect(life.end).toBe('rolledBack');
    expect(life.detectionSeconds).toBe(15 * 60);
    expect(life.excessErrors).toBeCloseTo(life.exposure * 0.29, 6);
    // 15 min of 20 requests a second, a tenth of them.
    expect(life.exposure).toBeGreaterThan(1600);
    expect(life.exposure).toBeLessThan(2000);
  });

  it('counts harm at 100 % until the rollout ends', () => {
    const rule: Rule = {
      name: 'all at once',
      firstPercent: 5,
      begin: () => (look) =>
        look.percent === 5 ? { kind: 'shift', percent: 100 } : look.heldMinutes < 2 ? stay : { kind: 'complete' },
    };
    const life = liveByRule(rule, cell('100 % 20 rps'), 1);
    expect(life).toMatchObject({ end: 'proven', minutes: 2, minutesTo100: 0, detectionSeconds: null });
    expect(life.exposure).toBeGreaterThan(2000);
  });
});
