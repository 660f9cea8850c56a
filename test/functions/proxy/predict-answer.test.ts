/** Is the answer of `:predict` what Vertex would have said, whatever the model's JSON looks like? */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { predictAnswer } from '../../../functions/proxy/predict-answer.ts';

const seven = { deployedModelId: '7', model: 'projects/1/locations/l/models/m', modelVersionId: '3' };
const nobody = { deployedModelId: null, model: null, modelVersionId: null };

describe('the answer of :predict', () => {
  it('is the object of the model with the names added, for any object', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), fc.constantFrom(0, 2), (object, indent) => {
        const text = `\n ${JSON.stringify(object, null, indent)}\r\n\t`;
        const parsed: unknown = JSON.parse(predictAnswer(Buffer.from(text), seven)?.toString() ?? 'null');
        expect(parsed).toEqual(JSON.parse(JSON.stringify({ ...object, ...seven })));
      }),
    );
  });

  it('says what Vertex said when the model names itself otherwise', () => {
    const answer = predictAnswer(Buffer.from('{"deployedModelId":"forged","predictions":[]}'), seven);
    expect(JSON.parse(answer?.toString() ?? '')).toEqual({ predictions: [], ...seven });
  });

  it('names who gave this one, whoever gave those before', () => {
    const id = fc.option(fc.constantFrom('7', '8', '__proto__'));
    const name = fc.option(fc.constantFrom('a', 'b', 'é"'));
    const served = fc.record({ deployedModelId: id, model: name, modelVersionId: name });
    const answer = Buffer.from('{"predictions":[1]}');
    fc.assert(
      fc.property(fc.array(served, { minLength: 2, maxLength: 100 }), (all) => {
        for (const by of all) {
          const named = Object.fromEntries(Object.entries(by).filter(([, value]) => value !== null));
          const parsed: unknown = JSON.parse(predictAnswer(answer, by)?.toString() ?? 'null');
          expect(parsed).toEqual({ predictions: [1], ...named });
        }
      }),
    );
  });

  it('invents no name', () => {
    const answer = Buffer.from('{"predictions":[1]}');
    expect(predictAnswer(answer, nobody)).toEqual(answer);
  });

  it.for(['', ' ', '[]', '"{}"', '1', '{', '}', '}{', 'null'])('does not exist for "%s"', (text) => {
    expect(predictAnswer(Buffer.from(text), seven)).toBeNull();
  });
});
