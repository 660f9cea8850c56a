/** What does google.cloud.aiplatform.v1.EndpointService answer? */
import { z } from 'zod';
import { type BeforeCall, type GrpcService, page, unaryService } from '../grpc.ts';
import { deployModel, mutateDeployedModel, undeployModel } from '../world/deployments.ts';
import {
  createEndpoint,
  deleteEndpoint,
  type EndpointField,
  findEndpoint,
  listEndpoints,
  updateEndpoint,
} from '../world/endpoints.ts';
import { resolveVersion } from '../world/models.ts';
import { partsOf } from '../world/names.ts';
import { type World, WorldError } from '../world/world.ts';
import { fields, parse, worldHandlers } from './handlers.ts';
import { listFilter, orderBy } from './list-filter.ts';
import { toEndpoint, toOperation } from './messages.ts';
import { automaticSchema, dedicatedSchema, toChange, toResources } from './resources-schema.ts';

const nameSchema = z.strictObject({ name: z.string('name is required') });
const loggingSchema = z
  .strictObject({
    enabled: fields.flag,
    samplingRate: z.number().default(0),
    bigqueryDestination: z.strictObject({ outputUri: fields.text }).default({ outputUri: '' }),
  })
  .transform(({ bigqueryDestination, ...rest }) => ({ ...rest, ...bigqueryDestination }));
const createSchema = z.strictObject({
  parent: z.string('parent is required'),
  endpointId: fields.text,
  endpoint: z.strictObject({
    displayName: fields.text,
    description: fields.text,
    labels: fields.labels,
    predictRequestResponseLoggingConfig: loggingSchema.optional(),
  }),
});
const listSchema = z.strictObject({
  parent: z.string('parent is required'),
  filter: fields.text,
  orderBy: fields.text,
  pageSize: fields.int,
  pageToken: fields.text,
});
/** Only what the mask names is read: callers send back the whole endpoint that they have read. */
const updateSchema = z.strictObject({
  endpoint: z.object({
    name: z.string('endpoint.name is required'),
    displayName: fields.text,
    description: fields.text,
    labels: fields.labels,
    trafficSplit: fields.split,
    predictRequestResponseLoggingConfig: loggingSchema.optional(),
    etag: fields.text,
  }),
  updateMask: fields.mask,
});
const deployedModelSchema = z.strictObject({
  id: fields.text,
  model: z.string('deployed_model.model is required'),
  displayName: fields.text,
  predictionResources: fields.text,
  dedicatedResources: dedicatedSchema.optional(),
  automaticResources: automaticSchema.optional(),
  serviceAccount: fields.text,
  disableContainerLogging: fields.flag,
  enableAccessLogging: fields.flag,
});
const deploySchema = z.strictObject({
  endpoint: z.string('endpoint is required'),
  deployedModel: deployedModelSchema,
  trafficSplit: fields.split,
});
const undeploySchema = z.strictObject({
  endpoint: z.string('endpoint is required'),
  deployedModelId: z.string('deployed_model_id is required'),
  trafficSplit: fields.split,
});
const mutateSchema = z.strictObject({
  endpoint: z.string('endpoint is required'),
  deployedModel: z.object({
    id: z.string('deployed_model.id is required'),
    dedicatedResources: dedicatedSchema.optional(),
    automaticResources: automaticSchema.optional(),
    disableContainerLogging: fields.flag,
  }),
  updateMask: fields.mask,
});

/** Fields of the update mask that Vertex takes, by what they are here; null where the emulator lacks them. */
const updatable: Record<string, EndpointField | null> = {
  traffic_split: 'split',
  display_name: 'displayName',
  description: 'description',
  labels: 'labels',
  predict_request_response_logging_config: 'requestLogging',
  client_connection_config: null,
};

/** Returns the service over a world. */
export function endpointService(world: World, before?: BeforeCall): GrpcService {
  const { context } = world;
  const handlers = worldHandlers(world, {
    CreateEndpoint(request) {
      const { parent, endpoint, endpointId } = parse(createSchema, request);
      const { predictRequestResponseLoggingConfig: logging = null, ...settings } = endpoint;
      return toOperation(createEndpoint(context, parent, { ...settings, requestLogging: logging }, endpointId));
    },
    GetEndpoint(request) {
      return toEndpoint(findEndpoint(context, parse(nameSchema, request).name));
    },
    ListEndpoints(request) {
      const parsed = parse(listSchema, request);
      const isWanted = listFilter(parsed.filter, 'endpoint');
      const found = listEndpoints(context, parsed.parent).filter((e) => isWanted({ ...e, id: partsOf(e.name).id }));
      const { items, nextPageToken } = page(orderBy(found, parsed.orderBy), parsed);
      return { endpoints: items.map(toEndpoint), nextPageToken };
    },
    UpdateEndpoint(request) {
      const { endpoint, updateMask } = parse(updateSchema, request);
      const { trafficSplit: split, predictRequestResponseLoggingConfig: requestLogging = null } = endpoint;
      const settings = { ...endpoint, split, requestLogging };
      const mask = updatedFields(updateMask.paths);
      return toEndpoint(updateEndpoint(context, endpoint.name, settings, mask, endpoint.etag));
    },
    DeleteEndpoint(request) {
      return toOperation(deleteEndpoint(context, parse(nameSchema, request).name));
    },
    DeployModel(request) {
      const { endpoint, deployedModel, trafficSplit } = parse(deploySchema, request);
      const order = { ...deployedModel, resources: toResources(deployedModel) };
      refuseWithoutCommand(world, order.model);
      return toOperation(deployModel(context, endpoint, order, trafficSplit));
    },
    UndeployModel(request) {
      const { endpoint, deployedModelId, trafficSplit } = parse(undeploySchema, request);
      return toOperation(undeployModel(context, endpoint, deployedModelId, trafficSplit));
    },
    MutateDeployedModel(request) {
      const { endpoint, deployedModel, updateMask } = parse(mutateSchema, request);
      const change = toChange(deployedModel, updateMask.paths);
      return toOperation(mutateDeployedModel(context, endpoint, deployedModel.id, change));
    },
  });
  return unaryService('google.cloud.aiplatform.v1.EndpointService', handlers, before);
}

function updatedFields(paths: string[]): EndpointField[] {
  if (paths.length === 0) throw new WorldError('INVALID_ARGUMENT', 'update_mask is required.');
  return paths.map((path) => {
    const field = updatable[path];
    if (field === undefined) {
      const known = Object.keys(updatable).join(', ');
      throw new WorldError('INVALID_ARGUMENT', `update_mask "${path}" cannot be updated; expected of ${known}.`);
    }
    if (field === null) throw new WorldError('UNIMPLEMENTED', `The emulator does not have the field ${path}.`);
    return field;
  });
}

function refuseWithoutCommand(world: World, model: string): void {
  const { version } = resolveVersion(world.context, model);
  if ((version.containerSpec?.command.length ?? 0) === 0) {
    throw new WorldError(
      'UNIMPLEMENTED',
      `${model} has no container_spec.command. The emulator runs a local command, not an image: upload a version with one.`,
    );
  }
}
