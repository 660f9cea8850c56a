/** What bytes did the caller send? Whole and bounded, whether functions-framework has read them already or not. */
import type { IncomingMessage } from 'node:http';

/** A request on plain node:http, or under functions-framework, which leaves the body (inflated) in `rawBody`. */
export type DoorRequest = IncomingMessage & { rawBody?: Buffer | undefined };

export type Body = { kind: 'read'; bytes: Buffer } | { kind: 'tooLarge' } | { kind: 'aborted' };

/** Reads the body, or gives up at the first byte above `bytesMax`; the rest is then drained unseen. */
export function readBody(request: DoorRequest, bytesMax: number): Promise<Body> {
  const { rawBody } = request;
  if (rawBody !== undefined) {
    return Promise.resolve(rawBody.length > bytesMax ? { kind: 'tooLarge' } : { kind: 'read', bytes: rawBody });
  }
  if (Number(request.headers['content-length'] ?? 0) > bytesMax) {
    request.resume();
    return Promise.resolve({ kind: 'tooLarge' });
  }
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let size = 0;
    request.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size <= bytesMax) chunks.push(chunk);
      else {
        chunks.length = 0;
        resolve({ kind: 'tooLarge' });
      }
    });
    request.once('end', () => {
      const [only] = chunks;
      resolve({ kind: 'read', bytes: chunks.length === 1 && only !== undefined ? only : Buffer.concat(chunks, size) });
    });
    request.once('close', () => resolve({ kind: 'aborted' }));
    request.once('error', () => resolve({ kind: 'aborted' }));
  });
}
