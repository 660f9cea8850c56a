/** How does an answer look on a terminal? A table of ends, times and harm; the share over time; then what to change. */
import { formatDuration, formatPercent } from '../../machines/policy/units.ts';
import { grouped, roughly, row, type Span, type Style, wrap } from '../text.ts';
import { type Advice, rateText } from './advice.ts';
import type { FaultAnswer, PolicyAnswer, ShareBand } from './answer.ts';
import type { Scenario } from './faults.ts';

/** Everything that one command line was answered. */
export interface Simulation {
  scenario: Scenario;
  lives: number;
  seed: number;
  /** The policy asked about, and the one to compare it with; a name for each, as its owner would know it. */
  sides: { label: string; answer: PolicyAnswer; advice: Advice[] }[];
}

interface Look {
  width: number;
  color: boolean;
}

const WIDTH_MAX = 110;
const WIDTH_MIN = 60;
/** Columns that a narrow terminal goes without, the first first. */
const DROPPED: readonly string[] = ['exposed', '90 %'];
/** Levels of the share in a plot; more steps than this share rows. */
const LEVELS_MAX = 7;
const LABEL = 7;

/** The answer as lines without line ends, none wider than the width. */
export function renderSimulation(simulation: Simulation, options: Look): string[] {
  const width = Math.max(WIDTH_MIN, Math.min(options.width, WIDTH_MAX));
  const look = { width, color: options.color };
  return [
    ...wrap(assumptions(simulation), width).map((line) => row([[line, 'dim']], width, options.color)),
    '',
    ...table(simulation, look),
    '',
    ...plots(simulation, look),
    ...simulation.sides.flatMap((side) => adviceLines(side, simulation.sides.length > 1, look)),
  ];
}

/** What the answer rests on, in a sentence or two. */
export function assumptions({ scenario, lives, seed, sides }: Simulation): string {
  const { requestsPerSecond, shape, errorRatio, source } = scenario;
  const traffic = `${rateText(requestsPerSecond)}${shape === 'daily' ? ' (from a fifth to nine fifths of it over the day)' : ''}`;
  return `${sides.map(({ label }) => label).join(' and ')}: ${lives} lives of each fault from seed ${seed}, at ${traffic}, of which stable fails ${formatPercent(errorRatio)}. Evidence comes from ${source.name}: points of a minute, ${formatDuration(source.lagSeconds)} late${source.proxySeconds === null ? '' : `, and the proxy’s every ${formatDuration(source.proxySeconds)}, which only lower a share`}. The machine is the real one; traffic is random and independent from request to request. A life ends when it is rolled back, paused or proven; nobody resumes it.`;
}

export interface Cell {
  text: string;
  style: Style | null;
}

export const headings = [
  'fault',
  'rolled back',
  'promoted',
  'paused',
  'wrong ≤',
  'to 100 %',
  '90 %',
  'users hit',
  '90 %',
  'exposed',
  'back after',
] as const;

/** One fault under one policy, in the columns of `headings`; undecided lives are in the column of paused ones. */
export function cellsOf(answer: FaultAnswer): Cell[] {
  const { kind, ends, lives, wrong, minutesTo100, excessErrors, exposure, minutesToRollback } = answer;
  const part = (count: number): string => formatPercent(Math.round((100 * count) / lives) / 100).replace('%', ' %');
  const isRight = { rolledBack: kind === 'bad', proven: kind !== 'bad' };
  const end = (count: number, good: boolean): Cell => ({
    text: count === 0 ? '–' : part(count),
    style: count === 0 ? 'dim' : good ? 'green' : 'red',
  });
  const wrongText = wrong === null ? '–' : `${wrong.count}, ${Number((100 * wrong.ratioAtMost).toPrecision(2))} %`;
  const waiting = ends.contained + ends.paused + ends.waiting;
  return [
    { text: answer.fault, style: 'bold' },
    end(ends.rolledBack, kind === 'allowed' || isRight.rolledBack),
    end(ends.proven, isRight.proven),
    { text: waiting === 0 ? '–' : part(waiting), style: waiting === 0 ? 'dim' : 'yellow' },
    { text: wrongText, style: wrong === null ? 'dim' : wrong.count > 0 ? 'yellow' : null },
    timeCell(minutesTo100.median),
    timeCell(minutesTo100.ninety),
    { text: amount(excessErrors.mean), style: null },
    { text: amount(excessErrors.ninety), style: 'dim' },
    { text: amount(exposure.median), style: null },
    timeCell(minutesToRollback.median),
  ];
}

/** What the columns mean, but for those that are not shown. */
export function legendOf(dropped: readonly string[]): string {
  const meanings: [string, string][] = [
    [
      'wrong',
      'healthy canaries that were rolled back, or bad ones that were not, and with 95 % confidence at most how often',
    ],
    ['to 100 %', 'from the first share, the median of all lives'],
    ['users hit', 'errors (slow: slow answers) beyond stable’s, on average'],
    ['90 %', 'as much or less in nine lives of ten'],
    ['exposed', 'requests that the canary served before it was proven, the median'],
    ['back after', 'from the first harm to the rollback, the median'],
    ['–', 'none, or not in so many lives'],
  ];
  const shown = meanings.filter(([name]) => !dropped.includes(name));
  return `${shown.map(([name, meaning]) => `${name}: ${meaning}`).join('. ')}.`;
}

