/** What does google.cloud.aiplatform.v1.ModelService answer? */
import { z } from 'zod';
import { type BeforeCall, type GrpcService, page, unaryService } from '../grpc.ts';
import { mergeAliases } from '../world/aliases.ts';
import {
  deleteModel,
  deleteModelVersion,
  listModels,
  resolveExplicitVersion,
  resolveVersion,
  uploadModel,
} from '../world/models.ts';
import { partsOf } from '../world/names.ts';
import type { World } from '../world/world.ts';
import type { Audit } from './audit.ts';
import { fields, parse, worldHandlers } from './handlers.ts';
import { listFilter, orderBy } from './list-filter.ts';
import { toModel, toOperation } from './messages.ts';

const nameSchema = z.strictObject({ name: z.string('name is required') });
const containerSpecSchema = z
  .strictObject({
    imageUri: z.string('container_spec.image_uri is required'),
    command: fields.texts,
    args: fields.texts,
    env: z.array(z.strictObject({ name: z.string(), value: fields.text })).default([]),
    ports: z.array(z.strictObject({ containerPort: z.int().min(1).max(65_535) })).default([]),
    predictRoute: fields.text,
    healthRoute: fields.text,
    deploymentTimeout: fields.duration.optional(),
  })
  .transform(({ deploymentTimeout, ...spec }) => ({ ...spec, deploymentTimeoutSeconds: deploymentTimeout ?? null }));
const uploadSchema = z.strictObject({
  parent: z.string('parent is required'),
  parentModel: fields.text,
  modelId: fields.text,
  model: z.strictObject({
    displayName: fields.text,
    description: fields.text,
    versionDescription: fields.text,
    versionAliases: fields.texts,
    labels: fields.labels,
    containerSpec: containerSpecSchema.nullable().default(null),
    artifactUri: fields.text,
  }),
});
const pageFields = { filter: fields.text, orderBy: fields.text, pageSize: fields.int, pageToken: fields.text };
const listSchema = z.strictObject({ parent: z.string('parent is required'), ...pageFields });
const listVersionsSchema = z.strictObject({ name: z.string('name is required'), ...pageFields });
const mergeSchema = z.strictObject({ name: z.string('name is required'), versionAliases: fields.texts });

/** Returns the service over a world. */
export function modelService(world: World, audit: Audit, before?: BeforeCall): GrpcService {
  const { context } = world;
  const handlers = worldHandlers(world, {
    UploadModel(request) {
      const { parent, parentModel, modelId, model } = parse(uploadSchema, request);
      const upload = { ...model, aliases: model.versionAliases, parentModel, modelId };
      const operation = uploadModel(context, parent, upload);
      audit.uploadStarted({ parent, parentModel, modelId, model }, operation);
      return toOperation(operation);
    },
    GetModel(request) {
      const { model, version } = resolveVersion(context, parse(nameSchema, request).name);
      return toModel(world, model, version);
    },
    ListModels(request) {
      const parsed = parse(listSchema, request);
      const isWanted = listFilter(parsed.filter, 'model');
      const found = listModels(context, parsed.parent)
        .map((model) => resolveVersion(context, model.name))
        .filter(({ model, version }) => isWanted({ ...version, id: partsOf(model.name).id }))
        .map(({ model, version }) => ({ ...version, model, version }));
      const { items, nextPageToken } = page(orderBy(found, parsed.orderBy), parsed);
      return { models: items.map(({ model, version }) => toModel(world, model, version)), nextPageToken };
    },
    ListModelVersions(request) {
      const parsed = parse(listVersionsSchema, request);
      const isWanted = listFilter(parsed.filter, 'model');
      const { model } = resolveVersion(context, parsed.name.replace(/@.*$/, ''));
      const { id } = partsOf(model.name);
      const found = model.versions.filter((version) => isWanted({ ...version, id }));
      const { items, nextPageToken } = page(orderBy(found, parsed.orderBy), parsed);
      return { models: items.map((version) => toModel(world, model, version)), nextPageToken };
    },
    MergeVersionAliases(request) {
      const { name, versionAliases } = parse(mergeSchema, request);
      const { model, version } = resolveExplicitVersion(context, name);
      mergeAliases(context, model, version, versionAliases);
      audit.aliasesMerged({ name, versionAliases }, model, version);
      return toModel(world, model, version);
    },
    DeleteModel(request) {
      return toOperation(deleteModel(context, parse(nameSchema, request).name));
    },
    DeleteModelVersion(request) {
      return toOperation(deleteModelVersion(context, parse(nameSchema, request).name));
    },
  });
  return unaryService('google.cloud.aiplatform.v1.ModelService', handlers, before);
}
