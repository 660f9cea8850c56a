/**
 * How did each variant do in a window? MetricsPort over Cloud Monitoring: two calls, one for requests by response code
 * and one for latencies, answer for all endpoints that ask about the same window.
 *
 * An error is a response of class 5. A 4xx is the caller's mistake: it counts as a request and not as an error.
 */
import { z } from 'zod';
import {
  addCounts,
  type Evidence,
  type EvidenceWindow,
  noCounts,
  UNATTRIBUTED,
  type VariantCounts,
} from '../../machines/analysis/evidence.ts';
import { endpointKey, parseEndpointName } from '../../machines/rollout/resource-name.ts';
import type { Environment } from '../engine/environment.ts';
import { PermanentError, TransientError } from '../engine/errors.ts';
import { limits } from '../engine/limits.ts';
import type { MetricsPort, MetricsQuery } from '../engine/ports.ts';
import type { Clients } from './clients.ts';
import { distributionSchema, histogramOf } from './distribution.ts';
import { call, parseReply } from './status.ts';

/** Cloud Monitoring refuses to align over less. The emulator does not. */
const ALIGNMENT_SECONDS_MIN = 60;

const responseCount = {
  filter: 'metric.type="aiplatform.googleapis.com/prediction/online/response_count"',
  groupByFields: [
    'resource.label.location',
    'resource.label.endpoint_id',
    'metric.label.deployed_model_id',
    'metric.label.response_code',
  ],
};

const latencies = {
  filter:
    'metric.type="aiplatform.googleapis.com/prediction/online/prediction_latencies" AND metric.labels.latency_type="total"',
  groupByFields: ['resource.label.location', 'resource.label.endpoint_id', 'metric.label.deployed_model_id'],
};

const labelsSchema = z.object({ labels: z.record(z.string(), z.string()) });

const seriesSchema = z.object({
  resource: labelsSchema,
  metric: labelsSchema.nullish(),
  points: z.array(
    z.object({
      value: z.object({
        // An int64 arrives as a string, so that none is rounded.
        int64Value: z.coerce.number().nullish(),
        distributionValue: distributionSchema.nullish(),
      }),
    }),
  ),
});

/** With `autoPaginate: false` the client gives [items, next request, response]. */
const pageSchema = z.tuple([
  z.array(seriesSchema).nullable(),
  z.unknown(),
  z.object({
    nextPageToken: z.string().nullish(),
    executionErrors: z.array(z.object({ message: z.string() })).nullish(),
  }),
]);

type Series = z.output<typeof seriesSchema>;
type Query = typeof responseCount;

/** Variants by endpointKey, then by DeployedModel id. */
type Counts = Map<string, Record<string, VariantCounts>>;

/**
 * MetricsPort over the real Monitoring client. The `window` of an answer is the one that was read: whole seconds that end
 * where the asked window ends. It is empty where the asked one is shorter than Monitoring can align over.
 */
export function monitoringMetrics(clients: Clients, environment: Environment): MetricsPort {
  const secondsMin = environment.emulators.monitoring === null ? ALIGNMENT_SECONDS_MIN : 1;

  async function readGroup({ project, window, endpointIds }: Group): Promise<Counts> {
    const counts: Counts = new Map();
    if (window.toAt === window.fromAt) return counts;
    for (let from = 0; from < endpointIds.length; from += limits.endpointsPerQueryMax) {
      const ids = endpointIds.slice(from, from + limits.endpointsPerQueryMax);
      const [requests, durations] = await Promise.all([
        list(clients, project, window, ids, responseCount),
        list(clients, project, window, ids, latencies),
      ]);
      for (const series of requests) add(counts, series, requestsOf(series));
      for (const series of durations) add(counts, series, durationsOf(series));
    }
    return counts;
  }

  return {
    async read(queries) {
      const groups = groupsOf(queries, secondsMin);
      const answers = new Map(
        await Promise.all([...groups].map(async ([key, group]) => [key, await readGroup(group)] as const)),
      );
      return queries.map((query): Evidence => {
        const { key, window } = placeOf(query, secondsMin);
        const variants = answers.get(key)?.get(endpointKey(query.endpoint)) ?? {};
        return { window, source: 'monitoring', variants };
      });
    },
  };
}

