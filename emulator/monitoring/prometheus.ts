/**
 * What does Monitoring's Prometheus API answer? `query` and `query_range` of
 * `/v1/projects/P/location/global/prometheus/api/v1/`, by GET or POST, over the series that ListTimeSeries has.
 * @see https://prometheus.io/docs/prometheus/latest/querying/api/
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { z } from 'zod';
import { type BeforeCall, StatusError, status } from '../grpc.ts';
import type { RestApi } from '../predict.ts';
import { customSeriesOf } from '../world/custom-metrics.ts';
import { predictionMetrics, predictionSeries } from '../world/metrics.ts';
import { projectOf } from '../world/names.ts';
import type { TimeSeries } from '../world/state.ts';
import { type World, WorldError } from '../world/world.ts';
import { BadData, type Expression, evaluate, parsePromql, type Sample } from './promql.ts';

const PATH = /^\/v1\/(projects\/[^/]+)\/location\/global\/prometheus\/api\/v1\/([a-z_]+)$/;
const bodyBytesMax = 100_000;
/** Prometheus' own bound. */
const stepsMax = 11_000;

/** Seconds since the epoch or RFC 3339, as milliseconds. */
const time = z
  .string()
  .transform((text) => (/^[\d.]+$/.test(text) ? Number(text) * 1000 : Date.parse(text)))
  .refine((at) => Number.isFinite(at), 'is no time');
const query = z.string('is required').min(1, 'is empty');
const instantSchema = z.object({ query, time });
const rangeSchema = z
  .object({ query, start: time, end: time, step: z.coerce.number().gt(0, 'must be above 0') })
  .refine(({ start, end }) => start <= end, 'end lies before start')
  .refine(({ start, end, step }) => (end - start) / 1000 / step < stepsMax, `more than ${stepsMax} steps`);

const errorTypes: Partial<Record<status, [code: number, errorType: string]>> = {
  [status.INVALID_ARGUMENT]: [400, 'bad_data'],
  [status.PERMISSION_DENIED]: [403, 'forbidden'],
  [status.NOT_FOUND]: [404, 'not_found'],
  [status.UNAVAILABLE]: [503, 'unavailable'],
  [status.DEADLINE_EXCEEDED]: [503, 'timeout'],
};

/** Fault rules know it as `google.monitoring.v1.Prometheus/query_range`, and so on. */
export function prometheusApi(world: World, before?: BeforeCall): RestApi {
  return (request, response) => {
    const [path = '', parameters = ''] = (request.url ?? '').split('?', 2);
    const [, project, method] = PATH.exec(path) ?? [];
    if (project === undefined || method === undefined) return false;
    void answer({ world, before, project, method, parameters }, request, response);
    return true;
  };
}

interface Call {
  world: World;
  before: BeforeCall | undefined;
  /** `projects/P` */
  project: string;
  method: string;
  parameters: string;
}

async function answer(call: Call, request: IncomingMessage, response: ServerResponse): Promise<void> {
  try {
    const body = await readBody(request);
    const finish = await call.before?.(`google.monitoring.v1.Prometheus/${call.method}`);
    const data = run(call, Object.fromEntries([...new URLSearchParams(call.parameters), ...new URLSearchParams(body)]));
    finish?.();
    reply(response, 200, { status: 'success', data });
  } catch (error) {
    const [code, errorType] = errorOf(error);
    reply(response, code, {
      status: 'error',
      errorType,
      error: error instanceof Error ? error.message : String(error),
    });
  }
}

function run({ world, project, method }: Call, parameters: Record<string, string>): object {
  world.advance();
  const series = allSeries(world, projectOf(world.context, project));
  if (method === 'query') {
    const { query: text, time: at } = parse(instantSchema, parameters);
    const samples = evaluate(parsePromql(text), series, at);
    const result = samples.map(({ labels, value }) => ({ metric: labels, value: [at / 1000, numberText(value)] }));
    return { resultType: 'vector', result };
  }
  if (method === 'query_range') {
    const { query: text, start, end, step } = parse(rangeSchema, parameters);
    const result = range(parsePromql(text), series, { start, end, stepMs: step * 1000 });
    return { resultType: 'matrix', result };
  }
  throw new BadData(`the emulator has query and query_range, not ${method}`);
}

function range(
  expression: Expression,
  series: TimeSeries[],
  { start, end, stepMs }: { start: number; end: number; stepMs: number },
): object[] {
  const found = new Map<string, { metric: Sample['labels']; values: [number, string][] }>();
  for (let at = start; at <= end; at += stepMs) {
    for (const { labels, value } of evaluate(expression, series, at)) {
      const key = JSON.stringify(labels);
      const one = found.get(key) ?? { metric: labels, values: [] };
      one.values.push([at / 1000, numberText(value)]);
      found.set(key, one);
    }
  }
  return [...found.values()];
}

function allSeries({ context }: World, project: string): TimeSeries[] {
  const predictions = Object.keys(predictionMetrics).flatMap((type) => predictionSeries(context, project, type));
  return [...predictions, ...customSeriesOf(context, project)];
}

function parse<T>(schema: z.ZodType<T>, parameters: Record<string, string>): T {
  const parsed = schema.safeParse(parameters);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(({ path, message }) => [...path, message].join(' '));
  throw new BadData(`invalid parameter: ${problems.join('; ')}`);
}

function numberText(value: number): string {
  if (Number.isFinite(value)) return String(value);
  return Number.isNaN(value) ? 'NaN' : `${value > 0 ? '+' : '-'}Inf`;
}

function errorOf(error: unknown): [code: number, errorType: string] {
  if (error instanceof BadData) return [400, 'bad_data'];
  if (error instanceof WorldError) return errorTypes[status[error.code]] ?? [500, 'internal'];
  return (error instanceof StatusError ? errorTypes[error.code] : undefined) ?? [500, 'internal'];
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes <= bodyBytesMax) chunks.push(chunk);
  }
  if (bytes > bodyBytesMax) throw new BadData(`the body has more than ${bodyBytesMax} bytes`);
  return Buffer.concat(chunks).toString('utf8');
}

function reply(response: ServerResponse, code: number, body: object): void {
  response.writeHead(code, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}
