import { expect, test } from 'vitest';
import { nth } from '../../machines/nth.ts';

test('a place of a list is what is there, and a mistake where nothing is', () => {
  expect([nth(['a', 'b'], 1), nth([0], 0)]).toEqual(['b', 0]);
  expect(() => nth(['a', 'b'], 2)).toThrow(new RangeError('expected an index below 2, got 2'));
  expect(() => nth([], -1)).toThrow(RangeError);
});
