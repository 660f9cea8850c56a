/**
 * How does a replay look? A drawing of its first life: both variants' error ratios as the verdicts saw them, the steps,
 * the verdicts and the requests. The same replay gives the same bytes.
 */
import { formatPercent } from '../../machines/policy/units.ts';
import { roughly } from '../text.ts';
import type { Judged, Life, Short } from './replay.ts';
import type { Backtest } from './report.ts';
import { shownAt } from './values.ts';

/** Told apart by people who see no red or green (Okabe and Ito 2008). */
const colors = { canary: '#d55e00', stable: '#0072b2', text: '#24292f', quiet: '#6e7781', line: '#d0d7de' } as const;
const marks: Record<Judged['kind'], { color: string; path: string; name: string }> = {
  healthy: { color: '#009e73', path: 'M-4,0 L-1,3.5 L4.5,-4', name: 'healthy' },
  inconclusive: { color: '#b58900', path: 'M-2.5,0 H2.5', name: 'inconclusive' },
  unhealthy: { color: '#cc0000', path: 'M-4,-4 L4,4 M-4,4 L4,-4', name: 'unhealthy' },
  noData: { color: '#6e7781', path: 'M-1,0 H1', name: 'no data' },
};
const outcomes: Record<Life['outcome'], string> = {
  promoted: 'promoted',
  rolledBack: 'rolled back',
  paused: 'paused',
  undecided: 'not decided',
};

const [width, height] = [960, 470];
const plot = { left: 64, right: 940, top: 74, bottom: 300 };
const rows = { verdicts: 322, canary: 378, stable: 428, bar: 36 };
/** More bars, or marks, than this run into each other. */
const COLUMNS = 140;
const MARKS = 110;

type Role = 'canary' | 'stable';

