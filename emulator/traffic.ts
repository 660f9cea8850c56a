/**
 * Who asks for predictions? Steady, open-loop traffic of real flights: requests leave on time whether or not earlier
 * ones were answered, as those of independent callers do, so a slow model is not spared.
 *
 *   node emulator/traffic.ts --url http://localhost:8080/v1/endpoints/delays:predict --key KEY --rps 50
 */
import { parseArgs } from 'node:util';
import { Agent, request } from 'undici';
import { type Flight, readFlights } from './models/flights.ts';
import { type Random, seededRandom } from './models/random.ts';

const bounds = {
  inFlightMax: 256,
  deadlineMs: 5000,
  responseBytesMax: 1_000_000,
  /** Often enough for even spacing at 100 requests a second. */
  tickMs: 10,
  /** After a stall no more than this is made up for: a laptop that wakes must not flood the endpoint. */
  catchUpSeconds: 0.5,
  /** Answers over which the latencies are given. */
  latenciesMax: 1000,
};

export interface TrafficOptions {
  /** Ends in `:predict` or `:rawPredict`; both take the same body. */
  url: string;
  headers: Record<string, string>;
  requestsPerSecond: number;
  seed: number;
  /** A request without an answer by then is given up; 5000 unless told. */
  deadlineMs?: number;
  /** Requests that may wait for their answer at once; 256 unless told. Beyond it they are skipped, and counted. */
  inFlightMax?: number;
  /** Called once for each request sent. Must not throw. */
  onAnswer?: (answer: TrafficAnswer) => void;
}

export interface TrafficAnswer {
  /** Null when there was no answer. */
  status: number | null;
  latencyMs: number;
  /** Who answered, where the answer's headers say so. */
  deployedModelId: string | null;
  /** Empty when there was no answer. */
  body: string;
}

export interface TrafficStats {
  sent: number;
  /** Answered with 2xx. */
  ok: number;
  /** By status, or `timeout`, or `unreachable`. */
  failed: Record<string, number>;
  /** Not sent, because too many were waiting. */
  skipped: number;
  /** Sent, and not yet answered. */
  inFlight: number;
  /** Of the latest answers, whatever their status; null before the first. */
  p50Ms: number | null;
  p95Ms: number | null;
}

export interface Traffic {
  stats(): TrafficStats;
  setRate(requestsPerSecond: number): void;
  /** Sends no more, and resolves when what is under way is answered or given up. */
  stop(): Promise<void>;
}

/** What traffic needs of the world; tests bring their own. */
export interface TrafficClock {
  nowMs(): number;
  /** Calls `run` every `ms` until the function it returns is called. */
  every(ms: number, run: () => void): () => void;
}

const realClock: TrafficClock = {
  nowMs: () => performance.now(),
  every: (ms, run) => {
    const timer = setInterval(run, ms);
    return () => clearInterval(timer);
  },
};

/**
 * Starts traffic at once. What goes wrong with a request is counted, never thrown.
 * Throws a TypeError on a url that is none, and a RangeError on a rate that is not a number from 0 up.
 */
export function startTraffic(options: TrafficOptions, clock: TrafficClock = realClock): Traffic {
  const url = new URL(options.url);
  const headers = { 'content-type': 'application/json', ...options.headers };
  const random = seededRandom(options.seed);
  const rows = allFlights();
  const inFlightMax = options.inFlightMax ?? bounds.inFlightMax;
  const agent = new Agent({ connections: inFlightMax, maxResponseSize: bounds.responseBytesMax });
  const inFlight = new Set<Promise<void>>();
  const latencies = createLatencies();
  const counts = { sent: 0, ok: 0, skipped: 0 };
  const failed = new Map<string, number>();
  const pacer = createPacer(options.requestsPerSecond, clock.nowMs());
  let stopped: Promise<void> | null = null;

  const ask = async (): Promise<void> => {
    const startedMs = clock.nowMs();
    const answer: TrafficAnswer = { status: null, latencyMs: 0, deployedModelId: null, body: '' };
    let failure: string | null = null;
    try {
      const {
        statusCode,
        headers: answered,
        body,
      } = await request(url, {
        method: 'POST',
        headers,
        body: JSON.stringify({ instances: drawInstances(rows, random) }),
        dispatcher: agent,
        signal: AbortSignal.timeout(options.deadlineMs ?? bounds.deadlineMs),
      });
      answer.body = await body.text();
      answer.status = statusCode;
      const id = answered['x-vertex-ai-deployed-model-id'];
      answer.deployedModelId = typeof id === 'string' ? id : null;
      if (statusCode < 200 || statusCode > 299) failure = String(statusCode);
    } catch (error) {
      failure = error instanceof Error && error.name === 'TimeoutError' ? 'timeout' : 'unreachable';
    }
    answer.latencyMs = clock.nowMs() - startedMs;
    if (answer.status !== null) latencies.add(answer.latencyMs);
    if (failure === null) counts.ok++;
    else failed.set(failure, (failed.get(failure) ?? 0) + 1);
    options.onAnswer?.(answer);
  };

  const stopTicking = clock.every(bounds.tickMs, () => {
    for (let due = pacer.takeDue(clock.nowMs()); due > 0; due--) {
      if (inFlight.size >= inFlightMax) {
        counts.skipped++;
        continue;
      }
      counts.sent++;
      const asking = ask().finally(() => inFlight.delete(asking));
      inFlight.add(asking);
    }
  });

  return {
    stats: () => ({
      ...counts,
      inFlight: inFlight.size,
      failed: Object.fromEntries(failed),
      ...latencies.quantiles(),
    }),
    setRate: (requestsPerSecond) => pacer.setRate(requestsPerSecond),
    stop: () => {
      stopTicking();
      stopped ??= Promise.allSettled(inFlight).then(() => agent.close());
      return stopped;
    },
  };
}

