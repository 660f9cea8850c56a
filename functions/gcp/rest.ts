/** One question to an API of Google's over HTTP and JSON, for what its client cannot ask, or takes too long to load for. */
import type { AuthClient } from 'google-auth-library';
import { PermanentError, TransientError } from '../engine/errors.ts';

export interface Rest {
  /** Without a slash at its end. */
  baseUrl: string;
  /** Signs requests; null where nobody asks who it is: an emulator. */
  auth: AuthClient | null;
}

export interface RestRequest {
  /** JSON is sent as text, with its content type. */
  body: URLSearchParams | string;
  deadlineMs: number;
  /** An answer of more is refused; absent: as many as there are. */
  bytesMax?: number;
}

/**
 * Posts, and returns the status and whatever came with it, JSON or null. TransientError when nothing came, PermanentError
 * when too much.
 */
export async function post(
  { baseUrl, auth }: Rest,
  path: string,
  { body, deadlineMs, bytesMax = Number.POSITIVE_INFINITY }: RestRequest,
): Promise<{ status: number; json: unknown; text: string }> {
  const url = `${baseUrl}${path}`;
  const headers = new Headers(await auth?.getRequestHeaders(url));
  if (typeof body === 'string') headers.set('content-type', 'application/json');
  const signal = AbortSignal.timeout(deadlineMs);
  const response = await fetch(url, { method: 'POST', headers, body, signal, redirect: 'error' }).catch(unreachable);
  const text = await readText(response, bytesMax);
  return { status: response.status, json: parseJson(text), text };
}

function unreachable(error: unknown): never {
  const { cause } = error instanceof Error ? error : {};
  const reason = cause instanceof Error ? cause.message : String(error);
  throw new TransientError('unavailable', `no answer: ${reason}`, { cause: error });
}

async function readText(response: Response, bytesMax: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    if (bytes > bytesMax) throw new PermanentError('internal', `the answer has more than ${bytesMax} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
