/** Which number stands for a prediction, and how much is looked at? */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createSampleBudget, predictionNumbers } from '../../../functions/proxy/prediction-sample.ts';

const numbersIn = (text: string) => predictionNumbers([Buffer.from(text)]);

describe('the number of a prediction', () => {
  it.for<[prediction: string, number: number]>([
    ['0.25', 0.25],
    ['-3e2', -300],
    ['true', 1],
    ['false', 0],
    ['[0.1, 0.9]', 0.1],
    ['["late", 0.9]', 0.9],
    ['{"late": true, "probability": 0.7, "score": 2}', 0.7],
    ['{"value": 3, "score": 2}', 2],
    ['{"prediction": 4, "value": 3}', 3],
    ['{"id": 17, "prediction": 4}', 4],
    ['{"label": "late", "minutes": 12, "distance": 800}', 12],
    ['{"probability": null, "score": "high", "minutes": 12}', 12],
    ['{"__proto__": {"value": 3}, "minutes": 12}', 12],
  ])('of %s is %d', ([prediction, number]) => {
    expect(numbersIn(`{"predictions":[${prediction}]}`)).toEqual([number]);
  });

  it.for(['null', '"0.5"', '[]', '{}', '["a"]', '[[0.1]]', '{"label":"late"}', '{"value":{"value":1}}'])(
    'does not exist in %s, which leaves its neighbours alone',
    (prediction) => {
      expect(numbersIn(`{"predictions":[1,${prediction},2]}`)).toEqual([1, 2]);
    },
  );

  it('is found in an answer that came in pieces, cut inside a character', () => {
    const bytes = Buffer.from('{"model":"größer","predictions":[0.25,0.75]}');
    for (let at = 0; at <= bytes.length; at += 1) {
      expect(predictionNumbers([bytes.subarray(0, at), bytes.subarray(at)])).toEqual([0.25, 0.75]);
    }
  });
});

describe('an answer without predictions', () => {
  it.for([
    '',
    '{"predictions":[0.5',
    '{"predictions":[NaN]}',
    '[0.5]',
    '0.5',
    'null',
    '"predictions"',
    '{"predictions":0.5}',
    '{"predictions":{"length":1,"0":1}}',
    '{"outputs":[0.5]}',
    '['.repeat(65_536),
  ])('has no numbers (case %#)', (text) => {
    expect(numbersIn(text)).toEqual([]);
  });

  it('has none either when it is not text at all', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(predictionNumbers([Buffer.from([0xff, ...bytes])])).toEqual([]);
      }),
    );
  });
});

describe('the budget', () => {
  it("is so many in each second for each endpoint's variant, whoever else asks", () => {
    const request = fc.record({
      waitMs: fc.constantFrom(0, 0, 0, 1, 400, 1_000),
      endpoint: fc.constantFrom('a', 'b'),
      id: fc.constantFrom('7', '8'),
    });
    fc.assert(
      fc.property(fc.array(request, { maxLength: 100 }), fc.integer({ min: 0, max: 999 }), (requests, startMs) => {
        let nowMs = startMs;
        const mayBeSampled = createSampleBudget(3);
        const asked = new Map<string, boolean[]>();
        for (const { waitMs, endpoint, id } of requests) {
          nowMs += waitMs;
          const key = `${Math.floor(nowMs / 1000)} ${endpoint} ${id}`;
          asked.set(key, [...(asked.get(key) ?? []), mayBeSampled(endpoint, id, nowMs)]);
        }
        for (const answers of asked.values()) expect(answers).toEqual(answers.map((_, i) => i < 3));
      }),
    );
  });
});
