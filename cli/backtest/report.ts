/** What came of it? The backtest for a person: what was read and how, verdict by verdict, and what it amounts to. */
import type { Policy } from '../../machines/policy/policy.ts';
import { formatPercent } from '../../machines/policy/units.ts';
import type { RenderOptions } from '../render.ts';
import { roughly, row, type Span, type Style, wrap } from '../text.ts';
import { upperBound } from '../chance.ts';
import { type Recording, totalsOf } from './recording.ts';
import type { Change, Judged, Life, Outcome } from './replay.ts';
import type { Trial } from './sides.ts';
import { shownAt } from './values.ts';

export interface Backtest {
  /** With the steps that were played. */
  policy: Policy;
  file: string;
  recording: Recording;
  trial: Trial;
  /** As recorded; divided at random between two who are the same; or both recorded, and thinned at random. */
  shares: 'recorded' | 'divided' | 'thinned';
  /** The first of the lives. */
  life: Life;
  lives: Lives;
}

export interface Lives {
  count: number;
  seed: number;
  outcomes: Record<Outcome, number>;
  /** Rollbacks because the canary was proven worse; the other rollbacks are for lack of evidence. */
  proofs: number;
  /** Clopper and Pearson's one-sided 95 % bound on the chance of such a rollback. */
  proofsAtMostRatio: number;
  /** From the first step to such a rollback; null without any. */
  medianProofSeconds: number | null;
  /** True: canary and stable are the same, so that every such rollback is a false alarm. */
  isAlike: boolean;
  promisedRatio: number;
}

type Look = Omit<RenderOptions, 'now'>;

export function livesOf(lives: Life[], policy: Policy, { seed, isAlike }: { seed: number; isAlike: boolean }): Lives {
  const outcomes: Record<Outcome, number> = { promoted: 0, rolledBack: 0, paused: 0, undecided: 0 };
  for (const { outcome } of lives) outcomes[outcome] += 1;
  const seconds = lives
    .filter(({ isProof }) => isProof)
    .map(({ at, startedAt }) => (at - startedAt) / 1000)
    .toSorted((a, b) => a - b);
  return {
    count: lives.length,
    seed,
    outcomes,
    proofs: seconds.length,
    proofsAtMostRatio: upperBound(seconds.length, lives.length),
    medianProofSeconds: seconds[Math.floor((seconds.length - 1) / 2)] ?? null,
    isAlike,
    promisedRatio: policy.analysis.falseRollbackRatio,
  };
}

/** Lines for a terminal. @param isEvery false folds verdicts that are like those around them */
export function renderBacktest(result: Backtest, options: Look, isEvery: boolean): string[] {
  const { life, lives, shares } = result;
  return [
    ...preface(result, options),
    '',
    ...(lives.count > 1 ? [`The first of ${lives.count} lives:`, ''] : []),
    ...story(life, options, isEvery),
    '',
    ...conclusion(life, options),
    ...(shares === 'recorded' ? [] : ['', ...wrap(livesText(lives), options.width)]),
  ];
}

function preface({ policy, file, recording, trial, shares }: Backtest, { width, color }: Look): string[] {
  const { windows, windowMs, notes } = recording;
  const [first, last] = [windows[0], windows.at(-1)];
  const span = `${windows.length.toLocaleString('en')} windows of ${roughly(windowMs)}, ${shownAt(first?.fromAt ?? 0)} to ${shownAt(last?.toAt ?? 0)}`;
  const totals = totalsOf(windows);
  const total = (role: string, id: string): string => {
    const found = totals.find((each) => each.id === id);
    return `${role} ${id}: ${fraction(found ?? { requests: 0, errors: 0 })}`;
  };
  const steps = policy.steps.map(({ percent }) => percent).join(', ');
  const texts = [
    `Policy ${policy.name} (steps at ${steps} %) on ${file}: ${span}.`,
    ...(trial.canaryId === null ? [] : [total('Canary', trial.canaryId)]),
    total('Stable', trial.stableId),
    sharesText(shares, trial),
    ...(trial.leftOut.length === 0 ? [] : [`Left out: ${trial.leftOut.join(', ')}.`]),
    ...notes.map(
      ({ text, count, first: place }) =>
        `Note: ${text} (${count === 1 ? '' : `${count.toLocaleString('en')} times, first `}${place}).`,
    ),
  ];
  return texts.flatMap((text) =>
    wrap(text, width).map((line, i) =>
      row([[`${i === 0 ? '' : '  '}${line}`, text.startsWith('Note') ? 'yellow' : null]], width + 2, color),
    ),
  );
}

function sharesText(shares: Backtest['shares'], { recordedRatio }: Trial): string {
  const recorded = formatPercent(recordedRatio ?? 0);
  switch (shares) {
    case 'recorded':
      return `The shares were not ours: the canary got ${recorded} of these requests, whatever the steps ask for. Each step below 100 % is judged as one at that share; how much harm a smaller share would have spared, this does not show.`;
    case 'thinned':
      return `The shares were not ours: the canary got ${recorded} of these requests. Requests are left out at random until each step has its share, so there are fewer than a rollout would have had.`;
    case 'divided':
      return 'Only stable was recorded: each request goes to a make-believe canary with the chance of its share. Both are the same, so a rollback is a false alarm.';
  }
}

const styles: Record<Judged['kind'], Style> = {
  healthy: 'green',
  unhealthy: 'red',
  inconclusive: 'yellow',
  noData: 'dim',
};
/** Of like verdicts in a row, so many are shown at each end. */
const SHOWN = 2;

