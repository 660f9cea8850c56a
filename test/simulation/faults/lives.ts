/** Many lives: of consecutive seeds, until enough rollouts have lived. What a worker does, and how results add up. */
import { live, type LifeOptions, type LifeResult } from './life.ts';
import { type FaultKind, faultKinds } from './chaos.ts';

export interface Tally {
  /** Rollouts from their blessing to their end. */
  lives: number;
  worlds: number;
  awaits: number;
  injected: number;
  byKind: Partial<Record<FaultKind, number>>;
  violations: LifeResult[];
}

export function emptyTally(): Tally {
  return { lives: 0, worlds: 0, awaits: 0, injected: 0, byKind: {}, violations: [] };
}

export function addLife(tally: Tally, life: LifeResult): void {
  tally.lives += life.rollouts;
  tally.worlds += 1;
  tally.awaits += life.awaits;
  for (const kind of faultKinds) {
    const count = life.faults[kind] ?? 0;
    tally.byKind[kind] = (tally.byKind[kind] ?? 0) + count;
    tally.injected += count;
  }
  if (life.violation !== null) tally.violations.push(life);
}

/** Lives the lives of some seeds, one after the other. */
export async function liveAll(fromSeed: number, count: number): Promise<LifeResult[]> {
  const results: LifeResult[] = [];
  for (let seed = fromSeed; seed < fromSeed + count; seed += 1) results.push(await live(seed));
  return results;
}

/** Faults without which the same law is still broken are left out, one at a time, those that came last first. */
export async function shrink(failed: LifeResult, options: LifeOptions = {}): Promise<ReadonlySet<number>> {
  const leftOut = new Set<number>();
  for (let fault = failed.faultsDrawn; fault > 0; fault -= 1) {
    leftOut.add(fault);
    const { violation } = await live(failed.seed, { ...options, leftOut });
    if (violation?.law !== failed.violation?.law) leftOut.delete(fault);
  }
  return leftOut;
}

/** The life as a person reads it: numbered awaits, events, faults and decisions, one a line, in virtual seconds. */
export async function storyOf(
  seed: number,
  leftOut: ReadonlySet<number>,
  options: LifeOptions = {},
): Promise<string[]> {
  const story: string[] = [];
  const { ends } = await live(seed, { ...options, leftOut, story });
  return [...story, ...ends];
}
