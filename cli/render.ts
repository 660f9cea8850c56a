/** How does one rollout look on a terminal? One calm screen: where it is, who gets what, what was found, what comes next. */
import type { Verdict, VerdictKind } from '../machines/analysis/verdict.ts';
import { parseEndpointName, parseModelName } from '../machines/rollout/resource-name.ts';
import type { RolloutState, RolloutView, VariantView } from '../machines/rollout/view.ts';
import { clean, grouped, roughly, row, type Span, type Style, wrap } from './text.ts';

export interface RenderOptions {
  /** Columns of the terminal. */
  width: number;
  /** Milliseconds since the epoch; what is due is told relative to it. */
  now: number;
  color: boolean;
}

/** Wider than this, the eye loses the row. */
const WIDTH_MAX = 110;
const WIDTH_MIN = 40;
const LABEL = 10;

/** The rollout as lines without line ends, none wider than the width. */
export function renderRollout(view: RolloutView, options: RenderOptions): string[] {
  const width = Math.max(WIDTH_MIN, Math.min(options.width, WIDTH_MAX));
  const rows: Span[][] = [
    ...heading(view, width, options.now),
    [],
    ...stepTrack(view, width),
    [],
    ...variantTable(view.variants, width),
    ...(view.variants.length === 0 ? [] : [[]]),
    ...view.verdicts.flatMap((verdict) => verdictRows(verdict, width)),
    ...(view.paused === null
      ? []
      : labelled(
          'paused',
          'yellow',
          `by ${view.paused.by} ${roughly(options.now - view.paused.at)} ago: ${view.paused.reason}`,
          width,
        )),
    ...labelled(view.isFinal ? 'ended' : 'now', 'bold', view.reason, width),
    ...(view.next === null
      ? []
      : labelled('next', 'bold', `${due(view.next.at, options.now)}: ${view.next.what}`, width)),
  ];
  return rows.map((spans) => row(spans, width, options.color));
}

/** One line for where output is not a terminal, or for a list: state, share and reason. */
export function renderLine(view: RolloutView): string {
  return clean(`${stateText(view)} · ${view.percent}% · ${view.reason}`);
}

/** The state in words, with a pause. */
export function stateText({ state, paused }: RolloutView): string {
  const words = stateWords[state];
  return paused === null ? words : `paused while ${words}`;
}

/** The colour that a state has everywhere. */
export function stateStyle({ state, paused }: RolloutView): Style {
  if (paused !== null || state === 'awaitingApproval') return 'yellow';
  if (state === 'promoted') return 'green';
  return badStates.has(state) ? 'red' : 'cyan';
}

/** `delays@7`: the short name of a model version. */
export function shortVersion({ model, versionId }: { model: string; versionId: string }): string {
  return clean(`${parseModelName(model)?.id ?? model}@${versionId}`);
}

/** `us-central1/456`: the short name of an endpoint. */
export function shortEndpoint(endpoint: string): string {
  const name = parseEndpointName(endpoint);
  return clean(name === null ? endpoint : `${name.location}/${name.id}`);
}

const badStates: ReadonlySet<RolloutState> = new Set(['rollingBack', 'rolledBack', 'aborted', 'failed']);

const stateWords: Record<RolloutState, string> = {
  queued: 'queued',
  preparing: 'preparing',
  deploying: 'deploying',
  warming: 'warming up',
  shifting: 'shifting traffic',
  analysing: 'analysing',
  awaitingApproval: 'awaiting approval',
  promoting: 'promoting',
  observing: 'observing',
  rollingBack: 'rolling back',
  promoted: 'promoted',
  rolledBack: 'rolled back',
  aborted: 'aborted',
  failed: 'failed',
  superseded: 'superseded',
};

function heading(view: RolloutView, width: number, now: number): Span[][] {
  const title = `${shortVersion(view)} → ${shortEndpoint(view.endpoint)}`;
  const mark = view.state === 'promoted' ? '✓' : badStates.has(view.state) ? '✗' : view.paused === null ? '●' : '‖';
  const state = `${mark} ${stateText(view)}`;
  const gap = Math.max(2, width - title.length - state.length);
  const facts = [
    view.id,
    `policy ${view.policy}`,
    ...(view.by === null ? [] : [`by ${view.by}`]),
    view.endedAt === null ? `for ${roughly(now - view.startedAt)}` : `took ${roughly(view.endedAt - view.startedAt)}`,
  ];
  return [
    [
      [title, 'bold'],
      [' '.repeat(gap), null],
      [state, stateStyle(view)],
    ],
    [[clean(facts.join(' · ')), 'dim']],
  ];
}

