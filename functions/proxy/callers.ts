/** Who is calling, and what may they do? By key, by token, or by the word of the platform; nobody gets in by default. */
import type { IncomingHttpHeaders } from 'node:http';
import { limits } from '../engine/limits.ts';
import type { Clock } from '../engine/ports.ts';
import { type ProxyConfig, subjectKey } from './config.ts';
import { createTokenCheck } from './jwt.ts';
import { createKeyCheck, type ProxyKey } from './keys.ts';
import { createRate, type Rate } from './rate.ts';

export interface Caller {
  name: string;
  /** Names of policies. */
  endpoints: '*' | ReadonlySet<string>;
  bodyBytesMax: number;
  takeRequest: Rate;
}

export type Identified =
  | { kind: 'caller'; caller: Caller }
  /** 401: it is not known who calls. 403: it is, and that one is nobody here. */
  | { kind: 'refused'; code: 401 | 403; message: string; headers: Record<string, string> }
  | { kind: 'unavailable'; message: string };

const unlimited: Rate = () => 0;

/**
 * Makes the check of who calls, by the headers of a request. Where the configuration lists no callers, each name of the
 * keys is one, of all endpoints.
 */
export function createCallers(
  config: ProxyConfig,
  proxyKeys: readonly ProxyKey[],
  now: Clock,
): (headers: IncomingHttpHeaders) => Identified | Promise<Identified> {
  const callers = new Map<string, Caller>(proxyKeys.map(({ name }) => [name, callerOf({ name, endpoints: '*' })]));
  const bySubject = new Map<string, Caller>();
  const keys = [...proxyKeys];
  let platform: Caller | null = null;
  for (const configured of config.callers) {
    const caller = callerOf(configured);
    callers.set(configured.name, caller);
    for (const { sha256, expires } of configured.keys) keys.push({ name: configured.name, sha256, expiresAt: expires });
    for (const { issuer, subject } of configured.subjects) bySubject.set(subjectKey(issuer, subject), caller);
    if (configured.platformIam) platform = caller;
  }
  const checkKey = createKeyCheck(keys, now);
  const checkToken = config.jwt.length === 0 ? null : createTokenCheck(config.jwt, now);
  const ways =
    checkToken === null ? 'in the header x-goog-api-key' : 'in x-goog-api-key, or a token as Authorization: Bearer';

  function byKey(key: string): Identified {
    const checked = checkKey(key);
    const caller = checked.kind === 'known' ? callers.get(checked.name) : undefined;
    if (caller !== undefined) return { kind: 'caller', caller };
    return refused(checked.kind === 'expired' ? 'The key has expired' : 'The key is not known');
  }

  async function byToken(token: string, check: NonNullable<typeof checkToken>): Promise<Identified> {
    const checked = await check(token);
    if (checked.kind === 'unavailable') return { kind: 'unavailable', message: `Try again later: ${checked.problem}` };
    if (checked.kind === 'invalid') return refused(`Not accepted: ${checked.problem}`, ', error="invalid_token"');
    const caller = bySubject.get(subjectKey(checked.issuer, checked.subject));
    if (caller !== undefined) return { kind: 'caller', caller };
    const message = 'The token is valid, but its subject is no caller of this proxy; ask its owner';
    return { kind: 'refused', code: 403, message, headers: {} };
  }

  function refused(problem: string, detail = ''): Identified {
    const challenge = checkToken === null ? 'ApiKey realm="predict"' : `Bearer realm="predict"${detail}`;
    const message = `${problem}; send a valid one ${ways}`;
    return { kind: 'refused', code: 401, message, headers: { 'www-authenticate': challenge } };
  }

  return (headers) => {
    // A credential that is shown must be good: a bad key is not made up for by a token, nor by the platform.
    const key = headers['x-goog-api-key'];
    if (typeof key === 'string') return byKey(key);
    const [, token] = /^Bearer +(\S+)$/i.exec(headers.authorization ?? '') ?? [];
    if (checkToken !== null && token !== undefined) return byToken(token, checkToken);
    return platform === null ? refused('No key was sent') : { kind: 'caller', caller: platform };
  };
}

function callerOf(
  configured: Pick<ProxyConfig['callers'][number], 'name' | 'endpoints' | 'requestsPerMinute' | 'bodyBytes'>,
): Caller {
  const { name, endpoints, requestsPerMinute, bodyBytes } = configured;
  return {
    name,
    endpoints: endpoints === '*' ? '*' : new Set(endpoints),
    bodyBytesMax: bodyBytes ?? limits.predictDedicatedBytesMax,
    takeRequest: requestsPerMinute === undefined ? unlimited : createRate(requestsPerMinute),
  };
}
