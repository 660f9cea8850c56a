/**
 * What would Vertex AI and Monitoring do? The model behind the emulator and behind the simulation: no I/O, no gRPC, no
 * clock of its own; the same calls at the same times give the same answers.
 */
import type { Conditions, WorldContext, WorldEvent } from './context.ts';
import { advance, needsContainer, nextDueAt } from './progress.ts';
import { type ContainerSpec, type DeployedModel, emptyState, type WorldState, worldStateSchema } from './state.ts';
import type { Timings } from './timings.ts';

export type { Conditions, WorldContext, WorldEvent } from './context.ts';
export { WorldError } from './errors.ts';
export { timingsFor } from './timings.ts';

/** A container that should be running. */
export interface ContainerOrder {
  /** Canonical name. */
  endpoint: string;
  deployedModelId: string;
  spec: ContainerSpec;
  artifactUri: string;
  machineType: string;
}

/** Pass `context` to the functions of the files beside this one, such as deployModel(world.context, …). */
export interface World {
  readonly context: WorldContext;
  /** Brings operations up to the clock. Call it before reading, and at nextDueAt(). */
  advance(): void;
  /** When something happens without further input, in milliseconds since the epoch; null for never. */
  nextDueAt(): number | null;
  /** Which containers should run now; level-triggered, so that asking twice does no harm. */
  containerOrders(): ContainerOrder[];
  /** What became of a container: the world's only input from it. Unknown containers are ignored. */
  reportContainer(endpoint: string, id: string, health: DeployedModel['health'], message: string): void;
  /** Returns a function that ends the subscription. */
  subscribe(listener: (event: WorldEvent) => void): () => void;
  /** Returns a copy that shares nothing with the world. */
  snapshot(): WorldState;
}

export interface WorldOptions {
  /** Milliseconds since the epoch. */
  now: () => number;
  timings: Timings;
  /** From snapshot(), maybe read from a file; throws a ZodError when it is no world. */
  state?: unknown;
}

/** Makes a world, empty or from a snapshot. No container of a restored world is taken to be healthy. */
export function createWorld({ now, timings, state }: WorldOptions): World {
  const listeners = new Set<(event: WorldEvent) => void>();
  const conditions: Conditions = { operationsAreStuck: false, metricGaps: [] };
  const context: WorldContext = {
    state: state === undefined ? emptyState() : withoutHealth(worldStateSchema.parse(state)),
    conditions,
    timings,
    now,
    nextNumber: () => ++context.state.counter,
    emit: (event) => {
      for (const listener of listeners) listener(event);
    },
  };
  return {
    context,
    advance: () => advance(context),
    nextDueAt: () => nextDueAt(context),
    containerOrders: () => containerOrders(context),
    reportContainer: (endpoint, id, health, message) => reportContainer(context, endpoint, id, health, message),
    subscribe: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    snapshot: () => structuredClone(context.state),
  };
}

function containerOrders(context: WorldContext): ContainerOrder[] {
  return Object.values(context.state.endpoints).flatMap((endpoint) =>
    endpoint.deployedModels
      .filter((deployed) => needsContainer(context, endpoint.name, deployed))
      .flatMap((deployed) => {
        const version = context.state.models[deployed.model]?.versions.find(
          (candidate) => candidate.versionId === deployed.versionId,
        );
        if (version?.containerSpec === undefined || version.containerSpec === null) return [];
        return [
          {
            endpoint: endpoint.name,
            deployedModelId: deployed.id,
            spec: version.containerSpec,
            artifactUri: version.artifactUri,
            machineType: deployed.resources.machineType,
          },
        ];
      }),
  );
}

function reportContainer(
  context: WorldContext,
  endpointName: string,
  id: string,
  health: DeployedModel['health'],
  message: string,
): void {
  const endpoint = context.state.endpoints[endpointName];
  const deployed = endpoint?.deployedModels.find((candidate) => candidate.id === id);
  if (deployed === undefined) return;
  if (deployed.health === health && deployed.statusMessage === message) return;
  deployed.health = health;
  deployed.statusMessage = message;
  deployed.statusAt = context.now();
  context.emit({ kind: 'changed' });
}

function withoutHealth(state: WorldState): WorldState {
  for (const endpoint of Object.values(state.endpoints)) {
    for (const deployed of endpoint.deployedModels) deployed.health = 'starting';
  }
  return state;
}