/** `━━━ 5% ━━━ 25% ─── 50% ⚑ ─── 100%`: what is behind, where it is, what is ahead. */
function stepTrack({ steps, stepIndex, state, percent }: RolloutView, width: number): Span[][] {
  const current = stepIndex ?? -1;
  const isBad = badStates.has(state);
  const stops = steps.map((step, i) => {
    const isDone = state === 'promoted' || i < current;
    const style: Style = isDone ? 'green' : i === current ? (isBad ? 'red' : 'cyan') : 'dim';
    return { label: ` ${step.percent}%${step.approval ? ' ⚑' : ''} `, style, isReached: isDone || i === current };
  });
  const labels = stops.reduce((sum, { label }) => sum + label.length, 0);
  const dash = Math.max(1, Math.min(14, Math.floor((width - labels) / Math.max(1, stops.length))));
  const track = stops.flatMap(({ label, style, isReached }): Span[] => [
    [(isReached ? '━' : '─').repeat(dash), style],
    [label, style],
  ]);
  const legend = steps.some((step) => step.approval) ? ' · ⚑ a person approves before it goes on' : '';
  const at = stepIndex === null ? 'before the first step' : `step ${stepIndex + 1} of ${steps.length}`;
  return [track, [[`canary has ${percent}% · ${at}${legend}`, 'dim']]];
}

function variantTable(variants: VariantView[], width: number): Span[][] {
  const cells = variants.map((variant) => ({
    variant,
    name: shortVersion(variant),
    percent: `${variant.intendedPercent}%`,
    seen: variant.observedPercent === null ? 'none seen' : `seen ${decimal(variant.observedPercent)}%`,
    requests: `${grouped(variant.requests)} req`,
    errors: `${grouped(variant.errors)} err${variant.requests === 0 ? '' : ` ${decimal((100 * variant.errors) / variant.requests)}%`}`,
    latency: variant.latencyMs === null ? '' : `${grouped(variant.latencyMs)} ms`,
  }));
  type Column = 'name' | 'percent' | 'seen' | 'requests' | 'errors' | 'latency';
  const widthOf = (column: Column) => Math.max(0, ...cells.map((each) => each[column].length));
  const columns: Column[] = ['name', 'percent', 'seen', 'requests', 'errors', 'latency'];
  const fixed = LABEL + columns.reduce((sum, column) => sum + widthOf(column) + 2, 0);
  const bar = Math.max(4, Math.min(24, width - fixed));
  return cells.map(({ variant, ...texts }) => {
    const style: Style | null = variant.role === 'canary' ? 'cyan' : null;
    const filled = Math.round((variant.intendedPercent / 100) * bar);
    return [
      [variant.role.padEnd(LABEL), style],
      [`${texts.name.padEnd(widthOf('name'))}  `, 'bold'],
      [`${texts.percent.padStart(widthOf('percent'))} `, null],
      ['█'.repeat(filled), style],
      ['░'.repeat(bar - filled), 'dim'],
      [`  ${texts.seen.padStart(widthOf('seen'))}`, 'dim'],
      [`  ${texts.requests.padStart(widthOf('requests'))}`, null],
      [`  ${texts.errors.padStart(widthOf('errors'))}`, variant.errors > 0 ? 'yellow' : null],
      [`  ${texts.latency.padStart(widthOf('latency'))}`, 'dim'],
    ];
  });
}

const verdictLook: Record<VerdictKind, { words: string; style: Style }> = {
  healthy: { words: 'healthy', style: 'green' },
  unhealthy: { words: 'unhealthy', style: 'red' },
  inconclusive: { words: 'undecided', style: 'yellow' },
  noData: { words: 'no data', style: 'yellow' },
};

/** The reasons that decided come first; they alone, unless there is none. */
function verdictRows({ kind, source, reasons }: Verdict, width: number): Span[][] {
  const { words, style } = verdictLook[kind];
  const deciding = reasons.filter((reason) => reason.kind === kind && reason.dryRun !== true);
  const texts = (deciding.length === 0 ? reasons : deciding).map((reason) => reason.text);
  return labelled(words, style, `${source}: ${texts.join(' · ') || 'no reason given'}`, width);
}

function labelled(label: string, style: Style, text: string, width: number): Span[][] {
  const lines = wrap(text, width - LABEL);
  return (lines.length === 0 ? [''] : lines).map((line, i) => [
    [(i === 0 ? label : '').padEnd(LABEL), style],
    [line, null],
  ]);
}

function due(at: number, now: number): string {
  return at > now ? `in ${roughly(at - now)}` : 'due now';
}

function decimal(value: number): string {
  return String(Number(value.toFixed(value < 1 ? 2 : 1)));
}
