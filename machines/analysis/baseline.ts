/**
 * What is stable like? Its rate of something (errors, slow answers) over its long past, its last few windows and the window
 * at hand, and how much it moves from minute to minute beyond chance. Fed before the rollout too, where that is known.
 */
import { z } from 'zod';
import type { Count } from './evalue.ts';

export const countSchema = z.strictObject({ hits: z.number().min(0), trials: z.number().min(0) });

export const baselineSchema = z.strictObject({
  /** All windows so far, outages cut down. */
  past: countSchema,
  /** The latest windows, newest last. */
  recent: z.array(countSchema),
  /** The minute that is being filled, with sums over its windows, and the minute before. */
  minute: countSchema.extend({
    seconds: z.number().min(0),
    hitsSquared: z.number().min(0).default(0),
    hitsByTrials: z.number().min(0).default(0),
    trialsSquared: z.number().min(0).default(0),
  }),
  lastMinute: countSchema,
  /** Sums over minutes of (Pearson's term - 1) and of trials: their ratio is the correlation within a minute. */
  spread: z.strictObject({ beyondChance: z.number(), trials: z.number().min(0), minutes: z.int().min(0) }),
  /** Sums over minutes of what their windows vary beyond chance, of what chance makes of it, and of its variance. */
  clumps: z
    .strictObject({ beyondChance: z.number(), expected: z.number().min(0), variance: z.number().min(0) })
    .default({ beyondChance: 0, expected: 0, variance: 0 }),
});

export type Baseline = z.infer<typeof baselineSchema>;

const none: Count = { hits: 0, trials: 0 };

export const noBaseline: Baseline = {
  past: none,
  recent: [],
  minute: { ...none, seconds: 0, hitsSquared: 0, hitsByTrials: 0, trialsSquared: 0 },
  lastMinute: none,
  spread: { beyondChance: 0, trials: 0, minutes: 0 },
  clumps: { beyondChance: 0, expected: 0, variance: 0 },
};

/** Windows that make up "just now". */
export const recentMax = 5;
/** How many deviations above its past stable is believed to be by nature; what is further out is an outage. */
const outageDeviations = 5;
/** A minute further out than this many deviations squared is an outage, and says no more about noise than that. */
const termMax = 400;
/** With fewer hits expected, Pearson's term says nothing. */
const expectedMin = 1;
const minuteSeconds = 60;

/** Adds a window of stable's; one without trials says nothing. */
export function addToBaseline(baseline: Baseline, window: Count, seconds: number): Baseline {
  if (window.trials === 0) return baseline;
  const minute = addToMinute(baseline.minute, window, seconds);
  const next: Baseline = {
    ...baseline,
    past: total([baseline.past, withoutOutage(baseline, window)]),
    recent: [...baseline.recent, window].slice(-recentMax),
    minute,
  };
  if (minute.seconds < minuteSeconds) return next;
  return {
    ...next,
    minute: noBaseline.minute,
    lastMinute: { hits: minute.hits, trials: minute.trials },
    spread: addSpread(baseline, minute),
    clumps: addClumps(baseline.clumps, minute),
  };
}

function addToMinute(minute: Baseline['minute'], window: Count, seconds: number): Baseline['minute'] {
  return {
    ...total([minute, window]),
    seconds: minute.seconds + seconds,
    hitsSquared: minute.hitsSquared + window.hits ** 2,
    hitsByTrials: minute.hitsByTrials + window.hits * window.trials,
    trialsSquared: minute.trialsSquared + window.trials ** 2,
  };
}

/** The window, with no more hits than its past and five deviations make likely: an outage is not how stable is. */
function withoutOutage({ past }: Baseline, window: Count): Count {
  if (past.trials < window.trials) return window;
  const expected = smoothed(past) * window.trials;
  const hits = Math.min(window.hits, expected + outageDeviations * Math.sqrt(expected) + outageDeviations);
  return { hits, trials: window.trials };
}

/** Measured against the minute before and the long past together, so that a slow change of level is not taken for noise. */
function addSpread({ past, lastMinute, spread }: Baseline, minute: Count): Baseline['spread'] {
  const before = total([lastMinute, weighed(past, 2 * lastMinute.trials)]);
  const rate = smoothed(before);
  const expected = rate * minute.trials;
  if (before.trials < minute.trials || expected < expectedMin) return spread;
  const variance = expected * (1 - rate) * (1 + minute.trials / before.trials);
  const term = Math.min(termMax, (minute.hits - expected) ** 2 / variance);
  return {
    beyondChance: spread.beyondChance + term - 1,
    trials: spread.trials + minute.trials,
    minutes: spread.minutes + 1,
  };
}

/**
 * A minute's windows against the rate of that minute: Σ (h - r n)² is Σ r n (1 - n/N) where hits come by themselves, and F
 * times that where they come in clumps of F. A minute of one window says nothing.
 */
