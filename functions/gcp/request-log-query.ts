/**
 * How is a request log asked? The one query over the table that Vertex AI logs to, with what an owner wrote held to a
 * strict form: a table's name and a path inside JSON are the parts of a query that BigQuery takes no parameters for.
 */
import { requestLogValue } from '../../machines/policy/request-log.ts';
import { valueBounds } from '../../machines/analysis/value-bounds.ts';

/** All that one query answers. */
export interface LogRead {
  /** `PROJECT.DATASET.TABLE`, as requestLogTable has it. */
  table: string;
  /** Half-open: (fromAt, toAt]. */
  fromAt: number;
  toAt: number;
  periodMs: number;
  /** The last parts of their names. */
  endpointIds: Set<string>;
  deployedModelIds: Set<string>;
  /** Rows of the answer name a value by its place. */
  values: LoggedValue[];
}

/** Where in a payload a value lies. */
export interface LoggedValue {
  list: 'instances' | 'predictions';
  /** A JSONPath from the list's element on, such as `$."distance"` or `$[0]`. */
  jsonPath: string;
}

/** Parses `instances.distance` or `predictions.0`: a list, then keys and indices. Null for any other text. */
export function parseValue(text: string): LoggedValue | null {
  const [match, list, rest = ''] = requestLogValue.exec(text) ?? [];
  if (match === undefined) return null;
  const steps = rest.split('.').slice(1);
  return {
    list: list === 'instances' ? 'instances' : 'predictions',
    jsonPath: `$${steps.map((step) => (/^\d/.test(step) ? `[${step}]` : `."${step}"`)).join('')}`,
  };
}

/**
 * The query and its parameters, as the REST method jobs.query takes them. Rows of the answer are endpoint id, DeployedModel
 * id, period from 0 on, place of the value, bucket among valueBounds or null where the value is no number, and count.
 *
 * A raw request is logged as one text with the lists inside, any other as one text for each element: both are read. JSON_QUERY
 * leaves a text its quotes, so that "1" is no number. An upper bound's bucket has what equals it, RANGE_BUCKET's the next:
 * hence the minus signs. It is logging_time that prunes a table partitioned by it; of another, the payloads are read whole.
 */
export function logQuery(read: LogRead): { query: string; queryParameters: object[] } {
  const values = read.values.map(
    ({ list, jsonPath }, i) => `    STRUCT(${i} AS place, ARRAY(
      SELECT SAFE_CAST(JSON_QUERY(element, '${jsonPath}') AS FLOAT64)
      FROM UNNEST(${list === 'instances' ? 'request_payload' : 'response_payload'}) AS payload,
        UNNEST(IFNULL(JSON_QUERY_ARRAY(payload, '$.${list}'), [payload])) AS element
    ) AS numbers)`,
  );
  const query = `SELECT
  REGEXP_EXTRACT(endpoint, r'[^/]+$') AS endpoint_id,
  deployed_model_id,
  DIV(UNIX_MICROS(logging_time) - @from - 1, @period) AS period,
  place,
  ARRAY_LENGTH(@bounds) - RANGE_BUCKET(-number, @bounds) AS bucket,
  COUNT(*) AS count
FROM \`${read.table}\`,
  UNNEST([
${values.join(',\n')}
  ]) AS value,
  UNNEST(value.numbers) AS number
WHERE logging_time > TIMESTAMP_MICROS(@from) AND logging_time <= TIMESTAMP_MICROS(@to)
  AND REGEXP_EXTRACT(endpoint, r'[^/]+$') IN UNNEST(@endpoints)
  AND deployed_model_id IN UNNEST(@models)
GROUP BY 1, 2, 3, 4, 5`;
  return {
    query,
    queryParameters: [
      int64('from', read.fromAt * 1000),
      int64('to', read.toAt * 1000),
      int64('period', read.periodMs * 1000),
      array('bounds', 'FLOAT64', valueBounds.map((bound) => -bound).toReversed()),
      array('endpoints', 'STRING', [...read.endpointIds]),
      array('models', 'STRING', [...read.deployedModelIds]),
    ],
  };
}

function int64(name: string, value: number): object {
  return { name, parameterType: { type: 'INT64' }, parameterValue: { value: String(Math.round(value)) } };
}

function array(name: string, type: string, values: (string | number)[]): object {
  const arrayValues = values.map((value) => ({ value: String(value) }));
  return { name, parameterType: { type: 'ARRAY', arrayType: { type } }, parameterValue: { arrayValues } };
}
