/**
 * How good are the decisions, and would another tool's rule do better? The same lives, by seed, under our rule and under
 * others as documented and tuned: false rollbacks of healthy canaries, harm of bad ones. `--lives N` for more or fewer.
 */
import { parseArgs } from 'node:util';
import { type Cell, hardCells, plainCells } from '../../cli/simulate/cells.ts';
import { sources } from '../../cli/simulate/lives.ts';
import type { CellStudy } from '../../cli/simulate/study.ts';
import type { Bench } from '../bench.ts';
import { rules } from './peers/rules.ts';
import { ours, studyAll, type Task } from './peers/studies.ts';
import { cellTable, type Line, ruleTable } from './peers/table.ts';
import { measureVerdict } from './peers/thirty-days.ts';

/** Of each healthy cell; none rolled back of 100 bounds the rate at 3 %, of 300 at 1 %. Bad cells have a third. */
const livesDefault = 100;
const badDivisor = 3;
/** Where the false rollbacks are, a bound below 1 % takes more lives. */
const edgeFactor = 3;
/** Nobody lets a proxy alone raise a share: its line is there to compare with. */
const proxyDivisor = 5;
/** A rule that takes a week takes a hundred times as long, and says the same each time. */
const weekDivisor = 30;
/** The cell that the minutes to 100 % are of. */
const usual = '1 % 20 rps';

export const bench: Bench = async (report, options) => {
  const lives = livesAsked(options);
  const cost = measureVerdict();
  tell(
    `A window takes ${cost.firstDayMicros.toFixed(0)} µs on day 1 and ${cost.lastDayMicros.toFixed(0)} µs on day 30`,
  );
  const peers = rules.map(({ name }) => name);
  const plain = await linesOf([...ours, ...peers], plainCells, lives);
  const hard = await linesOf(ours, hardCells, lives);

  print('Healthy canaries', ruleTable(only(plain, true)));
  print('Bad canaries', ruleTable(only(plain, false)));
  print('Harder: healthy canaries', cellTable(only(hard, true)));
  print('Harder: bad canaries', cellTable(only(hard, false)));

  const mine = [...plain, ...hard].filter(({ rule }) => ours.includes(rule)).flatMap(({ studies }) => studies);
  const deployed = mine.filter(({ source }) => source !== sources.proxy.name);
  const ratios = mine.flatMap(({ harmRatio }) => harmRatio ?? []).toSorted((a, b) => a - b);
  report('false_rollback_upper95_max', highest(deployed, falsePercentMax), 'percent');
  report('false_rollback_max', highest(mine, falsePercent), 'percent');
  report('missed_max', highest(mine, missedPercent), 'percent');
  report('harm_ratio_median', ratios[Math.floor(ratios.length / 2)] ?? Number.NaN, 'limits');
  report('harm_ratio_worst', highest(mine, harmRatioOf), 'limits');
  report('healthy_minutes_monitoring', minutesOf(plain, sources.monitoring.name), 'minutes');
  report('healthy_minutes_proxy', minutesOf(plain, sources.proxy.name), 'minutes');
  report('cells_behind_a_peer', cellsBehind(plain), 'cells');
  report('verdict_ms_30_days', cost.verdictMs, 'ms');
};

async function linesOf(names: readonly string[], cells: readonly Cell[], lives: number): Promise<Line[]> {
  const tasks = names.flatMap((rule) =>
    cells.map((cell) => ({ rule, cell: cell.name, lives: livesOf(rule, cell, lives) })),
  );
  let done = 0;
  const onDone = ({ rule, cell }: Task): void => {
    done += 1;
    tell(`${done} of ${tasks.length}: ${rule}, ${cell}`);
  };
  const studies = await studyAll(tasks, onDone);
  return names.map((rule, i) => ({ rule, studies: studies.slice(i * cells.length, (i + 1) * cells.length) }));
}

function livesOf(name: string, { isHealthy, isAtEdge }: Cell, lives: number): number {
  const takesWeek = rules.some((rule) => rule.name === name && rule.horizonMinutes !== undefined);
  const divisor = takesWeek ? weekDivisor : name === sources.proxy.name ? proxyDivisor : 1;
  return Math.ceil(((isAtEdge ? edgeFactor : 1) * lives) / divisor / (isHealthy ? 1 : badDivisor));
}

/** What a table shows: the healthy cells or the bad ones. */
function only(lines: readonly Line[], isHealthy: boolean): Line[] {
  return lines.map(({ rule, studies }) => ({
    rule: ours.includes(rule) ? `ours, ${rule}` : rule,
    studies: studies.filter((study) => study.isHealthy === isHealthy),
  }));
}

const falsePercentMax = ({ falseRollbackRatioMax }: CellStudy): number => 100 * falseRollbackRatioMax;
const falsePercent = ({ falseRollbacks, lives }: CellStudy): number => (100 * falseRollbacks) / lives;
const missedPercent = ({ missed, lives }: CellStudy): number => (100 * missed) / lives;
const harmRatioOf = ({ harmRatio }: CellStudy): number => harmRatio ?? 0;

/** The highest of all studies, whose cell and rule are told. */
function highest(studies: readonly CellStudy[], of: (study: CellStudy) => number): number {
  const [most] = studies.toSorted((a, b) => of(b) - of(a));
  if (most === undefined) return Number.NaN;
  tell(`${of(most).toFixed(2)}: ${most.source}, ${most.cell}`);
  return of(most);
}

/** Infinite where fewer than half came to 100 %. */
function minutesOf(lines: readonly Line[], name: string): number {
  const study = lines.find(({ rule }) => rule === name)?.studies.find(({ cell }) => cell === usual);
  return study?.minutesTo100Median ?? Number.POSITIVE_INFINITY;
}

/**
 * Bad cells in which another rule does less harm and misses no more, and in no healthy cell rolls back more. Ours reads what
 * they read: Monitoring.
 */
export function cellsBehind(lines: readonly Line[]): number {
  const our = lines.find(({ rule }) => rule === sources.monitoring.name);
  if (our === undefined) throw new Error(`expected a line "${sources.monitoring.name}" among the rules`);
  const peers = lines.filter(
    ({ rule, studies }) =>
      !ours.includes(rule) && studies.every((study, i) => isAtMost(study, our.studies[i], (of) => of.falseRollbacks)),
  );
  return our.studies.filter((mine, i) =>
    peers.some(({ studies }) => {
      const theirs = studies[i];
      if (mine.isHealthy || theirs === undefined) return false;
      return theirs.harmMean < mine.harmMean && isAtMost(theirs, mine, (of) => of.missed);
    }),
  ).length;
}

function isAtMost(theirs: CellStudy, our: CellStudy | undefined, count: (study: CellStudy) => number): boolean {
  return our !== undefined && count(theirs) / theirs.lives <= count(our) / our.lives;
}

function livesAsked(args: string[]): number {
  const { values } = parseArgs({ args, options: { lives: { type: 'string' } } });
  const lives = Number(values.lives ?? livesDefault);
  if (!Number.isInteger(lives) || lives < 1)
    throw new Error(`--lives is a whole number above 0, got "${values.lives}"`);
  return lives;
}

function print(title: string, table: string): void {
  console.log(`## ${title}\n\n${table}\n`);
}

function tell(note: string): void {
  process.stderr.write(`${note}\n`);
}
