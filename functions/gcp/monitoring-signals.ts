/** What do the owner's checks on Cloud Monitoring metrics see? Each filter is listed once for all endpoints that ask. */
import type { Histogram } from '../../machines/analysis/evidence.ts';
import type { CheckPolicy } from '../../machines/policy/policy.ts';
import { endpointKey, parseEndpointName } from '../../machines/rollout/resource-name.ts';
import { mapLimited } from '../engine/concurrency.ts';
import { isPlatformError } from '../engine/errors.ts';
import { limits } from '../engine/limits.ts';
import {
  addNumber,
  addSignals,
  type Identity,
  noNumbers,
  type Numbers,
  ownersOf,
  sharedDeadline,
  type Shape,
  shapeOf,
  textFor,
} from './check-signals.ts';
import type { Clients } from './clients.ts';
import { REQUESTS } from './prediction-counts.ts';
import type { SignalAnswer, SignalQuery, SignalReader } from './signals.ts';
import {
  type CheckedSeries,
  countOf,
  distributionOf,
  gaugeOf,
  readSeries,
  type SeriesLabels,
  type SeriesRequest,
} from './time-series.ts';

const ENDPOINT = 'aiplatform.googleapis.com/Endpoint';
const isOnEndpoints = new RegExp(
  `resource\\.type\\s*=\\s*"${ENDPOINT}"|metric\\.type\\s*=\\s*"aiplatform.googleapis.com/prediction/online/(?!deployment_resource_pool/)`,
);
const namesEndpoints = /resource\.labels?\.endpoint_id/;
const valueReaders = { count: countOf, histogram: distributionOf, value: gaugeOf };

interface Reading {
  filter: string;
  shape: Shape;
}

/** One reading of one window, and everybody who asks for it. */
interface Job extends Reading {
  project: string;
  askers: SignalQuery[];
}

/** By endpointKey; a text says why there are none. */
type Answers = Map<string, Numbers> | string;

/**
 * SignalReader over ListTimeSeries. A rate's filters count: DELTA or CUMULATIVE metrics of whole numbers; trials without a
 * filter are requests. Quantiles and drift read DELTA or CUMULATIVE distributions, a limit the newest value of a GAUGE.
 *
 * A series names its variant by the label `deployed_model_id` and its endpoint by `endpoint_id`, of the metric or else of the
 * resource; see ownersOf() for one without. Series of one variant are combined, whatever else they differ in. Filters on
 * metrics of Vertex's endpoints are narrowed to those that ask.
 */
export function filterSignals(clients: Clients): SignalReader {
  return {
    kind: 'filter',
    async read(queries) {
      const find = await readAll(
        clients,
        queries.flatMap((query) => query.checks.flatMap(readingsOf).map((reading) => ({ query, reading }))),
      );
      return queries.map((query) => answerOf(query, (reading) => find(query, reading)));
    },
  };
}

/** The requests that each query's DeployedModels had, for sources that know only of hits; a text says why not. */
export async function readRequests(clients: Clients, queries: SignalQuery[]): Promise<(Numbers | string)[]> {
  const reading: Reading = { filter: REQUESTS, shape: 'count' };
  const find = await readAll(
    clients,
    queries.map((query) => ({ query, reading })),
  );
  return queries.map((query) => find(query, reading));
}

/** Of a rate, hits and then trials. */
function readingsOf(check: CheckPolicy): Reading[] {
  if (check.from.kind !== 'filter') return [];
  const { filter, of } = check.from;
  const shape = shapeOf(check);
  return shape === 'count'
    ? [
        { filter, shape },
        { filter: of ?? REQUESTS, shape },
      ]
    : [{ filter, shape }];
}

async function readAll(
  clients: Clients,
  asked: { query: SignalQuery; reading: Reading }[],
): Promise<(query: SignalQuery, reading: Reading) => Numbers | string> {
  const jobs = new Map<string, Job>();
  for (const { query, reading } of asked) {
    const key = jobKey(query, reading);
    const { project = '' } = parseEndpointName(query.endpoint) ?? {};
    const job = jobs.get(key) ?? { ...reading, project, filter: textFor(reading.filter, query), askers: [] };
    jobs.set(key, { ...job, askers: [...job.askers, query] });
  }
  const leftMs = sharedDeadline(limits.metricsDeadlineMs);
  const answers = await mapLimited([...jobs.values()], limits.signalCallsMax, (job) => runJob(clients, job, leftMs));
  const byKey = new Map([...jobs.keys()].map((key, i) => [key, answers[i]]));
  return (query, reading) => {
    const answer = byKey.get(jobKey(query, reading)) ?? new Map<string, Numbers>();
    return typeof answer === 'string' ? answer : (answer.get(endpointKey(query.endpoint)) ?? noNumbers());
  };
}

