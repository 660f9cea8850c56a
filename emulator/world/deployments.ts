/** How do models get onto an endpoint, change size there, and leave it? */
import type { WorldContext } from './context.ts';
import { findEndpoint, servingIds, touch } from './endpoints.ts';
import { WorldError } from './errors.ts';
import { resolveVersion } from './models.ts';
import { startOperation } from './operations.ts';
import type { DeployedModel, Endpoint, Operation, Resources, Split } from './state.ts';
import { checkSplit } from './traffic-split.ts';

/** In a deployment's split, the model being deployed. */
const DEPLOYED_NOW = '0';
const DEPLOYED_MODEL_ID = /^[0-9]{1,10}$/;

export interface DeployOrder {
  /** Empty: the world chooses one. */
  id: string;
  /** May carry a version id or an alias; without, the default version is meant. */
  model: string;
  /** Empty: the model's own. */
  displayName: string;
  resources: Resources;
  serviceAccount: string;
  disableContainerLogging: boolean;
  enableAccessLogging: boolean;
}

/** Starts a deployment. A split that is not empty replaces the endpoint's when the deployment is done. */
export function deployModel(context: WorldContext, endpointName: string, order: DeployOrder, split: Split): Operation {
  const endpoint = findEndpoint(context, endpointName);
  checkReplicas(order.resources);
  if (order.id !== '' && !DEPLOYED_MODEL_ID.test(order.id)) {
    throw new WorldError('INVALID_ARGUMENT', `deployed_model.id "${order.id}" is not 1 to 10 digits.`);
  }
  const id = order.id === '' ? freeId(context, endpoint) : order.id;
  if (id === DEPLOYED_NOW) {
    throw new WorldError(
      'INVALID_ARGUMENT',
      'deployed_model.id "0" is reserved: it stands for the model being deployed.',
    );
  }
  if (endpoint.deployedModels.some((deployed) => deployed.id === id)) {
    throw new WorldError('ALREADY_EXISTS', `${endpointName} has a DeployedModel with the id ${id} already.`);
  }
  checkSplit(split, [DEPLOYED_NOW, ...servingIds(endpoint)]);
  const { model, version } = resolveVersion(context, order.model);
  const at = context.now();
  endpoint.deployedModels.push({
    id,
    model: model.name,
    versionId: version.versionId,
    displayName: order.displayName || version.displayName,
    createdAt: at,
    resources: order.resources,
    serviceAccount: order.serviceAccount,
    disableContainerLogging: order.disableContainerLogging,
    enableAccessLogging: order.enableAccessLogging,
    phase: 'deploying',
    health: 'starting',
    statusMessage: '',
    statusAt: at,
  });
  const { timeScale, deployDeadlineMs, deployDeadlineMsMin } = context.timings;
  const ownMs = (version.containerSpec?.deploymentTimeoutSeconds ?? 0) * 1000;
  const deadlineMs = ownMs === 0 ? deployDeadlineMs : Math.max(ownMs / timeScale, deployDeadlineMsMin);
  const work = { kind: 'deploy', endpoint: endpoint.name, deployedModelId: id, split: { ...split } } as const;
  const operation = startOperation(context, endpoint.name, work, context.timings.deployMs, deadlineMs);
  operation.stage = 'STARTING_DEPLOYMENT';
  return operation;
}

/** Makes the deployed model visible and gives it its traffic; throws when the split has become impossible meanwhile. */
export function finishDeploy(context: WorldContext, endpointName: string, id: string, split: Split): DeployedModel {
  const endpoint = findEndpoint(context, endpointName);
  const deployed = findDeployed(endpoint, id);
  const effective = Object.fromEntries(
    Object.entries(split).map(([key, percent]) => [key === DEPLOYED_NOW ? id : key, percent]),
  );
  checkSplit(effective, [...servingIds(endpoint), id]);
  deployed.phase = 'deployed';
  if (Object.keys(effective).length > 0) endpoint.split = effective;
  touch(context, endpoint);
  return deployed;
}

/** Takes a model off the endpoint that was never deployed in full. */
export function abandonDeploy(context: WorldContext, endpointName: string, id: string): void {
  removeDeployed(context, endpointName, id);
}

/**
 * Starts the removal of a DeployedModel. The given split takes effect at once; the last model may go with its traffic,
 * which leaves the split empty. Throws FAILED_PRECONDITION while the model would keep traffic.
 */
