/** One question to an API of Google's over HTTP and JSON, for what its client cannot ask, or takes too long to load for. */
import { type IncomingMessage, request as http } from 'node:http';
import { request as https } from 'node:https';
import { z } from 'zod';
import { messageOf, PermanentError, TransientError } from '../engine/errors.ts';

export interface Rest {
  /** Without a slash at its end. */
  baseUrl: string;
  /** Signs requests, as a client of google-auth-library does; null where nobody asks who it is: an emulator. */
  auth: { getRequestHeaders(url: string): Promise<Iterable<[string, string]>> } | null;
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
  const signal = AbortSignal.timeout(deadlineMs);
  const headers = {
    ...Object.fromEntries((await auth?.getRequestHeaders(url)) ?? []),
    'content-type': typeof body === 'string' ? 'application/json' : 'application/x-www-form-urlencoded',
  };
  // fetch() would load a client of its own first. This follows no redirect.
  const request = url.startsWith('https:') ? https : http;
  try {
    // Who waited has been told that it failed.
    signal.throwIfAborted();
    const outgoing = request(url, { method: 'POST', headers, signal });
    outgoing.end(body.toString());
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      outgoing.once('response', resolve).on('error', reject);
    });
    const text = await readText(response, bytesMax);
    return { status: response.statusCode ?? 0, json: parseJson(text), text };
  } catch (error) {
    if (error instanceof PermanentError) throw error;
    const reason = messageOf(error);
    throw new TransientError('unavailable', `no answer: ${reason}`, { cause: error });
  }
}

/** Some methods give an error as the only element of a list. */
const errorSchema = z.object({ error: z.object({ message: z.string() }) });
const refusalSchema = z.union([errorSchema, z.tuple([errorSchema]).transform(([only]) => only)]);

/** Asks a method of Google's with JSON, and returns what it answers; an Error has the HTTP status and what came with it. */
export async function ask(rest: Rest, path: string, request: object, deadlineMs: number): Promise<unknown> {
  const { status, json, text } = await post(rest, path, { body: JSON.stringify(request), deadlineMs });
  if (status === 200) return json;
  const message =
    refusalSchema.safeParse(json).data?.error.message ?? `expected Google's JSON, got ${text.slice(0, 200)}`;
  throw Object.assign(new Error(`HTTP ${status}, ${message}`), { status, json });
}

async function readText(response: IncomingMessage, bytesMax: number): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
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
