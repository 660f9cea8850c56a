/** Which models and versions are registered? Uploading, finding, removing; aliases.ts says who holds which alias. */
import { checkAlias, takeAliases } from './aliases.ts';
import { nextEtag, type WorldContext } from './context.ts';
import { WorldError } from './errors.ts';
import { locationName, modelName } from './names.ts';
import { startOperation } from './operations.ts';
import type { ContainerSpec, Model, ModelVersion, Operation } from './state.ts';

const MODEL_ID = /^[a-z_][a-z0-9_-]{0,62}$/;

export interface Upload {
  /** Empty: a new model. */
  parentModel: string;
  /** Of a new model; empty: the world chooses one. */
  modelId: string;
  aliases: string[];
  /** Of a new version, empty: that of the newest version. */
  displayName: string;
  description: string;
  versionDescription: string;
  labels: Record<string, string>;
  containerSpec: ContainerSpec | null;
  artifactUri: string;
}

/** Starts an upload; the version is there, with its aliases, when the operation is done. */
export function uploadModel(context: WorldContext, parent: string, upload: Upload): Operation {
  const location = locationName(context, parent);
  for (const alias of upload.aliases) checkAlias(alias);
  const name =
    upload.parentModel === '' ? newModelName(context, location, upload.modelId) : parentName(context, upload);
  const existing = context.state.models[name];
  const displayName = upload.displayName || (existing?.versions.at(-1)?.displayName ?? '');
  if (displayName === '') throw new WorldError('INVALID_ARGUMENT', 'model.display_name is required.');
  const pending = pendingUploads(context, name);
  const at = context.now();
  const version: ModelVersion = {
    versionId: String((existing?.nextVersionId ?? 1) + pending),
    aliases: upload.aliases,
    displayName,
    description: upload.description,
    versionDescription: upload.versionDescription,
    labels: upload.labels,
    containerSpec: upload.containerSpec,
    artifactUri: upload.artifactUri,
    createdAt: at,
    updatedAt: at,
    etag: nextEtag(context),
  };
  return startOperation(context, name, { kind: 'uploadModel', model: name, version }, context.timings.uploadMs);
}

/** Registers the uploaded version. The first of a model gets the alias `default`. */
export function finishUpload(context: WorldContext, name: string, uploaded: ModelVersion): void {
  const at = context.now();
  const model = (context.state.models[name] ??= { name, createdAt: at, nextVersionId: 1, versions: [] });
  const isFirst = model.versions.length === 0;
  const aliases = isFirst ? [...new Set(['default', ...uploaded.aliases])] : uploaded.aliases;
  const version = { ...uploaded, aliases: [], createdAt: at, updatedAt: at };
  model.versions.push(version);
  model.nextVersionId = Math.max(model.nextVersionId, Number(version.versionId) + 1);
  takeAliases(context, model, version, aliases);
  context.emit({ kind: 'changed' });
}

/** Returns the version that `models/M`, `models/M@7` or `models/M@alias` names; throws NOT_FOUND. */
export function resolveVersion(context: WorldContext, name: string): { model: Model; version: ModelVersion } {
  const { model: canonical, version: wanted } = modelName(context, name);
  const model = context.state.models[canonical];
  const version = model?.versions.find((candidate) =>
    wanted === null
      ? candidate.aliases.includes('default')
      : candidate.versionId === wanted || candidate.aliases.includes(wanted),
  );
  if (model === undefined || version === undefined) {
    throw new WorldError('NOT_FOUND', `The model ${name} does not exist.`);
  }
  return { model, version };
}

/** Returns the models of a location, oldest first. */
export function listModels(context: WorldContext, parent: string): Model[] {
  const prefix = `${locationName(context, parent)}/`;
  return Object.values(context.state.models).filter((model) => model.name.startsWith(prefix));
}

/** Starts the removal of a model with all its versions; throws FAILED_PRECONDITION while one is deployed. */
export function deleteModel(context: WorldContext, name: string): Operation {
  const { model } = resolveVersion(context, name);
  refuseDeployed(context, model, null);
  return startOperation(context, model.name, { kind: 'deleteModel', model: model.name }, context.timings.deleteMs);
}

