/** How does the emulator's world look through the engine's ports? Views of its resources, and its errors as ours. */
import { availableReplicas } from '../../emulator/world/deployments.ts';
import { findEndpoint } from '../../emulator/world/endpoints.ts';
import { resolveVersion } from '../../emulator/world/models.ts';
import type { Operation, Resources } from '../../emulator/world/state.ts';
import { type World, WorldError } from '../../emulator/world/world.ts';
import { PermanentError, TransientError } from '../../functions/engine/errors.ts';
import type { DeployedModelView, EndpointView, ModelVersionView, OperationView } from '../../functions/engine/ports.ts';

const oneReplica: Resources = {
  kind: 'dedicated',
  machineType: 'n1-standard-2',
  acceleratorType: '',
  acceleratorCount: 0,
  minReplicaCount: 1,
  maxReplicaCount: 1,
  requiredReplicaCount: 0,
  autoscalingMetricSpecs: [],
  spot: false,
};

/** What a DeployedModel gets beside its id, model and name. */
export const flags = {
  resources: oneReplica,
  serviceAccount: '',
  disableContainerLogging: false,
  enableAccessLogging: false,
};

/** A version as it is uploaded, with a container. */
export const upload = {
  aliases: [],
  displayName: 'delays',
  description: '',
  versionDescription: '',
  labels: {},
  containerSpec: {
    imageUri: 'delays',
    command: ['node'],
    args: [],
    env: [],
    ports: [],
    predictRoute: '',
    healthRoute: '',
    deploymentTimeoutSeconds: null,
  },
  artifactUri: '',
};

export function viewOf(world: World, name: string): EndpointView {
  const found = findEndpoint(world.context, name);
  const deployedModels: DeployedModelView[] = found.deployedModels
    .filter(({ phase }) => phase === 'deployed')
    .map((deployed) => ({
      id: deployed.id,
      model: deployed.model,
      versionId: deployed.versionId,
      displayName: deployed.displayName,
      minReplicas: deployed.resources.minReplicaCount,
      maxReplicas: deployed.resources.maxReplicaCount,
      availableReplicas: availableReplicas(deployed),
    }));
  return { name, split: { ...found.split }, etag: found.etag, deployedModels };
}

export function operationOf({ name, isDone, stage, error }: Operation): OperationView {
  return { name, done: isDone, stage, error };
}

/** The version that `models/M@7` or `models/M@alias` names; null when there is none. */
export function versionOf(world: World, name: string): ModelVersionView | null {
  try {
    const { model: found, version } = resolveVersion(world.context, name);
    return {
      model: found.name,
      versionId: version.versionId,
      aliases: version.aliases,
      labels: version.labels,
      updatedAt: version.updatedAt,
    };
  } catch (error) {
    if (error instanceof WorldError && error.code === 'NOT_FOUND') return null;
    throw error;
  }
}

/** What the clients of functions/gcp would throw in its place. */
export function translated(name: string, error: WorldError): Error {
  const message = `${name}: ${error.message}`;
  switch (error.code) {
    case 'ABORTED':
      return new TransientError('conflict', message);
    case 'NOT_FOUND':
      return new PermanentError('notFound', message);
    case 'ALREADY_EXISTS':
      return new PermanentError('alreadyExists', message);
    case 'FAILED_PRECONDITION':
      return new PermanentError('failedPrecondition', message);
    default:
      return new PermanentError('invalidArgument', message);
  }
}
