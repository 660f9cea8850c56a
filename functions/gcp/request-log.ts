/**
 * Which values went into the models, and which came out? Signals from the BigQuery table in which Vertex AI logs a sample
 * of an endpoint's requests and responses. One query answers for all endpoints and checks that ask about the same table.
 *
 * Rows are streamed in some time after their request. A window that ends the policy's metric lag ago has them; what comes
 * later still is missed for canary and stable alike.
 */
import { z } from 'zod';
import { valueBounds } from '../../machines/analysis/value-bounds.ts';
import type { CheckPolicy } from '../../machines/policy/policy.ts';
import { parseEndpointName } from '../../machines/rollout/resource-name.ts';
import { mapLimited } from '../engine/concurrency.ts';
import { PermanentError, TransientError } from '../engine/errors.ts';
import { limits } from '../engine/limits.ts';
import type { Clients } from './clients.ts';
import { requestLogTable } from '../../machines/policy/request-log.ts';
import { type LogRead, logQuery, parseValue } from './request-log-query.ts';
import { ask } from './rest.ts';
import type { SignalAnswer, SignalQuery, SignalReader } from './signals.ts';
import { call, parseReply, translate } from './status.ts';

/** What one check asks for one endpoint, and where its numbers will be: in a read, at a place. */
interface Question {
  check: string;
  endpointId: string;
  deployedModelIds: Set<string>;
  value: string;
  read: LogRead;
  place: number;
}

interface Row {
  endpointId: string;
  deployedModelId: string;
  period: number;
  place: number;
  /** Null: no number. */
  bucket: number | null;
  count: number;
}

type Reply = { kind: 'rows'; rows: Row[] } | { kind: 'failed'; text: string };

/**
 * Histograms for drift and quantile checks, by the fixed bounds of valueBounds. Values that are no numbers are left out, and
 * a note says how many; another note tells of each check that could not be read, and what to do.
 *
 * Needs bigquery.jobs.create in the controller's project and bigquery.tables.getData on the table.
 */
export function requestLogSignals(clients: Clients): SignalReader {
  return {
    kind: 'requestLog',
    async read(queries) {
      const reads = new Map<string, LogRead>();
      const asked = queries.map((query) => query.checks.map((check) => questionOf(reads, query, check)));
      const replies = new Map(
        await mapLimited([...reads.values()], limits.signalCallsMax, async (read) => [
          read,
          await answerTo(clients, read),
        ]),
      );
      return asked.map((questions) => {
        const answer: SignalAnswer = { periods: new Map(), notes: [] };
        for (const question of questions) {
          if (typeof question === 'string') answer.notes.push(question);
          else settle(answer, question, replies.get(question.read));
        }
        return answer;
      });
    },
  };
}

/** Finds or makes the read that answers a check; a note where none can. */
function questionOf(
  reads: Map<string, LogRead>,
  { endpoint, window, periodMs, models }: SignalQuery,
  { name, from, rule }: CheckPolicy,
): Question | string {
  if (from.kind !== 'requestLog') return `${name}: expected a request log to read, got ${from.kind}`;
  if (rule.kind !== 'drift' && rule.kind !== 'quantile') {
    return `${name}: a request log has values, and the rule "${rule.kind}" asks for none; make it drift or a quantile`;
  }
  const endpointId = parseEndpointName(endpoint)?.id;
  const value = parseValue(from.value);
  if (endpointId === undefined) return `${name}: ${shown(endpoint)} is not projects/P/locations/L/endpoints/E`;
  if (!requestLogTable.test(from.table))
    return `${name}: table ${shown(from.table)} is not PROJECT.DATASET.TABLE; mend the policy`;
  if (value === null) {
    return `${name}: value ${shown(from.value)} is not "instances" or "predictions" with keys or indices after dots, such as instances.distance or predictions.0; mend the policy`;
  }
  const key = [from.table, window.fromAt, window.toAt, periodMs].join(' ');
  const read: LogRead = reads.get(key) ?? {
    table: from.table,
    ...window,
    periodMs,
    endpointIds: new Set(),
    deployedModelIds: new Set(),
    values: [],
  };
  reads.set(key, read);
  const deployedModelIds = new Set(models.map(({ id }) => id));
  read.endpointIds.add(endpointId);
  for (const id of deployedModelIds) read.deployedModelIds.add(id);
  const known = read.values.findIndex(({ list, jsonPath }) => list === value.list && jsonPath === value.jsonPath);
  const place = known === -1 ? read.values.push(value) - 1 : known;
  return { check: name, endpointId, deployedModelIds, value: from.value, read, place };
}

