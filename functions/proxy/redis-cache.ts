/**
 * Where do the answers of all instances wait? In a Redis that is nobody's to rely on: dead, slow or lying, it costs a miss.
 * Whoever may write to it decides what callers are answered, so it belongs in the proxy's own network.
 */
import { hash } from 'node:crypto';
import { z } from 'zod';
import { limits } from '../engine/limits.ts';
import { log } from '../engine/log.ts';
import type { Clock } from '../engine/ports.ts';
import type { AnswerStore, CachedAnswer } from './cache.ts';
import { deployedModelIdPattern } from '../engine/deployed-model-id.ts';

/** The first line of a value; the body follows. */
const headSchema = z.strictObject({
  key: z.string(),
  deployedModelId: z.string().regex(deployedModelIdPattern),
  askedAt: z.number(),
  /** What a response's head would refuse, or smuggle, does not get there. */
  headers: z.record(z.string().regex(/^x-vertex-ai-[a-z-]{1,40}$/), z.string().regex(/^[\x20-\x7e]{1,1024}$/)),
  /** SHA-256 of the body. */
  digest: z.string(),
});

/** Bytes of the longest value that can be one of ours. */
const valueBytesMax = limits.cacheAnswerBytesMax + 16 * 1024;

/** A connection, as far as it is used here. */
interface Connection {
  get(key: string): Promise<Buffer | null>;
  set(key: string, value: Buffer, ttlMs: number): Promise<unknown>;
  close(): void;
}

/** Makes the store, and begins to connect. @param url `redis://` or `rediss://`, credentials and all; never logged */
export function createRedisCache(url: string, now: Clock): AnswerStore {
  let connection: Connection | null = null;
  let isConnecting = false;
  let isClosed = false;
  let restsUntil = Number.NEGATIVE_INFINITY;
  let late = 0;
  let writingBytes = 0;

  async function begin(): Promise<void> {
    isConnecting = true;
    let made: Connection | null = null;
    try {
      // What fails before it is made, connect() tells.
      made = await connect(url, (error) => made !== null && giveUp(made, error));
      if (isClosed) made.close();
      else connection = made;
    } catch (error) {
      rest(error);
    } finally {
      isConnecting = false;
    }
  }

  /** Null while there is none; asking for it then begins one, and nobody waits. */
  function connected(): Connection | null {
    if (connection === null && !isConnecting && !isClosed && now() >= restsUntil) void begin();
    return connection;
  }

  function giveUp(given: Connection, error: unknown): void {
    if (connection !== given) return;
    connection = null;
    given.close();
    rest(error);
  }

  function rest(error: unknown): void {
    late = 0;
    restsUntil = now() + limits.redisRestMs;
    const seconds = limits.redisRestMs / 1000;
    log('WARNING', `Redis failed; for ${seconds} s every prediction is asked of its model`, { error: reasonOf(error) });
  }

  async function read(from: Connection, key: string): Promise<CachedAnswer | null> {
    try {
      const value = await inTime(from.get(key), limits.redisDeadlineMs);
      late = 0;
      return value === null ? null : parseAnswer(key, value);
    } catch (error) {
      if (from === connection) late += 1;
      if (late >= limits.redisLateMax) giveUp(from, error);
      return null;
    }
  }

  async function write(to: Connection, key: string, value: Buffer, ttlMs: number): Promise<void> {
    writingBytes += value.length;
    try {
      await to.set(key, value, ttlMs);
    } catch (error) {
      giveUp(to, error);
    } finally {
      writingBytes -= value.length;
    }
  }

  void begin();
  return {
    get(key) {
      const from = connected();
      return from === null ? null : read(from, redisKey(key));
    },
    set(key, answer, ttlMs) {
      const to = connected();
      if (to === null || writingBytes > limits.redisWritingBytesMax) return;
      void write(to, redisKey(key), answerValue(redisKey(key), answer), ttlMs);
    },
    close() {
      isClosed = true;
      connection?.close();
      connection = null;
    },
  };
}

/** The number is that of the value's form. */
const redisKey = (key: string): string => `rollouts:answer:1:${key}`;

export function answerValue(key: string, { body, ...answer }: CachedAnswer): Buffer {
  const head: z.infer<typeof headSchema> = { key, ...answer, digest: hash('sha256', body) };
  return Buffer.concat([Buffer.from(`${JSON.stringify(head)}\n`), body]);
}

/** Reads a value; null for what was not written under this key by answerValue, and whole. */
export function parseAnswer(key: string, value: Buffer): CachedAnswer | null {
  const end = value.indexOf('\n');
  if (end === -1) return null;
  const head = headSchema.safeParse(parse(value.toString('utf8', 0, end)));
  if (!head.success || head.data.key !== key) return null;
  const body = value.subarray(end + 1);
  const { deployedModelId, askedAt, headers, digest } = head.data;
  return digest === hash('sha256', body) ? { deployedModelId, askedAt, headers, body } : null;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** A connection that lives once: when it fails it is told, and no command waits for another. */
async function connect(url: string, onFailure: (error: unknown) => void): Promise<Connection> {
  const { createClient, RESP_TYPES } = await import('@redis/client');
  const client = createClient({
    url,
    socket: { reconnectStrategy: false, connectTimeout: limits.redisConnectDeadlineMs },
    disableOfflineQueue: true,
  });
  client.on('error', onFailure);
  const close = (): void => {
    if (client.isOpen) client.destroy();
  };
  try {
    await inTime(client.connect(), limits.redisConnectDeadlineMs);
  } catch (error) {
    close();
    throw error;
  }
  const bytes = client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
  return {
    // No more than can be ours, whatever lies there. Empty where nothing does.
    get: (key) => bytes.getRange(key, 0, valueBytesMax),
    set: (key, value, ttlMs) => client.set(key, value, { expiration: { type: 'PX', value: Math.ceil(ttlMs) } }),
    close,
  };
}

/** What Redis or the network said; the message of some errors holds the address, none the password. */
function reasonOf(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}

/** Rejects when it takes longer; what comes then is not looked at. */
async function inTime<T>(promise: Promise<T>, deadlineMs: number): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`no answer within ${deadlineMs} ms`)), deadlineMs);
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
