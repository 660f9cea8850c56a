/** How often is a rule wrong, and what does that cost? Many lives of each cell, counted, with bounds on what chance hides. */
import type { Policy } from '../../machines/policy/policy.ts';
import { upperBound } from '../chance.ts';
import { type Cell, harmLimit } from './cells.ts';
import { type LifeResult, liveOnce, type Source } from './lives.ts';

export interface CellStudy {
  cell: string;
  isHealthy: boolean;
  source: string;
  lives: number;
  /** Lives of a healthy canary that ended in a rollback, and what their rate is at most (Clopper and Pearson, 95 %). */
  falseRollbacks: number;
  falseRollbackRatioMax: number;
  /** Lives of a bad canary that did not end in a rollback, and so on. */
  missed: number;
  missedRatioMax: number;
  harmMean: number;
  harmMedian: number;
  /** What no rule can avoid, and how many times of it is done on average; null for healthy cells. */
  limit: number | null;
  harmRatio: number | null;
  detectionSecondsMedian: number | null;
  /** Null where fewer than half came there. */
  minutesTo100Median: number | null;
  /** How lives ended: counts by end. */
  ends: Partial<Record<LifeResult['end'], number>>;
  /** A reason of an end that was wrong, for whoever looks into it. */
  example: string | null;
}

/** Lives `lives` lives with seeds from `seed` on. */
export function studyCell(policy: Policy, cell: Cell, source: Source, lives: number, seed: number): CellStudy {
  const results = Array.from({ length: lives }, (_, i) => liveOnce(policy, cell, seed + i * 7919, source));
  return summarise(policy, cell, source, results);
}

/** Counts lives that were lived by any rule. */
export function summarise(policy: Policy, cell: Cell, source: Source, results: LifeResult[]): CellStudy {
  const lives = results.length;
  const rolledBack = results.filter(({ end }) => end === 'rolledBack').length;
  const caught = results.filter(isCaught);
  const missed = lives - caught.length;
  const harms = results.map(({ excessErrors }) => excessErrors).toSorted((a, b) => a - b);
  const harmMean = harms.reduce((sum, harm) => sum + harm, 0) / lives;
  const limit = harmLimit(cell, {
    falseRollbackRatio: policy.analysis.falseRollbackRatio,
    marginRatio: policy.analysis.errorRate.marginRatio,
    lagSeconds: source.proxySeconds ?? source.lagSeconds,
    firstPercent: policy.steps[0]?.percent ?? 100,
  });
  const ends: CellStudy['ends'] = {};
  for (const { end } of results) ends[end] = (ends[end] ?? 0) + 1;
  const wrong = results.find((result) => (cell.isHealthy ? result.end === 'rolledBack' : !isCaught(result)));
  return {
    cell: cell.name,
    isHealthy: cell.isHealthy,
    source: source.name,
    lives,
    falseRollbacks: cell.isHealthy ? rolledBack : 0,
    falseRollbackRatioMax: cell.isHealthy ? upperBound(rolledBack, lives) : 0,
    missed: cell.isHealthy ? 0 : missed,
    missedRatioMax: cell.isHealthy ? 0 : upperBound(missed, lives),
    harmMean,
    harmMedian: harms[Math.floor(lives / 2)] ?? 0,
    limit,
    harmRatio: limit === null ? null : harmMean / limit,
    detectionSecondsMedian: median(caught.map(({ detectionSeconds }) => detectionSeconds)),
    minutesTo100Median: medianOfAll(results.map(({ minutesTo100 }) => minutesTo100)),
    ends,
    example: wrong?.reason ?? null,
  };
}

/** Taken off, or taken back to a share where it does no harm, with a person told. */
function isCaught({ end }: LifeResult): boolean {
  return end === 'rolledBack' || end === 'contained';
}

function median(values: (number | null)[]): number | null {
  const known = values.filter((value) => value !== null).toSorted((a, b) => a - b);
  return known[Math.floor(known.length / 2)] ?? null;
}

function medianOfAll(values: (number | null)[]): number | null {
  const ordered = values.toSorted((a, b) => (a ?? Number.POSITIVE_INFINITY) - (b ?? Number.POSITIVE_INFINITY));
  return ordered[Math.floor(ordered.length / 2)] ?? null;
}
