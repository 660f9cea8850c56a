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
import { nth } from '../nth.ts';
import {
  addToBaseline,
  type Baseline,
  baselineSchema,
  highRate,
  isUpset,
  longRate,
  lowRate,
  noBaseline,
  overdispersion,
  pastRate,
} from './baseline.ts';
import { alternatives, type Count, carryOn, logAdd, logWeighted, rateGain, splitGain, startWeight } from './evalue.ts';

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
  /** The canary's trials since stable's last one. */
  aloneTrials: z.number().min(0).default(0),
  /** Evidence that the canary is worse since stable had its last trial, without patience; empty while stable has some. */
  alone: logsSchema.default([]),
  /** How much of what a minute may prove is used up, in nats, by it and by those that it was last judged with. */
  spent: z.number().min(0).default(0),
  /** Evidence of the last minute that this is more than a burst, in nats. */
  beyondBurst: z.number().min(0).default(0),
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
  aloneTrials: 0,
  alone: [],
  spent: 0,
  beyondBurst: 0,
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
 * What a minute may prove, in nats, by all tests that are judged together: a burst that only the canary meets is over in the
 * next. Windows shorter than a minute draw on a store that fills at that pace. It is a little less than a proof takes of the
 * default α: with one source, and no bursts at stable, what is as bad as can be is proven some five seconds after the store is
 * empty. It is up to twice as large where the canary is hit so often that a burst would not explain it. Divided by the
 * overdispersion: where stable has bursts, so has the canary.
 */
const minuteGainMax = 4;
const storeMax = Math.log(100) - 0.2;
const storeMaxBeyondBurst = 5;
/** How often a burst that stable never had is believed to hit. */
const burstRate = 0.15;
/** A request that failed and its three retries are one failure: what they say beyond a burst, at the most. */
const clumpGain = 4 * Math.LN2;
/** So many trials of the canary's in a row without one of stable's: stable has no share, and is not merely quiet. */
const aloneTrialsMin = 5;
/**
 * Without stable beside it a jump may be an outage: so long must it last at least. Longer than most outages; at a share of
 * 100 % this is what it costs not to take one for the canary's fault.
 */
export const patienceSeconds = 480;
/** Of R in `isSuspect`: one false suspicion in so many minutes at most. */
const suspectLog = Math.log(1000);
/** What a proof takes beyond the weight of its start, about: ln(1/α) and what is bet on other tests and alternatives. */
const proofGain = 5;
/** Margins for which the canary's excess is bounded, from the policy's own to 1. */
const gridSize = 20;
const marginMin = 0.0005;
/** The rate tells sooner that the canary is good; the split tells it also in an outage. */
const splitPart = 0.25;

/** What one test is told of a window, and what part of all that is bet is bet on it; all parts together are 1 at most. */
export interface Told {
  test: HitTest;
  pair: Pair;
  allowance: Allowance;
  part: number;
}

/** A test that is judged with others, as it stands: it was told nothing of the window. */
export interface Standing {
  log: number;
  weight: number;
}

/** Adds one window to a test that is judged by itself. */
export function addWindow(test: HitTest, pair: Pair, allowance: Allowance): HitTest {
  return nth(addWindows([{ test, pair, allowance, part: 1 }], test.spent).tests, 0);
}

/**
 * Adds the same window to tests that are judged together, in their order.
 * @param spent how much of what a minute may prove all of them have used up, in nats
 */
export function addWindows(
  told: readonly Told[],
  spent: number,
  standing: readonly Standing[] = [],
): { tests: HitTest[]; spent: number } {
  const grown = told.map(grow).map((one) => (one.isAlone ? one : heldByItself(one, spent)));
  const beside = grown.filter(({ isAlone }) => !isAlone);
  const alone = grown.filter(({ isAlone }) => isAlone).map(({ test, part }) => ({ log: worseLog(test), weight: part }));
  const together = beside.length === 0 ? { over: 0, spent: 0 } : beyondStore(beside, spent, [...standing, ...alone]);
  const tests = grown.map(({ after, isAlone }) => ({
    ...(isAlone ? after : lowered(after, together.over)),
    spent: together.spent,
  }));
  return { tests, spent: together.spent };
}

interface Grown extends Told {
  /** With all that the window says. */
  after: HitTest;
  /** Of a start just before the window. */
  weight: number;
  /** The overdispersion. */
  spread: number;
  /** Has stable nobody left? Then patience is what bounds a short time. */
  isAlone: boolean;
}

function grow({ test, pair, allowance, part }: Told): Grown {
  const { canary, stable, seconds } = pair;
  const { baseline } = test;
  const weight = startWeight(test.seconds, seconds);
  const ratio = ratioFor(baseline, allowance);
  const spread = overdispersion(baseline, canary, stable, seconds);
  const aloneTrials = stable.trials > 0 ? 0 : test.aloneTrials + canary.trials;
  const isAlone = aloneTrials >= aloneTrialsMin;
  const high = isAlone ? barFactorAlone * longRate(baseline) : barFactor * highRate(baseline, stable);
  const bar = clamp(allowedRate(high, allowance), barMin, 0.99);
  const told = addToBaseline(baseline, stable, seconds);
  const known = pastRate(told);
  const isTelling = isAlone || !isUpset(baseline, stable, allowedRate(pastRate(baseline), allowance));
  const grid = excessGrid(allowance.margin);
  const splitGains = alternatives.map(({ factor }) => splitGain(canary, stable, ratio, factor) / spread);
  const barGains = alternatives.map(({ factor }) => (isTelling ? rateGain(canary, bar, factor) / spread : 0));
  const sinceMinute = test.beyondBurst * Math.max(0, 1 - seconds / 60);
  const beyondBurst = Math.max(0, sinceMinute + rateGain(canary, Math.max(bar, burstRate), 2));
  const most = isAlone ? gainAlone(weight, seconds) : Number.POSITIVE_INFINITY;
  const capped = (gain: number): number => Math.min(most, gain);
  const after: HitTest = {
    seconds: test.seconds + seconds,
    split: carryOn(test.split, splitGains.map(capped), weight),
    bar: carryOn(test.bar, barGains.map(capped), weight),
    spent: test.spent,
    beyondBurst,
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
    aloneTrials,
    alone: isAlone ? carryOn(test.alone, barGains, seconds / 60) : [],
    baseline: told,
  };
  return { test, pair, allowance, part, after, weight, spread, isAlone };
}

