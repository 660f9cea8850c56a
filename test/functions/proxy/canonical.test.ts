/** When do two bodies ask the same? */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { limits } from '../../../functions/engine/limits.ts';
import { canonicalJson } from '../../../functions/proxy/canonical.ts';

const canonical = (text: string) => canonicalJson(Buffer.from(text));

describe('bodies that ask the same', () => {
  it.for([
    ['white space', ' {\n"a" :\t[1 , 2 ]\r}\n', '{"a":[1,2]}'],
    ['the order of keys, at every depth', '{"b":{"d":1,"c":2},"a":3}', '{"a":3,"b":{"c":2,"d":1}}'],
    ['the spelling of strings', '{"\\u0061\\/":"\\u00e9\\n"}', '{"a/":"é\\u000a"}'],
  ] as const)('differ in %s alone', ([, one, other]) => {
    expect(canonical(one)).not.toBeNull();
    expect(canonical(one)).toBe(canonical(other));
  });

  it('are found among any JSON, however its keys are shuffled and its text is spaced', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.nat(8), (value, indent) => {
        const text = canonical(JSON.stringify(value));
        expect(canonical(JSON.stringify(reversed(value), null, indent))).toBe(text);
        expect(JSON.parse(text ?? '')).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
  });
});

describe('bodies that may ask something else', () => {
  it.for([
    ['1', '1.0'],
    ['1', '1e0'],
    ['1e2', '1E2'],
    ['0', '-0'],
    ['9007199254740993', '9007199254740992'],
    ['0.1', '0.10000000000000000001'],
    ['"1"', '1'],
    ['[1,2]', '[2,1]'],
    ['[[1],2]', '[[1,2]]'],
    ['{"a":null}', '{}'],
    ['"a"', '"a "'],
    ['{"a":"b,c"}', '{"a":"b","c":""}'],
  ] as const)('are kept apart: %s and %s', ([one, other]) => {
    expect(canonical(one)).not.toBeNull();
    expect(canonical(other)).not.toBeNull();
    expect(canonical(one)).not.toBe(canonical(other));
  });

  it('never share a form, whatever they hold', () => {
    fc.assert(
      fc.property(fc.json(), fc.json(), (one, other) => {
        if (canonical(one) === canonical(other)) expect(JSON.parse(one)).toEqual(JSON.parse(other));
      }),
    );
  });
});

describe('bodies without a form', () => {
  it.for([
    '',
    ' ',
    '{"a":1,"a":1}',
    '{"a":1,"\\u0061":2}',
    '{"a":1}x',
    '{"a":1}{}',
    '{"a":1,}',
    '[1,]',
    '[,1]',
    '[1 2]',
    '{"a"}',
    '{a:1}',
    "{'a':1}",
    '[01]',
    '[+1]',
    '[.5]',
    '[1.]',
    '[NaN]',
    '[Infinity]',
    '[1] // one',
    '["\t"]',
    '["\\x41"]',
    '["open]',
    '[1',
    '{"a":1',
    'nul',
    '\ufeff[1]',
  ])('are no JSON to every reader alike: %j', (text) => {
    expect(canonical(text)).toBeNull();
  });

  it('are no UTF-8, or nested too deeply', () => {
    expect(canonicalJson(Buffer.from([0x22, 0xff, 0x22]))).toBeNull();
    const nested = (depth: number) => canonical('['.repeat(depth) + ']'.repeat(depth));
    expect(nested(limits.cacheDepthMax)).not.toBeNull();
    expect(nested(limits.cacheDepthMax + 2)).toBeNull();
    expect(nested(30_000)).toBeNull();
  });

  it('are all that JSON.parse refuses, among scraps of JSON', () => {
    const scraps = fc.constantFrom(
      '{',
      '}',
      '[',
      ']',
      ',',
      ':',
      '"a"',
      '"',
      '1',
      '-',
      '.',
      'e',
      'true',
      ' ',
      '\\',
      '0',
    );
    fc.assert(
      fc.property(fc.array(scraps, { maxLength: 8 }), (parts) => {
        const text = parts.join('');
        if (canonical(text) !== null) expect(() => JSON.parse(text) as unknown).not.toThrow();
      }),
      { numRuns: 2000 },
    );
  });
});

/** With the keys of its objects the other way round. */
function reversed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(reversed);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .toReversed()
      .map(([key, inner]) => [key, reversed(inner)]),
  );
}