async function answerTo(clients: Clients, read: LogRead): Promise<Reply> {
  if (read.toAt <= read.fromAt || read.deployedModelIds.size === 0) return { kind: 'rows', rows: [] };
  const name = `Query of ${read.table}`;
  const body = {
    ...logQuery(read),
    parameterMode: 'NAMED',
    useLegacySql: false,
    useQueryCache: true,
    maximumBytesBilled: String(limits.queryBytesBilledMax),
    jobTimeoutMs: String(limits.queryJobMs),
    timeoutMs: limits.queryJobMs,
  };
  try {
    const deadlineMs = limits.metricsDeadlineMs;
    const reply = await call(name, deadlineMs, async () => {
      const rest = await clients.bigqueryRest();
      return ask(rest, rest.queries, body, deadlineMs);
    });
    const { jobComplete, pageToken, rows } = parseReply(name, replySchema(read), reply);
    if (!jobComplete) throw new TransientError('deadlineExceeded', `${name}: not done within ${limits.queryJobMs} ms`);
    // Part of the answer would be judged as if it were all of it.
    if (pageToken !== undefined) throw new PermanentError('internal', `${name}: more rows than one reply holds`);
    return { kind: 'rows', rows };
  } catch (error) {
    const { message, code, cause } = translate(name, error);
    return {
      kind: 'failed',
      text: `${message.slice(0, noteCharsMax)}; ${advice[reasonOf(cause) ?? code] ?? adviceElse}`,
    };
  }
}

function settle(answer: SignalAnswer, question: Question, reply: Reply | undefined): void {
  const { check, endpointId, deployedModelIds, value, read, place } = question;
  if (reply?.kind !== 'rows') {
    answer.notes.push(`${check}: ${reply?.text}`);
    return;
  }
  let total = 0;
  let absent = 0;
  for (const row of reply.rows) {
    if (row.place !== place || row.endpointId !== endpointId || !deployedModelIds.has(row.deployedModelId)) continue;
    total += row.count;
    if (row.bucket === null) absent += row.count;
    else add(answer, check, Math.min(read.fromAt + (row.period + 1) * read.periodMs, read.toAt), row, row.bucket);
  }
  if (absent > 0) {
    answer.notes.push(
      `${check}: ${absent} of ${total} values at ${value} are no numbers and were left out; name a path that leads to numbers`,
    );
  }
}

function add({ periods }: SignalAnswer, check: string, endAt: number, row: Row, bucket: number): void {
  const models = periods.get(endAt) ?? {};
  const signals = (models[row.deployedModelId] ??= {});
  const known = signals[check];
  const histogram =
    known !== undefined && 'counts' in known
      ? known
      : { bounds: [...valueBounds], counts: Array.from({ length: valueBounds.length + 1 }, () => 0) };
  histogram.counts[bucket] = (histogram.counts[bucket] ?? 0) + row.count;
  signals[check] = histogram;
  periods.set(endAt, models);
}

/** @see https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/query */
function replySchema({ fromAt, toAt, periodMs, values }: LogRead) {
  const periodLast = Math.ceil((toAt - fromAt) / periodMs) - 1;
  return z.object({
    jobComplete: z.boolean(),
    pageToken: z.string().optional(),
    rows: z
      .array(
        z.object({
          f: z
            .tuple([
              cell(z.string()),
              cell(z.string()),
              cell(int(periodLast)),
              cell(int(values.length - 1)),
              cell(int(valueBounds.length).nullable()),
              cell(int(Number.MAX_SAFE_INTEGER)),
            ])
            .transform(([endpointId, deployedModelId, period, place, bucket, count]) => ({
              endpointId: endpointId.v,
              deployedModelId: deployedModelId.v,
              period: period.v,
              place: place.v,
              bucket: bucket.v,
              count: count.v,
            })),
        }),
      )
      .default([])
      .transform((rows) => rows.map(({ f }) => f)),
  });
}

function cell<T extends z.ZodType>(value: T) {
  return z.object({ v: value });
}

/** An int64 arrives as a string. */
function int(max: number) {
  return z.string().regex(/^\d+$/, 'expected digits').transform(Number).pipe(z.number().max(max));
}

/** What to do about an error, by BigQuery's reason, else by our code. */
const advice: Record<string, string> = {
  notFound: 'enable request-response logging of the endpoint, or mend the table in the policy',
  accessDenied:
    "give the controller's service account roles/bigquery.jobUser on its project and roles/bigquery.dataViewer on the table",
  bytesBilledLimitExceeded: `the query would read more than ${limits.queryBytesBilledMax / 1024 ** 3} GiB: log a smaller sample, or let the table's old rows expire`,
  quotaExceeded: "raise the project's BigQuery quota, or let fewer checks read request logs",
  rateLimitExceeded: "raise the project's BigQuery quota, or let fewer checks read request logs",
  invalidQuery: 'the table must be the one that Vertex AI logs requests and responses to',
};
const adviceElse = 'this window goes without it, and the next one is asked for';

const noteCharsMax = 500;

const refusedSchema = z.object({
  json: z.object({ error: z.object({ errors: z.array(z.object({ reason: z.string() })) }) }),
});

function reasonOf(cause: unknown): string | undefined {
  const parsed = refusedSchema.safeParse(cause);
  const reason = parsed.data?.json.error.errors[0]?.reason;
  return reason !== undefined && Object.hasOwn(advice, reason) ? reason : undefined;
}

/** What an owner wrote, for a message. */
function shown(text: string): string {
  return JSON.stringify(text.slice(0, 100));
}
