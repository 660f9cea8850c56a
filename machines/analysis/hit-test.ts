/**
 * Is something happening more often at the canary than it may? One running test for one kind of hit (an error, a slow
 * answer), fed window by window, in constant time and memory. Two e-processes averaged: the split of hits between the
 * variants, and the canary's own rate against a bar above stable's.
 *
 * Exact by proof: the split, for independent requests and whatever stable does, as long as r is not below the ratio that is
 * truly allowed. Caps, late starts and division by the overdispersion (Jensen) only lower its mean. Carried by the study in
 * test/bench: the bar and r, because they rest on an estimate of stable's rate; and that bursts are covered by the division.
 */
import { z } from 'zod';
import {
  addToBaseline,
  type Baseline,
  baselineSchema,
  highRate,
  isUpset,
  lowRate,
  noBaseline,
  overdispersion,
  pastRate,
} from './baseline.ts';
import { alternatives, carryOn, type Count, logWeighted, rateGain, splitGain, startWeight } from './evalue.ts';

const logsSchema = z.array(z.number());

export const hitTestSchema = z.strictObject({
  /** How much time the windows so far covered. */
  seconds: z.number().min(0),
  /** Evidence that the canary is worse, per alternative; empty before the first window. */
  split: logsSchema,
  bar: logsSchema,
  /** Evidence that the canary is not worse than stable by m, per m of `excessGrid`. */
  betterSplit: logsSchema,
  betterBar: logsSchema,
  baseline: baselineSchema,
});

export type HitTest = z.infer<typeof hitTestSchema>;

/** How often is still fine? All are ratios in 0..1. */
export interface Allowance {
  /** What may be added to stable's rate. */
  margin: number;
  /** A rate that is fine whatever stable's is. */
  floor: number;
  /** A rate that is not, unless stable's is as high. */
  ceiling: number;
}

/** One window: the two variants, and how long it was. */
export interface Pair {
  canary: Count;
  stable: Count;
  seconds: number;
}

export const noHitTest: HitTest = {
  seconds: 0,
  split: [],
  bar: [],
  betterSplit: [],
  betterBar: [],
  baseline: noBaseline,
};

/** The rate that the canary may have when stable has this one: the edge of the null. */
export function allowedRate(stableRate: number, { margin, floor, ceiling }: Allowance): number {
  return Math.max(floor, Math.min(stableRate + margin, Math.max(ceiling, stableRate)));
}

/** The bar is estimated, so it is put this much higher than stable's rate. */
const barFactor = 1.1;
/** Without stable beside it, what it was like an hour ago is a guide to less: errors have their hours too. */
const barFactorAlone = 2;
const ratioMin = 1.1;
const ratioMax = 50;
/** A bar of 0 would make the first hit a proof. */
const barMin = 1e-5;
/**
 * One minute alone, or a window that is shorter, proves nothing beyond this, in nats: a burst that only the canary meets is
 * over in the next. Divided by
 * the overdispersion once more: where stable has bursts, so has the canary.
 */
const windowGainMax = 4;
/**
 * Without stable beside it a jump may be an outage: so long must it last at least. Longer than most outages; at a share of
 * 100 % this is what it costs not to take one for the canary's fault.
 */
export const patienceSeconds = 480;
/** What a proof takes beyond the weight of its start, about: ln(1/α) and what is bet on other tests and alternatives. */
const proofGain = 5;
/** Margins for which the canary's excess is bounded, from the policy's own to 1. */
const gridSize = 20;
const marginMin = 0.0005;
/** The rate tells sooner that the canary is good; the split tells it also in an outage. */
const splitPart = 0.25;

