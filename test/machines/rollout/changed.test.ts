import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { faultsIn } from '../../../machines/rollout/changed.ts';
import { type EndpointRecord, emptyRecord, recordSchema } from '../../../machines/rollout/record.ts';
import type { StoredRollout } from '../../../machines/rollout/snapshot.ts';
import { onFirstStep } from './life.ts';

const active = (): StoredRollout => onFirstStep().rollout;
const recordOf = (rollout: StoredRollout): EndpointRecord => ({
  ...emptyRecord('projects/p/locations/l/endpoints/e'),
  active: rollout,
});

/** The record with another context. */
function withContext({ active: rollout, ...rest }: EndpointRecord, change: Record<string, unknown>): unknown {
  return { ...rest, active: { ...rollout, context: { ...rollout?.context, ...change } } };
}

describe('what was decided', () => {
  it('is valid where nothing changed, and where what changed is valid', () => {
    const before = recordOf(active());
    expect(faultsIn(recordSchema, before, before)).toEqual([]);
    expect(faultsIn(recordSchema, withContext(before, { reason: 'because', effectAt: null }), before)).toEqual([]);
    expect(faultsIn(recordSchema, { ...before, active: null }, before)).toEqual([]);
    expect(faultsIn(recordSchema, before, { ...before, active: null })).toEqual([]);
  });

  it.each<[string, Record<string, unknown>, string[]]>([
    ['a share that is none', { stable: { 1: 120 } }, ['active.context.stable.1']],
    ['a name that nobody knows', { mood: 'good' }, ['active.context.mood']],
    [
      'a number that is none',
      { effectAt: Number.NaN, startedAt: '1' },
      ['active.context.startedAt', 'active.context.effectAt'],
    ],
    ['nothing where something must be', { traffic: null }, ['active.context.traffic']],
  ])('is refused with %s', (_name, change, faults) => {
    const before = recordOf(active());
    expect(faultsIn(recordSchema, withContext(before, change), before)).toEqual(faults);
  });

  it('is refused with a part that is missing', () => {
    const before = recordOf(active());
    const tally = { ...before.active?.context.tally, proxy: undefined };
    expect(faultsIn(recordSchema, withContext(before, { tally }), before)).toEqual(['active.context.tally.proxy']);
  });

  it('is looked at whole where a rule is about more than one part', () => {
    const ordered = z.strictObject({ low: z.number(), high: z.number() }).refine(({ low, high }) => low <= high);
    expect(faultsIn(ordered, { low: 3, high: 2 }, { low: 1, high: 2 })).toEqual(['']);
  });
});
