/**
 * Who may use the proxy, how do they show who they are, and how much may they ask? Parsed once when the process starts,
 * with every problem in one error: a proxy that half understood its configuration must not open.
 */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { limits } from '../engine/limits.ts';
import { cacheConfigSchema } from './cache.ts';
import type { ProxyKey } from './keys.ts';
import { pinningConfigSchema } from './pin.ts';
import { isSafeToFetch } from './safe-url.ts';
import { shadowConfigSchema } from './shadow.ts';
import { tracingConfigSchema } from './tracing.ts';
import { dedicatedConfigSchema } from './upstream.ts';

/** Signatures by a key pair only: with a shared secret, whoever can check a token can make one. */
const algorithms = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA'] as const;

/** What a count or a size may be; more is a slip of the keyboard. */
const requestsPerMinuteMax = 10_000_000;
const inFlightMax = 100_000;

const name = z.string().regex(/^[^\s:,"]{1,100}$/, 'expected a name without spaces, colons, commas and quotes');

/** A day begins at midnight UTC, so a key that expires on a day is of no use on that day. */
const instant = z
  .union([z.iso.date(), z.iso.datetime({ offset: true })], 'expected a date such as 2027-01-31 or 2027-01-31T12:00:00Z')
  .transform((text) => Date.parse(text));

const keySchema = z.strictObject({
  sha256: z.string().regex(/^[0-9a-f]{64}$/, 'expected the SHA-256 of the key, 64 lower-case hex digits'),
  expires: instant.optional(),
});

const callerSchema = z.strictObject({
  name,
  /** Two for a while are how a key is changed without an outage. */
  keys: z.array(keySchema).max(10).default([]),
  /** Whose tokens are the caller's: the value of the issuer's `callerClaim`. Of another issuer it is somebody else. */
  subjects: z.array(z.strictObject({ issuer: z.string().min(1), subject: z.string().min(1) })).default([]),
  /** True: whoever shows no credential of ours is this caller. Only where Cloud Run's IAM admits no strangers. */
  platformIam: z.boolean().default(false),
  /** Names of policies. */
  endpoints: z.union([z.literal('*'), z.array(name).min(1)], 'expected a list of names of policies, or "*"'),
  /** Of one instance of the function. */
  requestsPerMinute: z.int().min(1).max(requestsPerMinuteMax).optional(),
  bodyBytes: z.int().min(1).max(limits.predictDedicatedBytesMax).optional(),
});

const issuerSchema = z.strictObject({
  issuer: z.string().min(1),
  audiences: z.array(z.string().min(1)).min(1),
  jwksUri: z.url().refine(isSafeToFetch, 'expected an https URL; http only on this machine'),
  algorithms: z.array(z.enum(algorithms)).min(1),
  clockSkewSeconds: z.int().min(0).max(300).default(30),
  callerClaim: z.string().min(1).default('sub'),
});

const corsSchema = z.strictObject({
  origins: z
    .array(
      z.string().refine((origin) => originOf(origin) === origin, 'expected an origin such as https://app.example.com'),
    )
    .min(1),
  maxAgeSeconds: z.int().min(0).max(86_400).default(3600),
});

/** What ROLLOUT_PROXY_CONFIG says. An empty object is a proxy with the keys of ROLLOUT_PROXY_KEYS and nothing else. */
export const proxyConfigSchema = z
  .strictObject({
    callers: z.array(callerSchema).max(1000).default([]),
    jwt: z.array(issuerSchema).max(10).default([]),
    cors: corsSchema.nullable().default(null),
    /** Requests of known callers that may be under way in one instance; the next one gets a 503. */
    inFlightMax: z.int().min(1).max(inFlightMax).default(limits.predictInFlightMax),
    /** Bytes of callers' bodies and answers that one instance holds at once; beyond, callers get a 503. */
    heldBytesMax: z.int().min(limits.predictAnswerBytesMax).default(limits.predictHeldBytesMax),
    /** Endpoints that are not reached at the region's host. */
    dedicated: dedicatedConfigSchema.default([]),
    tracing: tracingConfigSchema.nullable().default(null),
    cache: cacheConfigSchema.default([]),
    shadow: shadowConfigSchema.default([]),
    pinning: pinningConfigSchema.default([]),
  })
  .superRefine(({ callers, jwt }, context) => {
    const problem = (path: (string | number)[], message: string) => context.addIssue({ code: 'custom', path, message });
    for (const at of repeated(jwt.map(({ issuer }) => issuer))) problem(['jwt', at, 'issuer'], 'is there twice');
    for (const at of repeated(callers.map((caller) => caller.name))) problem(['callers', at, 'name'], 'is there twice');
    const issuers = new Set(jwt.map(({ issuer }) => issuer));
    const seen = new Set<string>();
    for (const [at, { keys, subjects }] of callers.entries()) {
      const credentials = [
        ...keys.map(({ sha256 }, i) => ({ id: sha256, path: ['callers', at, 'keys', i] })),
        ...subjects.map(({ issuer, subject }, i) => ({
          id: subjectKey(issuer, subject),
          path: ['callers', at, 'subjects', i],
        })),
      ];
      for (const { id, path } of credentials) {
        if (seen.has(id)) problem(path, 'is there twice: a credential must say who calls');
        seen.add(id);
      }
      for (const [i, { issuer }] of subjects.entries()) {
        if (!issuers.has(issuer))
          problem(['callers', at, 'subjects', i, 'issuer'], 'is not an issuer of jwt; add it there');
      }
    }
    const open = callers.filter(({ platformIam }) => platformIam);
    if (open.length > 1) problem(['callers'], 'more than one has platformIam: true, which says nothing of who calls');
    // With IAM, the header of the token is the platform's.
    if (open.length > 0 && jwt.length > 0)
      problem(['jwt'], 'cannot stand beside platformIam, whose tokens come in the same header');
  });

export type ProxyConfig = z.output<typeof proxyConfigSchema>;
export type JwtIssuer = ProxyConfig['jwt'][number];

/**
 * Reads the value of ROLLOUT_PROXY_CONFIG: JSON, or `@` and the path of a file of YAML or JSON; null is an empty one. The
 * keys are those of ROLLOUT_PROXY_KEYS. Rejects with one Error that names everything that is wrong.
 */
export async function readProxyConfig(value: string | null, keys: readonly ProxyKey[]): Promise<ProxyConfig> {
  const parsed = proxyConfigSchema.safeParse(await documentOf(value));
  const problems = parsed.success
    ? keyProblems(parsed.data, keys)
    : parsed.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`);
  if (parsed.success && problems.length === 0) return parsed.data;
  throw new Error(`ROLLOUT_PROXY_CONFIG is not usable:\n${problems.map((problem) => `  ${problem}`).join('\n')}`);
}

/** Tells the subjects of different issuers apart. */
export function subjectKey(issuer: string, subject: string): string {
  return JSON.stringify([issuer, subject]);
}

async function documentOf(value: string | null): Promise<unknown> {
  if (value === null) return {};
  try {
    if (!value.startsWith('@')) return JSON.parse(value);
    const text = readFileSync(value.slice(1), 'utf8');
    // JSON is YAML; who has no file does not load the parser.
    return (await import('yaml')).parse(text);
  } catch (error) {
    throw new Error(`ROLLOUT_PROXY_CONFIG is not usable; expected JSON, or @ and a file's path: ${String(error)}`, {
      cause: error,
    });
  }
}

