/** What do the owner's checks in PromQL see? Each query is asked once for a window, and answers all periods of it. */
import { z } from 'zod';
import type { Histogram } from '../../machines/analysis/evidence.ts';
import type { CheckPolicy } from '../../machines/policy/policy.ts';
import { parseEndpointName } from '../../machines/rollout/resource-name.ts';
import { mapLimited } from '../engine/concurrency.ts';
import { isPlatformError, PermanentError, TransientError } from '../engine/errors.ts';
import { limits } from '../engine/limits.ts';
import {
  addNumber,
  addSignals,
  type Numbers,
  noNumbers,
  ownersOf,
  periodThat,
  type Shape,
  shapeOf,
  sharedDeadline,
  textFor,
} from './check-signals.ts';
import type { Clients } from './clients.ts';
import { boundsMax } from './distribution.ts';
import { readRequests } from './monitoring-signals.ts';
import { post } from './rest.ts';
import type { SignalAnswer, SignalQuery, SignalReader } from './signals.ts';
import { call } from './status.ts';
import { instant, periodEnds } from './time-series.ts';

const seriesSchema = z.object({
  metric: z.record(z.string(), z.string()),
  /** Pairs of seconds since the epoch and a number as text, which may be `NaN` or `+Inf`. */
  values: z.array(z.tuple([z.number(), z.string()])),
});

/** @see https://prometheus.io/docs/prometheus/latest/querying/api/#range-queries */
const replySchema = z.union([
  z.object({
    status: z.literal('success'),
    data: z.object({ resultType: z.literal('matrix'), result: z.array(seriesSchema) }),
  }),
  z.object({ status: z.literal('error'), errorType: z.string(), error: z.string() }),
]);

type Series = z.output<typeof seriesSchema>;

/**
 * SignalReader over Monitoring's Prometheus API. Results name their variant by the label `deployed_model_id`; where there is
 * an `endpoint_id` too, it must be the endpoint's. Of a rate the query counts hits and `of` trials (without it, requests);
 * quantiles and drift read buckets by `le`; a limit reads the value. Counts are rounded, because `increase` extrapolates.
 */
export function promqlSignals(clients: Clients): SignalReader {
  return {
    kind: 'promql',
    async read(queries) {
      const asked = queries.flatMap((query) => query.checks.flatMap(textsOf).map((text) => ({ query, text })));
      const jobs = new Map(
        asked.map(({ query, text }) => [jobKey(query, text), { query, text: textFor(text, query) }]),
      );
      const leftMs = sharedDeadline(limits.metricsDeadlineMs);
      const answers = await mapLimited([...jobs.values()], limits.signalCallsMax, (job) => ask(clients, job, leftMs));
      const byKey = new Map([...jobs.keys()].map((key, i) => [key, answers[i] ?? []]));
      const needy = queries.filter(({ checks }) => checks.some(isAgainstRequests));
      const requests = await readRequests(clients, needy);
      return queries.map((query): SignalAnswer => {
        const answer: SignalAnswer = { periods: new Map(), notes: [] };
        for (const check of query.checks) {
          const shape = shapeOf(check);
          const [numbers = noNumbers(), more] = textsOf(check).map((text) => {
            const found = byKey.get(jobKey(query, text)) ?? [];
            return typeof found === 'string' ? found : numbersOf(found, shape, query);
          });
          const trials = isAgainstRequests(check) ? requests[needy.indexOf(query)] : more;
          if (typeof numbers === 'string') answer.notes.push(`Check "${check.name}" could not be read: ${numbers}`);
          else if (typeof trials === 'string') answer.notes.push(`Check "${check.name}" could not be read: ${trials}`);
          else addSignals(answer, check, query, numbers, trials);
        }
        return answer;
      });
    },
  };
}

/** Of a rate, the hits and, where the check has them, the trials. */
function textsOf({ from, rule }: CheckPolicy): string[] {
  if (from.kind !== 'promql') return [];
  return rule.kind === 'rate' && from.of !== null ? [from.query, from.of] : [from.query];
}

function isAgainstRequests({ from, rule }: CheckPolicy): boolean {
  return from.kind === 'promql' && rule.kind === 'rate' && from.of === null;
}

function jobKey(query: SignalQuery, text: string): string {
  const { window, periodMs, endpoint } = query;
  const project = parseEndpointName(endpoint)?.project;
  return JSON.stringify([project, window.fromAt, window.toAt, periodMs, textFor(text, query)]);
}

/** The series of an answer, or why there is none. */
async function ask(
  clients: Clients,
  { query, text }: { query: SignalQuery; text: string },
  leftMs: () => number,
): Promise<Series[] | string> {
  const { window, periodMs, endpoint } = query;
  const project = parseEndpointName(endpoint)?.project ?? '';
  const name = `query_range of projects/${project} (${text})`;
  const body = new URLSearchParams({
    query: text,
    start: String((window.fromAt + periodMs) / 1000),
    end: String(window.toAt / 1000),
    step: String(periodMs / 1000),
  });
  try {
    const deadlineMs = leftMs();
    return await call(name, deadlineMs, async () => {
      const path = `/v1/projects/${project}/location/global/prometheus/api/v1/query_range`;
      const bytesMax = limits.promqlAnswerBytesMax;
      return parseAnswer(await post(await clients.monitoringRest(), path, { body, deadlineMs, bytesMax }));
    });
  } catch (error) {
    if (isPlatformError(error)) return error.message;
    throw error;
  }
}