/** How much a test may grow by a window: at once, and for the time that it covers. In nats, by its own overdispersion. */
function paceOf({ after, spread, pair: { seconds } }: Grown, extra: number): { store: number; paced: number } {
  const beyondClump = Math.max(0, after.beyondBurst - clumpGain);
  const store = seconds < 60 ? storeMax + extra + Math.min(storeMaxBeyondBurst, beyondClump) : minuteGainMax;
  return { store: store / spread, paced: (minuteGainMax * seconds) / 60 / spread };
}

/** One that is noisier than the others must not take up their store with what it cannot prove. */
function heldByItself(grown: Grown, spent: number): Grown {
  const { test, part, weight, after } = grown;
  // Of the mean of all, which is held below, its part is all that it can fill.
  const { store, paced } = paceOf(grown, -Math.log(part));
  const left = Math.max(paced, store - Math.max(0, spent - paced));
  return { ...grown, after: lowered(after, Math.max(0, worseLog(after) - started(test, weight) - left)) };
}

/**
 * What the window proves beyond what is left in the store, to be taken from all alike: a mean that is lowered stays below 1.
 * It is the weighted mean of the tests that is held, for that is what a proof is made of: one burst that is an error and slow
 * counts once. How much is left goes by the test that says most.
 */
function beyondStore(
  grown: readonly Grown[],
  spentBefore: number,
  standing: readonly Standing[],
): { over: number; spent: number } {
  const parts = grown.map(({ after, part }) => ({ log: worseLog(after), weight: part }));
  const said = parts.map(({ log, weight }) => log + Math.log(weight));
  const { store, paced } = paceOf(nth(grown, said.indexOf(Math.max(...said))), 0);
  const spent = Math.max(0, spentBefore - paced);
  const left = Math.max(paced, store - spent);
  const others = standing.filter(({ weight }) => weight > 1e-9);
  const starts = grown.map(({ test, weight, part }) => ({ log: started(test, weight), weight: part }));
  const before = logWeighted([...starts, ...others]);
  const unmoved = others.length === 0 ? 0 : Math.exp(logWeighted(others) - left - before);
  const over = Math.max(0, logWeighted(parts) - (left + before + Math.log1p(-unmoved)));
  const after = logWeighted([...parts.map(({ log, weight }) => ({ log: log - over, weight })), ...others]);
  return { over, spent: Math.max(0, spent + after - before) };
}

function lowered(test: HitTest, by: number): HitTest {
  const less = (log: number): number => log - by;
  return { ...test, split: test.split.map(less), bar: test.bar.map(less) };
}

/** With what is bet on a start just now. */
function started(test: HitTest, weight: number): number {
  return test.bar.length === 0 ? Math.log(weight) : logAdd(worseLog(test), Math.log(weight));
}

/** Adds a window from before the rollout, in which there was no canary. */
export function addPast(test: HitTest, stable: Count, seconds: number): HitTest {
  return { ...test, baseline: addToBaseline(test.baseline, stable, seconds) };
}

/** The logarithm of the e-value that the canary is hit more often than allowed. 0 before the first window. */
export function worseLog({ split, bar }: Pick<HitTest, 'split' | 'bar'>): number {
  if (bar.length === 0) return 0;
  const parts = alternatives.flatMap(({ weight }, i) => [
    { log: split[i] ?? 0, weight: weight / 2 },
    { log: bar[i] ?? 0, weight: weight / 2 },
  ]);
  return logWeighted(parts);
}

/**
 * Is it time to ask stable? True when the canary, with nobody beside it, is hit so much more often than stable was that chance
 * alone would show it once in 1000 minutes at most (Shiryaev and Roberts: R ← (R + minutes) · e^gain, so R - minutes has mean
 * 0). It may still be an outage that stable would share: a reason to compare again, and no proof.
 */
export function isSuspect({ alone }: HitTest): boolean {
  if (alone.length === 0) return false;
  return logWeighted(alternatives.map(({ weight }, i) => ({ log: alone[i] ?? 0, weight }))) >= suspectLog;
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
  return Math.min(minuteGainMax, ((proofGain - Math.log(weight)) * seconds) / patienceSeconds);
}

/** Null: the canary's rate ≥ stable's + margin. The alternative is stable's rate, where a good canary lies. */
function notWorseGain(canary: Count, stableRate: number, margin: number): number {
  const edge = Math.min(stableRate + margin, 1 - 1e-9);
  return rateGain(canary, edge, Math.min(stableRate / edge, 1));
}

function clamp(value: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, value));
}
