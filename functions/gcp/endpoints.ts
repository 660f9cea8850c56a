/**
 * What does a Vertex AI endpoint serve, and how is that changed? EndpointsPort over EndpointService and its operations.
 * Each method is one call: which one, and with what, is decided elsewhere.
 */
import type { EndpointServiceClient } from '@google-cloud/aiplatform/build/src/v1/endpoint_service_client.js';
import type { CallOptions } from 'google-gax';
import { z } from 'zod';
import type { DeployPolicy } from '../../machines/policy/policy.ts';
import { PermanentError } from '../engine/errors.ts';
import { limits } from '../engine/limits.ts';
import type { DeployOrder, EndpointsPort, EndpointView, OperationView } from '../engine/ports.ts';
import { acceleratorNumber } from './accelerators.ts';
import type { Clients } from './clients.ts';
import { call, parseReply } from './status.ts';

const replicasSchema = z.object({ minReplicaCount: z.int(), maxReplicaCount: z.int() });

const deployedModelSchema = z.object({
  id: z.string().min(1),
  model: z.string().regex(/^[^@]/, 'expected a name'),
  modelVersionId: z.string(),
  displayName: z.string(),
  dedicatedResources: replicasSchema.nullish(),
  automaticResources: replicasSchema.nullish(),
  status: z.object({ availableReplicaCount: z.int() }).nullish(),
});

const endpointSchema = z.object({
  name: z.string().min(1),
  etag: z.string(),
  trafficSplit: z.record(z.string(), z.int().min(0).max(100)).refine((split) => {
    const shares = Object.values(split);
    return shares.length === 0 || shares.reduce((sum, share) => sum + share, 0) === 100;
  }, 'the shares of a split must sum to 100, or there must be none'),
  deployedModels: z.array(deployedModelSchema),
});

const operationSchema = z.object({
  name: z.string().min(1),
  done: z.boolean(),
  metadata: z.object({ type_url: z.string(), value: z.instanceof(Uint8Array) }).nullish(),
  error: z.object({ code: z.int(), message: z.string() }).nullish(),
});

const stageSchema = z.object({ deploymentStage: z.string() });

/** EndpointsPort over the real Vertex AI client. Never tries again; see `call` for what is thrown. */
export function vertexEndpoints(clients: Clients): EndpointsPort {
  function ask<T>(name: string, act: (client: EndpointServiceClient, options: CallOptions) => Promise<T>): Promise<T> {
    return call(name, limits.callDeadlineMs, async (options) => act(await clients.endpoints(), options));
  }

  return {
    async read(endpoint) {
      const name = `GetEndpoint ${endpoint}`;
      const [reply] = await ask(name, (client, options) => client.getEndpoint({ name: endpoint }, options));
      return endpointView(name, reply);
    },

    async writeSplit(endpoint, split, etag) {
      const name = `UpdateEndpoint ${endpoint}`;
      // An update without an etag overwrites blindly, so an empty one must never reach the service.
      if (etag === '') {
        throw new PermanentError('internal', `${name}: a split is only written with the etag that was read`);
      }
      const request = {
        endpoint: { name: endpoint, trafficSplit: split, etag },
        updateMask: { paths: ['traffic_split'] },
      };
      const [reply] = await ask(name, (client, options) => client.updateEndpoint(request, options));
      return endpointView(name, reply);
    },

    async deploy(endpoint, order) {
      const name = `DeployModel ${order.model}@${order.versionId} as ${order.deployedModelId} to ${endpoint}`;
      const [operation] = await ask(name, (client, options) =>
        // An empty split leaves the traffic as it is, and the new model at 0 %.
        client.deployModel({ endpoint, deployedModel: deployedModel(order), trafficSplit: {} }, options),
      );
      return started(name, operation.name);
    },

    async undeploy(endpoint, deployedModelId) {
      const name = `UndeployModel ${deployedModelId} of ${endpoint}`;
      const request = { endpoint, deployedModelId, trafficSplit: {} };
      const [operation] = await ask(name, (client, options) => client.undeployModel(request, options));
      return started(name, operation.name);
    },

    async resize(endpoint, deployedModelId, minReplicas) {
      const name = `MutateDeployedModel ${deployedModelId} of ${endpoint}`;
      const request = {
        endpoint,
        deployedModel: { id: deployedModelId, dedicatedResources: { minReplicaCount: minReplicas } },
        updateMask: { paths: ['dedicated_resources.min_replica_count'] },
      };
      const [operation] = await ask(name, (client, options) => client.mutateDeployedModel(request, options));
      return started(name, operation.name);
    },

    async readOperation(operation) {
      const name = `GetOperation ${operation}`;
      return ask(name, async (client, options) => {
        const { operationsProtos, Status } = await import('google-gax');
        const request = new operationsProtos.google.longrunning.GetOperationRequest({ name: operation });
        const [reply] = await client.operationsClient.getOperation(request, options);
        return operationView(client, Status, parseReply(name, operationSchema, reply));
      });
    },

    async cancelOperation(operation) {
      await ask(`CancelOperation ${operation}`, async (client, options) => {
        const { longrunning } = (await import('google-gax')).operationsProtos.google;
        await client.operationsClient.cancelOperation(
          new longrunning.CancelOperationRequest({ name: operation }),
          options,
        );
      });
    },
  };
}

