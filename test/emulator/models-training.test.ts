import { describe, expect, it } from 'vitest';
import { probabilityOf, readModel } from '../../emulator/models/delay-model.ts';
import { areaUnderCurve, fit, measure } from '../../emulator/models/fit.ts';
import { flightSchema, readFlights, splitFlights } from '../../emulator/models/flights.ts';
import { recipes } from '../../emulator/models/train.ts';

const flights = readFlights();
const { learned, heldOut } = splitFlights(flights);

describe('the flights', () => {
  it('are 20,000, and each is a valid instance', () => {
    expect(flights).toHaveLength(20_000);
    expect(flights.every(({ flight }) => flightSchema.safeParse(flight).success)).toBe(true);
  });

  it('are held out from the days after those learned from', () => {
    const lastLearned = learned.map(({ day }) => day).reduce((a, b) => (a > b ? a : b));
    const firstHeldOut = heldOut.map(({ day }) => day).reduce((a, b) => (a < b ? a : b));
    expect(lastLearned < firstHeldOut).toBe(true);
    expect(learned.length + heldOut.length).toBe(flights.length);
  });
});

describe('the trained models', () => {
  it.each([1, 2] as const)('version %i achieves what its file says', (version) => {
    const model = readModel(version);
    expect(model.data.file).toBe('flights-20k.json');
    for (const [claimed, found] of [
      [model.metrics.learned, measure(learned, model)],
      [model.metrics.heldOut, measure(heldOut, model)],
    ] as const) {
      expect(found.rows).toBe(claimed.rows);
      expect(found.auc).toBeCloseTo(claimed.auc, 9);
      expect(found.logLoss).toBeCloseTo(claimed.logLoss, 9);
    }
  });

  it.each(recipes)('version $version is what its recipe gives', ({ version, features, options }) => {
    const model = readModel(version);
    const again = fit(learned, features, options);
    expect(Object.keys(again.weights).toSorted()).toEqual(Object.keys(model.weights));
    for (const { flight } of heldOut.slice(0, 200)) {
      expect(probabilityOf(flight, again)).toBeCloseTo(probabilityOf(flight, model), 3);
    }
  });

  it('version 2 is better than version 1 on flights that neither has seen, and both beat the average', () => {
    const [first, second] = [measure(heldOut, readModel(1)), measure(heldOut, readModel(2))];
    expect(second.auc).toBeGreaterThan(first.auc + 0.01);
    expect(second.logLoss).toBeLessThan(first.logLoss);
    const average = -(
      first.lateRatio * Math.log(first.lateRatio) +
      (1 - first.lateRatio) * Math.log(1 - first.lateRatio)
    );
    expect(first.logLoss).toBeLessThan(average);
  });
});

describe('the measures', () => {
  it('counts a tie as half a win', () => {
    const scored = [
      { probability: 0.8, isLate: true },
      { probability: 0.4, isLate: true },
      { probability: 0.6, isLate: false },
      { probability: 0.4, isLate: false },
    ];
    expect(areaUnderCurve(scored)).toBe(0.625);
  });

  it('has no AUC where every flight was on time', () => {
    expect(() => areaUnderCurve([{ probability: 0.4, isLate: false }])).toThrow('got 0 late of 1');
  });
});
