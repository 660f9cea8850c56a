/**
 * Trains delays 1 and 2 on real flights, and writes their weights with what they achieved. Takes about a second.
 *
 *   node emulator/models/train.ts
 *
 * The settings were chosen inside January and February; March was measured once they stood.
 */
import { writeFileSync } from 'node:fs';
import { type DelayModel, type FeatureSet, type Weights, weightsFile } from './delay-model.ts';
import { type FitOptions, fit, measure } from './fit.ts';
import { flightsSource, type LandedFlight, LATE_MINUTES, readFlights, splitFlights } from './flights.ts';

export const recipes: { version: 1 | 2; features: FeatureSet; options: FitOptions }[] = [
  { version: 1, features: 'plain', options: { seed: 2001, epochs: 15, learningRate: 0.03, penalty: 1 } },
  { version: 2, features: 'rich', options: { seed: 2001, epochs: 15, learningRate: 0.03, penalty: 60 } },
];

if (import.meta.main) main();

function main(): void {
  const { learned, heldOut } = splitFlights(readFlights());
  for (const { version, features, options } of recipes) {
    const startedMs = performance.now();
    const weights = rounded(fit(learned, features, options));
    // Measured as written: the rounded weights are the ones that will serve.
    const metrics = { learned: measure(learned, weights), heldOut: measure(heldOut, weights) };
    const data = {
      ...flightsSource,
      late: `> ${LATE_MINUTES} min`,
      learned: daysOf(learned),
      heldOut: daysOf(heldOut),
    };
    const model: DelayModel = { name: `delays-${version}`, data, metrics, ...weights };
    writeFileSync(weightsFile(version), `${JSON.stringify(model, null, 1)}\n`);
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
    console.log(`${model.name}  ${Object.keys(weights.weights).length} weights, ${seconds} s`);
    for (const [slice, { rows, lateRatio, auc, logLoss }] of Object.entries(metrics)) {
      const late = `${(100 * lateRatio).toFixed(1)} % late`;
      console.log(
        `  ${slice.padEnd(8)} ${rows} flights  ${late}  AUC ${auc.toFixed(4)}  log loss ${logLoss.toFixed(4)}`,
      );
    }
  }
}

function daysOf(flights: LandedFlight[]): string {
  return `${flights.at(0)?.day} to ${flights.at(-1)?.day}`;
}

/** Four decimals, by name: no prediction changes by more than a thousandth, and the files stay readable. */
function rounded({ features, intercept, weights }: Weights): Weights {
  const byName = Object.entries(weights).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return {
    features,
    intercept: round(intercept),
    weights: Object.fromEntries(byName.map(([name, weight]) => [name, round(weight)])),
  };
}

function round(value: number): number {
  return Math.round(value * 1e4) / 1e4;
}
