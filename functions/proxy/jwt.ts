/**
 * Whose token is it? Signature, issuer, audience and times are checked by jose, which is loaded with the first token; here
 * is where its keys come from. No token is ever logged, and none makes the proxy fetch from an address it does not know.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { JWTVerifyGetKey } from 'jose';
import { Agent } from 'undici';
import { z } from 'zod';
import { limits } from '../engine/limits.ts';
import { log } from '../engine/log.ts';
import type { Clock } from '../engine/ports.ts';
import type { JwtIssuer } from './config.ts';

export type TokenCheck =
  | { kind: 'valid'; issuer: string; subject: string }
  | { kind: 'invalid'; problem: string }
  /** The issuer's keys cannot be had, so nobody can tell. */
  | { kind: 'unavailable'; problem: string };

/** jose checks each key when it uses it. */
const keySetSchema = z.object({ keys: z.array(z.looseObject({ kty: z.string() })) });

class KeysUnavailable extends Error {}

const unavailable = 'the keys of the issuer of the token cannot be fetched';

/** Makes the check of a token by the issuers that may issue one. */
export function createTokenCheck(issuers: readonly JwtIssuer[], now: Clock): (token: string) => Promise<TokenCheck> {
  const byName = new Map(issuers.map((issuer) => [issuer.issuer, { issuer, keys: createKeySet(issuer.jwksUri, now) }]));

  return async (token) => {
    if (token.length > limits.tokenCharactersMax) return { kind: 'invalid', problem: 'the token is too long' };
    const { decodeJwt, errors, jwtVerify } = await import('jose');
    try {
      // What it claims to be only chooses whose keys decide whether it is.
      const known = byName.get(decodeJwt(token).iss ?? '');
      if (known === undefined)
        return { kind: 'invalid', problem: 'the token is of an issuer that is not accepted here' };
      const { issuer, audiences, algorithms, clockSkewSeconds, callerClaim } = known.issuer;
      const { payload } = await jwtVerify(token, known.keys, {
        algorithms: [...algorithms],
        issuer,
        audience: [...audiences],
        clockTolerance: clockSkewSeconds,
        currentDate: new Date(now()),
        requiredClaims: ['exp', callerClaim],
      });
      const subject = payload[callerClaim];
      if (typeof subject !== 'string') return { kind: 'invalid', problem: `the token's "${callerClaim}" is no text` };
      if (callerClaim === 'email' && payload['email_verified'] !== true) {
        return { kind: 'invalid', problem: 'the issuer has not verified the e-mail address' };
      }
      return { kind: 'valid', issuer, subject };
    } catch (error) {
      if (error instanceof KeysUnavailable) return { kind: 'unavailable', problem: error.message };
      if (error instanceof errors.JWTExpired) return { kind: 'invalid', problem: 'the token has expired' };
      if (error instanceof errors.JWTClaimValidationFailed) {
        return { kind: 'invalid', problem: `the token's "${error.claim}" is not what it must be` };
      }
      if (error instanceof errors.JOSEError)
        return { kind: 'invalid', problem: 'the token is not signed as it must be' };
      // WebCrypto's, of a key that is none, or is for another algorithm. The message could quote what was sent.
      log('WARNING', 'A token does not fit the keys of its issuer', {
        error: error instanceof Error ? error.name : typeof error,
      });
      return { kind: 'invalid', problem: 'the token does not fit the keys of its issuer' };
    }
  };
}

/**
 * The keys of an issuer: fetched when a token first needs them, when they are old, and when a token names one that is not
 * among them. After each fetch comes a pause, a short one after a failed one; meanwhile what is there decides.
 */
function createKeySet(uri: string, now: Clock): JWTVerifyGetKey {
  let keys: { get: JWTVerifyGetKey; fetchedAt: number } | null = null;
  let mayFetchAt = Number.NEGATIVE_INFINITY;
  let fetching: Promise<void> | null = null;
  /** Resolves with `fetching`, or when it takes longer than somebody waits who could do without. */
  let patience: Promise<void> | null = null;
  /** Of the last fetch. */
  let isFetched = false;

  async function fetchKeys(): Promise<void> {
    isFetched = false;
    try {
      const { createLocalJWKSet } = await import('jose');
      keys = { get: createLocalJWKSet(keySetSchema.parse(await fetchJson(uri))), fetchedAt: now() };
      isFetched = true;
    } catch (error) {
      log('WARNING', 'The keys of an issuer of tokens cannot be fetched', { uri, error: String(error) });
    } finally {
      mayFetchAt = now() + (isFetched ? limits.jwksCooldownMs : limits.jwksFailureCooldownMs);
      fetching = null;
    }
  }

  /** Begins a fetch, when there may be one and none is under way. */
  function refresh(): void {
    if (fetching !== null || now() < mayFetchAt) return;
    fetching = fetchKeys();
    patience = Promise.race([fetching, sleep(limits.patienceMs, undefined, { ref: false })]);
  }

  function ageMs(): number {
    return keys === null ? Number.POSITIVE_INFINITY : now() - keys.fetchedAt;
  }

  return async (header, token) => {
    if (ageMs() >= limits.jwksKeepMs) {
      refresh();
      await (ageMs() < limits.jwksKeepMsMax ? patience : fetching);
    }
    const current = keys;
    if (current === null || ageMs() >= limits.jwksKeepMsMax) throw new KeysUnavailable(unavailable);
    const { errors } = await import('jose');
    try {
      return await current.get(header, token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
      refresh();
      await fetching;
      if (keys !== null && keys !== current) return keys.get(header, token);
      // The issuer may know the key, but could not be asked.
      throw isFetched ? error : new KeysUnavailable(unavailable);
    }
  };
}

/** Of its own, for it must not offer HTTP/2, which the proxy's bundle leaves out. */
const agent = new Agent({ allowH2: false });

async function fetchJson(uri: string): Promise<unknown> {
  const { origin, pathname, search } = new URL(uri);
  const { statusCode, body } = await agent.request({
    origin,
    path: pathname + search,
    method: 'GET',
    headers: { accept: 'application/json' },
    signal: AbortSignal.timeout(limits.jwksDeadlineMs),
  });
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    const bytes = Buffer.from(chunk);
    size += bytes.length;
    if (size > limits.jwksBytesMax) throw new Error(`expected at most ${limits.jwksBytesMax} bytes of keys, got more`);
    chunks.push(bytes);
  }
  if (statusCode !== 200) throw new Error(`expected 200, got ${statusCode}`);
  return JSON.parse(Buffer.concat(chunks).toString('utf8'));
}
