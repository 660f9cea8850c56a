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
  policies: readonly Policy[];
  /** As the store tells them; what is wrong with which policy. */
  problems: readonly string[];
}

/** Keeps the policies' endpoints for `keepMs`; however many requests need a new list, one call reads it. */
export function createServedEndpoints(policies: PoliciesPort, now: Clock, keepMs: number): ServedEndpoints {
  let index: Index | null = null;
  let readAt = Number.NEGATIVE_INFINITY;
  let reading: Promise<void> | null = null;

  async function read(): Promise<void> {
    try {
      index = succeed(index, await policies.list());
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
 * The new list. While a policy in it is not understood (a slip, or one for a newer version), what the old list has and the new
 * one lacks stays: an endpoint that serves must not be lost by a word in its policy.
 */
function succeed(old: Index | null, { policies, problems }: Awaited<ReturnType<PoliciesPort['list']>>): Index {
  const names = new Set(policies.map(({ name }) => name));
  const kept = problems.length === 0 || old === null ? [] : old.policies.filter(({ name }) => !names.has(name));
  if (problems.length > 0 && problems.join('\n') !== old?.problems.join('\n')) {
    log('ERROR', 'The proxy does not understand all policies; what the last list has beyond these is served on', {
      problems: problems.slice(0, limits.problemsMax),
      servedOn: kept.map(({ name }) => name).slice(0, limits.problemsMax),
    });
  }
  return indexed([...policies, ...kept], problems);
}

function lookUp(index: Index, path: Exclude<ProxyPath, { kind: 'openapi' }>): ServedEndpoint | null {
  if (path.kind === 'alias') return index.byAlias.get(path.alias) ?? null;
  return index.byId.get(path.id)?.find(({ name }) => name.location === path.location) ?? null;
}

function indexed(policies: readonly Policy[], problems: readonly string[]): Index {
  const index: Index = { byId: new Map(), byAlias: new Map(), policies, problems };
  for (const policy of policies) {
    const name = parseEndpointName(policy.endpoint);
    if (name === null) continue;
    const served = { policy, endpoint: policy.endpoint, name };
    // Of policies that name the same one, the first is found.
    index.byId.set(name.id, [...(index.byId.get(name.id) ?? []), served]);
    if (!index.byAlias.has(policy.name)) index.byAlias.set(policy.name, served);
  }
  return index;
}
