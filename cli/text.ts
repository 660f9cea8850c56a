/** How is text laid out on a terminal? Spans with a style, rows cut to a width, paragraphs, and times for people. */
import { styleText } from 'node:util';

export type Style = 'bold' | 'dim' | 'green' | 'yellow' | 'red' | 'cyan';
/** Text in one style; null is the terminal's own. */
export type Span = readonly [text: string, style: Style | null];

/** Text from elsewhere, made safe to print: no control characters, so that it can neither move the cursor nor hide. */
export function clean(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, ' ');
}

/** One row, cut to the width with an ellipsis, styled when colour is wanted. Without spaces at its end. */
export function row(spans: readonly Span[], width: number, color: boolean): string {
  const end = spans.findLastIndex(([text]) => text.trim() !== '');
  const shown = spans.slice(0, end + 1).map(([text, style], i): Span => [i === end ? text.trimEnd() : text, style]);
  const isCut = shown.reduce((sum, [text]) => sum + text.length, 0) > width;
  let room = isCut ? width - 1 : width;
  const parts = shown.map(([text, style]) => {
    const part = text.slice(0, room);
    room -= part.length;
    return color && style !== null && part !== '' ? styleText(style, part, { validateStream: false }) : part;
  });
  return `${parts.join('')}${isCut ? '…' : ''}`;
}

/** Words in lines of at most the width; a longer word is left to be cut by its row. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of clean(text)
    .split(' ')
    .filter((each) => each !== '')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

/** A length of time in its two largest units: `12s`, `4m 10s`, `1h 3m`, `2d 5h`. */
export function roughly(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  const units: [number, string][] = [
    [Math.floor(seconds / 86_400), 'd'],
    [Math.floor(seconds / 3600) % 24, 'h'],
    [Math.floor(seconds / 60) % 60, 'm'],
    [seconds % 60, 's'],
  ];
  const first = units.findIndex(([amount]) => amount > 0);
  if (first === -1) return '0s';
  return units
    .slice(first, first + 2)
    .filter(([amount]) => amount > 0)
    .map(([amount, unit]) => `${amount}${unit}`)
    .join(' ');
}

/** A whole number with its thousands apart. */
export function grouped(count: number): string {
  return count.toLocaleString('en-US', { maximumFractionDigits: 0 });
}
