/**
 * How likely is a flight to arrive late? Logistic regression over named features, so that the weights can be read:
 * probability = 1 / (1 + exp(-(intercept + Σ weight · value))). A feature without a weight counts as zero.
 */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import type { Flight } from './flights.ts';

export const featureSets = ['plain', 'rich'] as const;
export type FeatureSet = (typeof featureSets)[number];

const metricsSchema = z.strictObject({
  rows: z.int(),
  lateRatio: z.number(),
  auc: z.number(),
  logLoss: z.number(),
});

export const delayModelSchema = z.strictObject({
  name: z.string(),
  features: z.enum(featureSets),
  data: z.strictObject({
    package: z.string(),
    file: z.string(),
    late: z.string(),
    learned: z.string(),
    heldOut: z.string(),
  }),
  metrics: z.strictObject({ learned: metricsSchema, heldOut: metricsSchema }),
  intercept: z.number(),
  weights: z.record(z.string(), z.number()),
});

export type Metrics = z.infer<typeof metricsSchema>;
export type DelayModel = z.infer<typeof delayModelSchema>;

/** What of a model its predictions depend on. */
export type Weights = Pick<DelayModel, 'features' | 'intercept' | 'weights'>;

/** The file that holds the weights of a trained version. */
export function weightsFile(version: 1 | 2): URL {
  return new URL(`delays-${version}.weights.json`, import.meta.url);
}

/** Reads a trained version. Throws when the file is missing or is no such model. */
export function readModel(version: 1 | 2): DelayModel {
  return delayModelSchema.parse(JSON.parse(readFileSync(weightsFile(version), 'utf8')));
}

/** The features of a flight by name, values around -1..1. */
export function featuresOf(flight: Flight, set: FeatureSet): [name: string, value: number][] {
  const { origin, destination, distanceMiles, departureHour, weekday } = flight;
  if (set === 'plain') {
    return [
      ['hour', (departureHour - 12) / 12],
      ['distance', Math.log(distanceMiles / 600)],
      ['weekend', weekday >= 6 ? 1 : 0],
    ];
  }
  const time = bandOf(departureHour);
  return [
    // Delays pile up over the day, and the day of an airline ends after midnight: hours count from 4 in the morning.
    ['hour', (((departureHour + 20) % 24) - 10) / 12],
    ['distance', Math.log(distanceMiles / 600)],
    [`hour=${departureHour}`, 1],
    [`weekday=${weekday}`, 1],
    [`origin=${origin}`, 1],
    [`destination=${destination}`, 1],
    [`origin=${origin} ${time}`, 1],
    [`destination=${destination} ${time}`, 1],
  ];
}

/** Log-odds of a late arrival. */
export function logOddsOf(flight: Flight, model: Weights): number {
  return featuresOf(flight, model.features).reduce(
    (sum, [name, value]) => sum + (model.weights[name] ?? 0) * value,
    model.intercept,
  );
}

/** Probability of a late arrival, in (0, 1). */
export function probabilityOf(flight: Flight, model: Weights): number {
  return sigmoid(logOddsOf(flight, model));
}

/** The logistic function: log-odds to probability. */
export function sigmoid(logOdds: number): number {
  return 1 / (1 + Math.exp(-logOdds));
}

function bandOf(hour: number): string {
  if (hour < 5) return 'night';
  if (hour < 10) return 'morning';
  return hour < 17 ? 'day' : 'evening';
}
