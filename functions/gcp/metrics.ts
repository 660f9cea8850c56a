/**
 * How did each variant do, period by period? MetricsPort over Cloud Monitoring: two calls, one for requests by response code
 * and one for latencies, answer for all endpoints that ask about the same window; readers of signals add what checks ask.
 *
 * An error is a response of class 5. A 4xx is the caller's mistake: it counts as a request and not as an error.
 */
import {
  addCounts,
  type Evidence,
  type EvidenceWindow,
  evidenceSchema,
  greatestIn,
  noCounts,
  UNATTRIBUTED,
  type VariantCounts,
} from '../../machines/analysis/evidence.ts';
import { endpointKey, parseEndpointName } from '../../machines/rollout/resource-name.ts';
import { mapLimited } from '../engine/concurrency.ts';
import type { Environment } from '../engine/environment.ts';
import { PermanentError } from '../engine/errors.ts';
import { limits } from '../engine/limits.ts';
import type { MetricsPort, MetricsQuery } from '../engine/ports.ts';
import type { Clients } from './clients.ts';
import { type Account, noAccount, readPredictions } from './prediction-counts.ts';
import type { SignalAnswer, SignalReader, SignalsByPeriod } from './signals.ts';
import { periodEnds } from './time-series.ts';

/** Cloud Monitoring refuses to align over less. The emulator does not. */
const ALIGNMENT_SECONDS_MIN = 60;

/** What evidenceSchema lets pass. */
const NOTES_MAX = 20;
const NOTE_CHARS_MAX = 1000;

/** Queries about one window of one project. */
interface Group {
  project: string;
  /** Whole seconds, cut to whole periods. */
  window: EvidenceWindow;
  periodMs: number;
  queries: MetricsQuery[];
}

/**
 * MetricsPort over the real Monitoring client.
 *
 * Windows are cut to whole seconds and whole periods, never widened; what is left at the end is read by a later call, and a
 * window of less than a period is one short period. Where Monitoring can only align over more, the period is longer.
 *
 * Of a longer window the newest `limits.evidencePeriodsMax` periods are read. A period is a window if it has points of
 * predictions. A fault in counts empties the period for every variant of the endpoint, and the notes say why.
 */
export function monitoringMetrics(clients: Clients, environment: Environment, readers: SignalReader[]): MetricsPort {
  const secondsMin = environment.emulators.monitoring === null ? ALIGNMENT_SECONDS_MIN : 1;
  return {
    async read(queries) {
      const groups = groupsOf(queries, secondsMin);
      const answers = new Map<MetricsQuery, Evidence[]>();
      await mapLimited(groups, limits.concurrencyMax, async (group) => {
        for (const [query, evidence] of await readGroup(clients, readers, group)) answers.set(query, evidence);
      });
      return queries.map((query) => answers.get(query) ?? []);
    },
  };
}

async function readGroup(
  clients: Clients,
  readers: SignalReader[],
  group: Group,
): Promise<Map<MetricsQuery, Evidence[]>> {
  if (group.periodMs === 0) return new Map();
  const endpointIds = [...new Set(group.queries.map(({ endpoint }) => parseEndpointName(endpoint)?.id ?? ''))];
  const [accounts, signals] = await Promise.all([
    readPredictions(clients, { ...group, endpointIds }),
    readSignals(readers, group),
  ]);
  return new Map(
    group.queries.map((query, i) => {
      const account = accounts.get(endpointKey(query.endpoint)) ?? noAccount();
      return [query, evidenceOf(account, signals[i] ?? [], group)];
    }),
  );
}

function groupsOf(queries: MetricsQuery[], secondsMin: number): Group[] {
  const groups = new Map<string, Group>();
  for (const query of queries) {
    const { project, window, periodMs } = placeOf(query, secondsMin);
    const key = JSON.stringify([project, window, periodMs]);
    const group = groups.get(key) ?? { project, window, periodMs, queries: [] };
    group.queries.push(query);
    groups.set(key, group);
  }
  return [...groups.values()];
}

function placeOf(
  { endpoint, window: asked, periodMs: wantedMs }: MetricsQuery,
  secondsMin: number,
): Omit<Group, 'queries'> {
  const parsed = parseEndpointName(endpoint);
  if (parsed === null) {
    throw new PermanentError('invalidArgument', `"${endpoint}" is not projects/P/locations/L/endpoints/E`);
  }
  // It must not begin before the asked window does, or requests of an earlier step would count for this one.
  const fromAt = Math.ceil(asked.fromAt / 1000) * 1000;
  const seconds = Math.max(0, Math.floor((asked.toAt - fromAt) / 1000));
  const periodSeconds = Math.max(Math.ceil(wantedMs / 1000), secondsMin);
  const lastSeconds = seconds < secondsMin ? 0 : Math.min(seconds, periodSeconds);
  const readSeconds = Math.max(seconds - (seconds % periodSeconds), lastSeconds);
  const keptSeconds = Math.min(readSeconds, limits.evidencePeriodsMax * periodSeconds);
  const toAt = fromAt + readSeconds * 1000;
  const window = { fromAt: toAt - keptSeconds * 1000, toAt };
  return { project: parsed.project, window, periodMs: Math.min(periodSeconds, readSeconds) * 1000 };
}

