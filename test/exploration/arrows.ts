/**
 * Which arrows does the statechart have, and which were taken? Asked of XState itself: a copy of the machine on which
 * each arrow does one thing more, and says its name. XState then reports it with the actions it executed, so that an
 * arrow counts when it was really taken, and not when its claim happened to be true.
 */
import { type AnyStateNode, createActor, type ExecutableActionObject, type SnapshotFrom } from 'xstate';
import type { RolloutInput } from '../../machines/rollout/context.ts';
import type { RolloutEvent } from '../../machines/rollout/events.ts';
import type { rolloutMachine } from '../../machines/rollout/statechart.ts';

export type RolloutMachine = typeof rolloutMachine;
export type RolloutSnapshot = SnapshotFrom<RolloutMachine>;

export interface TracedMachine {
  machine: RolloutMachine;
  /** Every arrow by name, `progress.forward on operator.aborted (1)`: numbered among those that are tried for one event. */
  arrows: string[];
}

const trace = 'trace';

export function traced(original: RolloutMachine): TracedMachine {
  // With nothing provided it is a copy, with nodes and arrows of its own.
  const machine = original.provide({});
  const arrows: string[] = [];
  for (const node of nodesOf(machine.root)) {
    const groups = [...(node.always === undefined ? [] : [['at once', node.always] as const]), ...onOf(node)];
    for (const [when, candidates] of groups) {
      for (const [i, candidate] of candidates.entries()) {
        const arrow = `${node.path.join('.')} ${when} (${i + 1})`;
        arrows.push(arrow);
        candidate.actions = [{ type: trace, params: { arrow } }, ...candidate.actions];
      }
    }
  }
  return { machine, arrows };
}

/** One event: where it leads, and by which arrows, in the order in which they were taken. */
export type Step = (before: RolloutSnapshot, event: RolloutEvent) => { after: RolloutSnapshot; arrows: string[] };

/** What XState's own `transition` does, without the actor that it makes anew for every event. */
export function stepperOf(machine: RolloutMachine, input: RolloutInput): Step {
  const self = createActor(machine, { input });
  let arrows: string[] = [];
  const nothing = (): void => {};
  const actionExecutor = ({ type, params }: ExecutableActionObject): void => {
    if (type === trace && params !== undefined && params !== null && 'arrow' in params)
      arrows.push(String(params.arrow));
  };
  const scope = { self, system: self.system, id: '', sessionId: '', logger: nothing, defer: nothing };
  const inert = { ...scope, stopChild: nothing, emit: nothing, actionExecutor };
  return (before, event) => {
    arrows = [];
    const after = machine.transition(before, event, inert);
    return { after, arrows };
  };
}

function onOf(node: AnyStateNode) {
  return [...node.transitions.entries()].map(([event, candidates]) => [`on ${event}`, candidates] as const);
}

/** Parents first. */
function nodesOf(node: AnyStateNode): AnyStateNode[] {
  return [node, ...Object.values(node.states).flatMap(nodesOf)];
}
