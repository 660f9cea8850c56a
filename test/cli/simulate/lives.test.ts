import { describe, expect, it } from 'vitest';
import { type Cell, hardCells, harmLimit, plainCells } from '../../../cli/simulate/cells.ts';
import { liveOnce, manyProxies, sources, studyPolicy } from '../../../cli/simulate/lives.ts';
import { upperBound } from '../../../cli/chance.ts';
import { summarise } from '../../../cli/simulate/study.ts';

const monitoring = studyPolicy(sources.monitoring);
const proxy = studyPolicy(sources.proxy);
const many = studyPolicy(manyProxies);

function cell(name: string): Cell {
  const found = [...plainCells, ...hardCells].find((one) => one.name === name);
  if (found === undefined) throw new Error(`no cell ${name}`);
  return found;
}

describe('a life', () => {
  it('is the same for the same seed, and another for another', () => {
    const one = () => liveOnce(proxy, cell('10 v 1 %'), 3, sources.proxy);
    expect(one()).toEqual(one());
    expect(liveOnce(proxy, cell('10 v 1 %'), 4, sources.proxy).exposure).not.toBe(one().exposure);
  });

  it('of a good canary ends at 100 %, proven', () => {
    const life = liveOnce(monitoring, cell('1 % 20 rps'), 1, sources.monitoring);
    expect(life).toMatchObject({ end: 'proven', excessErrors: 0, detectionSeconds: null });
    expect(life.minutesTo100).toBeGreaterThanOrEqual(15);
    expect(life.minutesTo100).toBeLessThanOrEqual(30);
  });

  it('of a bad one is rolled back, sooner where a proxy reports', () => {
    const failing = cell('100 % 20 rps');
    const late = liveOnce(monitoring, failing, 1, sources.monitoring);
    const soon = liveOnce(studyPolicy(sources.both), failing, 1, sources.both);
    expect([late.end, soon.end]).toEqual(['rolledBack', 'rolledBack']);
    expect(soon.reason).toContain('(proxy)');
    expect(late.detectionSeconds).toBeGreaterThan(300);
    expect(soon.detectionSeconds).toBeLessThanOrEqual(30);
    // Every one of its requests was one too many, but for the one in a hundred that stable fails too.
    expect(soon.excessErrors).toBeCloseTo(soon.exposure * 0.99);
  });

  it('takes a burst that twenty instances of a proxy see for one', () => {
    const busy = { ...cell('restarts'), traffic: { requestsPerSecond: 200, shape: () => 1 } };
    const ends = Array.from({ length: 10 }, (_, i) => liveOnce(many, busy, i + 1, manyProxies).end);
    expect(ends.filter((end) => end !== 'proven')).toEqual([]);
    const bad = liveOnce(many, cell('100 % 20 rps'), 1, manyProxies);
    expect(bad.end).toBe('rolledBack');
    expect(bad.detectionSeconds).toBeLessThanOrEqual(30);
  });

  it('reads nothing of a gap, and no time that was before a step', () => {
    const life = liveOnce(monitoring, cell('8 min data gap'), 1, sources.monitoring);
    expect(life.end).toBe('proven');
    expect(life.minutesTo100).toBeGreaterThan(20);
  });

  it('goes on after the canary is proven where the cell says so', () => {
    const life = liveOnce(monitoring, cell('onset at 100 %'), 1, sources.monitoring);
    expect(life.end).toBe('contained');
    expect(life.reason).toContain('As before, it fails where it serves alone');
    expect(life.minutesTo100).not.toBeNull();
  });
});

describe('the limit', () => {
  it('is the worked value of the docstring', () => {
    const terms = { falseRollbackRatio: 0.01, marginRatio: 0.005, lagSeconds: 180, firstPercent: 5 };
    expect(harmLimit(cell('3 v 1 % 20 rps'), terms)).toBeCloseTo(19.19, 1);
    expect(harmLimit(cell('1 % 20 rps'), terms)).toBeNull();
  });
});

describe('a study', () => {
  it('bounds what chance hides as scipy 1.17.1 does', () => {
    expect(upperBound(0, 300)).toBeCloseTo(0.009936081944457708, 9);
    expect(upperBound(3, 300)).toBeCloseTo(0.025641393082609616, 9);
    expect(upperBound(10, 100)).toBeCloseTo(0.16371762327581477, 9);
    expect(upperBound(5, 5)).toBe(1);
  });

  it('counts ends, and takes the median of those that came to 100 % only where most did', () => {
    const life = liveOnce(proxy, cell('1 % 20 rps'), 1, sources.proxy);
    const lost = { ...life, end: 'rolledBack' as const, minutesTo100: null };
    const study = summarise(proxy, cell('1 % 20 rps'), sources.proxy, [life, lost, lost]);
    const bad = summarise(proxy, cell('onset at 100 %'), sources.proxy, [{ ...life, end: 'contained' }, lost, life]);
    expect([bad.missed, bad.ends]).toEqual([1, { contained: 1, rolledBack: 1, proven: 1 }]);
    expect(study).toMatchObject({ falseRollbacks: 2, lives: 3, minutesTo100Median: null, limit: null });
    expect(study.ends).toEqual({ proven: 1, rolledBack: 2 });
  });
});

describe('the rule', () => {
  it.each(['1 % 20 rps', '0.1 % 20 rps', '1 % noisy', 'early outage'])('leaves a good canary alone: %s', (name) => {
    for (let seed = 1; seed <= 8; seed += 1)
      expect(liveOnce(proxy, cell(name), seed, sources.proxy).end).not.toBe('rolledBack');
  });

  it.each(['100 % 20 rps', '30 v 1 %', '10 v 1 %', '3 v 1 % 500 rps', 'only above 25 % load', 'slow: 20 v 2 %'])(
    'finds a bad one: %s',
    (name) => {
      for (let seed = 1; seed <= 8; seed += 1)
        expect(liveOnce(proxy, cell(name), seed, sources.proxy).end).toBe('rolledBack');
    },
  );
});
