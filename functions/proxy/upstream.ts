/** Where does a prediction go, and with whose credentials? Vertex's regional host, or the local emulator. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Pool } from 'undici';
import { z } from 'zod';
import { endpointKey, type ResourceName } from '../../machines/rollout/resource-name.ts';
import { limits } from '../engine/limits.ts';
import type { Clock } from '../engine/ports.ts';
import { endpointNameSchema } from './pin.ts';

const dedicatedSchema = z.strictObject({
  endpoint: endpointNameSchema,
  /** As `dedicatedEndpointDns` of the endpoint says. No other host is given the proxy's access token. */
  host: z
    .string()
    .regex(
      /^[a-z0-9-]+\.[a-z0-9-]+\.prediction\.vertexai\.goog$/,
      'expected a host such as 456.us-central1-1234.prediction.vertexai.goog, without https://',
    ),
});

export const dedicatedConfigSchema = z
  .array(dedicatedSchema)
  .refine(
    (rules) => new Set(rules.map(({ endpoint }) => endpointKey(endpoint))).size === rules.length,
    'expected each endpoint once',
  );

/**
 * Makes the answer to "which origin serves this endpoint?".
 * @param emulatorHost `host:port`, or null for Vertex
 * @param dedicated endpoints with a host of their own, which the region's host does not serve
 */
export function upstreamOrigin(
  emulatorHost: string | null,
  dedicated: z.output<typeof dedicatedConfigSchema> = [],
): (endpoint: ResourceName) => string {
  if (emulatorHost !== null) return () => `http://${emulatorHost}`;
  const hosts = new Map(dedicated.map(({ endpoint, host }) => [endpointKey(endpoint), host]));
  return ({ location, id }) => `https://${hosts.get(`${location}~${id}`) ?? `${location}-aiplatform.googleapis.com`}`;
}

/** Makes the answer to "how large may a body for this endpoint be?", in bytes: `sharedMax` where it has no host of its own. */
export function bodyBytesMaxOf(
  dedicated: z.output<typeof dedicatedConfigSchema>,
  sharedMax: number,
): (endpoint: ResourceName) => number {
  const own = new Set(dedicated.map(({ endpoint }) => endpointKey(endpoint)));
  return ({ location, id }) => (own.has(`${location}~${id}`) ? limits.predictDedicatedBytesMax : sharedMax);
}

/** The connections of one instance. */
export interface Pools {
  of(origin: string): Pool;
  /** Resolves when nothing is under way. What is asked from then on fails as it would without a connection. */
  close(): Promise<void>;
}

/**
 * Makes them, at most so many to each origin. undici's Agent would hold the pools too, but each request would pay for its
 * care for origins that come and go; here the policies name them.
 */
export function createPools(connectionsMax: number): Pools {
  const pools = new Map<string, Pool>();
  let isClosed = false;

  function open(origin: string): Pool {
    const pool = new Pool(origin, {
      allowH2: false,
      // Every exchange has its own deadline; undici's would only be a second opinion.
      headersTimeout: 0,
      bodyTimeout: 0,
      // One for each request that may be under way: none waits for another's connection.
      connections: connectionsMax,
      connect: { timeout: limits.predictConnectDeadlineMs },
    });
    pools.set(origin, pool);
    if (isClosed) void pool.close();
    return pool;
  }

  return {
    of: (origin) => pools.get(origin) ?? open(origin),
    async close() {
      isClosed = true;
      await Promise.all([...pools.values()].filter((pool) => !pool.closed).map((pool) => pool.close()));
    },
  };
}

/** Gives a token that is good for a while; a promise of one only when it must be fetched, which may reject. Never throws. */
export type AccessTokens = () => string | Promise<string>;

/** Neither Google's library nor the metadata server keeps a token for longer than until five minutes before its end. */
const tokenKeepMs = 60_000;
/** So long it serves while no other can be had. */
const tokenKeepMsMax = 240_000;

/**
 * Makes the source of access tokens, from the service account the function runs as. The library, loaded at the first call,
 * is asked once a minute; while it has none, or takes long, the last token goes on. Rejects when there are no credentials,
 * or not in time.
 */
export function googleAccessTokens(now: Clock): AccessTokens {
  let auth: Promise<{ getAccessToken(): Promise<string | null | undefined> }> | null = null;
  let kept = { token: '', at: Number.NEGATIVE_INFINITY };
  let fetching: { token: Promise<string>; patience: Promise<void> } | null = null;

  async function fetchToken(): Promise<string> {
    try {
      auth ??= import('google-auth-library').then(
        ({ GoogleAuth }) => new GoogleAuth({ scopes: ['https://www.googleapis.com/auth/cloud-platform'] }),
      );
      const token = await inTime((await auth).getAccessToken());
      if (!token) throw new Error('Google gave no access token; run the proxy as a service account that may predict');
      kept = { token, at: now() };
      return token;
    } finally {
      fetching = null;
    }
  }

  return () => {
    const ageMs = now() - kept.at;
    // A clock that was set back says nothing of its age.
    if (ageMs >= 0 && ageMs < tokenKeepMs) return kept.token;
    fetching ??= { token: fetchToken(), patience: sleep(limits.patienceMs, undefined, { ref: false }) };
    const { token, patience } = fetching;
    if (ageMs < 0 || ageMs >= tokenKeepMsMax) return token;
    const last = (): string => kept.token;
    return Promise.race([token, patience.then(last)]).catch(last);
  };
}

async function inTime<T>(promise: Promise<T>): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const problem = new Error(`Google gave no access token within ${limits.callDeadlineMs} ms`);
  const timer = setTimeout(() => reject(problem), limits.callDeadlineMs);
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