function parseAnswer({ status, json, text }: Awaited<ReturnType<typeof post>>): Series[] {
  const parsed = replySchema.safeParse(json);
  if (parsed.success && parsed.data.status === 'error') {
    throw new PermanentError('invalidArgument', `HTTP ${status}, ${parsed.data.errorType}: ${parsed.data.error}`);
  }
  if (parsed.success && parsed.data.status === 'success' && status === 200) return parsed.data.data.result;
  const start = text.slice(0, 200);
  throw new TransientError('unavailable', `expected Prometheus' JSON with a matrix, got HTTP ${status}: ${start}`);
}

function numbersOf(series: Series[], shape: Shape, query: SignalQuery): Numbers {
  const numbers = noNumbers();
  const ends = new Set(periodEnds(query.window, query.periodMs));
  /** Cumulative counts by period, variant and bound. */
  const buckets = new Map<number, Map<string, Map<number, number>>>();
  for (const { metric, values } of series) {
    const identity = { endpointId: metric['endpoint_id'], deployedModelId: metric['deployed_model_id'] };
    const id = identity.deployedModelId;
    if (id === undefined) {
      numbers.notes.push('a result without a label deployed_model_id counts for none; add "by (deployed_model_id)"');
      continue;
    }
    if (ownersOf(identity, [query]).length === 0) continue;
    for (const [seconds, text] of values) {
      const endAt = Math.round(seconds * 1000);
      const refuse = (reason: string): void => {
        numbers.notes.push(`DeployedModel ${id}: ${reason}; ${periodThat(endAt)} is left out`);
        numbers.spoiled.add(endAt);
      };
      const number = Number(text === '' ? Number.NaN : text);
      const value = shape === 'value' ? number : Math.round(number);
      if (!ends.has(endAt)) {
        numbers.notes.push(`DeployedModel ${id}: a result of ${instant(endAt)} was not asked for, and is dropped`);
      } else if (!Number.isFinite(value) || (shape !== 'value' && !(Number.isSafeInteger(value) && number >= 0))) {
        refuse(`got ${text}, expected ${shape === 'value' ? 'a finite number' : 'a count from 0 to 2^53'}`);
      } else if (shape !== 'histogram') {
        addNumber(numbers, shape, endAt, id, value);
      } else {
        const bound = boundOf(metric['le']);
        if (bound === null) refuse(`got a result with le="${metric['le'] ?? ''}", expected a number or +Inf`);
        else addBucket(buckets, endAt, id, bound, value);
      }
    }
  }
  for (const [endAt, variants] of buckets) {
    for (const [id, byBound] of variants) {
      const histogram = histogramOf(byBound);
      if (typeof histogram === 'string') {
        numbers.notes.push(`DeployedModel ${id}: ${histogram}; ${periodThat(endAt)} is left out`);
        numbers.spoiled.add(endAt);
      } else {
        addNumber(numbers, shape, endAt, id, histogram);
      }
    }
  }
  return numbers;
}

/** Null for what is neither a number nor +Inf. */
function boundOf(le: string | undefined): number | null {
  if (le === '+Inf') return Number.POSITIVE_INFINITY;
  const bound = Number(le === '' ? undefined : le);
  return Number.isFinite(bound) ? bound : null;
}

function addBucket(
  buckets: Map<number, Map<string, Map<number, number>>>,
  endAt: number,
  id: string,
  bound: number,
  value: number,
): void {
  const variants = buckets.get(endAt) ?? new Map<string, Map<number, number>>();
  const byBound = variants.get(id) ?? new Map<number, number>();
  byBound.set(bound, (byBound.get(bound) ?? 0) + value);
  variants.set(id, byBound);
  buckets.set(endAt, variants);
}

/** Prometheus' buckets count all up to their bound; ours count what lies between two. */
function histogramOf(byBound: Map<number, number>): Histogram | string {
  const cumulative = [...byBound].toSorted(([a], [b]) => a - b);
  if (cumulative.at(-1)?.[0] !== Number.POSITIVE_INFINITY) return 'the buckets lack le="+Inf"';
  if (cumulative.length > boundsMax + 1) return `got ${cumulative.length} buckets, expected at most ${boundsMax + 1}`;
  const counts = cumulative.map(([, value], i) => value - (cumulative[i - 1]?.[1] ?? 0));
  if (counts.some((count) => count < 0)) return 'the buckets do not ascend: a higher le counts less than a lower one';
  return { bounds: cumulative.slice(0, -1).map(([bound]) => bound), counts };
}
