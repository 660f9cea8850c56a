/** Which weights explain the flights best, and how good are they? Gradient descent, and the two measures reported. */
import { type FeatureSet, featuresOf, type Metrics, probabilityOf, sigmoid, type Weights } from './delay-model.ts';
import type { LandedFlight } from './flights.ts';
import { seededRandom, shuffled } from './random.ts';

export interface FitOptions {
  seed: number;
  epochs: number;
  /** Step of the first epoch; epoch n takes learningRate / (1 + n / 4). */
  learningRate: number;
  /** L2 penalty: a feature needs about this many flights before its weight is believed by half. */
  penalty: number;
}

/**
 * Fits the weights by stochastic gradient descent on the log loss with an L2 penalty. The intercept is not penalised.
 * Deterministic: the same flights and options give the same weights.
 */
export function fit(flights: LandedFlight[], features: FeatureSet, options: FitOptions): Weights {
  const random = seededRandom(options.seed);
  const weights = new Map<string, number>();
  const rows = flights.map(({ flight, isLate }) => ({ values: featuresOf(flight, features), isLate }));
  const flightsWith = new Map<string, number>();
  for (const [name] of rows.flatMap(({ values }) => values)) flightsWith.set(name, (flightsWith.get(name) ?? 0) + 1);
  let intercept = 0;
  for (let epoch = 0; epoch < options.epochs; epoch++) {
    const step = options.learningRate / (1 + epoch / 4);
    for (const { values, isLate } of shuffled(rows, random)) {
      const logOdds = values.reduce((sum, [name, value]) => sum + (weights.get(name) ?? 0) * value, intercept);
      const slope = sigmoid(logOdds) - (isLate ? 1 : 0);
      intercept -= step * slope;
      for (const [name, value] of values) {
        const weight = weights.get(name) ?? 0;
        // Each epoch pulls a weight by the whole penalty, in as many parts as flights have the feature.
        const pull = (options.penalty / (flightsWith.get(name) ?? 1)) * weight;
        weights.set(name, weight - step * (slope * value + pull));
      }
    }
  }
  return { features, intercept, weights: Object.fromEntries(weights) };
}

/** Measures a model on flights: better is a higher AUC and a lower log loss. Throws a RangeError without both kinds. */
export function measure(flights: LandedFlight[], model: Weights): Metrics {
  const scored = flights.map(({ flight, isLate }) => ({ probability: probabilityOf(flight, model), isLate }));
  const late = scored.filter(({ isLate }) => isLate).length;
  const losses = scored.map(({ probability, isLate }) => -Math.log(isLate ? probability : 1 - probability));
  return {
    rows: scored.length,
    lateRatio: late / scored.length,
    auc: areaUnderCurve(scored),
    logLoss: losses.reduce((sum, loss) => sum + loss, 0) / scored.length,
  };
}

/**
 * Chance that a late flight scores above one on time, ties counting half: the Mann-Whitney U over the number of pairs.
 * Worked value: late at 0.8 and 0.4, on time at 0.6 and 0.4 give (1 + 1 + 0 + 0.5) / 4 = 0.625.
 */
export function areaUnderCurve(scored: { probability: number; isLate: boolean }[]): number {
  const late = scored.filter(({ isLate }) => isLate).length;
  const pairs = late * (scored.length - late);
  if (pairs === 0)
    throw new RangeError(`AUC needs late flights and flights on time; got ${late} late of ${scored.length}`);
  const byScore = Map.groupBy(scored, ({ probability }) => probability);
  let onTimeBelow = 0;
  let wins = 0;
  for (const [, tied] of [...byScore].toSorted(([a], [b]) => a - b)) {
    const tiedLate = tied.filter(({ isLate }) => isLate).length;
    const tiedOnTime = tied.length - tiedLate;
    wins += tiedLate * (onTimeBelow + tiedOnTime / 2);
    onTimeBelow += tiedOnTime;
  }
  return wins / pairs;
}