function table({ sides }: Simulation, { width, color }: Look): string[] {
  const faults = sides[0]?.answer.answers.map(({ fault }) => fault) ?? [];
  const isVersus = sides.length > 1;
  const rows = faults.flatMap((fault) =>
    sides.map(({ answer }, side) => {
      const found = answer.answers.find((each) => each.fault === fault);
      const cells = found === undefined ? [] : cellsOf(found);
      const name = side === 0 ? fault : '';
      return [
        { text: isVersus ? `${name.padEnd(6)} ${letters[side]}` : name, style: 'bold' as const },
        ...cells.slice(1),
      ];
    }),
  );
  const heads = headings.map((text): Cell => ({ text, style: 'dim' }));
  const widths = headings.map((_, i) => Math.max(...[heads, ...rows].map((cells) => cells[i]?.text.length ?? 0)));
  const dropped = droppedOf(widths, width);
  const line = (cells: Cell[]): string => {
    const spans = cells.map(({ text, style }, i): Span => {
      const padded = i === 0 ? text.padEnd(widths[i] ?? 0) : `  ${text.padStart(widths[i] ?? 0)}`;
      return [padded, style];
    });
    return row(
      spans.filter((_, i) => !dropped.includes(headings[i] ?? '')),
      width,
      color,
    );
  };
  const keys = isVersus ? sides.map(({ label }, i) => `${letters[i]} ${label}`).join('   ') : null;
  const not = sides[0]?.answer.notSimulated.map(({ fault, why }) => `${fault}: not simulated; ${why}.`) ?? [];
  return [
    ...(keys === null ? [] : [row([[keys, 'bold']], width, color)]),
    line(heads),
    ...rows.map(line),
    ...not.flatMap((text) => wrap(text, width).map((part) => row([[part, 'dim']], width, color))),
    ...wrap(legendOf(dropped), width).map((part) => row([[part, 'dim']], width, color)),
  ];
}

function droppedOf(widths: number[], width: number): readonly string[] {
  const counts = [0, 1].filter((count) => {
    const left = widths.filter((_, i) => !DROPPED.slice(0, count).includes(headings[i] ?? ''));
    return left.reduce((sum, each) => sum + each + 2, -2) <= width;
  });
  return DROPPED.slice(0, counts[0] ?? DROPPED.length);
}

export const letters = ['A', 'B'] as const;

function plots({ sides }: Simulation, look: Look): string[] {
  const seconds = Math.max(...sides.map(({ answer }) => answer.seconds));
  const faults = sides[0]?.answer.answers ?? [];
  return faults.flatMap(({ fault, text }) =>
    sides.flatMap(({ answer }, side) => {
      const found = answer.answers.find((each) => each.fault === fault);
      if (found === undefined) return [];
      const title: Span[] = [
        [sides.length > 1 ? `${fault} ${letters[side]}` : fault, 'bold'],
        [`  ${text}`, 'dim'],
      ];
      const levels = levelsOf(answer.policy.steps.map(({ percent }) => percent));
      return [row(title, look.width, look.color), ...plot(found.shares, levels, seconds, look), ''];
    }),
  );
}

/** Rows of a plot, from the highest: the steps and 0, thinned where they are many. */
function levelsOf(percents: number[]): number[] {
  const all = [0, ...percents];
  const size = Math.ceil(all.length / LEVELS_MAX);
  return all.filter((_, i) => i === 0 || (all.length - 1 - i) % size === 0).toReversed();
}

function plot(shares: ShareBand[], levels: number[], seconds: number, { width, color }: Look): string[] {
  const columns = width - LABEL;
  const bands = Array.from({ length: columns }, (_, i) => {
    const second = (i / (columns - 1)) * seconds;
    return shares.findLast((band) => band.second <= second + 1e-6) ?? shares[0];
  });
  const levelOf = (share: number): number => levels.findIndex((level) => level <= share);
  const lines = levels.map((level, i) => {
    const spans = bands.map((band): Span => {
      if (band === undefined) return [' ', null];
      if (levelOf(band.median) === i) return ['━', 'cyan'];
      return levelOf(band.high) <= i && levelOf(band.low) >= i ? ['░', 'dim'] : [' ', null];
    });
    return row([[`${level} % `.padStart(LABEL), 'dim'], ...joined(spans)], width, color);
  });
  const end = roughly(seconds * 1000);
  const middle = roughly(seconds * 500);
  const axis = `${' '.repeat(LABEL)}0${middle.padStart(Math.floor(columns / 2) - 1)}${end.padStart(Math.ceil(columns / 2))}`;
  return [...lines, row([[axis, 'dim']], width, color)];
}

/** Neighbours of one style are one span. */
function joined(spans: Span[]): Span[] {
  const runs: [string, Style | null][] = [];
  for (const [text, style] of spans) {
    const last = runs.at(-1);
    if (last !== undefined && last[1] === style) last[0] += text;
    else runs.push([text, style]);
  }
  return runs;
}

function adviceLines(
  { label, advice }: Simulation['sides'][number],
  isVersus: boolean,
  { width, color }: Look,
): string[] {
  const title = isVersus ? `Advice for ${label}` : 'Advice';
  const texts =
    advice.length === 0 ? ['Nothing here asks for a change.'] : advice.map(({ path, text }) => `${path}: ${text}`);
  return [
    row([[title, 'bold']], width, color),
    ...texts.flatMap((text) =>
      wrap(text, width - 2).map((line, i) =>
        row(
          [
            [i === 0 ? '• ' : '  ', 'yellow'],
            [line, null],
          ],
          width,
          color,
        ),
      ),
    ),
  ];
}

function timeCell(minutes: number | null): Cell {
  return minutes === null ? { text: '–', style: 'dim' } : { text: roughly(minutes * 60_000), style: null };
}

function amount(value: number): string {
  return value > 0 && value < 10 ? String(Number(value.toPrecision(2))) : grouped(Math.round(value));
}