interface Group {
  project: string;
  window: EvidenceWindow;
  endpointIds: string[];
}

function groupsOf(queries: MetricsQuery[], secondsMin: number): Map<string, Group> {
  const groups = new Map<string, Group>();
  for (const query of queries) {
    const { key, project, id, window } = placeOf(query, secondsMin);
    const group = groups.get(key) ?? { project, window, endpointIds: [] };
    if (!group.endpointIds.includes(id)) group.endpointIds.push(id);
    groups.set(key, group);
  }
  return groups;
}

function placeOf({ endpoint, window: asked }: MetricsQuery, secondsMin: number) {
  const parsed = parseEndpointName(endpoint);
  if (parsed === null) {
    throw new PermanentError('invalidArgument', `"${endpoint}" is not projects/P/locations/L/endpoints/E`);
  }
  // One alignment period over all of the window gives one point. It must not begin before the window does, or requests of
  // an earlier step would count for this one: so the period is cut to whole seconds, and a window too short is not read.
  const seconds = Math.floor((asked.toAt - asked.fromAt) / 1000);
  const window = { fromAt: asked.toAt - (seconds < secondsMin ? 0 : seconds * 1000), toAt: asked.toAt };
  return { ...parsed, window, key: `${parsed.project} ${window.fromAt} ${window.toAt}` };
}

async function list(
  clients: Clients,
  project: string,
  window: EvidenceWindow,
  endpointIds: string[],
  { filter, groupByFields }: Query,
): Promise<Series[]> {
  const name = `ListTimeSeries of projects/${project} (${filter})`;
  const request = {
    name: `projects/${project}`,
    filter: [
      filter,
      'resource.type="aiplatform.googleapis.com/Endpoint"',
      `resource.labels.endpoint_id=one_of(${endpointIds.map((id) => `"${id}"`).join(',')})`,
    ].join(' AND '),
    interval: { startTime: timestamp(window.fromAt), endTime: timestamp(window.toAt) },
    view: 'FULL' as const,
    aggregation: {
      alignmentPeriod: { seconds: (window.toAt - window.fromAt) / 1000 },
      perSeriesAligner: 'ALIGN_DELTA' as const,
      crossSeriesReducer: 'REDUCE_SUM' as const,
      groupByFields,
    },
    pageSize: 100_000,
  };
  return call(name, limits.metricsDeadlineMs, async (options) => {
    const client = await clients.metrics();
    const found: Series[] = [];
    let pageToken = '';
    for (let page = 0; page < limits.pagesMax; page++) {
      const reply = await client.listTimeSeries({ ...request, pageToken }, { ...options, autoPaginate: false });
      const [series, , response] = parseReply(name, pageSchema, reply);
      const [broken] = response.executionErrors ?? [];
      // Part of the answer would be judged as if it were all of it.
      if (broken !== undefined) throw new TransientError('unavailable', `${name}: incomplete: ${broken.message}`);
      found.push(...(series ?? []));
      pageToken = response.nextPageToken ?? '';
      if (pageToken === '') return found;
    }
    throw new PermanentError(
      'internal',
      `${name}: more than ${limits.pagesMax} pages; ask for fewer endpoints at once`,
    );
  });
}

function add(counts: Counts, { resource, metric }: Series, more: VariantCounts[]): void {
  const key = `${resource.labels['location'] ?? ''}~${resource.labels['endpoint_id'] ?? ''}`;
  const variants = counts.get(key) ?? {};
  const id = metric?.labels['deployed_model_id'] || UNATTRIBUTED;
  for (const one of more) variants[id] = addCounts(variants[id] ?? noCounts, one);
  counts.set(key, variants);
}

function requestsOf({ metric, points }: Series): VariantCounts[] {
  const isError = (metric?.labels['response_code'] ?? '').startsWith('5');
  return points.map(({ value }) => {
    const requests = value.int64Value ?? 0;
    return { ...noCounts, requests, errors: isError ? requests : 0 };
  });
}

function durationsOf({ points }: Series): VariantCounts[] {
  return points.flatMap(({ value }) =>
    value.distributionValue == null ? [] : [{ ...noCounts, latencyMs: histogramOf(value.distributionValue) }],
  );
}

function timestamp(at: number) {
  return { seconds: Math.floor(at / 1000), nanos: (at % 1000) * 1_000_000 };
}
