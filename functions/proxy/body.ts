/** What bytes did the caller send? Whole, bounded, and in time, whether functions-framework has read them already or not. */
import type { IncomingMessage } from 'node:http';

/** A request on plain node:http, or under functions-framework, which leaves the body (inflated) in `rawBody`. */
export type DoorRequest = IncomingMessage & { rawBody?: Buffer | undefined };

export type Body =
  | { kind: 'read'; bytes: Buffer }
  | { kind: 'tooLarge' }
  | { kind: 'tooSlow' }
  /** The caller left; there is nobody to answer. */
  | { kind: 'aborted' };

/** Reads the body, or gives up at the first byte above `bytesMax` or at the deadline; the rest is then drained unseen. */
export function readBody(request: DoorRequest, bytesMax: number, deadlineMs: number): Promise<Body> {
  const { rawBody } = request;
  if (rawBody !== undefined) {
    return Promise.resolve(rawBody.length > bytesMax ? { kind: 'tooLarge' } : { kind: 'read', bytes: rawBody });
  }
  // What is over before it is listened to says so no more.
  if (request.destroyed) return Promise.resolve({ kind: 'aborted' });
  if (Number(request.headers['content-length'] ?? 0) > bytesMax) {
    request.resume();
    return Promise.resolve({ kind: 'tooLarge' });
  }
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let size = 0;
    let isOver = false;
    const timer = setTimeout(() => end({ kind: 'tooSlow' }), deadlineMs);
    const end = (body: Body): void => {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      chunks.length = 0;
      resolve(body);
    };
    request.on('data', (chunk: Buffer) => {
      if (isOver) return;
      size += chunk.length;
      if (size <= bytesMax) chunks.push(chunk);
      else end({ kind: 'tooLarge' });
    });
    request.once('end', () => {
      const [only] = chunks;
      end({ kind: 'read', bytes: chunks.length === 1 && only !== undefined ? only : Buffer.concat(chunks, size) });
    });
    request.once('close', () => end({ kind: 'aborted' }));
    request.once('error', () => end({ kind: 'aborted' }));
  });
}
