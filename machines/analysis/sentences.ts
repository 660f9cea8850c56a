/** How are numbers said to a person? Three digits, units in words, and no more certainty than is useful. */
import type { Count } from './evalue.ts';

/** `31 errors in 412 requests (7.52 %)` */
export function fraction({ hits, trials }: Count): string {
  const seen = `${count(hits)} errors in ${count(trials)} requests`;
  return trials === 0 ? seen : `${seen} (${percent(hits / trials)})`;
}

/** `31 of 412 (7.52 %)` */
export function part({ hits, trials }: Count): string {
  const seen = `${count(hits)} of ${count(trials)}`;
  return trials === 0 ? seen : `${seen} (${percent(hits / trials)})`;
}

/** Odds from their logarithm, down to a whole number. */
export function odds(log: number): string {
  return log > 27 ? 'over a trillion' : count(Math.floor(Number(Math.exp(log).toPrecision(3))));
}

export function count(value: number): string {
  return value > 1e12 ? 'over a trillion' : value.toLocaleString('en');
}

export function percent(ratio: number): string {
  return `${round(ratio * 100)} %`;
}

/** A difference of ratios, in points of a percent. */
export function points(ratio: number): string {
  return `${round(ratio * 100)} points`;
}

export function round(value: number): string {
  return Number(value.toPrecision(3)).toString();
}
