/**
 * Has this been asked before, and would it be answered the same now? A cache is used only while one DeployedModel alone
 * serves the endpoint, and gives only that one's answers: none of a canary that was rolled back, and none during a rollout.
 */
import { hash } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { setTimeout } from 'node:timers/promises';
import { z } from 'zod';
import { limits } from '../engine/limits.ts';
import type { Clock } from '../engine/ports.ts';
import { canonicalJson } from './canonical.ts';
import type { Sent } from './forward.ts';
import { vertexHeadersOf } from './headers.ts';
import { createWatch, type Watch } from './who-serves.ts';

const ruleSchema = z
  .strictObject({
    /** The policy's name. */
    alias: z.string().min(1),
    /** How old an answer may be. */
    ttlSeconds: z.number().gt(0).max(86_400).default(60),
    /** How long a live answer says who serves, and so at most how long answers of a rolled-back canary are given. */
    leaseSeconds: z.number().gt(0).max(60).default(5),
    /** How long nobody else may have answered before the cache is used. */
    quietSeconds: z.number().gt(0).max(3600).default(60),
  })
  .refine(
    ({ leaseSeconds, quietSeconds }) => leaseSeconds <= quietSeconds,
    'leaseSeconds must not exceed quietSeconds',
  );

export const cacheConfigSchema = z
  .array(ruleSchema)
  .refine((rules) => new Set(rules.map(({ alias }) => alias)).size === rules.length, 'expected each alias once');

export type CacheRule = z.infer<typeof ruleSchema>;

export interface CachedAnswer {
  deployedModelId: string;
  /** When the request began that it first answered, in ms since the epoch. */
  askedAt: number;
  /** Those of Vertex that say who answered. */
  headers: Record<string, string>;
  /** As the caller of `:predict` gets it. */
  body: Buffer;
}

/** Where answers wait. Nothing in it throws or rejects: what goes wrong is a miss. */
export interface AnswerStore {
  get(key: string): CachedAnswer | null | Promise<CachedAnswer | null>;
  /** May forget it at once, and must after `ttlMs`, or leave that to the reader. */
  set(key: string, answer: CachedAnswer, ttlMs: number): void;
  close(): void;
}

/** A prediction that was asked for. */
export interface Question {
  /** The policy's name. */
  alias: string;
  endpoint: string;
  verb: string;
  /** As the caller sent them. */
  headers: IncomingHttpHeaders;
  body: Buffer;
  /** How long it may wait for the answer to an equal question. */
  waitMs: number;
}

/** What came of asking the upstream. */
export interface LiveAnswer {
  deployedModelId: string | null;
  startedAt: number;
  /** What the caller got; null unless it is a whole 200 of `:predict`. */
  sent: Sent | null;
}

export type Found =
  | { kind: 'hit'; answer: CachedAnswer }
  /** The upstream is asked. `settle` must be called when that is over, whatever came of it: others wait for it. */
  | { kind: 'miss'; settle(live: LiveAnswer | null): void };

export interface AnswerCache {
  /** Looks for an answer, and waits for one that is under way to an equal question. Never rejects. */
  find(question: Question): Promise<Found>;
  close(): void;
}