function endpointView(name: string, reply: unknown): EndpointView {
  const endpoint = parseReply(name, endpointSchema, reply);
  return {
    name: endpoint.name,
    split: endpoint.trafficSplit,
    etag: endpoint.etag,
    deployedModels: endpoint.deployedModels.map((deployed) => {
      const replicas = deployed.dedicatedResources ?? deployed.automaticResources;
      return {
        id: deployed.id,
        model: deployed.model.replace(/@.*$/, ''),
        versionId: deployed.modelVersionId,
        displayName: deployed.displayName,
        minReplicas: replicas?.minReplicaCount ?? null,
        maxReplicas: replicas?.maxReplicaCount ?? null,
        availableReplicas: deployed.status?.availableReplicaCount ?? null,
      };
    }),
  };
}

function operationView(
  client: EndpointServiceClient,
  statusNames: Record<number, string>,
  { name, done, metadata, error }: z.output<typeof operationSchema>,
): OperationView {
  return {
    name,
    done,
    stage: stageOf(client, metadata),
    error: error == null ? null : { code: statusNames[error.code] ?? 'UNKNOWN', message: error.message },
  };
}

/** Only a deployment says how far it is. As JSON, the message gives the stage's name in place of its number. */
function stageOf(client: EndpointServiceClient, metadata: z.output<typeof operationSchema>['metadata']): string {
  if (!metadata?.type_url.endsWith('.DeployModelOperationMetadata')) return '';
  const decoded = client.descriptors.longrunning['deployModel']?.metadataDecoder(metadata.value);
  return stageSchema.safeParse(decoded?.toJSON()).data?.deploymentStage ?? '';
}

function deployedModel(order: DeployOrder) {
  return {
    id: order.deployedModelId,
    // Never an alias: it may mean another version by the time the service resolves it.
    model: `${order.model}@${order.versionId}`,
    displayName: order.displayName,
    dedicatedResources: dedicatedResources(order.deploy),
    ...(order.deploy.serviceAccount === null ? {} : { serviceAccount: order.deploy.serviceAccount }),
  };
}

function dedicatedResources(deploy: DeployPolicy) {
  return {
    machineSpec: {
      machineType: deploy.machineType,
      ...(deploy.accelerator === null
        ? {}
        : {
            acceleratorType: acceleratorNumber(deploy.accelerator.type),
            acceleratorCount: deploy.accelerator.count,
          }),
    },
    minReplicaCount: deploy.minReplicas,
    maxReplicaCount: deploy.maxReplicas,
    autoscalingMetricSpecs: deploy.autoscaling.map(({ metric, targetPercent }) => ({
      metricName: metric,
      target: targetPercent,
    })),
  };
}

function started(name: string, operation: string | undefined): { operation: string } {
  if (operation === undefined || operation === '') {
    throw new PermanentError('internal', `${name}: the reply names no operation`);
  }
  return { operation };
}
