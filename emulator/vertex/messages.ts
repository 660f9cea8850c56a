/** How does the world look on the wire? Its resources as messages of google.cloud.aiplatform.v1, in camelCase. */
import { packAny, status, toTimestamp } from '../grpc.ts';
import { availableReplicas } from '../world/deployments.ts';
import { deploymentsOf } from '../world/models.ts';
import type { DeployedModel, Endpoint, Model, ModelVersion, Operation } from '../world/state.ts';
import type { World } from '../world/world.ts';

const V1 = 'google.cloud.aiplatform.v1';

/** DeployedModels that are still being deployed are not shown, as in GetEndpoint. */
export function toEndpoint(endpoint: Endpoint): object {
  return {
    name: endpoint.name,
    displayName: endpoint.displayName,
    description: endpoint.description,
    labels: endpoint.labels,
    trafficSplit: endpoint.split,
    etag: endpoint.etag,
    createTime: toTimestamp(endpoint.createdAt),
    updateTime: toTimestamp(endpoint.updatedAt),
    predictRequestResponseLoggingConfig: toLoggingConfig(endpoint.requestLogging),
    deployedModels: endpoint.deployedModels.filter(({ phase }) => phase !== 'deploying').map(toDeployedModel),
  };
}

function toLoggingConfig(logging: Endpoint['requestLogging']): object | null {
  if (logging === null) return null;
  const { isEnabled, samplingRate, table } = logging;
  return { enabled: isEnabled, samplingRate, bigqueryDestination: { outputUri: `bq://${table}` } };
}

export function toDeployedModel(deployed: DeployedModel): object {
  return {
    id: deployed.id,
    model: deployed.model,
    modelVersionId: deployed.versionId,
    displayName: deployed.displayName,
    createTime: toTimestamp(deployed.createdAt),
    serviceAccount: deployed.serviceAccount,
    disableContainerLogging: deployed.disableContainerLogging,
    enableAccessLogging: deployed.enableAccessLogging,
    ...toResources(deployed),
    status: {
      message: deployed.statusMessage,
      lastUpdateTime: toTimestamp(deployed.statusAt),
      availableReplicaCount: availableReplicas(deployed),
    },
  };
}

/** `name` has no version suffix; `versionId` says which version it is. */
export function toModel(world: World, model: Model, version: ModelVersion): object {
  return {
    name: model.name,
    versionId: version.versionId,
    versionAliases: version.aliases,
    versionCreateTime: toTimestamp(version.createdAt),
    versionUpdateTime: toTimestamp(version.updatedAt),
    displayName: version.displayName,
    description: version.description,
    versionDescription: version.versionDescription,
    labels: version.labels,
    containerSpec: version.containerSpec === null ? null : toContainerSpec(version.containerSpec),
    artifactUri: version.artifactUri,
    createTime: toTimestamp(model.createdAt),
    updateTime: toTimestamp(version.updatedAt),
    deployedModels: deploymentsOf(world.context, model.name, version.versionId),
    supportedDeploymentResourcesTypes: ['DEDICATED_RESOURCES', 'AUTOMATIC_RESOURCES'],
    etag: version.etag,
  };
}

export function toOperation(operation: Operation): object {
  return {
    name: operation.name,
    metadata: packAny(`${V1}.${metadataType(operation)}`, {
      genericMetadata: { createTime: toTimestamp(operation.startedAt), updateTime: toTimestamp(operation.updatedAt) },
      ...(operation.stage === '' ? {} : { deploymentStage: operation.stage }),
    }),
    done: operation.isDone,
    ...(operation.isDone ? toResult(operation) : {}),
  };
}

function toResult(operation: Operation): object {
  if (operation.error !== null) {
    const { code, message } = operation.error;
    return { error: { code: status[code], message } };
  }
  const { work } = operation;
  const deployedModel = operation.deployedModel === null ? null : toDeployedModel(operation.deployedModel);
  switch (work.kind) {
    case 'createEndpoint':
      return { response: packAny(`${V1}.Endpoint`, toEndpoint(work.endpoint)) };
    case 'deploy':
      return { response: packAny(`${V1}.DeployModelResponse`, { deployedModel }) };
    case 'undeploy':
      return { response: packAny(`${V1}.UndeployModelResponse`, {}) };
    case 'mutate':
      return { response: packAny(`${V1}.MutateDeployedModelResponse`, { deployedModel }) };
    case 'uploadModel':
      return { response: packAny(`${V1}.UploadModelResponse`, toUploadResponse(work.model, work.version)) };
    case 'deleteEndpoint':
    case 'deleteModel':
    case 'deleteModelVersion':
      return { response: packAny('google.protobuf.Empty', {}) };
  }
}

export function toUploadResponse(model: string, version: ModelVersion): object {
  return { model, modelVersionId: version.versionId };
}

function metadataType({ work }: Operation): string {
  switch (work.kind) {
    case 'createEndpoint':
      return 'CreateEndpointOperationMetadata';
    case 'deploy':
      return 'DeployModelOperationMetadata';
    case 'undeploy':
      return 'UndeployModelOperationMetadata';
    case 'mutate':
      return 'MutateDeployedModelOperationMetadata';
    case 'uploadModel':
      return 'UploadModelOperationMetadata';
    case 'deleteEndpoint':
    case 'deleteModel':
    case 'deleteModelVersion':
      return 'DeleteOperationMetadata';
  }
}

function toResources({ resources }: DeployedModel): object {
  const { kind, minReplicaCount, maxReplicaCount } = resources;
  if (kind === 'automatic') return { automaticResources: { minReplicaCount, maxReplicaCount } };
  return {
    dedicatedResources: {
      machineSpec: {
        machineType: resources.machineType,
        acceleratorType: resources.acceleratorType || 'ACCELERATOR_TYPE_UNSPECIFIED',
        acceleratorCount: resources.acceleratorCount,
      },
      minReplicaCount,
      maxReplicaCount,
      requiredReplicaCount: resources.requiredReplicaCount,
      autoscalingMetricSpecs: resources.autoscalingMetricSpecs,
      spot: resources.spot,
    },
  };
}

function toContainerSpec({ deploymentTimeoutSeconds, ...spec }: NonNullable<ModelVersion['containerSpec']>): object {
  return deploymentTimeoutSeconds === null
    ? spec
    : { ...spec, deploymentTimeout: { seconds: deploymentTimeoutSeconds } };
}
