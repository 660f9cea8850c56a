/** Which resource is meant? Names are kept with the project's number, whichever of the two the caller wrote. */
import type { WorldContext } from './context.ts';
import { WorldError } from './errors.ts';

const LOCATION = /^projects\/([^/]+)\/locations\/([a-z0-9-]+)$/;
const ENDPOINT = /^projects\/([^/]+)\/locations\/([a-z0-9-]+)\/endpoints\/([A-Za-z0-9-]{1,63})$/;
const MODEL = /^projects\/([^/]+)\/locations\/([a-z0-9-]+)\/models\/([A-Za-z0-9_-]{1,63})(?:@([A-Za-z0-9-]{1,128}))?$/;
const PROJECT = /^projects\/([^/]+)$/;

/** Returns the canonical `projects/N/locations/L`. */
export function locationName(context: WorldContext, name: string): string {
  const [project, location] = matched(LOCATION, name, 'projects/P/locations/L');
  return `projects/${projectNumber(context, project)}/locations/${location}`;
}

/** Returns the canonical `projects/N/locations/L/endpoints/E`. */
export function endpointName(context: WorldContext, name: string): string {
  const [project, location, id] = matched(ENDPOINT, name, 'projects/P/locations/L/endpoints/E');
  return `projects/${projectNumber(context, project)}/locations/${location}/endpoints/${id}`;
}

/** Returns the canonical `projects/N/locations/L/models/M`, and the version id or alias after the `@`, if any. */
export function modelName(context: WorldContext, name: string): { model: string; version: string | null } {
  const [project, location, id, version] = matched(MODEL, name, 'projects/P/locations/L/models/M, maybe with @VERSION');
  return {
    model: `projects/${projectNumber(context, project)}/locations/${location}/models/${id}`,
    version: version === '' ? null : version,
  };
}

/** Returns the number of the project in `projects/P`. */
export function projectOf(context: WorldContext, name: string): string {
  const [project] = matched(PROJECT, name, 'projects/P');
  return projectNumber(context, project);
}

/** Returns the name with the project's number, whatever follows the project. */
export function canonicalName(context: WorldContext, name: string): string {
  return name.replace(/^projects\/([^/]+)/, (_, project: string) => `projects/${projectNumber(context, project)}`);
}

/** Returns the project's id where a caller has used it, else its number. */
export function projectIdOf(context: WorldContext, name: string): string {
  const number = name.split('/')[1] ?? '';
  return context.state.projectIds[number] ?? number;
}

/** Returns `L` and the last segment of a canonical name. */
export function partsOf(name: string): { project: string; location: string; id: string } {
  const [, project = '', , location = '', , id = ''] = name.split('/');
  return { project, location, id };
}

function matched(pattern: RegExp, name: string, expected: string): [string, string, string, string] {
  const match = pattern.exec(name);
  if (match === null) throw new WorldError('INVALID_ARGUMENT', `Expected a name like ${expected}, got "${name}".`);
  const [, first = '', second = '', third = '', fourth = ''] = match;
  return [first, second, third, fourth];
}

/** Twelve digits that depend on the id alone (FNV-1a), so that every run answers with the same number. */
function projectNumber(context: WorldContext, project: string): string {
  if (/^\d+$/.test(project)) return project;
  let hash = 0xcbf29ce484222325n;
  for (const byte of Buffer.from(project)) hash = ((hash ^ BigInt(byte)) * 0x100000001b3n) & 0xffffffffffffffffn;
  const number = String(100_000_000_000n + (hash % 900_000_000_000n));
  context.state.projectIds[number] = project;
  return number;
}
