/**
 * What would another endpoint have answered? A sample of predictions is asked of a shadow too, after the caller has been
 * answered. Its requests are evidence about the shadow, and so is how often it answers differently.
 */
import type { IncomingHttpHeaders } from 'node:http';
import { Agent } from 'undici';
import { z } from 'zod';
import { isSameEndpoint, parseEndpointName, type ResourceName } from '../../machines/rollout/resource-name.ts';
import { limits } from '../engine/limits.ts';
import { log } from '../engine/log.ts';
import type { Clock } from '../engine/ports.ts';
import type { Counters } from './counters.ts';
import { isRefusalOfTheProxy } from './forward.ts';
import { servedBy, upstreamHeaders } from './headers.ts';
import { endpointNameSchema } from './pin.ts';
import { predictionNumbers } from './prediction-sample.ts';
import { traceContextOf } from './trace-context.ts';
import type { AccessTokens } from './upstream.ts';

/** The check that reads the differences: `from: reported`, by rate. A trial is a request, a hit one answered differently. */
export const shadowCheck = 'shadow-differs';

const ruleSchema = z.strictObject({
  /** The policy's name; predictions of its endpoint are mirrored. */
  from: z.string().min(1),
  /** The endpoint that is asked too. */
  to: endpointNameSchema,
  /** Of the predictions: 0 to 1. */
  share: z.number().min(0).max(1),
  /** Whether its answers are held against those that the callers got. */
  compare: z.boolean().default(false),
  /** How far two numbers may lie apart, as a part of the greater one, or of 1 where both are smaller. */
  tolerance: z.number().min(0).default(1e-6),
});

export const shadowConfigSchema = z
  .array(ruleSchema)
  .refine(
    (rules) => new Set(rules.map(({ from }) => from)).size === rules.length,
    'expected each alias in "from" once',
  );

export type ShadowRule = z.infer<typeof ruleSchema>;

/** A prediction that a caller has been answered. */
export interface Mirrored {
  /** The policy's name. */
  alias: string;
  /** That served the caller. */
  endpoint: string;
  verb: string;
  /** The caller's. */
  headers: IncomingHttpHeaders;
  isBodyEncoded: boolean;
  body: Buffer;
  /** The model's whole answer to the caller; null where it failed or is too large to compare. */
  answer: readonly Buffer[] | null;
}

export interface ShadowDependencies {
  rules: readonly ShadowRule[];
  upstreamOrigin(endpoint: ResourceName): string;
  accessToken: AccessTokens | null;
  counters: Pick<Counters, 'count' | 'countReported'>;
  now: Clock;
  /** In [0, 1). */
  random: () => number;
}

export interface Shadow {
  /** Asks the shadow later, if this one is in the sample and there is room. Never throws, and nobody waits for it. */
  mirror(mirrored: Mirrored): void;
  /** Drops what waits, ends what is under way, and resolves when nothing is. */
  close(): Promise<void>;
}

interface Job extends Mirrored {
  rule: ShadowRule;
  name: ResourceName;
}

interface ShadowAnswer {
  status: number;
  deployedModelId: string | null;
  latencyMs: number;
  /** Null when it is too large, or broke off. */
  bytes: Buffer[] | null;
}

