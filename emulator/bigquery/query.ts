/**
 * What does BigQuery answer to the query of a request log? That one query is taken apart by its form and executed over the
 * rows that were logged; the emulator has no SQL beside it.
 */
import { z } from 'zod';
import type { LoggedRow } from './request-log.ts';

export interface LogQuery {
  table: string;
  values: { column: 'requestPayload' | 'responsePayload'; list: string; steps: (string | number)[] }[];
  /** In microseconds since the epoch; half-open: (from, to]. */
  from: number;
  to: number;
  period: number;
  bounds: number[];
  endpoints: string[];
  models: string[];
}

/** The cells of a row of the answer, as they go over the wire. */
export type ResultRow = (string | null)[];

export const resultFields = [
  { name: 'endpoint_id', type: 'STRING' },
  { name: 'deployed_model_id', type: 'STRING' },
  { name: 'period', type: 'INTEGER' },
  { name: 'place', type: 'INTEGER' },
  { name: 'bucket', type: 'INTEGER' },
  { name: 'count', type: 'INTEGER' },
];

/** What is asked of a payload; the path may be any that BigQuery takes. */
const VALUE =
  /STRUCT\((?<place>\d+) AS place, ARRAY\( SELECT SAFE_CAST\(JSON_QUERY\(element, '(?<path>\$(?:\."[\w-]+"|\[\d+\])*)'\) AS FLOAT64\) FROM UNNEST\((?<column>request|response)_payload\) AS payload, UNNEST\(IFNULL\(JSON_QUERY_ARRAY\(payload, '\$\.(?<list>\w+)'\), \[payload\]\)\) AS element \) AS numbers\)/g;

const FRAME =
  /^SELECT REGEXP_EXTRACT\(endpoint, r'\[\^\/\]\+\$'\) AS endpoint_id, deployed_model_id, DIV\(UNIX_MICROS\(logging_time\) - @from - 1, @period\) AS period, place, ARRAY_LENGTH\(@bounds\) - RANGE_BUCKET\(-number, @bounds\) AS bucket, COUNT\(\*\) AS count FROM `(?<table>[^`]+)`, UNNEST\(\[ VALUE(?:, VALUE)* \]\) AS value, UNNEST\(value\.numbers\) AS number WHERE logging_time > TIMESTAMP_MICROS\(@from\) AND logging_time <= TIMESTAMP_MICROS\(@to\) AND REGEXP_EXTRACT\(endpoint, r'\[\^\/\]\+\$'\) IN UNNEST\(@endpoints\) AND deployed_model_id IN UNNEST\(@models\) GROUP BY 1, 2, 3, 4, 5$/;

const scalarSchema = z.object({ value: z.string() });
const listSchema = z.object({ arrayValues: z.array(scalarSchema).default([]) });
const numberSchema = scalarSchema.transform(({ value }) => Number(value)).pipe(z.number());
const textsSchema = listSchema.transform(({ arrayValues }) => arrayValues.map(({ value }) => value));
const parametersSchema = z
  .array(z.object({ name: z.string(), parameterValue: z.unknown() }))
  .transform((list) => Object.fromEntries(list.map(({ name, parameterValue }) => [name, parameterValue])))
  .pipe(
    z.strictObject({
      from: numberSchema,
      to: numberSchema,
      period: numberSchema.refine((period) => period > 0, 'division by zero'),
      bounds: textsSchema.transform((texts) => texts.map(Number)),
      endpoints: textsSchema,
      models: textsSchema,
    }),
  );

/** Null for any other query; throws a ZodError when its parameters are not as the query needs them. */
export function parseLogQuery(query: string, queryParameters: unknown): LogQuery | null {
  const flat = query.replaceAll(/\s+/g, ' ').trim();
  const values = [...flat.matchAll(VALUE)].map(({ groups = {} }): LogQuery['values'][number] => ({
    column: groups['column'] === 'request' ? 'requestPayload' : 'responsePayload',
    list: groups['list'] ?? '',
    steps: [...(groups['path'] ?? '').matchAll(/"([^"]+)"|\[(\d+)\]/g)].map(([, key, index]) => key ?? Number(index)),
  }));
  const table = FRAME.exec(flat.replaceAll(VALUE, 'VALUE'))?.groups?.['table'];
  return table === undefined ? null : { table, values, ...parametersSchema.parse(queryParameters) };
}

/** The rows of the answer, in no promised order. */
export function runLogQuery(query: LogQuery, rows: LoggedRow[]): ResultRow[] {
  const counts = new Map<string, { row: ResultRow; count: number }>();
  for (const row of rows) {
    const endpointId = row.endpoint.split('/').at(-1) ?? '';
    const at = Math.round(row.loggedAt * 1000);
    if (!(at > query.from && at <= query.to)) continue;
    if (!query.endpoints.includes(endpointId) || !query.models.includes(row.deployedModelId)) continue;
    const period = Math.trunc((at - query.from - 1) / query.period);
    for (const [place, { column, list, steps }] of query.values.entries()) {
      for (const element of row[column].flatMap((payload) => elementsOf(payload, list))) {
        const bucket = bucketOf(valueAt(element, steps), query.bounds);
        const cells = [endpointId, row.deployedModelId, String(period), String(place), bucket];
        const key = JSON.stringify(cells);
        const known = counts.get(key) ?? { row: cells, count: 0 };
        known.count += 1;
        counts.set(key, known);
      }
    }
  }
  return [...counts.values()].map(({ row, count }) => [...row, String(count)]);
}

function elementsOf(payload: string, list: string): unknown[] {
  const json = parseJson(payload);
  const inside = isObject(json) ? json[list] : undefined;
  return Array.isArray(inside) ? inside : [json];
}

function valueAt(element: unknown, steps: (string | number)[]): unknown {
  let value = element;
  for (const step of steps) {
    if (typeof step === 'number') value = Array.isArray(value) ? value[step] : undefined;
    else value = isObject(value) && Object.hasOwn(value, step) ? value[step] : undefined;
  }
  return value;
}

/** Null for what is no number; else `ARRAY_LENGTH(@bounds) - RANGE_BUCKET(-number, @bounds)`. */
function bucketOf(value: unknown, bounds: number[]): string | null {
  if (typeof value !== 'number') return null;
  const above = bounds.findIndex((bound) => bound > -value);
  return String(above === -1 ? 0 : bounds.length - above);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Null for what is no JSON. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
