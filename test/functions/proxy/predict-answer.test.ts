/** Is the answer of `:predict` what Vertex would have said, whatever the model's JSON looks like? */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ServedBy } from '../../../functions/proxy/headers.ts';
import { bytesOf, predictAnswer } from '../../../functions/proxy/predict-answer.ts';

const seven = { deployedModelId: '7', model: 'projects/1/locations/l/models/m', modelVersionId: '3' };
const nobody = { deployedModelId: null, model: null, modelVersionId: null };

/** As its reader has it. */
function answered(text: string, by: ServedBy): string | null {
  const answer = predictAnswer(Buffer.from(text), by);
  return answer === null ? null : bytesOf(answer).toString();
}

describe('the answer of :predict', () => {
  it('is the object of the model with the names added, for any object', () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.string({ unit: 'binary' }), fc.jsonValue()),
        fc.constantFrom(0, 2),
        (object, indent) => {
          const text = `\n ${JSON.stringify(object, null, indent)}\r\n\t`;
          const parsed: unknown = JSON.parse(answered(text, seven) ?? 'null');
          expect(parsed).toEqual(JSON.parse(JSON.stringify({ ...object, ...seven })));
        },
      ),
    );
  });

  it('says what Vertex said when the model names itself otherwise', () => {
    const answer = answered('{"deployedModelId":"forged","predictions":[]}', seven);
    expect(JSON.parse(answer ?? '')).toEqual({ predictions: [], ...seven });
  });

  it('names who gave this one, whoever gave those before', () => {
    const id = fc.option(fc.constantFrom('7', '8', '__proto__'));
    const name = fc.option(fc.constantFrom('a', 'b', 'é"'));
    const served = fc.record({ deployedModelId: id, model: name, modelVersionId: name });
    fc.assert(
      fc.property(fc.array(served, { minLength: 2, maxLength: 100 }), (all) => {
        for (const by of all) {
          const named = Object.fromEntries(Object.entries(by).filter(([, value]) => value !== null));
          const parsed: unknown = JSON.parse(answered('{"predictions":[1]}', by) ?? 'null');
          expect(parsed).toEqual({ predictions: [1], ...named });
        }
      }),
    );
  });

  it('invents no name', () => {
    expect(answered('{"predictions":[1]}', nobody)).toBe('{"predictions":[1]}');
  });

  it.for(['', ' ', '[]', '"{}"', '1', '{', '}', '}{', 'null'])('does not exist for "%s"', (text) => {
    expect(answered(text, seven)).toBeNull();
  });

  it('is the same, byte by byte, where it is too long to be text', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'binary', maxLength: 20 }),
        fc.integer({ min: 16_300, max: 16_400 }),
        (text, length) => {
          const object = { text, padding: ' '.repeat(length) };
          expect(JSON.parse(answered(JSON.stringify(object), seven) ?? 'null')).toEqual({ ...object, ...seven });
        },
      ),
    );
    const kindOf = (bytes: number) => typeof predictAnswer(Buffer.from(`{${' '.repeat(bytes - 2)}}`), seven);
    expect([16_384, 16_385].map(kindOf)).toEqual(['string', 'object']);
  });
});
