/** Which doors are fuzzed? By name; each is made when it is asked for. */
import { eventDoors } from './doors/events.ts';
import { googleDoor } from './doors/google.ts';
import { httpDoors } from './doors/http.ts';
import { policyDoor } from './doors/policy.ts';
import { recordsDoor } from './doors/records.ts';
import { type Door, inputAt, type Result, run, type RunOptions, shrunk } from './run.ts';

/** A door, whatever its inputs are. */
export interface FuzzedDoor {
  run(options: RunOptions): Promise<Result>;
  inputAt(seed: number, index: number): unknown;
  shrunk(seed: number, index: number): Promise<unknown>;
}

export const doorNames = [
  'onBlessing',
  'onTick',
  'onCommand',
  'onIncident',
  'onEvidence',
  'predict',
  'dashboard',
  'policy',
  'records',
  'google',
] as const;
export type DoorName = (typeof doorNames)[number];

export async function doorOf(name: DoorName): Promise<FuzzedDoor> {
  switch (name) {
    case 'predict':
    case 'dashboard':
      return named(await httpDoors(), name);
    case 'policy':
      return fuzzed(policyDoor());
    case 'records':
      return fuzzed(await recordsDoor());
    case 'google':
      return fuzzed(googleDoor());
    default:
      return named(await eventDoors(), name);
  }
}

function named<Input>(doors: Door<Input>[], name: string): FuzzedDoor {
  const door = doors.find((one) => one.name === name);
  if (door === undefined) throw new Error(`There is no door ${name}`);
  return fuzzed(door);
}

export function fuzzed<Input>(door: Door<Input>): FuzzedDoor {
  return {
    run: (options) => run(door, options),
    inputAt: (seed, index) => inputAt(door, seed, index),
    shrunk: (seed, index) => shrunk(door, seed, index),
  };
}
