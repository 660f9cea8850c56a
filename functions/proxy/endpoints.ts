/**
 * Which endpoints may be reached at all? Those that a policy names. The list is kept for a while: a prediction must not
 * wait for the store, so an old list goes on serving while a new one is read, and when reading it fails.
 */
import type { Policy } from '../../machines/policy/policy.ts';
import { parseEndpointName, type ResourceName } from '../../machines/rollout/resource-name.ts';
import { limits } from '../engine/limits.ts';
import { log } from '../engine/log.ts';
import type { Clock, PoliciesPort } from '../engine/ports.ts';
import type { ProxyPath } from './path.ts';

export interface ServedEndpoint {
  policy: Policy;
  /** As the policy names it; the caller's spelling never reaches the upstream. */
  endpoint: string;
  name: ResourceName;
}

export interface ServedEndpoints {
  /**
   * The endpoint that a path names; null when no policy names it. Throws what the port threw while no list was ever read.
   */
  find(
    path: Exclude<ProxyPath, { kind: 'openapi' }>,
    at: number,
  ): ServedEndpoint | null | Promise<ServedEndpoint | null>;
  /** False where a policy could not be understood: it may be the one that names what no other does. */
  isWhole(): boolean;
}

interface Index {
  /** Those of all locations: the path need not be put together anew to be looked up. */
  byId: Map<string, ServedEndpoint[]>;
  byAlias: Map<string, ServedEndpoint>;
  /** By their names: what each says, or said last; null where that is not known. */
  documents: ReadonlyMap<string, Policy | null>;
  /** What is not understood of them. */
  problems: readonly string[];
  /** The names of the policies that are from a former list. */
  servedOn: readonly string[];
}

/** Keeps the policies' endpoints for `keepMs`; however many requests need a new list, one call reads it. */
export function createServedEndpoints(policies: PoliciesPort, now: Clock, keepMs: number): ServedEndpoints {
  let index: Index | null = null;
  let readAt = Number.NEGATIVE_INFINITY;
  let reading: Promise<void> | null = null;

  async function read(): Promise<void> {
    try {
      const next = succeed(index, await policies.list());
      tell(index, next);
      index = next;
    } catch (error) {
      if (index === null) throw error;
      log('WARNING', 'The policies could not be read again; the proxy goes on with the list it has', {
        error: String(error),
      });
    } finally {
      readAt = now();
      reading = null;
    }
  }

  return {
    find(path, at) {
      const isOld = index === null || at - readAt >= keepMs || at < readAt;
      if (reading === null && isOld) {
        reading = read();
        // Whoever waits below sees the failure; here it only must not count as unhandled.
        reading.catch(() => undefined);
      }
      const found = index === null ? null : lookUp(index, path);
      if (found !== null || reading === null) return found;
      return reading.then(() => (index === null ? null : lookUp(index, path)));
    },
    isWhole: () => index?.problems.length === 0,
  };
}

/**
 * The new list. A document that is not understood any more (a slip, or one for a newer version) stands for what it said last:
 * an endpoint that serves must not be lost by a word in its policy.
 */
function succeed(old: Index | null, list: Awaited<ReturnType<PoliciesPort['list']>>): Index {
  const { policies, problems, documents = new Map<string, Policy | null>() } = list;
  const names = new Set(policies.map(({ name }) => name));
  const said = new Map([...documents].map(([id, policy]) => [id, policy ?? old?.documents.get(id) ?? null]));
  const kept = [...said.values()].filter((policy) => policy !== null).filter(({ name }) => !names.has(name));
  const servedOn = kept.map(({ name }) => name);
  return { ...indexed([...policies, ...kept]), documents: said, problems, servedOn };
}

function tell(old: Index | null, { problems, servedOn }: Index): void {
  const isNews = JSON.stringify([problems, servedOn]) !== JSON.stringify([old?.problems, old?.servedOn]);
  if (problems.length === 0 || !isNews) return;
  log('ERROR', 'The proxy does not understand all policies; what these documents said last is served on', {
    problems: problems.slice(0, limits.problemsMax),
    servedOn: servedOn.slice(0, limits.problemsMax),
  });
}

function lookUp(index: Index, path: Exclude<ProxyPath, { kind: 'openapi' }>): ServedEndpoint | null {
  if (path.kind === 'alias') return index.byAlias.get(path.alias) ?? null;
  return index.byId.get(path.id)?.find(({ name }) => name.location === path.location) ?? null;
}

function indexed(policies: readonly Policy[]): Pick<Index, 'byId' | 'byAlias'> {
  const byId = new Map<string, ServedEndpoint[]>();
  const byAlias = new Map<string, ServedEndpoint>();
  for (const policy of policies) {
    const name = parseEndpointName(policy.endpoint);
    if (name === null) continue;
    const served = { policy, endpoint: policy.endpoint, name };
    // Of policies that name the same one, the first is found.
    byId.set(name.id, [...(byId.get(name.id) ?? []), served]);
    if (!byAlias.has(policy.name)) byAlias.set(policy.name, served);
  }
  return { byId, byAlias };
}
