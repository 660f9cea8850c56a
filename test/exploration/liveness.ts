/**
 * Does everything end? From every place that was found, in worlds that answer well, badly or never, a rollout comes to its
 * end, or to where it waits for a person. Each world answers in one way for ever, so a way that comes back is one that never ends.
 */

import { stateOf } from '../../machines/rollout/describe.ts';
import { type Effect, effectsOf } from '../../machines/rollout/effects.ts';
import { rolloutOf } from './abstraction.ts';
import type { Place, Violation } from './explore.ts';
import { storyOf } from './explore.ts';

interface World {
  name: string;
  /** What happens there, by what the rollout owes: the first that changes something. `time` and `tick` stand for themselves. */
  answers: (place: Place) => string[];
  /** Where it may stay for ever. */
  mayStay: (place: Place) => boolean;
}

/** What is owed just now, once every wait is over, and the beginning of its label. */
const orders: Record<Effect['type'], { started: string; refused: string }> = {
  'model.deploy': { started: 'deploy.started', refused: 'deploy.refused' },
  'traffic.apply': { started: 'traffic.applied: as desired', refused: 'traffic.refused' },
  'operation.cancel': { started: 'operation.cancelled', refused: 'tick' },
  'model.remove': { started: 'removal.started', refused: 'removal.refused' },
  'replicas.resize': { started: 'resize.started', refused: 'resize.refused' },
};

function owed({ situation }: Place): Effect[] {
  return effectsOf(rolloutOf(situation), Number.MAX_SAFE_INTEGER);
}

function started(place: Place): string[] {
  return owed(place).map((effect) => {
    const { started: label } = orders[effect.type];
    if (effect.type !== 'model.remove') return label;
    return `${label}: ${effect.deployedModelId === place.situation.context.canaryId ? 'canary' : effect.deployedModelId}`;
  });
}

function refused(place: Place, how: string): string[] {
  return owed(place).map(({ type }) => `${orders[type].refused}: ${how}`);
}

/** What is seen where nothing is ordered. */
const looks: Record<string, string[]> = {
  readWorld: ['endpoint.observed: one stable model', 'endpoint.observed: a stable model that has scaled out'],
  readEndpoint: ['endpoint.observed: canary ready', 'tick', 'time: thaw'],
  watch: ['evidence.observed: healthy', 'tick', 'time: hold', 'time: keep', 'time: thaw'],
};

/** What a rollout that wants nothing but to go on is answered. */
export function well(place: Place): string[] {
  return ['operation.finished: done', ...started(place), ...(looks[place.owes ?? ''] ?? [])];
}

const waits = ['waiting', 'hold', 'evidence', 'deployment', 'keep', 'thaw'].map((name) => `time: ${name}`);

function waitsForPerson({ situation: { value } }: Place): boolean {
  return value.pause === 'paused' || JSON.stringify(value).includes('awaitingApproval');
}

/** The way back is tried until it is confirmed: a world that never lets it through has no other end. */
function waitsForPersonOrWayBack(place: Place): boolean {
  return waitsForPerson(place) || place.owes === 'restore';
}

const worlds: World[] = [
  { name: 'that answers well', answers: well, mayStay: waitsForPerson },
  {
    name: 'that answers well, with a person who lets everything go on',
    answers: (place) => ['operator.resumed', 'operator.approved', ...well(place)],
    mayStay: () => false,
  },
  {
    name: 'that answers well, with a person who aborts',
    answers: (place) => ['operator.aborted', ...well(place)],
    mayStay: () => false,
  },
  ...['try again', 'for good'].map((how) => ({
    name: `that refuses everything: ${how}`,
    answers: (place: Place) => ['tick', ...waits, 'time: operation', ...refused(place, how)],
    mayStay: waitsForPersonOrWayBack,
  })),
  ...['no room', 'failed'].map((how) => ({
    name: `in which every operation ends badly: ${how}`,
    answers: (place: Place) => ['tick', ...waits, `operation.finished: ${how}`, ...started(place)],
    mayStay: waitsForPersonOrWayBack,
  })),
  {
    name: 'in which no operation ends',
    answers: (place) => ['tick', ...waits, 'time: operation', ...started(place)],
    mayStay: waitsForPersonOrWayBack,
  },
];

/** The first of each kind of place from which there is no end, with the way there and what happens then. */
export function endless(places: Iterable<Place>): Violation[] {
  const all = [...places];
  return worlds.flatMap((world) => {
    const ends = new Set<Place>();
    const found = new Map<string, Violation>();
    for (const place of all) {
      const way = follow(world, place, ends);
      if (way === null) continue;
      const last = way.at(-1)?.place ?? place;
      const where = stateOf(rolloutOf(last.situation));
      if (found.has(where)) continue;
      const law = `everything ends in a world ${world.name}, and not in ${where} for ever`;
      found.set(where, { law, story: [...storyOf(place), '…', ...way.map(({ label }) => label)] });
    }
    return [...found.values()];
  });
}

/** Where the world leads: null when there is an end, else the way that has none. Places on ways that end are remembered. */
function follow(world: World, from: Place, ends: Set<Place>): { label: string; place: Place }[] | null {
  const way: { label: string; place: Place }[] = [];
  const passed = new Set<Place>();
  let place = from;
  while (!ends.has(place) && place.situation.context.endedAt === null) {
    if (passed.has(place)) return way;
    passed.add(place);
    const here = place;
    const label = world.answers(here).find((answer) => here.moves.has(answer));
    const next = label === undefined ? undefined : here.moves.get(label);
    if (label === undefined || next === undefined) {
      if (world.mayStay(here)) break;
      return way;
    }
    way.push({ label, place: next });
    place = next;
    if (world.mayStay(place)) break;
  }
  for (const each of passed) ends.add(each);
  return null;
}
