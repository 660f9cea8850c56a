/** Which known word did the writer mean? */
import { nth } from '../nth.ts';

/** The known word nearest to what was written, at most two edits or a change of case away; null when none is near. */
export function closest(written: string, known: readonly string[]): string | null {
  const target = plain(written.slice(0, 64));
  const ranked = known
    .map((word) => ({ word, edits: editDistance(target, plain(word)) }))
    .filter(({ word, edits }) => edits <= Math.min(2, Math.floor(word.length / 2)))
    .toSorted((a, b) => a.edits - b.edits);
  return ranked[0]?.word ?? null;
}

function plain(word: string): string {
  return word.toLowerCase().replaceAll(/[-_ ]/g, '');
}

/** Levenshtein distance, one row at a time. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (const [i, char] of a.split('').entries()) {
    const next = [i + 1];
    for (const [j, other] of b.split('').entries()) {
      const substituted = nth(row, j) + (char === other ? 0 : 1);
      next.push(Math.min(substituted, nth(row, j + 1) + 1, nth(next, j) + 1));
    }
    row = next;
  }
  return nth(row, b.length);
}