export function undeployModel(context: WorldContext, endpointName: string, id: string, split: Split): Operation {
  const endpoint = findEndpoint(context, endpointName);
  const deployed = findDeployed(endpoint, id);
  if (deployed.phase !== 'deployed') {
    throw new WorldError('FAILED_PRECONDITION', `The DeployedModel ${id} of ${endpointName} is ${deployed.phase}.`);
  }
  checkSplit(split, servingIds(endpoint));
  const isLast = servingIds(endpoint).length === 1;
  const next = isLast ? {} : Object.keys(split).length > 0 ? split : endpoint.split;
  const percent = next[id] ?? 0;
  if (percent > 0) {
    throw new WorldError(
      'FAILED_PRECONDITION',
      `The DeployedModel ${id} of ${endpointName} has ${percent} % of the traffic; take it away, or give a traffic_split.`,
    );
  }
  endpoint.split = Object.fromEntries(Object.entries(next).filter(([key]) => key !== id));
  deployed.phase = 'undeploying';
  touch(context, endpoint);
  const work = { kind: 'undeploy', endpoint: endpoint.name, deployedModelId: id } as const;
  return startOperation(context, endpoint.name, work, context.timings.undeployMs);
}

export function finishUndeploy(context: WorldContext, endpointName: string, id: string): void {
  removeDeployed(context, endpointName, id);
}

/** Starts a change of size; it takes effect when the operation is done. */
export function mutateDeployedModel(
  context: WorldContext,
  endpointName: string,
  id: string,
  change: Partial<Resources> & { disableContainerLogging?: boolean },
): Operation {
  const endpoint = findEndpoint(context, endpointName);
  const deployed = findDeployed(endpoint, id);
  if (deployed.phase !== 'deployed') {
    throw new WorldError('FAILED_PRECONDITION', `The DeployedModel ${id} of ${endpointName} is ${deployed.phase}.`);
  }
  const { disableContainerLogging = deployed.disableContainerLogging, ...resourcesChange } = change;
  const resources = { ...deployed.resources, ...resourcesChange };
  checkReplicas(resources);
  return startOperation(
    context,
    endpoint.name,
    { kind: 'mutate', endpoint: endpoint.name, deployedModelId: id, resources, disableContainerLogging },
    context.timings.mutateMs,
  );
}

export function finishMutate(
  context: WorldContext,
  endpointName: string,
  id: string,
  change: { resources: Resources; disableContainerLogging: boolean },
): DeployedModel {
  const endpoint = findEndpoint(context, endpointName);
  const deployed = findDeployed(endpoint, id);
  deployed.resources = change.resources;
  deployed.disableContainerLogging = change.disableContainerLogging;
  touch(context, endpoint);
  return deployed;
}

/** Returns how many replicas can serve now. One local process stands for all of them. */
export function availableReplicas(deployed: DeployedModel): number {
  return deployed.health === 'healthy' ? deployed.resources.minReplicaCount : 0;
}

/** Returns the DeployedModel in whatever phase; throws NOT_FOUND. */
export function findDeployed(endpoint: Endpoint, id: string): DeployedModel {
  const deployed = endpoint.deployedModels.find((candidate) => candidate.id === id);
  if (deployed === undefined) throw new WorldError('NOT_FOUND', `${endpoint.name} has no DeployedModel ${id}.`);
  return deployed;
}

function removeDeployed(context: WorldContext, endpointName: string, id: string): void {
  const endpoint = findEndpoint(context, endpointName);
  endpoint.deployedModels = endpoint.deployedModels.filter((deployed) => deployed.id !== id);
  if (endpoint.deployedModels.length === 0) endpoint.split = {};
  touch(context, endpoint);
}

function freeId(context: WorldContext, endpoint: Endpoint): string {
  for (;;) {
    const id = String(1_000_000_000 + context.nextNumber());
    if (endpoint.deployedModels.every((deployed) => deployed.id !== id)) return id;
  }
}

function checkReplicas(resources: Resources): void {
  const { minReplicaCount, maxReplicaCount, requiredReplicaCount } = resources;
  if (minReplicaCount < 1 || maxReplicaCount < minReplicaCount) {
    throw new WorldError(
      'INVALID_ARGUMENT',
      `Expected 1 <= min_replica_count <= max_replica_count, got ${minReplicaCount} and ${maxReplicaCount}.`,
    );
  }
  if (requiredReplicaCount > maxReplicaCount) {
    throw new WorldError('INVALID_ARGUMENT', `required_replica_count ${requiredReplicaCount} exceeds the maximum.`);
  }
}
