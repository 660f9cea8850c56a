/** Which endpoint and which verb does a URL name? The paths of Vertex's REST API, the short form with an alias, and `:report`. */
import { limits } from '../engine/limits.ts';

const verbs = ['predict', 'rawPredict', 'streamRawPredict', 'report'] as const;

type Verb = (typeof verbs)[number];
export type PredictVerb = Exclude<Verb, 'report'>;

export type ProxyPath =
  | { kind: 'openapi' }
  | { kind: 'endpoint'; location: string; id: string; verb: Verb }
  /** The alias is a policy's name. */
  | { kind: 'alias'; alias: string; verb: Verb };

const predictPath =
  /^\/v1\/(?:endpoints\/([^/]+)|projects\/[^/]+\/locations\/([^/]+)\/endpoints\/([^/]+)):([a-zA-Z]+)$/;

/** Callers ask the same few again and again. */
const parsed = new Map<string, ProxyPath>();

/** Parses a request's target, query and all; null when nothing is served there. The query is not looked at. */
export function parseProxyPath(target: string): ProxyPath | null {
  const query = target.indexOf('?');
  const asked = query === -1 ? target : target.slice(0, query);
  const before = parsed.get(asked);
  if (before !== undefined) return before;
  const path = parse(decoded(asked));
  if (path === null) return null;
  if (parsed.size >= limits.parsedPathsMax) parsed.clear();
  parsed.set(asked, path);
  return path;
}

function parse(path: string): ProxyPath | null {
  if (path === '/openapi.json') return { kind: 'openapi' };
  const [, alias, location, id, name] = predictPath.exec(path) ?? [];
  const verb = verbs.find((known) => known === name);
  if (verb === undefined) return null;
  if (alias !== undefined) return { kind: 'alias', alias, verb };
  return location === undefined || id === undefined ? null : { kind: 'endpoint', location, id, verb };
}

function decoded(path: string): string {
  if (!path.includes('%')) return path;
  try {
    return decodeURIComponent(path);
  } catch {
    // Broken percent-encoding names nothing that is served.
    return '';
  }
}
