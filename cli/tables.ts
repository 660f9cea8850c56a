/** How do many rollouts look, and the journal of one? Plain rows, for eyes and for grep. */
import type { JournalView, RolloutView } from '../machines/rollout/view.ts';
import { type RenderOptions, shortEndpoint, shortVersion, stateStyle, stateText } from './render.ts';
import { clean, roughly, row, type Span, type Style, wrap } from './text.ts';

/** One row for each rollout, in the order given, below a row of names. */
export function renderList(views: RolloutView[], { width, now, color }: RenderOptions): string[] {
  if (views.length === 0) return ['No rollouts yet. Start one with: rollouts bless MODEL@VERSION'];
  const names = ['ROLLOUT', 'STATE', 'SHARE', 'VERSION', 'ENDPOINT', 'CHANGED'];
  const cells = views.map((view) => ({
    style: stateStyle(view),
    texts: [
      clean(view.id),
      stateText(view),
      `${view.percent}%`,
      shortVersion(view),
      shortEndpoint(view.endpoint),
      `${roughly(now - view.updatedAt)} ago`,
    ],
  }));
  const widths = names.map((name, i) => Math.max(name.length, ...cells.map(({ texts }) => texts[i]?.length ?? 0)));
  const line = (texts: string[], styleOf: (column: number) => Style | null) =>
    row(
      texts.map((text, i): Span => [`${text.padEnd(widths[i] ?? 0)}  `, styleOf(i)]),
      width,
      color,
    );
  return [
    line(names, () => 'dim'),
    ...cells.map(({ style, texts }) => line(texts, (column) => (column === 1 ? style : null))),
  ];
}

/** For each entry, oldest first: when, from where to where, what and who; below it, the sentence. */
export function renderJournal(entries: JournalView[], { width, color }: Omit<RenderOptions, 'now'>): string[] {
  if (entries.length === 0) return ['The journal of this rollout has no entry yet.'];
  return entries.flatMap(({ at, event, by, from, to, text }) => {
    const move = from === to ? to : `${from} → ${to}`;
    const who = by === null ? '' : `  by ${clean(by)}`;
    return [
      row(
        [
          [`${new Date(at).toISOString()}  `, 'dim'],
          [clean(move), 'bold'],
          [`  ${clean(event)}${who}`, 'dim'],
        ],
        width,
        color,
      ),
      ...wrap(text, width - 2).map((line) => row([[`  ${line}`, null]], width, color)),
    ];
  });
}
