import { readdirSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { transition } from 'xstate';
import { z } from 'zod';
import type { ObservedModel, RolloutEvent } from '../../../machines/rollout/events.ts';
import { emptyRecord, parseRecord, recordSchema } from '../../../machines/rollout/record.ts';
import {
  dutyOf,
  parseRollout,
  snapshotSchemaVersion,
  stepRollout,
  type StoredRollout,
  storedRolloutSchema,
} from '../../../machines/rollout/snapshot.ts';
import type { Split } from '../../../machines/rollout/split.ts';
import { rolloutMachine } from '../../../machines/rollout/statechart.ts';
import { canaryModel, given, onFirstStep, onLastStep, stableModel } from './life.ts';

const folder = new URL('./snapshots/', import.meta.url);

const storedSchema = z.looseObject({ schema: z.number(), context: z.looseObject({ policy: z.unknown() }) });
const schemaOf = (stored: unknown) => storedSchema.parse(stored).schema;
const contextOf = (stored: unknown) => storedSchema.parse(stored).context;

describe('a stored rollout', () => {
  it('of every released schema is still understood and goes on', () => {
    const files = readdirSync(folder);
    expect(files).toContain(`schema-${snapshotSchemaVersion}.json`);
    for (const file of files) {
      const stored: unknown = JSON.parse(readFileSync(new URL(file, folder), 'utf8'));
      const rollout = storedRolloutSchema.parse(parseRollout(stored).data);
      const { context } = rollout;
      expect(context.tally.monitoring.checks['errorRate']?.hits.baseline.past.trials).toBeGreaterThan(0);
      const queued = { blessing: context.blessing, policy: contextOf(stored).policy, queuedAt: 0 };
      const record = { ...emptyRecord('e'), schema: schemaOf(stored), active: stored, queued };
      expect(parseRecord(record).data).toMatchObject({ active: rollout, queued: { policy: context.policy } });
      expect(dutyOf(rollout)).toBe('watch');
      const aborted = stepRollout(rollout, {
        type: 'operator.aborted',
        at: rollout.context.startedAt + 60_000,
        by: 'ann',
        reason: 'test',
      });
      expect(dutyOf(aborted)).toBe('restore');
    }
  });

  it('survives JSON without a change', () => {
    for (const { rollout } of [given(), onFirstStep(), onLastStep()]) {
      expect(storedRolloutSchema.parse(JSON.parse(JSON.stringify(rollout)))).toEqual(rollout);
    }
  });

  it('is refused when it is damaged, wherever', () => {
    const { rollout } = onFirstStep();
    const damages: ((copy: Record<string, never>) => unknown)[] = [
      (copy) => ({ ...copy, schema: 99 }),
      (copy) => ({ ...copy, value: { progress: 'nowhere', pause: 'running' } }),
      (copy) => ({
        ...copy,
        context: { ...rollout.context, traffic: { ...rollout.context.traffic, desired: { 1: 300 } } },
      }),
      (copy) => ({ ...copy, context: { ...rollout.context, stepIndex: 'two' } }),
      (copy) => ({ ...copy, surprise: true }),
    ];
    for (const damage of damages) {
      expect(storedRolloutSchema.safeParse(damage(JSON.parse(JSON.stringify(rollout)))).success).toBe(false);
    }
    expect(recordSchema.safeParse({ ...emptyRecord('e'), history: 'gone' }).success).toBe(false);
  });

  it('takes any event in any state without throwing, and always owes something until it is over', () => {
    const at = fc.integer({ min: 1_000_000, max: 9_000_000 });
    const by = { by: fc.constant('ann'), reason: fc.constant('test') };
    const type = <Name extends RolloutEvent['type']>(name: Name) => fc.constant(name);
    const event: fc.Arbitrary<RolloutEvent> = fc.oneof(
      fc.record({ type: type('clock.ticked'), at }),
      fc.record({
        type: type('endpoint.observed'),
        at,
        split: fc.constantFrom<Split>({}, { 1: 100 }),
        models: fc.constantFrom<ObservedModel[]>([], [stableModel], [stableModel, canaryModel]),
      }),
      fc.record({ type: type('deploy.started'), at, operation: fc.constant('op') }),
      fc.record({ type: type('deploy.found'), at }),
      fc.record({
        type: type('operation.finished'),
        at,
        operation: fc.constant('op'),
        error: fc.constantFrom(null, { code: 'INTERNAL', message: 'x' }),
      }),
      fc.record({
        type: type('traffic.applied'),
        at,
        split: fc.constantFrom<Split>({ 1: 95, 77: 5 }, { 1: 100 }, { 77: 100 }),
        generation: fc.nat(5),
      }),
      fc.record({
        type: type('traffic.refused'),
        at,
        code: fc.constant('unavailable'),
        message: fc.constant('x'),
        isRetryable: fc.boolean(),
      }),
      fc.record({ type: type('removal.found'), at, deployedModelId: fc.constantFrom('1', '77') }),
      fc.record({
        type: type('removal.started'),
        at,
        deployedModelId: fc.constantFrom('1', '77'),
        operation: fc.constant('op'),
      }),
      fc.record({ type: type('operator.paused'), at, ...by }),
      fc.record({ type: type('operator.resumed'), at, ...by }),
      fc.record({ type: type('operator.aborted'), at, ...by }),
      fc.record({ type: type('operator.promoted'), at, ...by }),
      fc.record({ type: type('operator.promotedFully'), at, ...by }),
      fc.record({ type: type('operator.approved'), at, ...by }),
      fc.record({ type: type('blessing.newer'), at, versionId: fc.constant('3') }),
      fc.record({ type: type('incident.opened'), at, incident: fc.constant('i'), summary: fc.constant('s') }),
      fc.record({ type: type('target.missing'), at, message: fc.constant('gone') }),
    );
    fc.assert(
      fc.property(fc.array(event, { maxLength: 30 }), (events) => {
        let rollout: StoredRollout = given().rollout;
        for (const one of events) {
          const before = JSON.stringify(rollout);
          const after = stepRollout(rollout, one);
          expect(JSON.stringify(rollout), 'the input is left as it was').toBe(before);
          expect(stepRollout(rollout, one), 'the same input gives the same answer').toEqual(after);
          const [{ value, context }] = transition(rolloutMachine, rolloutMachine.resolveState(rollout), one);
          expect({ value, context }, 'XState by itself gives it too').toEqual({
            value: after.value,
            context: after.context,
          });
          rollout = after;
          expect(dutyOf(rollout) === null).toBe(rollout.context.endedAt !== null);
        }
      }),
      { numRuns: 300 },
    );
  });
});
