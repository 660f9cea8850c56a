/**
 * What did Google say, and does trying again help? The one table from Google's status to our errors, and `call`, through
 * which every request of this folder goes: it holds the deadline and translates what is thrown.
 */
import type { CallOptions } from 'google-gax';
import { z } from 'zod';
import { type ErrorCode, PermanentError, TransientError } from '../engine/errors.ts';
import { limits } from '../engine/limits.ts';

type Consequence = { code: ErrorCode; heals: boolean };

const transient = (code: ErrorCode): Consequence => ({ code, heals: true });
const permanent = (code: ErrorCode): Consequence => ({ code, heals: false });

/** By gRPC status number. @see https://grpc.io/docs/guides/status-codes/ */
const byStatus: Record<number, Consequence> = {
  1: transient('cancelled'),
  2: transient('internal'), // UNKNOWN: a proxy or a broken connection on the way
  3: permanent('invalidArgument'),
  4: transient('deadlineExceeded'),
  5: permanent('notFound'),
  6: permanent('alreadyExists'),
  7: permanent('permissionDenied'),
  8: transient('resourceExhausted'),
  9: permanent('failedPrecondition'),
  10: transient('conflict'), // ABORTED: somebody else was first; read again and decide again
  11: permanent('invalidArgument'), // OUT_OF_RANGE
  12: permanent('unimplemented'),
  13: transient('internal'),
  14: transient('unavailable'),
  15: permanent('internal'), // DATA_LOSS
  16: transient('unauthenticated'), // a metadata server that hiccups looks like this
};

/** HTTP status to gRPC status, for errors of calls that went over REST, such as fetching a token. */
const byHttpStatus: Record<number, number> = {
  400: 3,
  401: 16,
  403: 7,
  404: 5,
  408: 4,
  409: 10,
  412: 9,
  429: 8,
  499: 1,
  500: 13,
  501: 12,
  502: 14,
  503: 14,
  504: 4,
};

/** gRPC errors carry a number in `code`; Gaxios' an HTTP status in `status`; sockets and resolvers a word in `code`. */
const thrownSchema = z.object({
  code: z.union([z.number(), z.string()]).optional(),
  status: z.union([z.number(), z.string()]).optional(),
  message: z.string().catch('no message'),
});

/** What was thrown by `name`, as our error; our own errors pass unchanged. Keeps Google's text. */
export function translate(name: string, thrown: unknown): TransientError | PermanentError {
  if (thrown instanceof TransientError || thrown instanceof PermanentError) return thrown;
  const parsed = thrownSchema.safeParse(thrown);
  const { code, heals } = parsed.success ? consequenceOf(parsed.data) : permanent('internal');
  const message = `${name}: ${parsed.success ? parsed.data.message : String(thrown)}`;
  return heals
    ? new TransientError(code, message, { cause: thrown })
    : new PermanentError(code, message, { cause: thrown });
}

/**
 * Calls Google. `name` names the method and the resource, for messages. Never tries again by itself: the engine does,
 * with fresh state. Throws a TransientError or a PermanentError and nothing else.
 *
 * `ask` hands its options to the client, so that gRPC itself ends the call at the deadline. The race behind it is for
 * what those options do not reach: loading a client, fetching a token, Firestore's client.
 */
export async function call<T>(name: string, deadlineMs: number, ask: (options: CallOptions) => Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    late.reject(new TransientError('deadlineExceeded', `${name}: no answer within ${deadlineMs} ms`));
  }, deadlineMs + limits.callGraceMs);
  try {
    return await Promise.race([ask({ timeout: deadlineMs, retry: null }), late.promise]);
  } catch (error) {
    throw translate(name, error);
  } finally {
    clearTimeout(timer);
  }
}

/** Parses the part of a reply that our logic rests on; PermanentError `internal` says which part broke the contract. */
export function parseReply<T extends z.ZodType>(name: string, schema: T, reply: unknown): z.output<T> {
  const parsed = schema.safeParse(reply);
  if (parsed.success) return parsed.data;
  throw new PermanentError(
    'internal',
    `${name}: the reply is not what the API promises: ${z.prettifyError(parsed.error)}`,
  );
}

function consequenceOf({ code, status }: z.output<typeof thrownSchema>): Consequence {
  const number = Number(status ?? code);
  const known = byStatus[byHttpStatus[number] ?? number];
  if (known !== undefined) return known;
  // Words such as ECONNREFUSED or ENOTFOUND come from the network; what has no code at all is a fault of our own.
  return typeof code === 'string' && /^E[A-Z_]+$/.test(code) ? transient('unavailable') : permanent('internal');
}
