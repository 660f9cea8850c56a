/** Where do answers wait in one instance? In its memory, up to a number of bytes; the longest unused goes first. */
import { LRUCache } from 'lru-cache';
import { limits } from '../engine/limits.ts';
import type { AnswerStore, CachedAnswer } from './cache.ts';

/** Of an entry beside its body: key, headers and the cache's own book-keeping, generously. */
const overheadBytes = 1024;

/** Makes an empty store. How old an answer may be is for its reader to decide. */
export function createMemoryCache(bytesMax: number = limits.cacheBytesMax): AnswerStore {
  const answers = new LRUCache<string, CachedAnswer>({
    maxSize: bytesMax,
    sizeCalculation: ({ body }) => body.length + overheadBytes,
  });
  return {
    get: (key) => answers.get(key) ?? null,
    // A copy of its own: what came from a socket is a slice of something larger, which would stay in memory with it.
    set: (key, answer) => void answers.set(key, { ...answer, body: Buffer.alloc(answer.body.length, answer.body) }),
    close: () => answers.clear(),
  };
}
