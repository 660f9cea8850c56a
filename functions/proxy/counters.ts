/**
 * When is what was counted told? Every few seconds, at once when a local test goes off, and rarely where only one
 * DeployedModel has answered for long. Each request is in exactly one window, whose message is sent unchanged until the bus
 * has it, so that a copy is recognised as one.
 */
import type { VariantCounts } from '../../machines/analysis/evidence.ts';
import { endpointKey } from '../../machines/rollout/resource-name.ts';
import { limits } from '../engine/limits.ts';
import { log } from '../engine/log.ts';
import type { Clock } from '../engine/ports.ts';
import { type Alarm, createAlarm } from './alarm.ts';
import {
  addReported,
  addRequest,
  type CountedRequest,
  emptyWindow,
  hasRoom,
  variantsOf,
  type Window,
} from './evidence-window.ts';
import type { ReportedOutcome } from './report.ts';

/** The message on `rollout-evidence`, as JSON. */
export interface EvidenceMessage {
  endpoint: string;
  /** ISO 8601; half-open: (from, to]. Of one source and endpoint, no two windows begin at the same instant. */
  window: { from: string; to: string };
  source: string;
  variants: Record<string, VariantCounts>;
}

export interface CounterDependencies {
  publish: (message: EvidenceMessage) => Promise<void>;
  now: Clock;
  source: string;
  /** Between two reports of an endpoint, while more than one DeployedModel may be serving. */
  intervalMs: number;
  idleMs: number;
}

export interface Counters {
  /** Counts a request, and starts a report when one is due. Never throws. */
  count(endpoint: string, request: CountedRequest): void;
  /**
   * Counts what clients report, and starts a report as count() does. False when the window has no room for all of it: then
   * none of it is counted. Never throws.
   */
  countReported(endpoint: string, outcomes: readonly ReportedOutcome[]): boolean;
  /** Reports everything counted, without regard to the interval; resolves when it was tried, and never rejects. */
  flush(): Promise<void>;
}

interface EndpointCounts {
  endpoint: string;
  open: Window | null;
  /** Closed, and not yet known to have arrived. */
  pending: EvidenceMessage | null;
  closedAt: number;
  lastTriedAt: number;
  lastCountedAt: number;
  sending: Promise<void> | null;
  timer: NodeJS.Timeout | null;
  alarm: Alarm;
  urgentUntil: number;
  /** Who answered last, and when it was somebody else than the one before. */
  lastId: string | null;
  changedAt: number;
}

