import { describe, expect, it } from 'vitest';
import type { CellStudy } from '../../../cli/simulate/study.ts';
import { cellsBehind } from '../decisions.ts';
import { cellTable, entry, type Line, ruleTable } from './table.ts';

const blank: CellStudy = {
  cell: 'x',
  isHealthy: false,
  source: 'Monitoring',
  lives: 100,
  falseRollbacks: 0,
  falseRollbackRatioMax: 0,
  missed: 0,
  missedRatioMax: 0,
  harmMean: 50,
  harmMedian: 50,
  limit: 25,
  harmRatio: 2,
  detectionSecondsMedian: null,
  minutesTo100Median: null,
  ends: {},
  example: null,
};
const healthy = (falseRollbacks: number): CellStudy => ({
  ...blank,
  isHealthy: true,
  falseRollbacks,
  falseRollbackRatioMax: 0.0295,
  minutesTo100Median: 18,
});
const line = (rule: string, falseRollbacks: number, harmMean: number, missed = 0): Line => ({
  rule,
  studies: [healthy(falseRollbacks), { ...blank, harmMean, missed }],
});

describe('the table', () => {
  it('says false rollbacks with their bound and the minutes, harm with its ratio, and what was missed', () => {
    expect(entry(healthy(0))).toBe('0 (2.95) / 18');
    expect(entry({ ...healthy(12), minutesTo100Median: null })).toBe('12 (2.95) / –');
    expect(entry(blank)).toBe('50 ×2');
    expect(entry({ ...blank, harmMean: 1234.56, missed: 31 })).toBe('1235 ×2 (31)');
  });

  it('has a line per rule, or a line per cell', () => {
    expect(ruleTable([{ rule: 'ours', studies: [blank] }])).toBe('| rule | x |\n| --- | --- |\n| ours | 50 ×2 |');
    expect(cellTable([{ rule: 'ours', studies: [blank] }])).toBe('| cell | ours |\n| --- | --- |\n| x | 50 ×2 |');
  });
});

describe('a cell is behind another rule', () => {
  const ours = line('Monitoring', 0, 50);

  it('when that rule harms less there, and rolls no more healthy canaries back', () => {
    expect(cellsBehind([ours, line('another', 0, 49)])).toBe(1);
  });

  it('but not when it harms as much, misses more, or rolls back more', () => {
    expect(cellsBehind([ours, line('another', 0, 50)])).toBe(0);
    expect(cellsBehind([ours, line('another', 0, 49, 1)])).toBe(0);
    expect(cellsBehind([ours, line('another', 1, 49)])).toBe(0);
  });
});
