/** What happens next in virtual time? Things to do, by their instant; those of one instant in an order drawn by the seed. */
import type { Random } from '../../../emulator/models/random.ts';

interface Entry {
  at: number;
  order: number;
  act: () => void;
}

export interface Agenda {
  add(at: number, act: () => void): void;
  /** Removes and returns what is first; null when nothing is left. */
  next(): Entry | null;
  /** When the first thing happens; null for never. */
  nextAt(): number | null;
}

export function agenda(random: Random): Agenda {
  const heap: Entry[] = [];
  const isBefore = (a: Entry, b: Entry): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);

  function swap(i: number, j: number): void {
    const [a, b] = [heap[i], heap[j]];
    if (a === undefined || b === undefined) return;
    heap[i] = b;
    heap[j] = a;
  }

  function isOutOfOrder(parent: number, child: number): boolean {
    const [a, b] = [heap[parent], heap[child]];
    return a !== undefined && b !== undefined && isBefore(b, a);
  }

  return {
    add: (at, act) => {
      heap.push({ at, order: random(), act });
      for (let i = heap.length - 1; i > 0; ) {
        const parent = (i - 1) >> 1;
        if (!isOutOfOrder(parent, i)) break;
        swap(parent, i);
        i = parent;
      }
    },
    next: () => {
      const first = heap[0] ?? null;
      const last = heap.pop();
      if (first === null || last === undefined || heap.length === 0) return first;
      heap[0] = last;
      for (let i = 0; ; ) {
        const [left, right] = [2 * i + 1, 2 * i + 2];
        const smaller = isOutOfOrder(left, right) ? right : left;
        if (!isOutOfOrder(i, smaller)) break;
        swap(i, smaller);
        i = smaller;
      }
      return first;
    },
    nextAt: () => heap[0]?.at ?? null,
  };
}