/** Starts the removal of one version, named by its id; not of the only one, and not of one that is deployed. */
export function deleteModelVersion(context: WorldContext, name: string): Operation {
  const { model, version } = resolveExplicitVersion(context, name);
  refuseDeployed(context, model, version.versionId);
  if (model.versions.length === 1) {
    throw new WorldError('FAILED_PRECONDITION', `${name} is the only version of its model; delete the model instead.`);
  }
  const work = { kind: 'deleteModelVersion', model: model.name, versionId: version.versionId } as const;
  return startOperation(context, model.name, work, context.timings.deleteMs);
}

/** Removes a model; throws FAILED_PRECONDITION when it was deployed meanwhile. */
export function finishDeleteModel(context: WorldContext, name: string): void {
  const model = context.state.models[name];
  if (model === undefined) return;
  refuseDeployed(context, model, null);
  delete context.state.models[name];
}

/** Removes a version; the alias `default` moves to the newest that is left. */
export function finishDeleteVersion(context: WorldContext, name: string, versionId: string): void {
  const model = context.state.models[name];
  if (model === undefined) return;
  refuseDeployed(context, model, versionId);
  const removed = model.versions.find((version) => version.versionId === versionId);
  model.versions = model.versions.filter((version) => version.versionId !== versionId);
  const newest = model.versions.at(-1);
  if (newest !== undefined && removed?.aliases.includes('default') === true) {
    takeAliases(context, model, newest, ['default']);
  }
  context.emit({ kind: 'changed' });
}

/** As resolveVersion, but the name must carry a version id. */
export function resolveExplicitVersion(context: WorldContext, name: string): { model: Model; version: ModelVersion } {
  if (!/@\d+$/.test(name)) {
    throw new WorldError('INVALID_ARGUMENT', `Expected a name with a version id, like models/M@7, got "${name}".`);
  }
  return resolveVersion(context, name);
}

/** Returns where a version is deployed, or any version of the model with null. */
export function deploymentsOf(
  context: WorldContext,
  model: string,
  versionId: string | null,
): { endpoint: string; deployedModelId: string }[] {
  return Object.values(context.state.endpoints).flatMap((endpoint) =>
    endpoint.deployedModels
      .filter((deployed) => deployed.model === model && (versionId === null || deployed.versionId === versionId))
      .map((deployed) => ({ endpoint: endpoint.name, deployedModelId: deployed.id })),
  );
}

function refuseDeployed(context: WorldContext, model: Model, versionId: string | null): void {
  const [first] = deploymentsOf(context, model.name, versionId);
  if (first !== undefined) {
    throw new WorldError(
      'FAILED_PRECONDITION',
      `${model.name} is deployed on ${first.endpoint} as ${first.deployedModelId}; undeploy it first.`,
    );
  }
}

function newModelName(context: WorldContext, location: string, modelId: string): string {
  if (modelId !== '' && !MODEL_ID.test(modelId)) {
    throw new WorldError('INVALID_ARGUMENT', `model_id "${modelId}" is not a letter and up to 62 of [a-z0-9_-].`);
  }
  const name = `${location}/models/${modelId || 7_000_000_000_000_000_000n + BigInt(context.nextNumber())}`;
  if (context.state.models[name] !== undefined || pendingUploads(context, name) > 0) {
    throw new WorldError(
      'ALREADY_EXISTS',
      `The model ${name} exists already; name it as parent_model for a new version.`,
    );
  }
  return name;
}

function parentName(context: WorldContext, upload: Upload): string {
  if (upload.modelId !== '') {
    throw new WorldError(
      'INVALID_ARGUMENT',
      'Give model_id for a new model, or parent_model for a new version, not both.',
    );
  }
  return resolveVersion(context, upload.parentModel.replace(/@.*$/, '')).model.name;
}

function pendingUploads(context: WorldContext, name: string): number {
  return Object.values(context.state.operations).filter(
    (operation) => !operation.isDone && operation.work.kind === 'uploadModel' && operation.work.model === name,
  ).length;
}
