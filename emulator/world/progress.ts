/** What has happened by now? Brings the long-running operations up to the clock. */
import type { WorldContext } from './context.ts';
import { abandonDeploy, findDeployed, finishDeploy, finishMutate, finishUndeploy } from './deployments.ts';
import { findEndpoint } from './endpoints.ts';
import { WorldError } from './errors.ts';
import { finishDeleteModel, finishDeleteVersion, finishUpload } from './models.ts';
import { endOperation, findOperation, operationsUnderWay } from './operations.ts';
import type { DeployedModel, Operation } from './state.ts';

/** When a deployment reaches each stage, as a share of its duration. The last waits for the container. */
const stages = [
  ['STARTING_DEPLOYMENT', 0],
  ['PREPARING_MODEL', 0.05],
  ['CREATING_SERVING_CLUSTER', 0.15],
  ['ADDING_NODES_TO_CLUSTER', 0.3],
  ['GETTING_CONTAINER_IMAGE', 0.5],
  ['STARTING_MODEL_SERVER', 0.7],
] as const;

const containerStages = ['STARTING_MODEL_SERVER', 'FINISHING_UP'];

/** Brings all operations up to the clock. Does nothing while they are stuck. */
export function advance(context: WorldContext): void {
  if (context.conditions.operationsAreStuck) return;
  for (const operation of operationsUnderWay(context)) {
    if (operation.work.kind === 'deploy') advanceDeploy(context, operation);
    else if (context.now() >= operation.dueAt) finish(context, operation);
  }
}

/** Returns when something will happen without further input, in milliseconds since the epoch; null for never. */
export function nextDueAt(context: WorldContext): number | null {
  if (context.conditions.operationsAreStuck) return null;
  const due = operationsUnderWay(context).flatMap((operation) =>
    operation.work.kind === 'deploy' ? deployTimes(context, operation) : [operation.dueAt],
  );
  return due.length === 0 ? null : Math.min(...due);
}

/** Cancels a deployment, which frees its id; other work cannot be cancelled and goes on. */
export function cancelOperation(context: WorldContext, name: string): void {
  const operation = findOperation(context, name);
  if (operation.isDone || operation.work.kind !== 'deploy') return;
  fail(context, operation, new WorldError('CANCELLED', 'The operation was cancelled.'), 'DEPLOYMENT_TERMINATED');
}

/** True when the DeployedModel's container should be running. */
export function needsContainer(context: WorldContext, endpoint: string, deployed: DeployedModel): boolean {
  if (deployed.phase !== 'deploying') return true;
  return operationsUnderWay(context).some(
    ({ work, stage }) =>
      work.kind === 'deploy' &&
      work.endpoint === endpoint &&
      work.deployedModelId === deployed.id &&
      containerStages.includes(stage),
  );
}

function advanceDeploy(context: WorldContext, operation: Operation): void {
  if (operation.work.kind !== 'deploy') return;
  const { endpoint, deployedModelId } = operation.work;
  const deployed = findDeployed(findEndpoint(context, endpoint), deployedModelId);
  const now = context.now();
  const isHealthy = deployed.health === 'healthy';
  if (isHealthy && now >= operation.dueAt) return finish(context, operation);
  if (!isHealthy && operation.deadlineAt !== null && now >= operation.deadlineAt) {
    const last = deployed.statusMessage === '' ? '' : ` Last seen: ${deployed.statusMessage}`;
    const message = `Model server never became healthy: its health route was not answered with 200 before the deadline.${last}`;
    return fail(context, operation, new WorldError('FAILED_PRECONDITION', message), 'FAILED_TO_DEPLOY');
  }
  const stage = isHealthy ? 'FINISHING_UP' : stageAt(operation, now);
  if (stage === operation.stage) return;
  operation.stage = stage;
  operation.updatedAt = now;
  context.emit({ kind: 'changed' });
}

function stageAt(operation: Operation, now: number): string {
  const share = (now - operation.startedAt) / (operation.dueAt - operation.startedAt);
  return stages.findLast(([, from]) => share >= from)?.[0] ?? stages[0][0];
}

function deployTimes(context: WorldContext, operation: Operation): number[] {
  if (operation.work.kind !== 'deploy') return [];
  const deployed = findDeployed(findEndpoint(context, operation.work.endpoint), operation.work.deployedModelId);
  if (deployed.health === 'healthy') return [operation.dueAt];
  const duration = operation.dueAt - operation.startedAt;
  const next = stages.findIndex(([name]) => name === operation.stage) + 1;
  const [, share = null] = stages[next] ?? [];
  const nextStageAt = share === null ? [] : [Math.ceil(operation.startedAt + duration * share)];
  return [...nextStageAt, ...(operation.deadlineAt === null ? [] : [operation.deadlineAt])];
}

function finish(context: WorldContext, operation: Operation): void {
  try {
    const deployed = perform(context, operation);
    operation.deployedModel = deployed === null ? null : structuredClone(deployed);
  } catch (error) {
    if (!(error instanceof WorldError)) throw error;
    return fail(context, operation, error, 'FAILED_TO_DEPLOY');
  }
  if (operation.work.kind === 'deploy') operation.stage = 'SUCCESSFULLY_DEPLOYED';
  endOperation(context, operation, null);
}

function perform(context: WorldContext, { work }: Operation): DeployedModel | null {
  switch (work.kind) {
    case 'createEndpoint':
      context.state.endpoints[work.endpoint.name] = structuredClone(work.endpoint);
      return null;
    case 'deleteEndpoint':
      if (findEndpoint(context, work.endpoint).deployedModels.length > 0) {
        throw new WorldError('FAILED_PRECONDITION', `A model was deployed on ${work.endpoint} meanwhile.`);
      }
      delete context.state.endpoints[work.endpoint];
      return null;
    case 'deploy':
      return finishDeploy(context, work.endpoint, work.deployedModelId, work.split);
    case 'undeploy':
      finishUndeploy(context, work.endpoint, work.deployedModelId);
      return null;
    case 'mutate':
      return finishMutate(context, work.endpoint, work.deployedModelId, work);
    case 'uploadModel':
      finishUpload(context, work.model, work.version);
      return null;
    case 'deleteModel':
      finishDeleteModel(context, work.model);
      return null;
    case 'deleteModelVersion':
      finishDeleteVersion(context, work.model, work.versionId);
      return null;
  }
}

/** The operation ends first: what hears of the removed model must not find it under way still. */
function fail(context: WorldContext, operation: Operation, error: WorldError, stage: string): void {
  const { work } = operation;
  if (work.kind === 'deploy') operation.stage = stage;
  endOperation(context, operation, { code: error.code, message: error.message });
  if (work.kind === 'deploy') abandonDeploy(context, work.endpoint, work.deployedModelId);
}
