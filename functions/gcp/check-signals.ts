/**
 * How do numbers, by period and DeployedModel, become a check's signal? The same for every source of numbers. What cannot be
 * so is left out for canary and stable alike: half of a comparison misleads more than none.
 */
import { addHistograms, type Histogram, type Signal } from '../../machines/analysis/evidence.ts';
import type { CheckPolicy } from '../../machines/policy/policy.ts';
import { endpointKey, parseEndpointName } from '../../machines/rollout/resource-name.ts';
import { TransientError } from '../engine/errors.ts';
import type { SignalAnswer, SignalQuery } from './signals.ts';
import { instant } from './time-series.ts';

/** What a rule is fed with: counts of events (two readings, hits and trials), a histogram, or the newest value. */
export type Shape = 'count' | 'histogram' | 'value';

/** What a source said to one endpoint. */
export interface Numbers {
  /** By the end of the period, then by DeployedModel id. */
  periods: Map<number, Map<string, number | Histogram>>;
  /** Ends of the periods in which nothing can be told. */
  spoiled: Set<number>;
  notes: string[];
}

export function shapeOf({ rule }: CheckPolicy): Shape {
  switch (rule.kind) {
    case 'rate':
      return 'count';
    case 'quantile':
    case 'drift':
      return 'histogram';
    case 'limit':
      return 'value';
  }
}

export const noNumbers = (): Numbers => ({ periods: new Map(), spoiled: new Set(), notes: [] });

/** Adds what one more series tells of a variant: counts and histograms add, of values the greatest stands. */
export function addNumber(
  { periods }: Numbers,
  shape: Shape,
  endAt: number,
  id: string,
  value: number | Histogram,
): void {
  const variants = periods.get(endAt) ?? new Map<string, number | Histogram>();
  const before = variants.get(id);
  if (typeof before === 'number' && typeof value === 'number') {
    variants.set(id, shape === 'value' ? Math.max(before, value) : before + value);
  } else if (typeof before === 'object' && typeof value === 'object') {
    variants.set(id, addHistograms(before, value));
  } else {
    variants.set(id, value);
  }
  periods.set(endAt, variants);
}

/** Adds a check's signal of every period that can be told to the answer, and the notes. Of a rate, `more` are the trials. */
export function addSignals(
  answer: SignalAnswer,
  { name }: CheckPolicy,
  { models }: SignalQuery,
  numbers: Numbers,
  more?: Numbers,
): void {
  const note = (text: string) => answer.notes.push(`Check "${name}": ${text}.`);
  const parts = more === undefined ? [numbers] : [numbers, more];
  for (const text of new Set(parts.flatMap(({ notes }) => notes))) note(text);
  for (const endAt of new Set(parts.flatMap(({ periods }) => [...periods.keys()]))) {
    if (parts.some(({ spoiled }) => spoiled.has(endAt))) continue;
    const signals = models.flatMap(({ id }) => {
      const signal = signalOf(numbers.periods.get(endAt)?.get(id), more && (more.periods.get(endAt)?.get(id) ?? 0));
      return signal === null ? [] : [{ id, signal }];
    });
    const wrong = signals.find(({ signal }) => 'hits' in signal && signal.hits > signal.trials);
    if (wrong !== undefined) {
      const got = JSON.stringify(wrong.signal);
      note(
        `got ${got} of DeployedModel ${wrong.id} in ${periodThat(endAt)}, but hits cannot exceed trials; it is left out`,
      );
      continue;
    }
    const variants = answer.periods.get(endAt) ?? {};
    for (const { id, signal } of signals) variants[id] = { ...variants[id], [name]: signal };
    answer.periods.set(endAt, variants);
  }
}

function signalOf(value: number | Histogram | undefined, trials: number | Histogram | undefined): Signal | null {
  if (typeof value === 'object') return value;
  if (typeof trials !== 'number') return value === undefined ? null : { value };
  // A counter that counted nothing shows no point.
  return value === undefined && trials === 0 ? null : { hits: value ?? 0, trials };
}

/** What a series says of itself; absent where it does not. */
export interface Identity {
  endpointId?: string | undefined;
  location?: string | undefined;
  deployedModelId?: string | undefined;
}

/**
 * Those that a series tells of: its endpoint, if it asks about its DeployedModel. One that names no endpoint belongs to
 * whichever asks about the DeployedModel; where several do, it must count for none of them.
 */
export function ownersOf({ endpointId, location, deployedModelId }: Identity, askers: SignalQuery[]): SignalQuery[] {
  const owners = askers.filter(({ endpoint, models }) => {
    const isAskedFor = models.some(({ id }) => id === deployedModelId);
    if (endpointId === undefined) return isAskedFor;
    const name = parseEndpointName(endpoint);
    const isEndpoint = name?.id === endpointId && (location === undefined || name.location === location);
    return isEndpoint && (deployedModelId === undefined || isAskedFor);
  });
  return [...new Map(owners.map((owner) => [endpointKey(owner.endpoint), owner])).values()];
}

/** The text of a query for one endpoint: `{endpoint}` is its id, `{window}` a period such as `60s`. */
export function textFor(text: string, { endpoint, periodMs }: SignalQuery): string {
  const id = parseEndpointName(endpoint)?.id ?? '';
  return text.replaceAll('{endpoint}', id).replaceAll('{window}', `${periodMs / 1000}s`);
}

export function periodThat(endAt: number): string {
  return `the period that ends at ${instant(endAt)}`;
}

/** Calls that wait for each other share one deadline: returns how many milliseconds are left. Throws when none are. */
export function sharedDeadline(totalMs: number): () => number {
  const endAt = performance.now() + totalMs;
  return () => {
    const leftMs = Math.floor(endAt - performance.now());
    if (leftMs > 0) return leftMs;
    throw new TransientError('deadlineExceeded', `the calls before it took all of the ${totalMs} ms`);
  };
}
