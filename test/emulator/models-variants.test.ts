import { describe, expect, it } from 'vitest';
import { catalogue } from '../../emulator/models/catalogue.ts';
import { readModel } from '../../emulator/models/delay-model.ts';
import { readFlights, splitFlights } from '../../emulator/models/flights.ts';
import { type Answer, createVariant, traitsOf, type Version, versions } from '../../emulator/models/variants.ts';

const flights = splitFlights(readFlights()).heldOut.map(({ flight }) => flight);
const options = { seed: 1, capacityRps: 10, crashAfter: 150 };

/** One flight a request, `everyMs` apart. */
function answersOf(version: Version, count: number, everyMs = 1000): Answer[] {
  const variant = createVariant(version, readModel(traitsOf[version].weights), options);
  return flights.slice(0, count).map((flight, i) => variant([flight], i * everyMs));
}

function shareOf(answers: Answer[], kind: Answer['kind']): number {
  return answers.filter((answer) => answer.kind === kind).length / answers.length;
}

function probabilitiesOf(answers: Answer[]): number[] {
  return answers.flatMap((answer) =>
    answer.kind === 'predictions' ? answer.predictions.map(({ probability }) => probability) : [],
  );
}

function mean(values: number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function serviceMsOf(answers: Answer[]): number[] {
  return answers.flatMap((answer) => (answer.kind === 'crash' ? [] : [answer.serviceMs])).toSorted((a, b) => a - b);
}

describe('the versions of the delays model', () => {
  it('answers the same requests in the same way each time', () => {
    for (const version of versions) expect(answersOf(version, 200)).toEqual(answersOf(version, 200));
  });

  it('1 and 2 answer everything, and expect about as many late flights as there are', () => {
    for (const version of ['1', '2'] as const) {
      const answers = answersOf(version, flights.length);
      expect(shareOf(answers, 'predictions')).toBe(1);
      expect(mean(probabilitiesOf(answers))).toBeCloseTo(0.21, 1);
    }
  });

  it('3 fails a sixth to a fifth of the flights: those of the evening', () => {
    const answers = answersOf('3', flights.length);
    expect(shareOf(answers, 'error')).toBeGreaterThan(1 / 6);
    expect(shareOf(answers, 'error')).toBeLessThan(1 / 5);
    for (const [i, answer] of answers.entries()) {
      expect(answer.kind === 'error').toBe((flights[i]?.departureHour ?? 0) >= 19);
    }
  });

  it('4 takes three times as long for the same answers', () => {
    const [sound, slow] = [serviceMsOf(answersOf('2', 500)), serviceMsOf(answersOf('4', 500))];
    for (const [i, ms] of slow.entries()) expect(ms).toBeCloseTo(3 * (sound[i] ?? 0), 9);
    expect(sound[250]).toBeGreaterThan(16);
    expect(sound[250]).toBeLessThan(24);
    expect(probabilitiesOf(answersOf('4', 500))).toEqual(probabilitiesOf(answersOf('2', 500)));
  });

  it('5 moves its predictions towards late without failing', () => {
    const answers = answersOf('5', 1000);
    expect(shareOf(answers, 'predictions')).toBe(1);
    expect(Math.min(...probabilitiesOf(answers))).toBeGreaterThan(0.5);
  });

  it('7 crashes on the request after its last', () => {
    const answers = answersOf('7', 151);
    expect(answers.slice(0, 150).every(({ kind }) => kind === 'predictions')).toBe(true);
    expect(answers[150]?.kind).toBe('crash');
  });

  it('8 answers everything up to its capacity, fails above it, and recovers', () => {
    expect(shareOf(answersOf('8', 100, 100), 'error')).toBe(0);
    const overloaded = answersOf('8', 100, 50);
    expect(overloaded.slice(0, 10).every(({ kind }) => kind === 'predictions')).toBe(true);
    expect(shareOf(overloaded.slice(10), 'error')).toBe(1);

    const variant = createVariant('8', readModel(2), options);
    for (let i = 0; i < 30; i++) variant(flights.slice(0, 1), 0);
    expect(variant(flights.slice(0, 1), 999).kind).toBe('error');
    expect(variant(flights.slice(0, 1), 2000).kind).toBe('predictions');
  });
});

describe('the catalogue', () => {
  it('lists every version in order, as Vertex expects a custom container to be described', () => {
    const listed = catalogue({ capacityRps: 12, crashAfter: 30 });
    expect(listed.map(({ version }) => version)).toEqual(['1', '2', '3', '4', '5', '6', '7', '8']);
    for (const { containerSpec, labels } of listed) {
      expect(containerSpec.command).toEqual(['node']);
      expect(containerSpec.args[0]).toMatch(/^\/.*server\.ts$/);
      expect(containerSpec.env).toContainEqual({ name: 'DELAYS_CAPACITY_RPS', value: '12' });
      // Vertex reserves variables of this prefix for itself.
      expect(containerSpec.env.filter(({ name }) => name.startsWith('AIP_'))).toEqual([]);
      for (const [key, value] of Object.entries(labels)) expect(`${key}${value}`).toMatch(/^[a-z0-9_-]{1,63}$/);
    }
  });
});