/** Makes the cache of one instance. Endpoints without a rule are not looked at. */
export function createCache(rules: readonly CacheRule[], store: AnswerStore, now: Clock): AnswerCache {
  const ruleOf = new Map(rules.map((rule) => [rule.alias, rule]));
  const watches = new Map<string, Watch>();
  /** Questions that are with the upstream, by their keys. */
  const flights = new Map<string, Promise<CachedAnswer | null>>();

  function watchOf({ alias, endpoint }: Question, { leaseSeconds, quietSeconds }: CacheRule): Watch {
    const made = watches.get(`${alias} ${endpoint}`);
    if (made !== undefined) return made;
    const watch = createWatch({
      leaseMs: leaseSeconds * 1000,
      quietMs: quietSeconds * 1000,
      answersMin: limits.cacheAnswersMin,
    });
    watches.set(`${alias} ${endpoint}`, watch);
    return watch;
  }

  async function find(question: Question): Promise<Found> {
    const rule = ruleOf.get(question.alias);
    if (rule === undefined) return { kind: 'miss', settle: () => undefined };
    const watch = watchOf(question, rule);
    const saw = (live: LiveAnswer | null): void => {
      if (live !== null) watch.saw(live.deployedModelId, live.startedAt, now());
    };
    const id = watch.alone(now());
    const key = id === null || watch.isRenewalDue(now()) ? null : keyOf(question, id);
    if (id === null || key === null) return { kind: 'miss', settle: saw };

    // Asked again after every wait: in the meantime somebody else may have answered, or the lease have ended.
    const mayServe = (answer: CachedAnswer | null): answer is CachedAnswer => {
      if (answer === null || answer.deployedModelId !== watch.alone(now())) return false;
      const ageMs = now() - answer.askedAt;
      return ageMs >= 0 && ageMs < rule.ttlSeconds * 1000;
    };
    const flight = flights.get(key);
    if (flight !== undefined) {
      const answer = await inTime(flight, question.waitMs);
      // What did not help others is asked for by each alone, as without a cache.
      return mayServe(answer) ? { kind: 'hit', answer } : { kind: 'miss', settle: saw };
    }
    const landing = Promise.withResolvers<CachedAnswer | null>();
    flights.set(key, landing.promise);
    const land = (answer: CachedAnswer | null): void => {
      flights.delete(key);
      landing.resolve(answer);
    };
    const kept = await store.get(key);
    if (mayServe(kept)) {
      land(kept);
      return { kind: 'hit', answer: kept };
    }
    return {
      kind: 'miss',
      settle(live) {
        saw(live);
        const answer = live === null ? null : cachedAnswer(live, id);
        if (answer !== null) store.set(key, answer, rule.ttlSeconds * 1000);
        land(answer);
      },
    };
  }

  return { find, close: () => store.close() };
}

/** Opens the cache that the configuration wants: in Redis where there is one, else in memory. Undefined without a rule. */
export async function openCache(
  rules: readonly CacheRule[],
  redisUrl: string | null,
  now: Clock,
): Promise<AnswerCache | undefined> {
  if (rules.length === 0) return undefined;
  // Neither is loaded by a process that has no cache.
  const store =
    redisUrl === null
      ? (await import('./memory-cache.ts')).createMemoryCache()
      : (await import('./redis-cache.ts')).createRedisCache(redisUrl, now);
  return createCache(rules, store, now);
}

/** Everything that the answer depends on; null for what is not answered from a cache. */
function keyOf({ endpoint, verb, headers, body }: Question, deployedModelId: string): string | null {
  if (verb !== 'predict' || body.length > limits.cacheQuestionBytesMax) return null;
  if (/\bno-(?:cache|store)\b/i.test(headers['cache-control'] ?? '')) return null;
  // Text that a model would read by another encoding may say something else there.
  if (headers['content-encoding'] !== undefined) return null;
  const canonical = canonicalJson(body);
  if (canonical === null) return null;
  const context = [endpoint, deployedModelId, headers['content-type'] ?? null, headers.accept ?? null];
  return hash('sha256', `${JSON.stringify(context)}\n${canonical}`);
}

/** What may be given again; null unless it is a whole, small answer of the one that serves alone. */
function cachedAnswer({ deployedModelId, startedAt, sent }: LiveAnswer, id: string): CachedAnswer | null {
  if (deployedModelId !== id || sent === null || sent.body.length > limits.cacheAnswerBytesMax) return null;
  // `private` and `no-cache` do not count: Google's front end puts them on whatever it answers.
  if (/\bno-store\b/i.test(String(sent.headers['cache-control']))) return null;
  return { deployedModelId, askedAt: startedAt, headers: vertexHeadersOf(sent.headers), body: sent.body };
}

/** Null when it takes longer. */
async function inTime<T>(promise: Promise<T>, waitMs: number): Promise<T | null> {
  const over = new AbortController();
  const late = setTimeout(waitMs, null, { signal: over.signal }).catch(() => null);
  try {
    return await Promise.race([promise, late]);
  } finally {
    over.abort();
  }
}