let flights: Flight[] | null = null;

/** Read once per process, before the first request is due: it takes a moment. */
function allFlights(): Flight[] {
  flights ??= readFlights().map(({ flight }) => flight);
  return flights;
}

/** Mostly one flight, sometimes two or three: as a caller sends them. */
function drawInstances(all: Flight[], random: Random): Flight[] {
  const size = random() < 0.8 ? 1 : 2 + Math.floor(random() * 2);
  return Array.from({ length: size }, () => all[Math.floor(random() * all.length)]).filter(
    (flight) => flight !== undefined,
  );
}

/** Turns elapsed time into whole requests, carrying the rest over, so that the rate is kept exactly over time. */
function createPacer(requestsPerSecond: number, startMs: number) {
  let rate = parseRate(requestsPerSecond);
  let lastMs = startMs;
  let owed = 0;
  const accrue = (nowMs: number): void => {
    owed = Math.min(owed + ((nowMs - lastMs) / 1000) * rate, Math.max(1, rate * bounds.catchUpSeconds));
    lastMs = nowMs;
  };
  return {
    takeDue(nowMs: number): number {
      accrue(nowMs);
      const due = Math.floor(owed);
      owed -= due;
      return due;
    },
    setRate(next: number): void {
      rate = parseRate(next);
    },
  };
}

function parseRate(requestsPerSecond: number): number {
  if (Number.isFinite(requestsPerSecond) && requestsPerSecond >= 0) return requestsPerSecond;
  throw new RangeError(`a rate of ${requestsPerSecond} requests/s; expected a number from 0 up`);
}

/** The latest latencies, as a ring. */
function createLatencies() {
  const ring: number[] = [];
  let added = 0;
  return {
    add(latencyMs: number): void {
      ring[added % bounds.latenciesMax] = latencyMs;
      added++;
    },
    quantiles(): { p50Ms: number | null; p95Ms: number | null } {
      const sorted = ring.toSorted((a, b) => a - b);
      const at = (ratio: number): number | null => sorted[Math.ceil(ratio * sorted.length) - 1] ?? null;
      return { p50Ms: at(0.5), p95Ms: at(0.95) };
    },
  };
}

if (import.meta.main) main();

function main(): void {
  const { values } = parseArgs({
    options: {
      url: { type: 'string' },
      key: { type: 'string' },
      rps: { type: 'string', default: '10' },
      seed: { type: 'string', default: '1' },
    },
  });
  if (values.url === undefined) {
    process.stderr.write('usage: traffic.ts --url URL:predict [--key KEY] [--rps 10] [--seed 1]\n');
    process.exitCode = 2;
    return;
  }
  const traffic = startTraffic({
    url: values.url,
    headers: values.key === undefined ? {} : { 'x-goog-api-key': values.key },
    requestsPerSecond: Number(values.rps),
    seed: Number(values.seed),
  });
  const stopPrinting = realClock.every(1000, () => process.stdout.write(`${lineOf(traffic.stats())}\n`));
  process.once('SIGINT', () => {
    stopPrinting();
    void traffic.stop().then(() => process.stdout.write(`${lineOf(traffic.stats())}\n`));
  });
}

function lineOf({ sent, ok, failed, skipped, p50Ms, p95Ms }: TrafficStats): string {
  const failures = Object.entries(failed).map(([what, count]) => `${what}×${count}`);
  return [
    `sent ${sent}`,
    `ok ${ok}`,
    `failed ${failures.join(' ') || '0'}`,
    `skipped ${skipped}`,
    `p50 ${p50Ms?.toFixed(1) ?? '-'} ms`,
    `p95 ${p95Ms?.toFixed(1) ?? '-'} ms`,
  ].join('  ');
}
