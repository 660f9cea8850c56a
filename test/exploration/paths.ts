/** How many lives are covered? Paths from a beginning, counted and not walked: each step is one move that changes something. */
import type { Place } from './explore.ts';

/** Paths of 1 to `stepsMax` steps. */
export function pathsTo(places: Iterable<Place>, stepsMax: number): number {
  let ways = new Map<Place, number>();
  for (const place of places) if (place.from === null) ways.set(place, 1);
  let total = 0;
  for (let step = 0; step < stepsMax; step += 1) {
    const next = new Map<Place, number>();
    for (const [place, count] of ways) {
      for (const to of place.moves.values()) {
        next.set(to, (next.get(to) ?? 0) + count);
        total += count;
      }
    }
    ways = next;
  }
  return total;
}
