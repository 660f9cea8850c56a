/** How do studies look to a reader? Tables in Markdown: healthy canaries and bad ones, a line per rule or per cell. */
import type { CellStudy } from '../../../cli/simulate/study.ts';

/** A rule's studies, one per cell, in the order of the cells. */
export interface Line {
  rule: string;
  studies: readonly CellStudy[];
}

/** A column per cell, a line per rule. The first line's cells are every line's. */
export function ruleTable(lines: readonly Line[]): string {
  const cells = lines[0]?.studies.map(({ cell }) => cell) ?? [];
  return markdown([['rule', ...cells], ...lines.map(({ rule, studies }) => [rule, ...studies.map(entry)])]);
}

/** A column per rule, a line per cell. */
export function cellTable(lines: readonly Line[]): string {
  const rows = (lines[0]?.studies ?? []).map(({ cell }, i) => [
    cell,
    ...lines.map(({ studies }) => {
      const study = studies[i];
      return study === undefined ? '' : entry(study);
    }),
  ]);
  return markdown([['cell', ...lines.map(({ rule }) => rule)], ...rows]);
}

/**
 * Healthy: false rollbacks in percent (at most, with 95 % confidence) / median minutes to 100 %. Bad: mean errors beyond
 * stable's × the limit, and in brackets the percentage missed, where any was.
 */
export function entry(study: CellStudy): string {
  const { isHealthy, falseRollbacks, falseRollbackRatioMax, minutesTo100Median, missed, harmMean, harmRatio } = study;
  const percent = (ratio: number): string => short(ratio * 100);
  if (isHealthy)
    return `${percent(falseRollbacks / study.lives)} (${percent(falseRollbackRatioMax)}) / ${minutesTo100Median === null ? '–' : short(minutesTo100Median)}`;
  const harm = `${short(harmMean)} ×${harmRatio === null ? '–' : short(harmRatio)}`;
  return missed === 0 ? harm : `${harm} (${percent(missed / study.lives)})`;
}

/** Two digits at least, and no more than one after the point, or two below ten. */
function short(value: number): string {
  return String(Number(value.toFixed(value >= 100 ? 0 : value >= 10 ? 1 : 2)));
}

function markdown([head = [], ...rows]: string[][]): string {
  return [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');
}
