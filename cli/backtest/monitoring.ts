/**
 * What does an export of Cloud Monitoring say? The JSON answers of ListTimeSeries, one page or an array of pages, with
 * response_count by DeployedModel and response code, and prediction_latencies by DeployedModel.
 */
import { readFile, stat } from 'node:fs/promises';
import { z } from 'zod';
import { noCounts, UNATTRIBUTED, type VariantCounts } from '../../machines/analysis/evidence.ts';
import { parseEndpointName } from '../../machines/rollout/resource-name.ts';
import { distributionSchema, histogramOf } from '../../functions/gcp/distribution.ts';
import { CliError, exitCodes } from '../world.ts';
import { createFindings, finishRecording, type Findings, type Recording } from './recording.ts';
import { createTable } from './table.ts';
import { BadValue, countOf, instantOf, variantOf } from './values.ts';
import { messageOf } from '../../functions/engine/errors.ts';

/** JSON is parsed as a whole; a week of minutes of two variants is some 20 MB. */
const BYTES_MAX = 256 * 1024 * 1024;

const labelsSchema = z.object({ labels: z.record(z.string(), z.string()).optional() });

const seriesSchema = z.object({
  metric: labelsSchema.extend({ type: z.string() }),
  resource: labelsSchema.optional(),
  metricKind: z.string().optional(),
  points: z.array(
    z.object({
      interval: z.object({ startTime: z.unknown().optional(), endTime: z.unknown() }),
      value: z.record(z.string(), z.unknown()),
    }),
  ),
});

const pageSchema = z.object({
  timeSeries: z.array(seriesSchema).optional(),
  nextPageToken: z.string().optional(),
  executionErrors: z.array(z.unknown()).optional(),
});

type Series = z.output<typeof seriesSchema>;

interface Placed {
  place: string;
  series: Series;
}

/**
 * Reads the export of the endpoint. Throws a CliError that names every series and point that cannot be used.
 * @param endpoint the policy's: where the export has several endpoints, this one is meant
 */
export async function readMonitoring(path: string, endpoint: string, windowMs: number | null): Promise<Recording> {
  const findings = createFindings();
  const all = pagesOf(path, await readJson(path), findings);
  findings.settle();
  const chosen = ofEndpoint(path, all, endpoint, findings);
  const cumulative = new Set(
    chosen.filter(({ series }) => series.metricKind === 'CUMULATIVE').map(({ series }) => nameOf(series)),
  );
  const table = createTable(
    { file: path, stampedAt: 'end', isOrdered: false, isCumulative: (name) => cumulative.has(name), windowMs },
    findings,
  );
  const span: Span = { ms: null };
  for (const { place, series } of chosen) {
    if (!isCounted(series)) {
      findings.note(
        `${series.metric.type} is not read; the rule looks at response_count and prediction_latencies (total)`,
        place,
      );
      continue;
    }
    if (series.metricKind !== undefined && !['DELTA', 'CUMULATIVE'].includes(series.metricKind)) {
      findings.refuse(
        place,
        `expected counts (DELTA or CUMULATIVE), got ${series.metricKind}; export with ALIGN_DELTA and REDUCE_SUM`,
      );
      continue;
    }
    for (const [i, point] of series.points.entries()) {
      const at = `${place}.points[${i}]`;
      try {
        const endAt = instantOf(point.interval.endTime);
        if (series.metricKind !== 'CUMULATIVE' && windowMs === null) checkSpan(point.interval.startTime, endAt, span);
        const counts = countsOf(series, point.value);
        const variant = variantOf(series.metric.labels?.['deployed_model_id'] || UNATTRIBUTED);
        table.add({ place: at, series: nameOf(series), variant, at: endAt, counts });
      } catch (error) {
        if (!(error instanceof BadValue)) throw error;
        findings.refuse(at, error.message);
      }
    }
  }
  findings.settle();
  const { windows, windowMs: length } = table.finish();
  return finishRecording(path, windows, length, findings);
}

async function readJson(path: string): Promise<unknown> {
  try {
    const { size } = await stat(path);
    if (size > BYTES_MAX) throw new Error(`${size} bytes, and ${BYTES_MAX} are read at most; export fewer days`);
    return JSON.parse(await readFile(path, 'utf8'));
  } catch (error) {
    const problem = messageOf(error);
    throw new CliError(`Expected the JSON of ListTimeSeries in ${path}, got: ${problem}`, {
      exitCode: exitCodes.usage,
    });
  }
}