function story(life: Life, options: Look, isEvery: boolean): string[] {
  const lines: string[] = [];
  const runs = runsOf(life, isEvery);
  for (const run of runs) {
    if (run.kind === 'change') lines.push(...changeLines(run.change, options));
    else if (run.hidden > 0)
      lines.push(
        row([[`  … ${run.hidden.toLocaleString('en')} more like these`, 'dim']], options.width, options.color),
      );
    else lines.push(...verdictLines(run.verdict, options));
  }
  if (life.passedOver > 0) {
    const text = `${life.passedOver.toLocaleString('en')} windows were not counted: they began before the step at hand took effect, as the metric lag has it.`;
    lines.push(...wrap(text, options.width));
  }
  return lines;
}

type Shown = { kind: 'change'; change: Change } | { kind: 'verdict'; verdict: Judged; hidden: number };

/** Verdicts and changes in order of time; the middle of a run of like verdicts, with no change between, is one line. */
function runsOf({ verdicts, changes }: Life, isEvery: boolean): Shown[] {
  const shown: (Shown & { at: number })[] = changes.map((change) => ({ kind: 'change', change, at: change.at }));
  let begin = 0;
  for (let i = 1; i <= verdicts.length; i++) {
    const [from, next] = [verdicts[begin], verdicts[i]];
    const isParted = changes.some(({ at }) => at >= (verdicts[i - 1]?.at ?? 0) && at < (next?.at ?? 0));
    if (from === undefined || (next?.kind === from.kind && !isParted)) continue;
    const run = verdicts.slice(begin, i);
    const hidden = isEvery || run.length <= 2 * SHOWN + 1 ? 0 : run.length - 2 * SHOWN;
    for (const [k, verdict] of run.entries()) {
      if (hidden === 0 || k < SHOWN || k >= run.length - SHOWN)
        shown.push({ kind: 'verdict', verdict, hidden: 0, at: verdict.at });
      else if (k === SHOWN) shown.push({ kind: 'verdict', verdict, hidden, at: verdict.at });
    }
    begin = i;
  }
  // At one moment the verdict comes first, then what follows from it.
  return shown.toSorted((a, b) => a.at - b.at || (a.kind === b.kind ? 0 : a.kind === 'verdict' ? -1 : 1));
}

function changeLines({ at, percent, reason, state }: Change, { width, color }: Look): string[] {
  const head = row(
    [
      [`${shownAt(at)}  `, 'dim'],
      [`${String(percent).padStart(3)} %  ${state}`, 'bold'],
    ],
    width,
    color,
  );
  return [head, ...wrap(reason, width - 2).map((line) => row([[`  ${line}`, null]], width, color))];
}

function verdictLines(
  { at, stepIndex, percent, kind, canary, stable, reasons }: Judged,
  { width, color }: Look,
): string[] {
  const spans: Span[] = [
    [`${shownAt(at)}  `, 'dim'],
    [`${String(percent).padStart(3)} %  `, null],
    [`step ${stepIndex + 1}  `, null],
    [kind.padEnd(13), styles[kind]],
    [`canary ${counts(canary)}  stable ${counts(stable)}`, null],
  ];
  return [
    row(spans, width, color),
    ...wrap(reasons.join(' '), width - 2).map((line) => row([[`  ${line}`, 'dim']], width, color)),
  ];
}

function conclusion(life: Life, { width, color }: Look): string[] {
  const after = roughly(life.at - life.startedAt);
  const where = `at step ${life.stepIndex + 1} (${life.percent} %)`;
  const words: Record<Outcome, [string, Style]> = {
    promoted: [`Promoted after ${after}.`, 'green'],
    rolledBack: [`Rolled back after ${after}, ${where}.`, 'red'],
    paused: [`Paused after ${after}, ${where}: a person would have been asked.`, 'yellow'],
    undecided: [`Not decided after ${after}, ${where}.`, 'yellow'],
  };
  const [text, style] = words[life.outcome];
  return [row([[text, style]], width, color), ...wrap(life.reason, width - 2).map((line) => `  ${line}`)];
}

function livesText({
  count,
  seed,
  outcomes,
  proofs,
  proofsAtMostRatio,
  medianProofSeconds,
  isAlike,
  promisedRatio,
}: Lives): string {
  const { promoted, rolledBack, paused, undecided } = outcomes;
  const all = `${count === 1 ? '1 life' : `${count} lives`} (seed ${seed}): ${promoted} promoted, ${rolledBack} rolled back, ${paused} paused, ${undecided} not decided.`;
  const median = medianProofSeconds === null ? '' : `, half of them within ${roughly(medianProofSeconds * 1000)}`;
  const rate = `${formatPercent(proofs / count)}; at most ${formatPercent(proofsAtMostRatio)} with 95 % confidence`;
  const meaning = isAlike
    ? `${proofs} false alarms (${rate}), where the policy allows ${formatPercent(promisedRatio)}. The bound is about other draws from this recording, not about other days.`
    : `${proofs} were proven worse (${rate})${median}.`;
  return `${all} ${meaning}`;
}

function fraction({ requests, errors }: { requests: number; errors: number }): string {
  const ratio = requests === 0 ? '' : ` (${formatPercent(errors / requests)})`;
  return `${errors.toLocaleString('en')} errors in ${requests.toLocaleString('en')} requests${ratio}`;
}

function counts({ requests, errors }: { requests: number; errors: number }): string {
  return `${errors.toLocaleString('en')}/${requests.toLocaleString('en')}`;
}
