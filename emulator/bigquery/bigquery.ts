/**
 * What does BigQuery's REST API answer? `POST /bigquery/v2/projects/{project}/queries`, with the query of a request log;
 * everything else is refused in BigQuery's own form.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { ZodError, z } from 'zod';
import { type BeforeCall, StatusError, status } from '../grpc.ts';
import type { RestApi } from '../predict.ts';
import type { World } from '../world/world.ts';
import { parseLogQuery, resultFields, runLogQuery } from './query.ts';
import type { RequestLog } from './request-log.ts';

const PREFIX = '/bigquery/v2/';
const QUERIES = /^\/bigquery\/v2\/projects\/([^/?]+)\/queries(?:\?|$)/;
const bodyBytesMax = 1_000_000;

const requestSchema = z.object({
  query: z.string('query is required'),
  queryParameters: z.unknown().optional(),
  useLegacySql: z.literal(false, 'the emulator has no legacy SQL'),
});

/** An answer other than 200. @see https://cloud.google.com/bigquery/docs/error-messages */
class BigQueryError extends Error {
  readonly code: number;
  readonly reason: string;
  constructor(code: number, reason: string, message: string) {
    super(message);
    this.code = code;
    this.reason = reason;
  }
}

/** What a fault rule's status is here; every other is a `backendError`. */
const byStatus: Partial<Record<status, [code: number, reason: string]>> = {
  [status.PERMISSION_DENIED]: [403, 'accessDenied'],
  [status.RESOURCE_EXHAUSTED]: [403, 'quotaExceeded'],
  [status.NOT_FOUND]: [404, 'notFound'],
  [status.INVALID_ARGUMENT]: [400, 'invalid'],
};

/** A table is there when an endpoint logs to it. */
export function bigqueryApi(world: World, log: RequestLog, before?: BeforeCall): RestApi {
  async function query(request: IncomingMessage): Promise<object> {
    const [, project] = QUERIES.exec(request.url ?? '') ?? [];
    if (project === undefined || request.method !== 'POST') {
      throw new BigQueryError(404, 'notFound', `The emulator has no ${request.method} ${request.url}.`);
    }
    const { query: text, queryParameters } = requestSchema.parse(await readJson(request));
    const finish = await before?.('google.cloud.bigquery.v2.JobService/Query');
    const parsed = parseLogQuery(text, queryParameters);
    if (parsed === null) {
      throw new BigQueryError(400, 'invalidQuery', 'The emulator answers the query of a request log, and no other.');
    }
    if (!isThere(world, parsed.table)) {
      const [first = '', ...rest] = parsed.table.split('.');
      throw new BigQueryError(404, 'notFound', `Not found: Table ${first}:${rest.join('.')} was not found`);
    }
    const rows = runLogQuery(parsed, log.rows(parsed.table));
    finish?.();
    return {
      kind: 'bigquery#queryResponse',
      schema: { fields: resultFields.map((field) => ({ ...field, mode: 'NULLABLE' })) },
      jobReference: { projectId: project, jobId: `job_${world.context.nextNumber()}`, location: 'US' },
      totalRows: String(rows.length),
      rows: rows.map((cells) => ({ f: cells.map((v) => ({ v })) })),
      totalBytesProcessed: '0',
      jobComplete: true,
      cacheHit: false,
    };
  }

  return (request, response) => {
    if (request.url?.startsWith(PREFIX) !== true) return false;
    query(request).then(
      (answer) => reply(response, 200, answer),
      (error: unknown) => refuse(response, error),
    );
    return true;
  };
}

function isThere(world: World, table: string): boolean {
  return Object.values(world.context.state.endpoints).some(({ requestLogging }) => requestLogging?.table === table);
}

function refuse(response: ServerResponse, thrown: unknown): void {
  const { code, reason, message } = toBigQueryError(thrown);
  reply(response, code, { error: { code, message, errors: [{ message, domain: 'global', reason }] } });
}

function toBigQueryError(thrown: unknown): BigQueryError {
  if (thrown instanceof BigQueryError) return thrown;
  if (thrown instanceof ZodError) return new BigQueryError(400, 'invalid', z.prettifyError(thrown));
  if (!(thrown instanceof StatusError)) return new BigQueryError(500, 'internalError', String(thrown));
  const [code, reason] = byStatus[thrown.code] ?? [503, 'backendError'];
  return new BigQueryError(code, reason, thrown.message);
}

function reply(response: ServerResponse, code: number, body: object): void {
  response.writeHead(code, { 'content-type': 'application/json; charset=UTF-8' });
  response.end(JSON.stringify(body));
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes <= bodyBytesMax) chunks.push(chunk);
  }
  if (bytes > bodyBytesMax) throw new BigQueryError(413, 'uploadTooLarge', `The body has over ${bodyBytesMax} bytes.`);
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch {
    throw new BigQueryError(400, 'parseError', 'The body is not JSON.');
  }
}
