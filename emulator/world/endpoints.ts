/** How do endpoints come, change and go? Everything about them but their deployments. */
import { nextEtag, type WorldContext } from './context.ts';
import { WorldError } from './errors.ts';
import { endpointName, locationName } from './names.ts';
import { startOperation } from './operations.ts';
import { type LoggingOrder, requestLogging } from './request-logging.ts';
import type { Endpoint, Operation, Split } from './state.ts';
import { checkSplit, pickDeployedModel } from './traffic-split.ts';

/** A letter first, then up to 62 more; or up to ten digits without a leading zero. */
const ENDPOINT_ID = /^(?:[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?|[1-9][0-9]{0,9})$/;
const displayNameLengthMax = 128;

export interface EndpointSettings {
  displayName: string;
  description: string;
  labels: Record<string, string>;
  split: Split;
  /** Absent: none. */
  requestLogging?: LoggingOrder | null;
}

export type EndpointField = keyof EndpointSettings;

/** Starts the creation; the endpoint is there when the operation is done. An empty id lets the world choose one. */
export function createEndpoint(
  context: WorldContext,
  parent: string,
  settings: Omit<EndpointSettings, 'split'>,
  id: string,
): Operation {
  if (id !== '' && !ENDPOINT_ID.test(id)) {
    throw new WorldError(
      'INVALID_ARGUMENT',
      `endpoint_id "${id}" is neither letters, digits and dashes nor up to 10 digits.`,
    );
  }
  checkDisplayName(settings.displayName);
  const chosen = id === '' ? String(5_000_000_000_000_000_000n + BigInt(context.nextNumber())) : id;
  const name = `${locationName(context, parent)}/endpoints/${chosen}`;
  const isPending = Object.values(context.state.operations).some(
    (operation) =>
      !operation.isDone && operation.work.kind === 'createEndpoint' && operation.work.endpoint.name === name,
  );
  if (isPending || context.state.endpoints[name] !== undefined) {
    throw new WorldError('ALREADY_EXISTS', `The endpoint ${name} exists already.`);
  }
  const at = context.now();
  const endpoint: Endpoint = {
    name,
    ...settings,
    requestLogging: requestLogging(settings.requestLogging ?? null, name, settings.displayName),
    split: {},
    etag: nextEtag(context),
    createdAt: at,
    updatedAt: at,
    deployedModels: [],
  };
  return startOperation(context, name, { kind: 'createEndpoint', endpoint }, context.timings.createMs);
}

/** Returns the endpoint as it is now, with deployments under way as well; throws NOT_FOUND. */
export function findEndpoint(context: WorldContext, name: string): Endpoint {
  const canonical = endpointName(context, name);
  const endpoint = context.state.endpoints[canonical];
  if (endpoint === undefined) throw new WorldError('NOT_FOUND', `The endpoint ${name} does not exist.`);
  return endpoint;
}

/** Returns the endpoints of a location, oldest first. */
export function listEndpoints(context: WorldContext, parent: string): Endpoint[] {
  const prefix = `${locationName(context, parent)}/`;
  return Object.values(context.state.endpoints).filter((endpoint) => endpoint.name.startsWith(prefix));
}

/**
 * Replaces the named fields at once. Throws ABORTED when an etag is given that is no longer current, and
 * INVALID_ARGUMENT for a split that Vertex would refuse; then nothing has changed.
 */
export function updateEndpoint(
  context: WorldContext,
  name: string,
  settings: EndpointSettings,
  fields: readonly EndpointField[],
  etag: string,
): Endpoint {
  const endpoint = findEndpoint(context, name);
  if (etag !== '' && etag !== endpoint.etag) {
    throw new WorldError('ABORTED', `The etag ${etag} is not current: ${name} has changed since it was read.`);
  }
  if (fields.includes('split')) checkSplit(settings.split, servingIds(endpoint));
  if (fields.includes('displayName')) checkDisplayName(settings.displayName);
  const logging = fields.includes('requestLogging')
    ? requestLogging(settings.requestLogging ?? null, endpoint.name, endpoint.displayName)
    : endpoint.requestLogging;
  if (fields.includes('split')) endpoint.split = { ...settings.split };
  if (fields.includes('displayName')) endpoint.displayName = settings.displayName;
  if (fields.includes('description')) endpoint.description = settings.description;
  if (fields.includes('labels')) endpoint.labels = { ...settings.labels };
  endpoint.requestLogging = logging;
  touch(context, endpoint);
  return endpoint;
}

/** Starts the removal; throws FAILED_PRECONDITION while anything is deployed. */
export function deleteEndpoint(context: WorldContext, name: string): Operation {
  const endpoint = findEndpoint(context, name);
  if (endpoint.deployedModels.length > 0) {
    const ids = endpoint.deployedModels.map((deployed) => deployed.id).join(', ');
    throw new WorldError(
      'FAILED_PRECONDITION',
      `${name} has deployed or being deployed models (${ids}); undeploy them first.`,
    );
  }
  const work = { kind: 'deleteEndpoint', endpoint: endpoint.name } as const;
  return startOperation(context, endpoint.name, work, context.timings.deleteMs);
}

/** Returns the ids that a split may name: those deployed in full. */
export function servingIds(endpoint: Endpoint): string[] {
  return endpoint.deployedModels.filter((deployed) => deployed.phase === 'deployed').map((deployed) => deployed.id);
}

/**
 * Returns which DeployedModel serves one request. Throws FAILED_PRECONDITION when the split is empty.
 * @param unit uniform in [0, 1)
 */
export function route(context: WorldContext, name: string, unit: number): { endpoint: Endpoint; id: string } {
  const endpoint = findEndpoint(context, name);
  const id = pickDeployedModel(endpoint.split, unit);
  if (id === null) throw new WorldError('FAILED_PRECONDITION', `Endpoint ${name} doesn't have traffic_split.`);
  return { endpoint, id };
}

/** Marks the endpoint as changed: a new etag, a new time. */
export function touch(context: WorldContext, endpoint: Endpoint): void {
  endpoint.etag = nextEtag(context);
  endpoint.updatedAt = context.now();
  context.emit({ kind: 'changed' });
}

function checkDisplayName(displayName: string): void {
  if (displayName.length === 0 || displayName.length > displayNameLengthMax) {
    throw new WorldError('INVALID_ARGUMENT', `display_name has ${displayName.length} characters; expected 1 to 128.`);
  }
}
