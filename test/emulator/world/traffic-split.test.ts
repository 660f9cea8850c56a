import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { checkSplit, pickDeployedModel } from '../../../emulator/world/traffic-split.ts';
import { WorldError } from '../../../emulator/world/world.ts';

const ids = ['1', '22', '333', '4444'];

/** Four whole shares that sum to 100. */
const validSplit = fc
  .tuple(fc.nat(100), fc.nat(100), fc.nat(100))
  .map((cuts) => [0, ...cuts.toSorted((a, b) => a - b), 100])
  .map((cuts) => Object.fromEntries(ids.map((id, i) => [id, (cuts[i + 1] ?? 0) - (cuts[i] ?? 0)])));

const anySplit = fc.dictionary(fc.constantFrom(...ids, '9'), fc.oneof(fc.integer({ min: -5, max: 105 }), fc.double()));

function isAccepted(split: Record<string, number>): boolean {
  try {
    checkSplit(split, ids);
    return true;
  } catch (error) {
    if (error instanceof WorldError && error.code === 'INVALID_ARGUMENT') return false;
    throw error;
  }
}

describe('checkSplit', () => {
  test('accepts whole shares of known models that sum to 100, and the empty split', () => {
    fc.assert(fc.property(validSplit, isAccepted));
    expect(isAccepted({})).toBe(true);
  });

  test('refuses every other split with INVALID_ARGUMENT', () => {
    fc.assert(
      fc.property(anySplit, (split) => {
        const shares = Object.values(split);
        const isValid =
          Object.keys(split).every((id) => ids.includes(id)) &&
          shares.every((share) => Number.isInteger(share) && share >= 0) &&
          [0, 100].includes(shares.reduce((sum, share) => sum + share, 0)) &&
          (shares.length === 0 || shares.some((share) => share > 0));
        expect(isAccepted(split)).toBe(isValid);
      }),
    );
  });

  test('refuses a valid split once a single share has changed', () => {
    fc.assert(
      fc.property(validSplit, fc.constantFrom(...ids), fc.integer({ min: 1, max: 100 }), (split, id, more) => {
        expect(isAccepted({ ...split, [id]: (split[id] ?? 0) + more })).toBe(false);
      }),
    );
  });
});

describe('pickDeployedModel', () => {
  test('gives each model exactly its share of the unit interval', () => {
    fc.assert(
      fc.property(validSplit, (split) => {
        const served = Object.fromEntries(ids.map((id) => [id, 0]));
        for (let i = 0; i < 100; i++) {
          const id = pickDeployedModel(split, (i + 0.5) / 100) ?? '';
          served[id] = (served[id] ?? 0) + 1;
        }
        expect(served).toEqual(split);
      }),
    );
  });

  test('never picks a model without a share, not even at the edges', () => {
    fc.assert(
      fc.property(validSplit, fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (split, unit) => {
        expect(split[pickDeployedModel(split, unit) ?? '']).toBeGreaterThan(0);
      }),
    );
    expect(pickDeployedModel({}, 0)).toBeNull();
  });
});
