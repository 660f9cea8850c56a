/** What bytes did the caller send? Whole, bounded, and in time, whether functions-framework has read them already or not. */
import type { IncomingMessage } from 'node:http';
import { beginDeadline, endDeadline } from './deadline.ts';
import type { Hold } from './held.ts';

/** A request on plain node:http, or under functions-framework, which leaves the body (inflated) in `rawBody`. */
export type DoorRequest = IncomingMessage & { rawBody?: Buffer | undefined };

export type Body =
  | { kind: 'read'; bytes: Buffer }
  | { kind: 'tooLarge' }
  | { kind: 'tooSlow' }
  /** All callers' bodies and answers together are as many bytes as can be held. */
  | { kind: 'noRoom' }
  /** The caller left; there is nobody to answer. */
  | { kind: 'aborted' };

/**
 * Reads the body into `hold`, or gives up at the first byte above `bytesMax` or at the deadline; the rest is drained unseen.
 * @param read told once, at once where there is nothing to wait for; no promise, for this is on the way of each prediction
 */
export function readBody(
  request: DoorRequest,
  bytesMax: number,
  deadlineMs: number,
  hold: Hold,
  read: (body: Body) => void,
): void {
  const { rawBody } = request;
  if (rawBody !== undefined) {
    if (rawBody.length > bytesMax) read({ kind: 'tooLarge' });
    else read(hold.take(rawBody.length) ? { kind: 'read', bytes: rawBody } : { kind: 'noRoom' });
    return;
  }
  // What is over before it is listened to says so no more.
  if (request.destroyed) {
    read({ kind: 'aborted' });
    return;
  }
  if (Number(request.headers['content-length'] ?? 0) > bytesMax) {
    request.resume();
    read({ kind: 'tooLarge' });
    return;
  }
  const chunks: Buffer[] = [];
  let size = 0;
  let isOver = false;
  const deadline = beginDeadline(deadlineMs, () => end({ kind: 'tooSlow' }));
  const end = (body: Body): void => {
    if (isOver) return;
    isOver = true;
    endDeadline(deadline);
    chunks.length = 0;
    read(body);
  };
  const take = (chunk: Buffer): void => {
    if (isOver) return;
    size += chunk.length;
    if (size > bytesMax) end({ kind: 'tooLarge' });
    else if (hold.take(chunk.length)) chunks.push(chunk);
    else end({ kind: 'noRoom' });
  };
  request.on('data', take);
  request.on('end', () => {
    // Node does so itself once the answer is sent, but in a way that takes longer.
    request.off('data', take);
    const [only] = chunks;
    end({ kind: 'read', bytes: chunks.length === 1 && only !== undefined ? only : Buffer.concat(chunks, size) });
  });
  request.on('close', () => end({ kind: 'aborted' }));
}