/** Makes the mirror of one instance. */
export function createShadow({ rules, counters, now, random, ...upstream }: ShadowDependencies): Shadow {
  const ruleOf = new Map(rules.map((rule) => [rule.from, { rule, name: parseEndpointName(rule.to) }]));
  // Its own connections, so that no caller's request waits for one that a shadow has.
  const agent = new Agent({ connections: limits.shadowCallsMax, allowH2: false });
  const closing = new AbortController();
  const running = new Set<Promise<void>>();
  const waiting: Job[] = [];
  let waitingBytes = 0;
  let toldAt = Number.NEGATIVE_INFINITY;

  function mirror(mirrored: Mirrored): void {
    const found = ruleOf.get(mirrored.alias);
    if (found === undefined || found.name === null || closing.signal.aborted) return;
    // A stream has no end that could be compared, and what the shadow itself answered is no news.
    if (mirrored.verb === 'streamRawPredict' || isSameEndpoint(mirrored.endpoint, found.rule.to)) return;
    // Not every endpoint takes what an endpoint with a host of its own does.
    if (mirrored.body.length > limits.predictBytesMax) return;
    if (random() >= found.rule.share) return;
    const isFull =
      waiting.length >= limits.shadowQueueMax || waitingBytes + mirrored.body.length > limits.shadowQueueBytesMax;
    if (isFull) {
      tellDropped(found.rule);
      return;
    }
    waiting.push({ ...mirrored, rule: found.rule, name: found.name });
    waitingBytes += mirrored.body.length;
    startNext();
  }

  function startNext(): void {
    while (running.size < limits.shadowCallsMax) {
      const job = waiting.shift();
      if (job === undefined) return;
      waitingBytes -= job.body.length;
      const run = serve(job).finally(() => {
        running.delete(run);
        startNext();
      });
      running.add(run);
    }
  }

  /** Never rejects. */
  async function serve(job: Job): Promise<void> {
    const startedAt = now();
    let token: string | null = null;
    try {
      token = upstream.accessToken === null ? null : await upstream.accessToken();
    } catch {
      // Callers are told of it, and the log with them.
      return;
    }
    const answer = await ask(job, token);
    if (closing.signal.aborted) return;
    const { deployedModelId, latencyMs, status, bytes } = answer;
    const predictions = bytes !== null && status < 300 && deployedModelId !== null ? predictionNumbers(bytes) : [];
    const isError = status >= 500;
    counters.count(job.rule.to, { deployedModelId, startedAt, latencyMs, isError, predictions });
    const differs = job.rule.compare ? isDifferent(job, answer, predictions) : null;
    if (differs === null || deployedModelId === null) return;
    counters.countReported(job.rule.to, [{ deployedModelId, check: shadowCheck, value: differs }]);
  }

  /** What fails on the way is a 503 that names whoever began to answer. */
  async function ask({ rule, name, headers, isBodyEncoded, body }: Job, token: string | null): Promise<ShadowAnswer> {
    const startedAt = now();
    const answer: ShadowAnswer = { status: 503, deployedModelId: null, latencyMs: 0, bytes: null };
    try {
      const got = await agent.request({
        origin: upstream.upstreamOrigin(name),
        path: `/v1/${rule.to}:rawPredict`,
        method: 'POST',
        headers: upstreamHeaders(headers, {
          isBodyEncoded,
          isAnswerPassedOn: false,
          accessToken: token,
          trace: traceContextOf(headers),
        }),
        body,
        signal: AbortSignal.any([closing.signal, AbortSignal.timeout(limits.shadowDeadlineMs)]),
      });
      answer.latencyMs = Math.max(0, now() - startedAt);
      answer.deployedModelId = servedBy(got.headers).deployedModelId;
      answer.bytes = await readUpTo(got.body, limits.sampledAnswerBytesMax);
      answer.status = isRefusalOfTheProxy(got.statusCode, got.headers) ? 502 : got.statusCode;
    } catch {
      // Counted as an error of the shadow; a line of the log for each would be no news.
      answer.latencyMs ||= Math.max(0, now() - startedAt);
    }
    return answer;
  }

  function tellDropped({ from, to }: ShadowRule): void {
    if (now() - toldAt < 60_000) return;
    toldAt = now();
    log('WARNING', 'The shadow is slower than its share of the traffic; requests to it are dropped', { from, to });
  }

  return {
    mirror,
    async close() {
      closing.abort(new Error('the proxy closes'));
      waiting.length = 0;
      await Promise.all(running);
      if (!agent.closed) await agent.close();
    },
  };
}

/** Null where there is nothing to compare: no whole answer to the caller, or none in which numbers can be seen. */
function isDifferent(
  { rule, answer }: Job,
  { status, bytes }: ShadowAnswer,
  predictions: readonly number[],
): boolean | null {
  if (answer === null) return null;
  if (status >= 300) return true;
  const expected = predictionNumbers(answer);
  if (bytes === null || expected.length === 0) return null;
  return (
    expected.length !== predictions.length ||
    expected.some((number, i) => !isNear(number, predictions[i] ?? Number.NaN, rule.tolerance))
  );
}

function isNear(a: number, b: number, tolerance: number): boolean {
  return Math.abs(a - b) <= tolerance * Math.max(1, Math.abs(a), Math.abs(b));
}

/** The whole body; null when it is larger, or in crumbs, and then the connection is given up. Rejects when it breaks off. */
async function readUpTo(body: AsyncIterable<Buffer>, bytesMax: number): Promise<Buffer[] | null> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    if (size > bytesMax || chunks.length >= limits.sampledAnswerPiecesMax) return null;
    chunks.push(chunk);
  }
  return chunks;
}
