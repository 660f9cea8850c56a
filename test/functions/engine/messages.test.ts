/** Which evidence is understood, and what is said of the rest? */
import { describe, expect, it } from 'vitest';
import { evidenceMessageSchema } from '../../../functions/engine/messages.ts';
import { problemsOf } from '../../../functions/engine/problems.ts';

const latencyMs = { bounds: [10], counts: [1, 0] };
const counted = { requests: 1, errors: 0, latencyMs };

const parse = (variant: unknown) =>
  evidenceMessageSchema.safeParse({
    endpoint: 'projects/demo/locations/us-central1/endpoints/456',
    window: { from: '2026-03-02T09:45:00Z', to: '2026-03-02T09:45:05Z' },
    source: 'shop',
    variants: { 7: variant },
  });

const understood = (variant: unknown) => parse(variant).data?.variants['7'];
const problem = (variant: unknown) => {
  const { error } = parse(variant);
  return error === undefined ? null : problemsOf(error);
};

describe('evidence', () => {
  it('of signals alone is of no requests, and has no latency', () => {
    const signals = { complaints: { hits: 1, trials: 20 }, basket: { bounds: [1, 2], counts: [0, 3, 1] } };
    expect(understood({ signals })).toEqual({
      requests: 0,
      errors: 0,
      latencyMs: { bounds: [], counts: [0] },
      signals,
    });
  });

  it('of requests may have signals beside it', () => {
    const both = { ...counted, signals: { complaints: { hits: 0, trials: 1 } } };
    expect(understood(both)).toEqual(both);
    expect(understood(counted)).toEqual(counted);
  });

  it.for<[why: string, variant: unknown, reason: RegExp]>([
    ['nothing', {}, /all three, or "signals"/],
    ['requests, but no errors, which are not known to be none', { ...counted, errors: undefined }, /all three/],
    ['requests without latency beside signals', { requests: 1, errors: 0, signals: {} }, /all three/],
    ['a part of a request', { ...counted, requests: 1.5 }, /requests: expected whole numbers: .* weight or an average/],
    ['a part of an error', { ...counted, errors: 0.1 }, /errors: expected whole numbers/],
    ['a part of an answer', { ...counted, latencyMs: { bounds: [10], counts: [0.5, 0] } }, /latencyMs: expected whole/],
    [
      'a part of a prediction',
      { ...counted, predictions: { bounds: [], counts: [0.5] } },
      /predictions: expected whole/,
    ],
    ['a part of a hit', { signals: { a: { hits: 0.5, trials: 1 } } }, /signals\.a\.hits: expected whole numbers/],
    ['a part of a trial', { signals: { a: { hits: 0, trials: 1.5 } } }, /signals\.a\.trials: expected whole numbers/],
    ['a part of a value', { signals: { a: { bounds: [1], counts: [0.5, 1] } } }, /signals\.a: expected whole numbers/],
    ['more hits than trials', { signals: { a: { hits: 2, trials: 1 } } }, /signals\.a: hits cannot exceed trials/],
    [
      'a latest value',
      { signals: { a: { value: 1 } } },
      /signals\.a: expected \{ hits, trials \} or \{ bounds, counts \}/,
    ],
    ['a latest value beside hits', { signals: { a: { hits: 1, trials: 1, value: 1 } } }, /"value"/],
    ['bins that do not fit', { signals: { a: { bounds: [1], counts: [1] } } }, /one entry more than bounds/],
  ])('of %s is refused', ([, variant, reason]) => {
    expect(problem(variant)).toMatch(reason);
  });
});