/** A misspelt name must not become a caller of everything, so where callers are listed, every key belongs to one of them. */
function keyProblems({ callers }: ProxyConfig, keys: readonly ProxyKey[]): string[] {
  const inCallers = new Set(callers.flatMap((caller) => caller.keys.map(({ sha256 }) => sha256)));
  const again = new Set(repeated(keys.map(({ sha256 }) => sha256)));
  // Of two that name different callers, or of which one expires, nobody could say which one holds.
  const twice = keys
    .filter(({ sha256 }, at) => inCallers.has(sha256) || again.has(at))
    .map(
      (key) => `callers: the key of "${key.name}" in ROLLOUT_PROXY_KEYS is there or in callers already; take one away`,
    );
  if (callers.length === 0) return twice;
  const named = new Set(callers.map((caller) => caller.name));
  const strangers = new Set(keys.map((key) => key.name).filter((key) => !named.has(key)));
  const keyed = new Set(keys.map((key) => key.name));
  const mute = callers.filter(
    (caller) => caller.keys.length + caller.subjects.length === 0 && !caller.platformIam && !keyed.has(caller.name),
  );
  return [
    ...twice,
    ...[...strangers].map(
      (key) => `callers: ROLLOUT_PROXY_KEYS has a key of "${key}", who is not among them; add the caller`,
    ),
    ...mute.map((caller) => `callers: "${caller.name}" has no credential; add keys, subjects or platformIam`),
  ];
}

function originOf(text: string): string | null {
  return URL.canParse(text) && /^https?:/.test(text) ? new URL(text).origin : null;
}

/** The indexes of what was there before. */
function repeated(names: readonly string[]): number[] {
  return names.flatMap((text, at) => (names.indexOf(text) < at ? [at] : []));
}
