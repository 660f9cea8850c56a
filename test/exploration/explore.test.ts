import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { startRollout, stepRollout } from '../../machines/rollout/snapshot.ts';
import { rolloutMachine } from '../../machines/rollout/statechart.ts';
import { representative, rolloutOf, type Situation } from './abstraction.ts';
import { happenings } from './alphabet.ts';
import { type Step, stepperOf, traced } from './arrows.ts';
import { type Exploration, explore, inputOf } from './explore.ts';
import { endless, well } from './liveness.ts';
import { type Case, cases } from './policies.ts';

describe('every path of a rollout', () => {
  let found: Exploration;
  beforeAll(() => {
    found = explore(cases);
  });

  it('keeps the laws', () => {
    expect([...found.violations.values()].map(({ law, story }) => [law, ...story])).toEqual([]);
  });

  it('comes to an end, or to a person, whatever the world answers', () => {
    expect(endless(found.places.values()).map(({ law, story }) => [law, ...story])).toEqual([]);
  });

  it('takes every arrow of the chart at least once', () => {
    expect(found.arrows.all.filter((arrow) => !found.arrows.taken.has(arrow))).toEqual([]);
  });

  it('is that of rollouts in real time: each is like one that was explored, and takes the same arrows', () => {
    const stepper = tracedStepper();
    fc.assert(
      fc.property(fc.constantFrom(...cases), fc.array(moveOf(), { maxLength: 60 }), (one, moves) => {
        let situation = begun(one);
        for (const move of moves) situation = lived(situation, one, move, found, stepper);
      }),
      { numRuns: 400 },
    );
  });
});

describe('the exploration', () => {
  const small = cases.filter(({ name }) => name === 'freeze');

  it('finds a share that rises without proof', () => {
    const machine = rolloutMachine.provide({ guards: { mayTakeLastStep: ({ context }) => context.effectAt !== null } });
    expect([...explore(small, machine).violations.keys()].join()).toContain('a share rises by proof');
  });

  it('finds a rollback that waits for ever', () => {
    const machine = rolloutMachine.provide({ guards: { removalGivenUp: () => false } });
    const laws = endless(explore(small, machine).places.values()).map(({ law }) => law);
    expect(laws.join()).toContain('that refuses everything: for good, and not in rollingBack for ever');
  });

  it('finds an arrow that is never taken', () => {
    const machine = rolloutMachine.provide({ guards: { isHeldByFreeze: () => false } });
    const { all, taken } = explore(small, machine).arrows;
    expect(all.filter((arrow) => !taken.has(arrow))).toContain('progress.forward.warming at once (3)');
  });
});

/** Seconds that pass before the next event. */
const pauses = [0, 1, 61, 600, 1800, 3600, 7200, 3 * 86_400];

type Move = { seconds: number; isGood: boolean; pick: number };

function moveOf(): fc.Arbitrary<Move> {
  const seconds = fc.oneof(
    { weight: 3, arbitrary: fc.constant(61) },
    { weight: 1, arbitrary: fc.constantFrom(...pauses) },
  );
  return fc.record({ seconds, isGood: fc.boolean(), pick: fc.nat(999) });
}

function begun(one: Case): Situation {
  const input = inputOf(one.policy);
  return { ...startRollout(input), at: input.at };
}

function tracedStepper() {
  const { machine } = traced(rolloutMachine);
  const steps = new Map(cases.map(({ name, policy }): [string, Step] => [name, stepperOf(machine, inputOf(policy))]));
  return (name: string, { value, context }: Situation, event: Parameters<Step>[1]): string[] =>
    steps.get(name)?.(machine.resolveState({ value, context }), event).arrows ?? [];
}

/** One event in the life of a rollout, held against the place that stands for it. */
function lived(
  before: Situation,
  one: Case,
  { seconds, isGood, pick }: Move,
  found: Exploration,
  arrowsOf: ReturnType<typeof tracedStepper>,
): Situation {
  const now = { ...before, at: before.at + seconds * 1000 };
  const { key, situation } = representative(now);
  const place = found.places.get(key);
  if (place === undefined) throw new Error(`not explored: ${key}`);
  const all = happenings(now, one);
  const label = isGood ? well(place).find((wanted) => all.some((each) => each.label === wanted)) : undefined;
  const happening = all.find((each) => each.label === label) ?? all[pick % all.length];
  if (happening === undefined) return now;
  const like = cases.find(({ name }) => name === situation.context.policy.name) ?? one;
  // What counts has an end, and what evidence says depends on what was seen before: then by one of its kind.
  const [kind = ''] = happening.label.split(':');
  const isEvidence = kind === 'evidence.observed' || kind === 'past.observed';
  const alike = happenings(situation, one).filter((each) =>
    isEvidence ? each.label.startsWith(kind) : each.label === happening.label,
  );
  const expected = alike.map(({ event }) => arrowsOf(like.name, situation, event));
  expect(expected).toContainEqual(arrowsOf(one.name, now, happening.event));
  const { value, context } = stepRollout(rolloutOf(now), happening.event);
  return { value, context, at: now.at };
}