/** Adds one window. */
export function addWindow(test: HitTest, { canary, stable, seconds }: Pair, allowance: Allowance): HitTest {
  const { baseline } = test;
  const weight = startWeight(test.seconds, seconds);
  const ratio = ratioFor(baseline, allowance);
  const spread = overdispersion(baseline, canary, stable, seconds);
  const factorOfBar = stable.trials > 0 ? barFactor : barFactorAlone;
  const bar = clamp(allowedRate(factorOfBar * highRate(baseline, stable), allowance), barMin, 0.99);
  const most = stable.trials > 0 ? (windowGainMax * Math.max(1, seconds / 60)) / spread : gainAlone(weight, seconds);
  const capped = (gain: number): number => Math.min(most, gain);
  const after = addToBaseline(baseline, stable, seconds);
  const known = pastRate(after);
  const isTelling = !isUpset(baseline, stable, allowedRate(pastRate(baseline), allowance));
  const grid = excessGrid(allowance.margin);
  return {
    seconds: test.seconds + seconds,
    split: carryOn(
      test.split,
      alternatives.map(({ factor }) => capped(splitGain(canary, stable, ratio, factor) / spread)),
      weight,
    ),
    bar: carryOn(
      test.bar,
      alternatives.map(({ factor }) => (isTelling ? capped(rateGain(canary, bar, factor) / spread) : 0)),
      weight,
    ),
    betterSplit: carryOn(
      test.betterSplit,
      grid.map((margin) => {
        const edge = 1 + margin / known;
        return splitGain(canary, stable, edge, 1 / edge) / spread;
      }),
      weight,
    ),
    betterBar: carryOn(
      test.betterBar,
      grid.map((margin) => (isTelling ? notWorseGain(canary, known, margin) / spread : 0)),
      weight,
    ),
    baseline: after,
  };
}

/** Adds a window from before the rollout, in which there was no canary. */
export function addPast(test: HitTest, stable: Count, seconds: number): HitTest {
  return { ...test, baseline: addToBaseline(test.baseline, stable, seconds) };
}

/** The logarithm of the e-value that the canary is hit more often than allowed. 0 before the first window. */
export function worseLog({ split, bar }: HitTest): number {
  if (bar.length === 0) return 0;
  const parts = alternatives.flatMap(({ weight }, i) => [
    { log: split[i] ?? 0, weight: weight / 2 },
    { log: bar[i] ?? 0, weight: weight / 2 },
  ]);
  return logWeighted(parts);
}

/**
 * How much more often than stable the canary is hit at most: the least margin of the grid that is excluded at 1/β, at any
 * time. 1 if nothing is known.
 */
export function excessAtMost(test: HitTest, margin: number, beta: number): number {
  const grid = excessGrid(margin);
  const index = grid.findIndex((_, i) => {
    const [split, bar] = [test.betterSplit[i], test.betterBar[i]];
    if (split === undefined || bar === undefined) return false;
    const log = logWeighted([
      { log: split, weight: splitPart },
      { log: bar, weight: 1 - splitPart },
    ]);
    return log >= Math.log(1 / beta);
  });
  return grid[index] ?? 1;
}

/** Margins from the policy's own to 1, evenly on a logarithmic scale. Nobody can prove a difference of nothing. */
export function excessGrid(margin: number): number[] {
  const least = Math.max(margin, marginMin);
  return Array.from({ length: gridSize }, (_, i) => least ** (1 - i / (gridSize - 1)));
}

/** r: how many times stable's rate the canary's may be. From the past only, and rather too high than too low. */
function ratioFor(baseline: Baseline, allowance: Allowance): number {
  const rate = lowRate(baseline);
  return rate === 0 ? ratioMax : clamp(allowedRate(rate, allowance) / rate, ratioMin, ratioMax);
}

/** Shared out so that a proof from a standing start takes the patience, however late it begins. */
function gainAlone(weight: number, seconds: number): number {
  return Math.min(windowGainMax, ((proofGain - Math.log(weight)) * seconds) / patienceSeconds);
}

/** Null: the canary's rate ≥ stable's + margin. The alternative is stable's rate, where a good canary lies. */
function notWorseGain(canary: Count, stableRate: number, margin: number): number {
  const edge = Math.min(stableRate + margin, 1 - 1e-9);
  return rateGain(canary, edge, Math.min(stableRate / edge, 1));
}

function clamp(value: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, value));
}