/** Draws the first life. Ratios are those since the step took effect, with Wilson's 95 % intervals (1927) for the eye. */
export function drawLife({ policy, life, lives, shares }: Backtest): string {
  const fromAt = life.startedAt;
  const toAt = Math.max(life.at, life.played.at(-1)?.toAt ?? 0, life.verdicts.at(-1)?.at ?? 0, fromAt + 1);
  const x = (at: number): number => plot.left + ((at - fromAt) / (toAt - fromAt)) * (plot.right - plot.left);
  const most = ratioMax(life.verdicts);
  const y = (ratio: number): number => plot.bottom - (Math.min(ratio, most) / most) * (plot.bottom - plot.top);
  const title = `${policy.name}: ${outcomes[life.outcome]} after ${roughly(life.at - life.startedAt)} at ${life.percent} %`;
  const first = lives.count > 1 ? `, the first of ${lives.count} lives, seed ${lives.seed}` : '';
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="system-ui, sans-serif" font-size="12" fill="${colors.text}">`,
    `<title>${escape(title)}</title><rect width="${width}" height="${height}" fill="#fff"/>`,
    text(plot.left, 24, title, 'font-size="16" font-weight="600"'),
    text(
      plot.left,
      43,
      `Error ratio since the step took effect, with 95 % intervals; shares ${shares}${first}`,
      `fill="${colors.quiet}"`,
    ),
    ...stepsOf(life, x, toAt),
    ...axes(most, x, y, fromAt, toAt),
    ...(['stable', 'canary'] as const).map((role) => ratioPath(life.verdicts, role, x, y)),
    endMark(life, x),
    ...verdictMarks(life.verdicts, x),
    ...(['canary', 'stable'] as const).map((role) => requestBars(life, role, x)),
    legend(),
    '</svg>\n',
  ].join('\n');
}

/** The highest ratio that is known well enough to be worth its room, with a half more. */
function ratioMax(verdicts: Judged[]): number {
  const known = verdicts.flatMap(({ canary, stable }) => [canary, stable]).filter(({ requests }) => requests >= 30);
  const highest = known.reduce((most, { errors, requests }) => Math.max(most, errors / requests), 0);
  const wanted = Math.min(1, Math.max(highest * 1.5, 0.001));
  const unit = 10 ** Math.floor(Math.log10(wanted));
  return Math.min(1, [1, 2, 4, 5, 10].map((digit) => digit * unit).find((nice) => nice >= wanted * (1 - 1e-9)) ?? 1);
}

function stepsOf({ changes }: Life, x: (at: number) => number, toAt: number): string[] {
  const shares = changes.filter(({ percent, stepIndex }, i) => {
    const before = changes[i - 1];
    return percent !== (before?.percent ?? 0) || stepIndex !== (before?.stepIndex ?? 0);
  });
  return shares.flatMap(({ at, percent }, i) => {
    const [left, right] = [x(at), x(shares[i + 1]?.at ?? toAt)];
    const fill = percent === 0 ? '#fff' : i % 2 === 0 ? '#f6f8fa' : '#eaeef2';
    const label = right - left < 34 ? '' : text(left + 5, plot.top - 6, `${percent} %`, 'font-weight="600"');
    return [
      `<rect x="${n(left)}" y="${plot.top}" width="${n(right - left)}" height="${plot.bottom - plot.top}" fill="${fill}"/>`,
      `<path d="M${n(left)},${plot.top - 18} V${plot.bottom}" stroke="${colors.line}"/>${label}`,
    ];
  });
}

function axes(
  most: number,
  x: (at: number) => number,
  y: (ratio: number) => number,
  fromAt: number,
  toAt: number,
): string[] {
  const ratios = [0, 0.25, 0.5, 0.75, 1].map((part) => part * most);
  const times = [0, 0.25, 0.5, 0.75, 1].map((part) => fromAt + part * (toAt - fromAt));
  const anchors = ['start', 'middle', 'middle', 'middle', 'end'];
  return [
    ...ratios.map(
      (ratio) =>
        `<path d="M${plot.left},${n(y(ratio))} H${plot.right}" stroke="${colors.line}" stroke-dasharray="2 3"/>${text(plot.left - 8, y(ratio) + 4, formatPercent(ratio), `text-anchor="end" fill="${colors.quiet}"`)}`,
    ),
    ...times.map((at, i) =>
      text(
        x(at),
        height - 12,
        `${shownAt(at).slice(0, 16).replace('T', ' ')}Z`,
        `text-anchor="${anchors[i]}" fill="${colors.quiet}"`,
      ),
    ),
  ];
}

/** One band and one line for each step: with the step, counting begins anew. */
function ratioPath(verdicts: Judged[], role: Role, x: (at: number) => number, y: (ratio: number) => number): string {
  const steps = [...Map.groupBy(verdicts, ({ stepIndex }) => stepIndex).values()];
  return steps
    .map((step) => {
      const seen = thinned(
        step.filter((judged) => judged[role].requests > 0),
        COLUMNS,
      );
      const points = seen.map((judged) => ({ at: x(judged.window.toAt), ...interval(judged[role]) }));
      if (points.length === 0) return '';
      const line = points.map(({ at, ratio }) => `${n(at)},${n(y(ratio))}`).join(' L');
      const upper = points.map(({ at, high }) => `${n(at)},${n(y(high))}`);
      const lower = points.map(({ at, low }) => `${n(at)},${n(y(low))}`).toReversed();
      const color = colors[role];
      return `<path d="M${[...upper, ...lower].join(' L')} Z" fill="${color}" opacity="0.13"/><path d="M${line}" fill="none" stroke="${color}" stroke-width="2" stroke-linejoin="round" stroke-linecap="round"/>`;
    })
    .join('');
}

/** Wilson's score interval at 95 %. */
function interval({ requests, errors }: Short): { ratio: number; low: number; high: number } {
  const z = 1.96;
  const ratio = errors / requests;
  const middle = (ratio + z ** 2 / (2 * requests)) / (1 + z ** 2 / requests);
  const half =
    (z / (1 + z ** 2 / requests)) * Math.sqrt((ratio * (1 - ratio)) / requests + z ** 2 / (4 * requests ** 2));
  return { ratio, low: Math.max(0, middle - half), high: Math.min(1, middle + half) };
}

function endMark({ at, outcome }: Life, x: (at: number) => number): string {
  if (outcome === 'undecided') return '';
  const color =
    outcome === 'promoted'
      ? marks.healthy.color
      : outcome === 'rolledBack'
        ? marks.unhealthy.color
        : marks.inconclusive.color;
  const left = x(at);
  const isRight = left > plot.right - 90;
  const label = text(
    left + (isRight ? -6 : 6),
    plot.top + 14,
    outcomes[outcome],
    `font-weight="600" fill="${color}" text-anchor="${isRight ? 'end' : 'start'}"`,
  );
  return `<path d="M${n(left)},${plot.top} V${rows.stable}" stroke="${color}" stroke-width="1.5"/>${label}`;
}

/** At most one mark in each column, at its middle; the worst verdict in it speaks. */
function verdictMarks(verdicts: Judged[], x: (at: number) => number): string[] {
  const order: Judged['kind'][] = ['unhealthy', 'noData', 'inconclusive', 'healthy'];
  const columnWidth = (plot.right - plot.left) / MARKS;
  const columns = Map.groupBy(verdicts, ({ at }) => Math.min(MARKS - 1, Math.floor((x(at) - plot.left) / columnWidth)));
  const drawn = [...columns].flatMap(([column, judged]) => {
    const kind = order.find((each) => judged.some((one) => one.kind === each));
    return kind === undefined ? [] : [mark(kind, plot.left + (column + 0.5) * columnWidth, rows.verdicts)];
  });
  return [text(plot.left - 8, rows.verdicts + 4, 'verdicts', `text-anchor="end" fill="${colors.quiet}"`), ...drawn];
}

function mark(kind: Judged['kind'], x: number, y: number): string {
  const { color, path } = marks[kind];
  return `<path transform="translate(${n(x)},${y})" d="${path}" fill="none" stroke="${color}" stroke-width="2" stroke-linecap="round"/>`;
}

function requestBars({ played }: Life, role: Role, x: (at: number) => number): string {
  const size = Math.max(1, Math.ceil(played.length / COLUMNS));
  const bins = Array.from({ length: Math.ceil(played.length / size) }, (_, i) =>
    played.slice(i * size, (i + 1) * size),
  );
  const bars = bins.map((bin) => ({
    left: x(bin[0]?.fromAt ?? 0),
    right: x(bin.at(-1)?.toAt ?? 0),
    requests: bin.reduce((sum, window) => sum + window[role].requests, 0),
  }));
  const most = bars.reduce((highest, { requests }) => Math.max(highest, requests), 1);
  const base = rows[role];
  const path = bars
    .filter(({ requests }) => requests > 0)
    .map(
      ({ left, right, requests }) =>
        `M${n(left)},${base} V${n(base - (requests / most) * rows.bar)} H${n(Math.max(left + 0.5, right - 0.6))} V${base} Z`,
    )
    .join(' ');
  const label = text(plot.left - 8, base - 14, role, `text-anchor="end" fill="${colors[role]}"`);
  const scale = text(
    plot.left - 8,
    base - 1,
    `≤ ${most.toLocaleString('en')}`,
    `text-anchor="end" font-size="10" fill="${colors.quiet}"`,
  );
  return `<path d="${path}" fill="${colors[role]}" opacity="0.7"/><path d="M${plot.left},${base} H${plot.right}" stroke="${colors.line}"/>${label}${scale}`;
}

function legend(): string {
  const variants = (['canary', 'stable'] as const).map(
    (role, i) =>
      `<path d="M${682 + i * 80},19 h18" stroke="${colors[role]}" stroke-width="3"/>${text(705 + i * 80, 23, role)}`,
  );
  const kinds = (['healthy', 'inconclusive', 'unhealthy'] as const).map(
    (kind, i) =>
      mark(kind, [690, 768, 868][i] ?? 0, 39) +
      text([700, 778, 878][i] ?? 0, 43, marks[kind].name, `fill="${colors.quiet}"`),
  );
  return [...variants, ...kinds].join('');
}

/** Every so-many-th, and always the last. */
function thinned<Item>(items: Item[], most: number): Item[] {
  const every = Math.max(1, Math.ceil(items.length / most));
  return items.filter((_, i) => i % every === 0 || i === items.length - 1);
}

function text(x: number, y: number, content: string, attributes = ''): string {
  return `<text x="${n(x)}" y="${n(y)}"${attributes === '' ? '' : ` ${attributes}`}>${escape(content)}</text>`;
}

function n(value: number): string {
  return String(Math.round(value * 10) / 10);
}

function escape(content: string): string {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}
