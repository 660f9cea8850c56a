/**
 * How do rollouts look over time? The canary's share under each fault: the median, and what lies between a tenth and nine
 * tenths. The same answer, the same bytes.
 */
import { roughly } from '../text.ts';
import type { FaultAnswer, ShareBand } from './answer.ts';
import { letters, type Simulation } from './render.ts';

/** Told apart by people who see no red or green (Okabe and Ito 2008). */
export const colors = { sides: ['#0072b2', '#d55e00'], text: '#24292f', quiet: '#6e7781', line: '#d0d7de' } as const;

const panel = { width: 470, height: 224, left: 46, right: 454, top: 66, bottom: 194 } as const;
const columns = 2;
const header = 46;
const margin = 10;

/** One panel for each fault, all on one axis of time; two policies in two colours. */
export function drawSimulation(simulation: Simulation): string {
  const { sides } = simulation;
  const faults = sides[0]?.answer.answers ?? [];
  const seconds = Math.max(...sides.map(({ answer }) => answer.seconds));
  const [width, height] = [
    columns * panel.width + 2 * margin,
    header + Math.ceil(faults.length / columns) * panel.height + margin,
  ];
  const title = sides.map(({ label }) => label).join(' and ');
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="system-ui, sans-serif" font-size="12" fill="${colors.text}" role="img">`,
    `<title>The canary's share over time: ${escapeText(title)}</title><rect width="${width}" height="${height}" fill="#fff"/>`,
    ...key(simulation),
    ...faults.map((answer, i) => {
      const at = `translate(${margin + (i % columns) * panel.width},${header + Math.floor(i / columns) * panel.height})`;
      return `<g transform="${at}">${drawFault(simulation, answer, seconds)}</g>`;
    }),
    '</svg>\n',
  ].join('\n');
}

function key({ sides, lives }: Simulation): string[] {
  const names = sides.map(({ label }, i) => ({ label: sides.length > 1 ? `${letters[i]} ${label}` : label, i }));
  let left = margin + panel.left;
  const marks = names.map(({ label, i }) => {
    const at = left;
    left += 50 + label.length * 7;
    return `<path d="M${at},22 h24" stroke="${colors.sides[i]}" stroke-width="3"/>${text(at + 30, 26, label, 'font-weight="600"')}`;
  });
  const note = `median share of the canary, and 10 to 90 % of ${lives} lives`;
  return [...marks, text(left, 26, note, `fill="${colors.quiet}"`)];
}

function drawFault({ sides }: Simulation, first: FaultAnswer, seconds: number): string {
  const found = sides.map(({ answer }) => answer.answers.find(({ fault }) => fault === first.fault));
  const percents = [
    ...new Set([0, ...sides.flatMap(({ answer }) => answer.policy.steps.map(({ percent }) => percent))]),
  ];
  return [
    text(panel.left, 18, first.fault, 'font-size="14" font-weight="600"'),
    text(panel.left + 12 + first.fault.length * 8, 18, first.text, `fill="${colors.quiet}"`),
    ...found.map((answer, i) =>
      text(panel.left, 36 + 15 * i, endsOf(answer, sides.length > 1 ? `${letters[i]}: ` : '')),
    ),
    ...grid(percents, seconds),
    ...found.map((answer, i) => (answer === undefined ? '' : drawBand(answer.shares, i, seconds))),
  ].join('');
}

function endsOf(answer: FaultAnswer | undefined, prefix: string): string {
  if (answer === undefined) return '';
  const { ends, lives } = answer;
  const words = {
    proven: 'promoted',
    rolledBack: 'rolled back',
    contained: 'taken back',
    paused: 'paused',
    waiting: 'undecided',
  } as const;
  const parts = (['proven', 'rolledBack', 'contained', 'paused', 'waiting'] as const)
    .filter((end) => ends[end] > 0)
    .toSorted((a, b) => ends[b] - ends[a])
    .map((end) => `${Math.round((100 * ends[end]) / lives)} % ${words[end]}`);
  return `${prefix}${parts.join(', ')}`;
}

/** Labels that would touch are left out, from the smallest share up. */
function grid(percents: number[], seconds: number): string[] {
  let lowest = Number.NEGATIVE_INFINITY;
  const lines = percents
    .toSorted((a, b) => b - a)
    .map((percent) => {
      const at = y(percent);
      const isRoomy = at - lowest >= 11;
      if (isRoomy) lowest = at;
      const label = isRoomy
        ? text(panel.left - 6, at + 4, `${percent} %`, `text-anchor="end" fill="${colors.quiet}"`)
        : '';
      return `<path d="M${panel.left},${n(at)} H${panel.right}" stroke="${colors.line}"/>${label}`;
    });
  const times = ['start', 'middle', 'end'].map((anchor, i) =>
    text(
      panel.left + (i / 2) * (panel.right - panel.left),
      panel.bottom + 17,
      i === 0 ? '0' : roughly((i / 2) * seconds * 1000),
      `text-anchor="${anchor}" fill="${colors.quiet}"`,
    ),
  );
  return [...lines, ...times];
}

/** Shares move in steps: each holds until the next point. */
function drawBand(seen: ShareBand[], side: number, seconds: number): string {
  const shares = seen.concat(seen.slice(-1).map((last) => ({ ...last, second: seconds })));
  const color = colors.sides[side] ?? colors.text;
  const steps = (share: (band: ShareBand) => number): string[] =>
    shares.flatMap((band, i) => {
      const before = shares[i - 1];
      const at = n(x(band.second, seconds));
      return before !== undefined && share(before) !== share(band)
        ? [`${at},${n(y(share(before)))}`, `${at},${n(y(share(band)))}`]
        : i === 0 || i === shares.length - 1
          ? [`${at},${n(y(share(band)))}`]
          : [];
    });
  const outline = [...steps(({ high }) => high), ...steps(({ low }) => low).toReversed()];
  return `<path d="M${outline.join(' L')} Z" fill="${color}" opacity="0.16"/><path d="M${steps(({ median }) => median).join(' L')}" fill="none" stroke="${color}" stroke-width="2" stroke-linejoin="round"/>`;
}

function x(second: number, seconds: number): number {
  return panel.left + (second / seconds) * (panel.right - panel.left);
}

/** By the square root, so that the first steps, which matter most, are seen. */
function y(percent: number): number {
  return panel.bottom - Math.sqrt(percent / 100) * (panel.bottom - panel.top);
}

function text(left: number, top: number, words: string, attributes = ''): string {
  return `<text x="${n(left)}" y="${n(top)}" ${attributes}>${escapeText(words)}</text>`;
}

function n(value: number): string {
  return String(Number(value.toFixed(1)));
}

/** Text for SVG and HTML, also inside quotes. */
export function escapeText(words: string): string {
  return words.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}