function addClumps(clumps: Baseline['clumps'], minute: Baseline['minute']): Baseline['clumps'] {
  const { hits, trials, hitsSquared, hitsByTrials, trialsSquared } = minute;
  const rate = hits / trials;
  const part = 1 - trialsSquared / trials ** 2;
  const expected = rate * trials * part;
  const seen = hitsSquared - 2 * rate * hitsByTrials + rate ** 2 * trialsSquared;
  return {
    beyondChance: clumps.beyondChance + seen - expected,
    expected: clumps.expected + expected,
    variance: clumps.variance + expected + 2 * rate ** 2 * trialsSquared * part,
  };
}

/** The same rate on so many trials at most. */
function weighed(count: Count, trialsMax: number): Count {
  const part = count.trials <= trialsMax ? 1 : trialsMax / count.trials;
  return { hits: count.hits * part, trials: count.trials * part };
}

/** Stable's rate over its past, with half a hit added so that none seen is not taken for none possible. 0.5 without any past. */
export function pastRate({ past }: Baseline): number {
  return smoothed(past);
}

/** Stable's rate over its past as it was counted; 0 if nothing is known. */
export function longRate({ past }: Baseline): number {
  return past.trials === 0 ? 0 : past.hits / past.trials;
}

/**
 * As high as stable's rate may well be just now: the highest of its past and of what its last windows, and this one, show
 * beyond one standard error. It follows stable upwards at once. 0 if nothing is known.
 */
export function highRate(baseline: Baseline, window: Count): number {
  return Math.max(longRate(baseline), atLeast(total([...baseline.recent, window])), atLeast(window));
}

/** As low as stable's rate may well be: one standard error below its past, less where its last windows are lower still. */
export function lowRate({ past, recent }: Baseline): number {
  return Math.min(atLeast(past), atMost(total(recent)));
}

/**
 * Is stable far above its past just now: more than twice, and more than `beyond`? Then its rate is not known well enough to
 * hold the canary's against it, and only the split between the two tells anything. A window without stable cannot say so.
 */
export function isUpset(baseline: Baseline, window: Count, beyond: number): boolean {
  const now = Math.max(atLeast(window), atLeast(total([...baseline.recent, window])));
  return now > Math.max(2 * pastRate(baseline), beyond);
}

/** Has stable an outage, or had one in its latest windows? Three deviations and three hits above its past are not chance. */
export function hasOutage({ past, recent }: Baseline): boolean {
  const { hits, trials } = total(recent);
  const expected = smoothed(past) * trials;
  return hits > expected + 3 * Math.sqrt(expected) + 3;
}

/**
 * The correlation ρ of hits within a minute, by moments: a minute of n trials varies 1 + ρ n times as much as chance alone
 * would have it, as in a beta-binomial. One standard error (√(2 minutes) under chance) less, so that chance is not taken for
 * bursts.
 * @example 50 minutes of 1000, each varying 3 times as much as chance: (50 · 2 - √100) / 50000 = 0.0018
 */
export function correlation({ spread: { beyondChance, trials, minutes } }: Baseline): number {
  return trials === 0 ? 0 : Math.max(0, beyondChance - Math.sqrt(2 * minutes)) / trials;
}

/** As if so many hits had been seen that came by themselves. */
const clumpsPrior = 10;

/**
 * How many hits come together, F: a request that is sent again when it failed, a batch. From windows shorter than a minute,
 * which do not take a rate that moves from minute to minute for it. One standard error less; 1 if nothing is known.
 */
export function clumping({ clumps: { beyondChance, expected, variance } }: Baseline): number {
  return 1 + Math.max(0, beyondChance - Math.sqrt(variance)) / (expected + clumpsPrior);
}

/**
 * How many times as much as chance a window of the canary's is taken to vary: F + ρ √(n_c n_s), n per minute. A clump is as
 * large in a small window as in a large one; of ρ only what clumps leave over. Where variants move as a whole that part is
 * ρ n_c; where each replica does by itself it is ρ n_s; this lies between.
 */
export function overdispersion(baseline: Baseline, canary: Count, stable: Count, seconds: number): number {
  // Where many proxies tell of the same seconds, each has a small part of one.
  const perMinute = Math.max(1, minuteSeconds / Math.max(0.01, seconds));
  const clump = clumping(baseline);
  const size = stable.trials > 0 ? Math.sqrt(canary.trials * stable.trials) : canary.trials;
  const ofClumps = stable.trials > 0 ? (clump - 1) / (stable.trials * perMinute) : 0;
  return clump + Math.max(0, correlation(baseline) - ofClumps) * size * perMinute;
}

export function total(counts: readonly Count[]): Count {
  return counts.reduce<Count>(
    (sum, { hits, trials }) => ({ hits: sum.hits + hits, trials: sum.trials + trials }),
    none,
  );
}

function smoothed({ hits, trials }: Count): number {
  return (hits + 0.5) / (trials + 1);
}

/** One standard error of a Poisson count below it, and two above it; 0 and 1 without trials. */
function atLeast({ hits, trials }: Count): number {
  return trials === 0 ? 0 : Math.max(0, hits + 0.5 - Math.sqrt(hits + 0.25)) / trials;
}

function atMost({ hits, trials }: Count): number {
  return trials === 0 ? 1 : Math.min(1, (hits + 0.5 + 2 * Math.sqrt(hits + 0.25)) / trials);
}
