/**
 * How good are the decisions? Prints one line per cell: `npx node test/bench/study/cells.ts --lives 300 --source monitoring`.
 * Cells by a part of their name with `--cell`, `--set plain|hard`, another beginning with `--seed`.
 */
import { parseArgs } from 'node:util';
import { hardCells, plainCells } from '../../../cli/simulate/cells.ts';
import { manyProxies, sources, studyPolicy } from '../../../cli/simulate/lives.ts';
import { type CellStudy, studyCell } from '../../../cli/simulate/study.ts';

const { values } = parseArgs({
  options: {
    lives: { type: 'string', default: '100' },
    seed: { type: 'string', default: '1' },
    source: { type: 'string', default: 'monitoring' },
    /** How long stable was watched before, in seconds. */
    past: { type: 'string', default: '10800' },
    set: { type: 'string', default: 'all' },
    cell: { type: 'string', default: '' },
    why: { type: 'boolean', default: false },
  },
});

const choices = { ...sources, many: manyProxies };
const chosen = Object.entries(choices).find(([name]) => name === values.source)?.[1];
if (chosen === undefined)
  throw new Error(`expected --source ${Object.keys(choices).join(' | ')}, got ${values.source}`);
const source = { ...chosen, pastSeconds: Number(values.past) };
const policy = studyPolicy(source);
const cells = [...(values.set === 'hard' ? [] : plainCells), ...(values.set === 'plain' ? [] : hardCells)];
const isExact = cells.some(({ name }) => name === values.cell);
for (const cell of cells.filter(({ name }) => (isExact ? name === values.cell : name.includes(values.cell)))) {
  const study = studyCell(policy, cell, source, Number(values.lives), Number(values.seed));
  console.log(study.isHealthy ? healthyLine(study) : badLine(study));
  if (values.why && study.example !== null) console.log(`    ${study.example}`);
}

function healthyLine(study: CellStudy): string {
  const { cell, falseRollbacks, falseRollbackRatioMax, minutesTo100Median, lives } = study;
  return [
    cell.padEnd(26),
    `false ${percent(falseRollbacks / lives)} (at most ${percent(falseRollbackRatioMax)})`,
    `to 100 % in ${minutesTo100Median === null ? 'never' : `${minutesTo100Median.toFixed(1)} min`}`,
    ends(study),
  ].join(' | ');
}

function badLine(study: CellStudy): string {
  const { cell, missed, missedRatioMax, harmMean, harmMedian, limit, harmRatio, detectionSecondsMedian, lives } = study;
  return [
    cell.padEnd(26),
    `missed ${percent(missed / lives)} (at most ${percent(missedRatioMax)})`,
    `harm ${harmMean.toFixed(1)} median ${harmMedian.toFixed(1)} limit ${limit?.toFixed(1)} ratio ${harmRatio?.toFixed(2)}`,
    `after ${detectionSecondsMedian} s`,
    ends(study),
  ].join(' | ');
}

function ends({ ends: counted }: CellStudy): string {
  return Object.entries(counted)
    .map(([end, count]) => `${end} ${count}`)
    .join(' ');
}

function percent(ratio: number): string {
  return `${(ratio * 100).toFixed(1)} %`;
}
