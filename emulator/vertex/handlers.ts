/** How does a call reach the world? With its defaults removed, parsed strictly, and at the world's present time. */
import { z } from 'zod';
import { StatusError, status, type UnaryHandler } from '../grpc.ts';
import { type World, WorldError } from '../world/world.ts';

/** Maps, whose values mean something even where they equal a default. */
const mapFields = new Set(['trafficSplit', 'labels']);

/**
 * Makes handlers of functions that know only the world: requests come without fields that hold their default, a
 * WorldError becomes its status, and operations that are due have ended before the call.
 */
export function worldHandlers(
  world: World,
  handlers: Record<string, (request: unknown) => object>,
): Record<string, UnaryHandler> {
  return Object.fromEntries(
    Object.entries(handlers).map(([name, handler]): [string, UnaryHandler] => [
      name,
      (request) => {
        try {
          world.advance();
          return handler(withoutDefaults(request));
        } catch (error) {
          throw toStatusError(error);
        }
      },
    ]),
  );
}

/**
 * Parses a request without defaults. What the schema does not name is refused with UNIMPLEMENTED, so that nothing a
 * caller asks for is silently left out; other problems are INVALID_ARGUMENT.
 */
export function parse<T>(schema: z.ZodType<T>, request: unknown): T {
  const parsed = schema.safeParse(request);
  if (parsed.success) return parsed.data;
  const unknown = unknownFields(parsed.error.issues);
  if (unknown.length > 0) {
    throw new WorldError('UNIMPLEMENTED', `The emulator does not have these fields: ${unknown.join(', ')}.`);
  }
  throw new WorldError('INVALID_ARGUMENT', z.prettifyError(parsed.error));
}

/** An optional text, empty by default; and so on for the other kinds of fields. */
export const fields = {
  text: z.string().default(''),
  texts: z.array(z.string()).default([]),
  flag: z.boolean().default(false),
  int: z.int().default(0),
  labels: z.record(z.string(), z.string()).default({}),
  split: z.record(z.string(), z.int()).default({}),
  mask: z.object({ paths: z.array(z.string()).default([]) }).default({ paths: [] }),
  /** google.protobuf.Timestamp as milliseconds since the epoch. */
  time: z
    .strictObject({ seconds: z.coerce.number().default(0), nanos: z.number().default(0) })
    .transform(({ seconds, nanos }) => seconds * 1000 + nanos / 1e6),
  /** google.protobuf.Duration as seconds. */
  duration: z
    .strictObject({ seconds: z.coerce.number().default(0), nanos: z.number().default(0) })
    .transform(({ seconds, nanos }) => seconds + nanos / 1e9),
};

export function toStatusError(error: unknown): unknown {
  return error instanceof WorldError ? new StatusError(status[error.code], error.message) : error;
}

function unknownFields(issues: readonly z.core.$ZodIssue[]): string[] {
  return issues.flatMap((issue) =>
    issue.code === 'unrecognized_keys' ? issue.keys.map((key) => [...issue.path, key].join('.')) : [],
  );
}

function withoutDefaults(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutDefaults);
  if (typeof value !== 'object' || value === null || Buffer.isBuffer(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .map(([key, field]): [string, unknown] => [key, mapFields.has(key) ? field : withoutDefaults(field)])
      .filter(([, field]) => !isDefault(field)),
  );
}

function isDefault(value: unknown): boolean {
  if (value === null || value === undefined || value === '' || value === 0 || value === '0' || value === false)
    return true;
  if (typeof value === 'string') return value.endsWith('_UNSPECIFIED');
  return typeof value === 'object' && !Buffer.isBuffer(value) && Object.keys(value).length === 0;
}
