/**
 * Which states can a rollout be in, and what becomes of each when anything happens? Breadth first, until nothing new is
 * found: every situation, every event in it, every arrow taken, and the laws on each. No sample, no bound.
 */
import { initialTransition } from 'xstate';
import type { Policy } from '../../machines/policy/policy.ts';
import type { RolloutInput } from '../../machines/rollout/context.ts';
import type { StoredRollout } from '../../machines/rollout/snapshot.ts';
import { rolloutMachine } from '../../machines/rollout/statechart.ts';
import { canaryId, endpoint, model } from '../machines/rollout/life.ts';
import { openAt, representative, type Situation, timePasses } from './abstraction.ts';
import { happenings } from './alphabet.ts';
import { type RolloutMachine, type RolloutSnapshot, type Step, stepperOf, traced } from './arrows.ts';
import { brokenLaws, brokenStateLaws } from './laws.ts';
import type { Case } from './policies.ts';

export interface Place {
  situation: Situation;
  owes: string | null;
  /** The shortest way here: the place before, and what happened there. */
  from: Place | null;
  by: string;
  depth: number;
  /** Where everything leads that changes something, by label. */
  moves: Map<string, Place>;
}

export interface Violation {
  law: string;
  story: string[];
}

export interface Exploration {
  places: Map<string, Place>;
  /** (situation, event) pairs that were tried; passing time is not counted. */
  pairs: number;
  arrows: { all: string[]; taken: Set<string> };
  /** The first of each kind, by the shortest way to it, and how many there were. */
  violations: Map<string, Violation & { count: number }>;
}

export function explore(cases: Case[], original: RolloutMachine = rolloutMachine): Exploration {
  const { machine, arrows } = traced(original);
  const found: Exploration = {
    places: new Map(),
    pairs: 0,
    arrows: { all: arrows, taken: new Set() },
    violations: new Map(),
  };
  const queue: Place[] = [];
  const placeOf = (situation: Situation, from: Place | null, by: string): Place => {
    const { key, situation: standing } = representative(situation);
    const known = found.places.get(key);
    if (known !== undefined) return known;
    const depth = (from?.depth ?? -1) + 1;
    const place: Place = { situation: standing, owes: null, from, by, depth, moves: new Map() };
    found.places.set(key, place);
    queue.push(place);
    return place;
  };
  for (const { policy } of cases) placeOf(begin(machine, policy), null, `a rollout by policy ${policy.name}`);
  const steppers = new Map(cases.map((one) => [one.name, { ...one, step: stepperOf(machine, inputOf(one.policy)) }]));
  for (let place = queue[0], next = 1; place !== undefined; place = queue[next], next += 1) {
    const one = steppers.get(place.situation.context.policy.name);
    if (one !== undefined) visit(place, machine, one, found, placeOf);
  }
  return found;
}

function visit(
  place: Place,
  machine: RolloutMachine,
  { step, ...one }: Case & { step: Step },
  found: Exploration,
  placeOf: (situation: Situation, from: Place, by: string) => Place,
): void {
  const { situation } = place;
  const before = machine.resolveState({ value: situation.value, context: situation.context });
  place.owes = Object.values(before.getMeta()).find((meta) => meta !== undefined)?.owes ?? null;
  report(found, place, null, brokenStateLaws(situation, place.owes));
  for (const { label, event, makes } of happenings(situation, one)) {
    found.pairs += 1;
    const { after, arrows } = step(before, event);
    for (const arrow of arrows) found.arrows.taken.add(arrow);
    const later = arrows.length === 0 ? situation : { value: valueOf(after), context: after.context, at: situation.at };
    const kind = later.context.verdicts.monitoring?.kind ?? null;
    if (makes !== null && arrows.length > 0 && situation.context.effectAt !== null && kind !== makes)
      throw new Error(`${label} was to be judged ${makes} and was judged ${kind} at ${storyOf(place).join(', ')}`);
    const isLawful = report(found, place, label, brokenLaws({ before: situation, event, after: later, arrows }));
    // What could follow only from a broken law is not followed.
    if (arrows.length === 0 || !isLawful) continue;
    const next = placeOf(later, place, label);
    if (next !== place) place.moves.set(label, next);
  }
  for (const { label, situation: later } of timePasses(situation)) {
    place.moves.set(label, placeOf(later, place, label));
  }
}

function report(found: Exploration, place: Place, label: string | null, broken: string[]): boolean {
  for (const law of broken) {
    const known = found.violations.get(law);
    if (known === undefined)
      found.violations.set(law, { law, story: [...storyOf(place), ...(label === null ? [] : [label])], count: 1 });
    else known.count += 1;
  }
  return broken.length === 0;
}

/** What happened on the shortest way to a place. */
export function storyOf(place: Place): string[] {
  return [...(place.from === null ? [] : storyOf(place.from)), place.by];
}

function begin(machine: RolloutMachine, policy: Policy): Situation {
  const [snapshot] = initialTransition(machine, inputOf(policy));
  return { value: valueOf(snapshot), context: snapshot.context, at: openAt };
}

export function inputOf(policy: Policy): RolloutInput {
  const blessing = { eventId: 'e', model, versionId: '2', blessedAt: openAt, by: null };
  return { id: 'explored', endpoint, canaryId, blessing, policy, at: openAt };
}

const valueOf = ({ value }: RolloutSnapshot): StoredRollout['value'] => value;