function jobKey(query: SignalQuery, { filter, shape }: Reading): string {
  const { endpoint, window, periodMs } = query;
  const project = parseEndpointName(endpoint)?.project;
  return JSON.stringify([project, window.fromAt, window.toAt, periodMs, shape, textFor(filter, query)]);
}

async function runJob(clients: Clients, job: Job, leftMs: () => number): Promise<Answers> {
  const { project, shape, askers } = job;
  const numbers = new Map(askers.map(({ endpoint }) => [endpointKey(endpoint), noNumbers()]));
  const [first] = askers;
  if (first === undefined) return numbers;
  const { window, periodMs } = first;
  const aligner = shape === 'value' ? 'ALIGN_NEXT_OLDER' : 'ALIGN_DELTA';
  try {
    for (const filter of filtersOf(job)) {
      // Not reduced by the service: which labels there are to group by differs from metric to metric.
      const request: SeriesRequest = {
        project,
        filter,
        window,
        periodMs,
        aligner,
        groupByFields: [],
        deadlineMs: leftMs(),
      };
      share(await readSeries<number | Histogram>(clients, request, valueReaders[shape]), job, numbers);
    }
    return numbers;
  } catch (error) {
    if (isPlatformError(error)) return error.message;
    throw error;
  }
}

function filtersOf({ filter, askers }: Job): string[] {
  if (!isOnEndpoints.test(filter) || namesEndpoints.test(filter)) return [filter];
  const ids = [...new Set(askers.map(({ endpoint }) => parseEndpointName(endpoint)?.id ?? ''))];
  const parts = Array.from({ length: Math.ceil(ids.length / limits.endpointsPerQueryMax) }, (_, i) =>
    ids.slice(i * limits.endpointsPerQueryMax, (i + 1) * limits.endpointsPerQueryMax),
  );
  return parts.map(
    (part) => `${filter} AND resource.labels.endpoint_id=one_of(${part.map((id) => `"${id}"`).join(',')})`,
  );
}

/** Gives each point and each fault to the endpoint that it tells of. What tells of none that ask is somebody else's. */
function share(
  { points, faults }: CheckedSeries<number | Histogram>,
  { filter, shape, askers }: Job,
  numbers: Map<string, Numbers>,
): void {
  const spoil = (owners: SignalQuery[], note: string, ends: number[]): void => {
    for (const { endpoint } of owners) {
      const own = numbers.get(endpointKey(endpoint));
      own?.notes.push(note);
      for (const end of ends) own?.spoiled.add(end);
    }
  };
  for (const { labels, endAt, value } of points) {
    const identity = identityOf(labels);
    const { endpointId, deployedModelId: id } = identity;
    const owners = ownersOf(identity, askers);
    const [owner] = owners;
    if (id === undefined) {
      // Predictions that fail before a model is picked have none; that is said nowhere else, and no fault.
      if (filter !== REQUESTS) {
        spoil(
          endpointId === undefined ? askers : owners,
          'a series without a label deployed_model_id counts for none',
          [],
        );
      }
    } else if (owners.length > 1) {
      const note = `several endpoints have a DeployedModel ${id}, and a series does not say which; add a label endpoint_id, or {endpoint} to the filter`;
      spoil(owners, note, [endAt]);
    } else if (owner !== undefined) {
      addNumber(numbers.get(endpointKey(owner.endpoint)) ?? noNumbers(), shape, endAt, id, value);
    }
  }
  for (const { labels, text, spoils } of faults) {
    const identity = identityOf(labels);
    spoil(ownersOf(identity, askers), `DeployedModel ${identity.deployedModelId ?? 'unknown'}: ${text}`, spoils);
  }
}

function identityOf({ metric, resource, resourceType }: SeriesLabels): Identity {
  return {
    endpointId: metric['endpoint_id'] || resource['endpoint_id'] || undefined,
    // Of other resources, it is where the writer runs.
    location: resourceType === ENDPOINT ? resource['location'] : undefined,
    deployedModelId: metric['deployed_model_id'] || resource['deployed_model_id'] || undefined,
  };
}

function answerOf(query: SignalQuery, find: (reading: Reading) => Numbers | string): SignalAnswer {
  const answer: SignalAnswer = { periods: new Map(), notes: [] };
  for (const check of query.checks) {
    const [numbers = noNumbers(), more] = readingsOf(check).map(find);
    if (typeof numbers === 'string') answer.notes.push(`Check "${check.name}" could not be read: ${numbers}`);
    else if (typeof more === 'string') answer.notes.push(`Check "${check.name}" could not be read: ${more}`);
    else addSignals(answer, check, query, numbers, more);
  }
  return answer;
}
