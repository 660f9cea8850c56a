/** Which endpoint and which verb does a URL name? The paths of Vertex's REST API, the short form with an alias, and `:report`. */

const verbs = ['predict', 'rawPredict', 'streamRawPredict', 'report'] as const;

type Verb = (typeof verbs)[number];
export type PredictVerb = Exclude<Verb, 'report'>;

export type ProxyPath =
  | { kind: 'openapi' }
  | { kind: 'endpoint'; location: string; id: string; verb: Verb }
  /** The alias is a policy's name. */
  | { kind: 'alias'; alias: string; verb: Verb };

/** Parses a request's target, query and all; null when nothing is served there. The query is not looked at. */
export function parseProxyPath(target: string): ProxyPath | null {
  const path = decoded(target);
  if (path === '/openapi.json') return { kind: 'openapi' };
  const colon = path.lastIndexOf(':');
  const verb = verbs.find((name) => name === path.slice(colon + 1));
  if (colon === -1 || verb === undefined) return null;
  const [root, v1, first, second, third, fourth, fifth, sixth, ...rest] = path.slice(0, colon).split('/');
  if (root !== '' || v1 !== 'v1' || rest.length > 0 || !second) return null;
  if (first === 'endpoints' && third === undefined) return { kind: 'alias', alias: second, verb };
  if (first !== 'projects' || third !== 'locations' || fifth !== 'endpoints' || !fourth || !sixth) return null;
  return { kind: 'endpoint', location: fourth, id: sixth, verb };
}

function decoded(target: string): string {
  const query = target.indexOf('?');
  const path = query === -1 ? target : target.slice(0, query);
  if (!path.includes('%')) return path;
  try {
    return decodeURIComponent(path);
  } catch {
    // Broken percent-encoding names nothing that is served.
    return '';
  }
}
