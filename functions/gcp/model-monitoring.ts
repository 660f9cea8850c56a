/**
 * How far have the features moved, as Vertex AI Model Monitoring sees it? The greatest deviation of each DeployedModel.
 *
 * Statistics cover an hour or more and come long after their last minute, so each read looks back to when the canary's
 * share took effect. The newest of each feature count, if of data since then, and are told in the last period.
 */
import type { CheckPolicy } from '../../machines/policy/policy.ts';
import { mapLimited } from '../engine/concurrency.ts';
import { isPlatformError, PermanentError, TransientError } from '../engine/errors.ts';
import { limits } from '../engine/limits.ts';
import type { Clients } from './clients.ts';
import { type Budget, type Deviation, type Monitor, monitorOpener, once } from './monitors.ts';
import type { SignalAnswer, SignalQuery, SignalReader } from './signals.ts';

/** As evidence holds them; a reply that breaks the contract at every statistic makes a long message. */
const noteCharsMax = 1000;

type OpenMonitor = (resource: string) => Promise<Monitor>;

/**
 * SignalReader over Model Monitoring v1 and v2. A variant without statistics since the share took effect has no signal,
 * nor has one of whose newest statistics any had to be refused: the greatest of the others may not be the greatest.
 * `{version}` in a resource stands for the canary's version, for a monitor (v2) is of one version.
 */
export function modelMonitoringSignals(clients: Clients): SignalReader {
  return {
    kind: 'modelMonitoring',
    read(queries) {
      const budget = budgetOf(limits.metricsDeadlineMs);
      // One look at a resource serves all who name it: it looks back as far as the earliest of them.
      const open = once((resource) => openFor(clients, resource, queries, budget));
      return mapLimited(queries, limits.concurrencyMax, (query) => answer(query, open));
    },
  };
}

async function openFor(clients: Clients, resource: string, queries: SignalQuery[], budget: Budget): Promise<Monitor> {
  const opener = monitorOpener(resource);
  if (opener === null) {
    const expected = 'projects/P/locations/L/modelDeploymentMonitoringJobs/J or projects/P/locations/L/modelMonitors/M';
    throw new PermanentError('invalidArgument', `expected ${expected}, got "${resource}"`);
  }
  const asking = queries.filter((query) => query.checks.some((check) => sourceOf(check, query)?.resource === resource));
  const sinceAt = Math.min(...asking.map((query) => query.sinceAt));
  return opener(clients, resource, sinceAt, budget);
}

async function answer(query: SignalQuery, open: OpenMonitor): Promise<SignalAnswer> {
  const periods: SignalAnswer['periods'] = new Map();
  const notes: string[] = [];
  for (const check of query.checks) {
    const note = (text: string): unknown => notes.push(`Check "${check.name}": ${text}`.slice(0, noteCharsMax));
    try {
      await addCheck(periods, query, check, open, note);
    } catch (error) {
      if (!isPlatformError(error)) throw error;
      note(`could not be read: ${error.message}. ${adviceFor(error)}`);
    }
  }
  return { periods, notes };
}

async function addCheck(
  periods: SignalAnswer['periods'],
  query: SignalQuery,
  check: CheckPolicy,
  open: OpenMonitor,
  note: (text: string) => unknown,
): Promise<void> {
  const source = sourceOf(check, query);
  if (source === null) return;
  if (check.rule.kind !== 'limit') {
    note(`has the rule ${check.rule.kind}, but Model Monitoring gives a deviation: use limit.`);
    return;
  }
  const { resource, feature } = source;
  const monitor = await open(resource);
  const { models, problem } = monitor.watched(query.endpoint, query.models);
  if (problem !== null) note(`${resource} does not cover all models: ${problem}.`);
  const variants = periods.get(query.window.toAt) ?? {};
  for (const { id } of models) {
    const found = newest(await monitor.deviations(id), query, feature);
    for (const remark of refusedIn(found)) note(`DeployedModel ${id} in ${resource}: ${remark}`);
    const value = greatest(found);
    if (value !== null) variants[id] = { ...variants[id], [check.name]: { value } };
  }
  if (Object.keys(variants).length > 0) periods.set(query.window.toAt, variants);
}

/** The newest of each feature and objective, of data that begins when the share took effect or later. */
function newest(all: Deviation[], { sinceAt, window }: SignalQuery, feature: string | null): Deviation[] {
  const ours = all.filter(
    (one) =>
      Math.min(one.startAt ?? one.endAt, one.endAt) >= sinceAt &&
      one.endAt <= window.toAt &&
      (feature === null || one.feature === feature),
  );
  const ascending = ours.toSorted((a, b) => a.endAt - b.endAt);
  return [...new Map(ascending.map((one) => [`${one.objective}/${one.feature}`, one])).values()];
}

/** Null where one of them is none: it may have been the greatest. */
function greatest(deviations: Deviation[]): number | null {
  const values = deviations.map(measured);
  return values.length === 0 || values.includes(null) ? null : Math.max(...values.filter((value) => value !== null));
}

/** The deviation, a distance of at least 0; null where it is none. */
function measured({ value }: Deviation): number | null {
  return value !== null && Number.isFinite(value) && value >= 0 ? value : null;
}

function refusedIn(found: Deviation[]): string[] {
  const [refused, ...others] = found.filter((deviation) => measured(deviation) === null);
  if (refused === undefined) return [];
  const more = others.length === 0 ? '' : ` and ${others.length} more`;
  const run = new Date(refused.endAt).toISOString();
  const got = `refused a deviation of ${refused.value ?? 'nothing'} of "${refused.feature}"${more}`;
  return [`${got}; expected 0 or more. No value is taken; look at the run of ${run}.`];
}

/** What the check reads, with the version of the canary, which is the first of the models. */
function sourceOf({ from }: CheckPolicy, { models: [canary] }: SignalQuery) {
  if (from.kind !== 'modelMonitoring') return null;
  return { resource: from.resource.replaceAll('{version}', canary?.versionId ?? ''), feature: from.feature };
}

function adviceFor(error: TransientError | PermanentError): string {
  if (error instanceof TransientError) return 'It is asked again at the next look.';
  if (error.code === 'permissionDenied') return 'Grant the controller that permission.';
  if (error.code === 'internal') return 'Look at the resource in the console.';
  return 'Correct `from.modelMonitoring` of the check.';
}

/** Together the calls of one read take at most so long, and each no longer than any call. */
function budgetOf(totalMs: number): Budget {
  const endAt = performance.now() + totalMs;
  return () => {
    const leftMs = Math.floor(endAt - performance.now());
    if (leftMs > 0) return Math.min(leftMs, limits.callDeadlineMs);
    throw new TransientError('deadlineExceeded', `Model Monitoring was not read within ${totalMs} ms`);
  };
}
