/**
 * Is what was decided valid? Of a valid value and one made from it, only what is not the very same is looked at: a decision
 * leaves most of a record alone, its policy and its past above all, and to read all of it costs more than to decide.
 */
import { z } from 'zod';

/** Where the value is not what the schema says, as dotted paths; none when it is valid. `before` must be valid. */
export function faultsIn(schema: z.core.$ZodType, after: unknown, before: unknown, path: string[] = []): string[] {
  if (after === before) return [];
  if (schema instanceof z.ZodNullable && after !== null) return faultsIn(schema.unwrap(), after, before, path);
  if (!isStrictObject(schema) || !isRecord(after) || !isRecord(before)) {
    return (z.safeParse(schema, after).error?.issues ?? []).map((issue) => [...path, ...issue.path].join('.'));
  }
  const faults: string[] = [];
  for (const [name, part] of partsOf(schema)) {
    if (after[name] !== before[name]) faults.push(...faultsIn(part, after[name], before[name], [...path, name]));
  }
  for (const name of Object.keys(after)) if (!(name in schema.shape)) faults.push([...path, name].join('.'));
  return faults;
}

/** True of an object that is valid when each of its parts is. */
function isStrictObject(schema: z.core.$ZodType): schema is z.ZodObject {
  return (
    schema instanceof z.ZodObject && schema.def.catchall instanceof z.ZodNever && (schema.def.checks ?? []).length === 0
  );
}

const partsKnown = new WeakMap<z.ZodObject, [string, z.core.$ZodType][]>();

function partsOf(schema: z.ZodObject): [string, z.core.$ZodType][] {
  const known = partsKnown.get(schema);
  if (known !== undefined) return known;
  const parts = Object.entries<z.core.$ZodType>(schema.shape);
  partsKnown.set(schema, parts);
  return parts;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