/** For each query its answers, one of every reader that it has checks for. */
async function readSignals(readers: SignalReader[], { window, periodMs, queries }: Group): Promise<SignalAnswer[][]> {
  const answers: SignalAnswer[][] = queries.map(() => []);
  await Promise.all(
    readers.map(async (reader) => {
      const asked = queries.flatMap(({ endpoint, sinceAt, models, checks: all }, i) => {
        const checks = all.filter(({ from }) => from.kind === reader.kind);
        return checks.length === 0 ? [] : [{ i, query: { endpoint, window, sinceAt, periodMs, models, checks } }];
      });
      if (asked.length === 0) return;
      const read = await reader.read(asked.map(({ query }) => query));
      for (const [k, { i }] of asked.entries()) {
        const answer = read[k];
        if (answer !== undefined) answers[i]?.push(answer);
      }
    }),
  );
  return answers;
}

/** The windows of one endpoint, ascending. Signals of periods without requests are counted in the next that has some, or the last. */
function evidenceOf(account: Account, signals: SignalAnswer[], { window, periodMs }: Group): Evidence[] {
  const evidence: Evidence[] = [];
  let waiting: Evidence['variants'] = {};
  for (const endAt of periodEnds(window, periodMs)) {
    const why = account.notes.get(endAt);
    const own = {
      window: { fromAt: endAt - periodMs, toAt: endAt },
      source: 'monitoring',
      ...(why === undefined ? {} : { notes: fitting(why) }),
    };
    if (account.spoiled.has(endAt)) {
      evidence.push({ ...own, variants: {} });
      continue;
    }
    for (const { periods } of signals) addSignals(waiting, endAt, periods);
    const counted = account.periods.get(endAt);
    if (counted === undefined) continue;
    const isWithRequests = hasRequests({ ...own, variants: counted });
    evidence.push({ ...own, variants: isWithRequests ? together(counted, waiting) : counted });
    if (isWithRequests) waiting = {};
  }
  const last = evidence.findLastIndex(hasRequests);
  const notes = [...(account.notes.get(null) ?? []), ...signals.flatMap((answer) => answer.notes)];
  return evidence.map((one, i) => {
    const whole = sound(i === last ? { ...one, variants: together(one.variants, waiting) } : one);
    const isNoted = i === evidence.length - 1 && notes.length > 0;
    return isNoted ? { ...whole, notes: fitting([...(whole.notes ?? []), ...notes]) } : whole;
  });
}

function together(counted: Evidence['variants'], more: Evidence['variants']): Evidence['variants'] {
  const sum = { ...counted };
  for (const [id, counts] of Object.entries(more)) sum[id] = addCounts(sum[id] ?? noCounts, counts);
  return sum;
}

function addSignals(variants: Record<string, VariantCounts>, endAt: number, periods: SignalsByPeriod): void {
  for (const [id, signals] of Object.entries(periods.get(endAt) ?? {})) {
    variants[id] = addCounts(variants[id] ?? noCounts, { ...noCounts, signals });
  }
}

/** Numbers that are sound one by one may not be so together, such as a sum that is not exact any more. */
function sound(evidence: Evidence): Evidence {
  const problem = problemOf(evidence);
  if (problem === null) return evidence;
  const why = `The numbers of this window do not go together (${problem}); it is left out.`;
  return { ...evidence, variants: {}, notes: fitting([...(evidence.notes ?? []), why]) };
}

function problemOf(evidence: Evidence): string | null {
  const [issue] = evidenceSchema.safeParse(evidence).error?.issues ?? [];
  if (issue !== undefined) return `${issue.path.join('.')}: ${issue.message}`;
  const [id] = Object.entries(evidence.variants).find(([, counts]) => greatestIn(counts) > limits.countMax) ?? [];
  return id === undefined
    ? null
    : `variants.${id}: more than ${limits.countMax}, which no endpoint serves in one window`;
}

function hasRequests({ variants }: Evidence): boolean {
  return Object.entries(variants).some(([id, { requests }]) => id !== UNATTRIBUTED && requests > 0);
}

/** As many notes as evidence may carry, each once. */
function fitting(notes: string[]): string[] {
  const each = [...new Set(notes)].map((note) => note.slice(0, NOTE_CHARS_MAX));
  if (each.length <= NOTES_MAX) return each;
  return [...each.slice(0, NOTES_MAX - 1), `And ${each.length - NOTES_MAX + 1} more.`];
}
