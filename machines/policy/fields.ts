/**
 * How is one field of a policy read? Readers of single values, each of which says what it expected, what it got, and
 * what to write instead. Built on zod, so that one pass reports every problem.
 */
import { z } from 'zod';
import { parseEndpointName } from '../rollout/resource-name.ts';
import { closest } from './closest.ts';
import { formatPercent, parseDurationSeconds, parsePercentRatio } from './units.ts';

export type Context = z.core.$RefinementCtx;
interface Complaint {
  message: string;
  instead?: string | null;
  path?: PropertyKey[];
}

/** In seconds. */
export const duration = scalar(
  'a duration such as 30s, 10m or 1h30m',
  (value) => (typeof value === 'string' ? parseDurationSeconds(value) : null),
  (value) => (typeof value === 'number' && Number.isInteger(value) && value >= 0 ? `${value}s` : null),
);
/** As a ratio. */
export const percent = scalar(
  'a percent such as 5% or 0.5%',
  (value) => (typeof value === 'string' ? parsePercentRatio(value) : null),
  (value) => (typeof value === 'number' && value >= 0 && value <= 1 ? formatPercent(value) : null),
);
/** As a ratio, neither 0 nor 1. */
export const innerPercent = scalar(
  'a percent above 0% and below 100%, such as 1%',
  (value) => {
    const ratio = typeof value === 'string' ? (parsePercentRatio(value) ?? 0) : 0;
    return ratio > 0 && ratio < 1 ? ratio : null;
  },
  (value) => (typeof value === 'number' && value > 0 && value < 1 ? formatPercent(value) : null),
);
export const stepPercent = scalar(
  'a whole number from 1 to 100',
  (value) => (isWhole(value, 1, 100) ? value : null),
  (value) => {
    const near = typeof value === 'string' ? Number.parseFloat(value) : value;
    return typeof near === 'number' && near >= 0.5 && near < 100.5 ? String(Math.round(near)) : null;
  },
);
export const targetPercent = scalar(
  'a whole percent from 1% to 100%',
  (value) => {
    const target = typeof value === 'string' ? (parsePercentRatio(value) ?? 0) * 100 : null;
    return target !== null && isWhole(Number(target.toFixed(6)), 1, 100) ? Math.round(target) : null;
  },
  (value) => (isWhole(value, 1, 100) ? `${value}%` : null),
);
export const count = scalar(
  'a whole number from 1 up',
  (value) => (isWhole(value, 1, 1_000_000_000) ? value : null),
  (value) => (typeof value === 'string' && /^[1-9]\d{0,8}$/.test(value) ? value : null),
);
export const flag = scalar('true or false', (value) => (typeof value === 'boolean' ? value : null));

export const endpointName = named(
  'an endpoint, projects/P/locations/L/endpoints/E',
  (text) => parseEndpointName(text) !== null,
);
export const name = named('a name of lower-case letters, digits and hyphens, at most 63', (text) =>
  /^[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?$/.test(text),
);
export const machineType = named('a machine type such as n1-standard-4', (text) => /^[a-z][a-z0-9-]{1,62}$/.test(text));
export const acceleratorType = named('an accelerator such as NVIDIA_TESLA_T4', (text) =>
  /^[A-Z][A-Z0-9_]{1,62}$/.test(text),
);
export const metric = named('a metric such as aiplatform.googleapis.com/prediction/online/cpu/utilization', (text) =>
  /^[a-z0-9.-]+(?:\/[a-z0-9_.-]+)+$/.test(text),
);
export const serviceAccount = named('an e-mail address of a service account', (text) =>
  /^[^\s@]+@[^\s@]+\.[^\s@]+$/.test(text),
);

/** A mapping that knows its keys. The message of an unknown key is the list of known ones, parted by spaces. */
export function mapping<Shape extends z.ZodRawShape>(shape: Shape) {
  const keys = Object.keys(shape);
  return z.strictObject(shape, {
    error: (issue) =>
      issue.code === 'unrecognized_keys'
        ? keys.join(' ')
        : `expected a mapping with ${keys.join(', ')}, got ${shown(issue.input)}`,
  });
}

/** A list of such items. */
export function list<Item extends z.ZodType>(item: Item) {
  return z.array(item, { error: (issue) => `expected a list, got ${shown(issue.input)}` });
}

/** The mapping, or `off` (or null) for null. */
export function orOff<Inner extends z.ZodType>(inner: Inner) {
  return z.preprocess((value) => (value === 'off' || value === false ? null : value), inner.nullable());
}

/** A schema, and a rule about what was written, which speaks even where the schema has already failed. */
export function asWritten<Schema extends z.ZodType>(
  rule: (written: unknown, context: Context) => void,
  schema: Schema,
) {
  return z.unknown().transform((value, context): z.output<Schema> => {
    rule(value, context);
    return relay(schema, value, context);
  });
}

/** What a schema makes of a value; its problems become the context's. */
export function relay<Schema extends z.ZodType>(schema: Schema, value: unknown, context: Context): z.output<Schema> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  for (const issue of parsed.error.issues) {
    const { path, message } = issue;
    if (issue.code === 'unrecognized_keys') context.addIssue({ code: issue.code, keys: issue.keys, path, message });
    else complain(context, { message, instead: insteadOf(issue), path });
  }
  return z.NEVER;
}

