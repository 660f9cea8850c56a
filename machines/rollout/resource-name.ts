/**
 * Which resource is meant? Vertex answers with the project's number where people write its id, so names are compared
 * by location and id.
 */

export interface ResourceName {
  project: string;
  location: string;
  id: string;
}

const ENDPOINT = /^projects\/([^/]+)\/locations\/([a-z0-9-]+)\/endpoints\/([A-Za-z0-9-]{1,63})$/;
const MODEL = /^projects\/([^/]+)\/locations\/([a-z0-9-]+)\/models\/([A-Za-z0-9_-]{1,63})(?:@[A-Za-z0-9-]+)?$/;

/** Parses `projects/P/locations/L/endpoints/E`; null when the text is no such name. */
export function parseEndpointName(name: string): ResourceName | null {
  return named(ENDPOINT.exec(name));
}

/** Parses `projects/P/locations/L/models/M`, with or without `@version`; null when the text is no such name. */
export function parseModelName(name: string): ResourceName | null {
  return named(MODEL.exec(name));
}

/** The key under which everything about an endpoint is kept: `us-central1~456`. Throws a RangeError on a bad name. */
export function endpointKey(endpoint: string): string {
  const parsed = parseEndpointName(endpoint);
  if (parsed === null) throw new RangeError(`"${endpoint}" is not projects/P/locations/L/endpoints/E`);
  return `${parsed.location}~${parsed.id}`;
}

/** True when both names mean one endpoint, whether the project is written as its id or its number. */
export function isSameEndpoint(a: string, b: string): boolean {
  return isSame(parseEndpointName(a), parseEndpointName(b));
}

/** True when both names mean one model; a version suffix does not count. */
export function isSameModel(a: string, b: string): boolean {
  return isSame(parseModelName(a), parseModelName(b));
}

function isSame(a: ResourceName | null, b: ResourceName | null): boolean {
  return a !== null && b !== null && a.location === b.location && a.id === b.id;
}

/** Both patterns have the same three groups, none of which may be absent. */
function named(match: RegExpExecArray | null): ResourceName | null {
  return match === null ? null : { project: String(match[1]), location: String(match[2]), id: String(match[3]) };
}