function pagesOf(path: string, json: unknown, findings: Findings): Placed[] {
  const pages = Array.isArray(json) ? json : [json];
  return pages.flatMap((raw, k) => {
    const at = Array.isArray(json) ? `${path} [${k}]` : path;
    const parsed = pageSchema.safeParse(raw);
    if (!parsed.success) {
      for (const { path: where, message } of parsed.error.issues.slice(0, 3)) {
        findings.refuse(`${at} ${where.join('.')}`, `${message}; expected an answer of ListTimeSeries`);
      }
      return [];
    }
    const { timeSeries, nextPageToken, executionErrors } = parsed.data;
    if ((executionErrors?.length ?? 0) > 0)
      findings.refuse(at, 'expected a whole answer, got one with executionErrors; ask again');
    if (nextPageToken !== undefined && nextPageToken !== '' && k === pages.length - 1) {
      findings.refuse(at, 'expected the last page, got one with a nextPageToken; put all pages into one array');
    }
    if (timeSeries === undefined) findings.note('a page has no series', at);
    return (timeSeries ?? []).map((series, i) => ({ place: `${at} timeSeries[${i}]`, series }));
  });
}

function ofEndpoint(path: string, all: Placed[], endpoint: string, findings: Findings): Placed[] {
  const idOf = ({ series }: Placed): string | undefined => series.resource?.labels?.['endpoint_id'];
  const ids = [...new Set(all.map(idOf))];
  if (ids.length <= 1) return all;
  const wanted = parseEndpointName(endpoint)?.id;
  const chosen = all.filter((placed) => idOf(placed) === wanted);
  if (chosen.length === 0) {
    findings.refuse(
      path,
      `expected series of endpoint ${wanted}, which the policy names, got those of ${ids.join(', ')}`,
    );
    findings.settle();
  }
  findings.note(`series of other endpoints than ${wanted} were left out`, path);
  return chosen;
}

function isCounted({ metric }: Series): boolean {
  const latencyType = metric.labels?.['latency_type'] ?? 'total';
  return isRequests(metric.type) || (metric.type.endsWith('/prediction_latencies') && latencyType === 'total');
}

function isRequests(type: string): boolean {
  return type.endsWith('/response_count');
}

/** The same name for the same labels, in whatever order an export has them. */
function nameOf({ metric, resource }: Series): string {
  return JSON.stringify([metric.type, sorted(metric.labels), sorted(resource?.labels)]);
}

function sorted(labels: Record<string, string> = {}): [string, string][] {
  return Object.entries(labels).toSorted(([a], [b]) => (a < b ? -1 : 1));
}

interface Span {
  ms: number | null;
}

/** Points of different lengths overlap, and would be counted in two windows or in none. */
function checkSpan(startTime: unknown, endAt: number, span: Span): void {
  const startAt = instantOf(startTime);
  // An unaligned point begins a moment after the one before has ended.
  const ms = Math.round((endAt - startAt) / 1000) * 1000;
  if (ms <= 0) throw new BadValue('expected an interval that ends after it begins, got one that does not');
  span.ms ??= ms;
  if (ms === span.ms) return;
  throw new BadValue(
    `expected an interval of ${span.ms / 1000} s as before, got ${ms / 1000} s; export with one alignmentPeriod`,
  );
}

function countsOf({ metric }: Series, value: Record<string, unknown>): VariantCounts {
  const { int64Value, distributionValue } = value;
  if (isRequests(metric.type)) {
    if (int64Value === undefined)
      throw new BadValue(
        `expected an int64Value, got ${Object.keys(value).join() || 'none'}; a rate cannot be counted`,
      );
    const requests = countOf('requests', int64Value);
    // An error is a response of class 5, as the controller reads it.
    const isError = (metric.labels?.['response_code'] ?? '').startsWith('5');
    return { ...noCounts, requests, errors: isError ? requests : 0 };
  }
  const parsed = distributionSchema.safeParse(distributionValue);
  if (distributionValue === undefined)
    throw new BadValue(`expected a distributionValue, got ${Object.keys(value).join() || 'none'}`);
  if (!parsed.success) throw new BadValue(parsed.error.issues.map(({ message }) => message).join('; '));
  const histogram = histogramOf(parsed.data);
  if (parsed.data.count > 0 && histogram.bounds.length === 0) {
    throw new BadValue('expected a distribution with buckets, got one without; export with ALIGN_DELTA');
  }
  const counts = histogram.counts.map((each) => countOf('latencies in a bucket', each));
  return { ...noCounts, latencyMs: { ...histogram, counts } };
}
