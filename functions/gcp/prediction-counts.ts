/**
 * How many requests, errors and latencies had each DeployedModel? Monitoring's two metrics of predictions, for many endpoints
 * in two calls, with what was refused of them.
 */
import {
  addCounts,
  type EvidenceWindow,
  noCounts,
  UNATTRIBUTED,
  type VariantCounts,
} from '../../machines/analysis/evidence.ts';
import { deployedModelIdPattern } from '../engine/deployed-model-id.ts';
import { limits } from '../engine/limits.ts';
import type { Clients } from './clients.ts';
import {
  type CheckedSeries,
  countOf,
  distributionOf,
  readSeries,
  type SeriesLabels,
  type SeriesRequest,
} from './time-series.ts';

/** Requests by response code, whatever became of them. */
export const REQUESTS = 'metric.type="aiplatform.googleapis.com/prediction/online/response_count"';

const responseCount = {
  filter: REQUESTS,
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

export interface PredictionsRequest {
  project: string;
  endpointIds: string[];
  window: EvidenceWindow;
  periodMs: number;
}

/** What the two built-in metrics say of one endpoint. */
export interface Account {
  periods: Map<number, Record<string, VariantCounts>>;
  /** By the end of the period; null for what is of none. */
  notes: Map<number | null, string[]>;
  /** Ends of periods whose counts cannot be told. */
  spoiled: Set<number>;
}

/**
 * Reads what predictions did, by endpointKey. A fault in requests spoils its period for all variants of the endpoint; one in
 * latencies leaves all of them without latencies in it.
 */
export async function readPredictions(
  clients: Clients,
  { project, window, periodMs, endpointIds }: PredictionsRequest,
): Promise<Map<string, Account>> {
  const accounts = new Map<string, Account>();
  for (let from = 0; from < endpointIds.length; from += limits.endpointsPerQueryMax) {
    const ids = endpointIds.slice(from, from + limits.endpointsPerQueryMax);
    const request = ({ filter, groupByFields }: typeof responseCount): SeriesRequest => ({
      project,
      filter: [
        filter,
        'resource.type="aiplatform.googleapis.com/Endpoint"',
        `resource.labels.endpoint_id=one_of(${ids.map((id) => `"${id}"`).join(',')})`,
      ].join(' AND '),
      window,
      periodMs,
      aligner: 'ALIGN_DELTA',
      groupByFields,
      deadlineMs: limits.metricsDeadlineMs,
    });
    const [requests, durations] = await Promise.all([
      readSeries(clients, request(responseCount), countOf),
      readSeries(clients, request(latencies), distributionOf),
    ]);
    addSeries(accounts, requests, ({ metric }, count) => {
      const isError = (metric['response_code'] ?? '').startsWith('5');
      return { ...noCounts, requests: count, errors: isError ? count : 0 };
    });
    for (const { labels, text, spoils } of requests.faults) {
      const account = accountOf(accounts, labels);
      addNotes(account, spoils, `Requests of DeployedModel ${idOf(labels)}: ${text}.`);
      for (const end of spoils) account.spoiled.add(end);
    }
    const blind = new Set(durations.faults.flatMap(({ labels, spoils }) => spoils.map((end) => placeKey(labels, end))));
    const clear = durations.points.filter(({ labels, endAt }) => !blind.has(placeKey(labels, endAt)));
    addSeries(accounts, { points: clear, faults: [] }, (_, latencyMs) => ({ ...noCounts, latencyMs }));
    for (const { labels, text, spoils } of durations.faults) {
      addNotes(accountOf(accounts, labels), spoils, `Latencies of DeployedModel ${idOf(labels)}: ${text}.`);
    }
  }
  return accounts;
}

function addSeries<Value>(
  accounts: Map<string, Account>,
  { points }: CheckedSeries<Value>,
  countsOf: (labels: SeriesLabels, value: Value) => VariantCounts,
): void {
  for (const { labels, endAt, value } of points) {
    const { periods } = accountOf(accounts, labels);
    const variants = periods.get(endAt) ?? {};
    const id = idOf(labels);
    variants[id] = addCounts(variants[id] ?? noCounts, countsOf(labels, value));
    periods.set(endAt, variants);
  }
}

export const noAccount = (): Account => ({ periods: new Map(), notes: new Map(), spoiled: new Set() });

function accountOf(accounts: Map<string, Account>, labels: SeriesLabels): Account {
  const key = endpointOf(labels);
  const account = accounts.get(key) ?? noAccount();
  accounts.set(key, account);
  return account;
}

function addNotes({ notes }: Account, ends: number[], note: string): void {
  for (const end of ends.length === 0 ? [null] : ends) notes.set(end, [...(notes.get(end) ?? []), note]);
}

/** As endpointKey() names it. */
function endpointOf({ resource }: SeriesLabels): string {
  return `${resource['location'] ?? ''}~${resource['endpoint_id'] ?? ''}`;
}

function placeKey(labels: SeriesLabels, endAt: number): string {
  return `${endpointOf(labels)} ${endAt}`;
}

/** What no DeployedModel is called names none. */
function idOf({ metric }: SeriesLabels): string {
  const id = metric['deployed_model_id'] ?? '';
  return deployedModelIdPattern.test(id) ? id : UNATTRIBUTED;
}