/** Makes the counters of one instance. The timer it uses is unref'd, and rests when no requests come. */
export function createCounters({ publish, now, source, intervalMs, idleMs }: CounterDependencies): Counters {
  const byKey = new Map<string, EndpointCounts>();
  /** By name; an endpoint has one for each way of writing its project. */
  const byName = new Map<string, EndpointCounts>();

  function count(endpoint: string, request: CountedRequest): void {
    const counts = countsOf(endpoint);
    const { deployedModelId } = request;
    const at = now();
    // Who answered while nobody asked here is not known.
    if (at - counts.lastCountedAt > idleMs) counts.changedAt = at;
    if (deployedModelId !== null && deployedModelId !== counts.lastId) noteChange(counts, deployedModelId);
    counts.lastCountedAt = at;
    addRequest(opened(counts, request.startedAt), request);
    if (deployedModelId !== null && counts.alarm.saw(deployedModelId, request.isError, at)) raise(counts);
    else reportWhenDue(counts);
  }

  function countReported(endpoint: string, outcomes: readonly ReportedOutcome[]): boolean {
    const counts = countsOf(endpoint);
    if (!hasRoom(counts.open, outcomes)) return false;
    counts.lastCountedAt = now();
    addReported(opened(counts, counts.lastCountedAt), outcomes);
    reportWhenDue(counts);
    return true;
  }

  function countsOf(endpoint: string): EndpointCounts {
    const known = byName.get(endpoint);
    if (known !== undefined) return known;
    const key = endpointKey(endpoint);
    const counts = byKey.get(key) ?? newCounts(endpoint);
    byKey.set(key, counts);
    byName.set(endpoint, counts);
    return counts;
  }

  function noteChange(counts: EndpointCounts, deployedModelId: string): void {
    // A long window began before the newcomer had its share, and would not be counted for it: that window ends here.
    if (isSteady(counts)) void send(counts);
    counts.lastId = deployedModelId;
    counts.changedAt = now();
  }

  function raise(counts: EndpointCounts): void {
    counts.urgentUntil = now() + limits.evidenceUrgentMs;
    void send(counts);
  }

  function isSteady({ changedAt }: EndpointCounts): boolean {
    return now() - changedAt >= limits.evidenceSteadyMs;
  }

  function intervalOf(counts: EndpointCounts): number {
    if (now() < counts.urgentUntil) return Math.min(intervalMs, limits.evidenceUrgentIntervalMs);
    return isSteady(counts) ? Math.max(intervalMs, limits.evidenceSteadyIntervalMs) : intervalMs;
  }

  /** A window opens with what it first counts, not where the last one closed: idle hours would make it too old to judge by. */
  function opened(counts: EndpointCounts, startedAt: number): Window {
    counts.open ??= emptyWindow(Math.max(counts.closedAt, Math.floor(startedAt)));
    return counts.open;
  }

  function reportWhenDue(counts: EndpointCounts): void {
    if (counts.sending !== null || counts.timer !== null) return;
    const intervalNowMs = intervalOf(counts);
    // Not for longer where the clock was set back.
    const waitMs = Math.min(intervalNowMs, counts.lastTriedAt + intervalNowMs - now());
    if (waitMs <= 0) void send(counts);
    else counts.timer = setTimeout(() => void send(counts), waitMs).unref();
  }

  /** One report at a time for each endpoint: the next window is not sent before this one has arrived. */
  function send(counts: EndpointCounts): Promise<void> {
    if (counts.timer !== null) clearTimeout(counts.timer);
    counts.timer = null;
    counts.sending ??= attempt(counts).finally(() => {
      counts.sending = null;
      const isIdle = now() - counts.lastCountedAt > idleMs;
      if ((counts.open !== null || counts.pending !== null) && !isIdle) reportWhenDue(counts);
    });
    return counts.sending;
  }

  async function attempt(counts: EndpointCounts): Promise<void> {
    counts.pending ??= close(counts);
    if (counts.pending === null) return;
    counts.lastTriedAt = now();
    try {
      await publish(counts.pending);
      counts.pending = null;
    } catch (error) {
      log('WARNING', 'Evidence could not be published; the same window is sent again with the next report', {
        endpoint: counts.endpoint,
        error: String(error),
      });
    }
  }

  function close(counts: EndpointCounts): EvidenceMessage | null {
    const { open } = counts;
    if (open === null) return null;
    // Never empty: two windows of one source must not begin at the same instant, for that is how a copy is known.
    counts.closedAt = Math.max(Math.floor(now()), open.fromAt + 1);
    counts.open = null;
    return {
      endpoint: counts.endpoint,
      window: { from: new Date(open.fromAt).toISOString(), to: new Date(counts.closedAt).toISOString() },
      source,
      variants: variantsOf(open),
    };
  }

  async function flush(): Promise<void> {
    await Promise.all(
      [...byKey.values()].map(async (counts) => {
        // What is on its way, then what failed before, then what is still open.
        for (let round = 0; round < 3 && (counts.pending !== null || counts.open !== null); round += 1) {
          await send(counts);
        }
      }),
    );
  }

  return { count, countReported, flush };
}

function newCounts(endpoint: string): EndpointCounts {
  return {
    endpoint,
    open: null,
    pending: null,
    closedAt: Number.NEGATIVE_INFINITY,
    lastTriedAt: Number.NEGATIVE_INFINITY,
    lastCountedAt: Number.NEGATIVE_INFINITY,
    sending: null,
    timer: null,
    alarm: createAlarm(),
    urgentUntil: Number.NEGATIVE_INFINITY,
    lastId: null,
    changedAt: Number.NEGATIVE_INFINITY,
  };
}