/** One of these words. */
export function choice<const Words extends readonly string[]>(words: Words) {
  const isWord = (value: unknown): value is Words[number] => typeof value === 'string' && words.includes(value);
  return scalar(
    words.length === 1 ? words.join() : `one of ${words.join(', ')}`,
    (value) => (isWord(value) ? value : null),
    (value) => (words.length === 1 ? words.join() : typeof value === 'string' ? closest(value, words) : null),
  );
}

/** A number between two bounds, both included. */
export function number(min: number, max: number) {
  return scalar(`a number from ${min} to ${max}`, (value) =>
    typeof value === 'number' && value >= min && value <= max ? value : null,
  );
}

export function named(expected: string, isGood: (text: string) => boolean) {
  return scalar(expected, (value) => (typeof value === 'string' && isGood(value) ? value : null));
}

/** One value: `read` gives null for what it does not take, `suggest` what the writer probably meant. */
export function scalar<Value>(
  expected: string,
  read: (value: unknown) => Value | null,
  suggest: (value: unknown) => string | null = () => null,
) {
  return z.unknown().transform((value, context): Value => {
    const result = read(value);
    return result ?? refuse(context, { message: `expected ${expected}, got ${shown(value)}`, instead: suggest(value) });
  });
}

/** Records a problem, and what to write instead of it. */
export function complain(context: Context, { message, instead = null, path = [] }: Complaint): void {
  context.addIssue({ code: 'custom', message, path, params: { instead } });
}

/** What complain() said to write instead; null for an issue that says nothing of it. */
export function insteadOf(issue: z.core.$ZodIssue): string | null {
  const instead: unknown = issue.code === 'custom' ? issue.params?.['instead'] : null;
  return typeof instead === 'string' ? instead : null;
}

/** Records a problem with a value for which there is no other: what it returns is never looked at. */
export function refuse(context: Context, complaint: Complaint): never {
  complain(context, complaint);
  return z.NEVER;
}

/** As shown(), with the keys of a mapping. */
export function shownKeys(value: unknown): string {
  return isMapping(value)
    ? `a mapping with ${Object.keys(value).slice(0, 5).map(shortened).join(', ') || 'nothing'}`
    : shown(value);
}

function isWhole(value: unknown, min: number, max: number): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max;
}

/** True for what YAML's mappings become. */
export function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A value as a message shows it: short, and never a whole structure. */
export function shown(value: unknown): string {
  if (value === undefined || value === null) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a mapping';
  if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'boolean') return `a ${typeof value}`;
  return shortened(typeof value === 'string' ? JSON.stringify(value) : String(value));
}

/** What an author wrote, as a message quotes it. */
export function shortened(text: string): string {
  return text.length <= 80 ? text : `${text.slice(0, 79)}…`;
}
