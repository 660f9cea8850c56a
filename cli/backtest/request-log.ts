/**
 * What does a log of requests say? One JSON object a line, `{ timestamp, variant, status, latencyMs?, prediction? }`,
 * streamed into windows: memory follows the windows and not the requests.
 */
import { z } from 'zod';
import type { VariantCounts } from '../../machines/analysis/evidence.ts';
import { formatDuration } from '../../machines/policy/units.ts';
import type { World } from '../world.ts';
import { linesOf, progressOf } from './lines.ts';
import {
  createFindings,
  finishRecording,
  type Findings,
  type RecordedWindow,
  type Recording,
  VARIANTS_MAX,
  WINDOWS_MAX,
} from './recording.ts';
import { BadValue, got, instantOf, shownAt, variantOf } from './values.ts';

/**
 * Requests are logged when they end, and instances' clocks differ. What comes later than this after newer lines would not
 * have been seen by a rule that looks at a window some minutes after its end, so it is left out.
 */
const LATE_MS = 10 * 60_000;
/** More late lines than this are no stragglers: the file is not in order of time, or a clock went back. */
const LATE_RATIO_MAX = 0.01;

/** Upper bounds in ms, four to the octave, from 1 ms to 17 minutes: those of the prediction proxy. */
const latencyBoundsMs = Array.from({ length: 81 }, (_, i) => Number((2 ** (i / 4)).toPrecision(4)));
/** Upper bounds for predictions in any unit: 1, 2 and 5 in every decade, and twentieths for probabilities. */
const ladder = [-3, -2, -1, 0, 1, 2, 3, 4, 5].flatMap((exponent) =>
  [1, 2, 5].map((digit) => Number(`${digit}e${exponent}`)),
);
const predictionBounds = [
  ...new Set([...ladder.map((bound) => -bound), ...ladder, ...Array.from({ length: 21 }, (_, i) => i / 20)]),
].toSorted((a, b) => a - b);

const lineSchema = z
  .object({
    timestamp: z.unknown(),
    time: z.unknown(),
    variant: z.unknown(),
    version: z.unknown(),
    deployedModelId: z.unknown(),
    status: z.int('expected an HTTP status such as 200').min(100).max(599),
    latencyMs: z.number('expected milliseconds').min(0).max(86_400_000).nullish(),
    prediction: z.number('expected a number').nullish(),
  })
  .partial()
  .required({ status: true });

interface Request {
  at: number;
  variant: string;
  isError: boolean;
  latencyMs: number | null;
  prediction: number | null;
}

/** Reads the file. A status of class 5 is an error, as in Cloud Monitoring; a 4xx is the caller's mistake. */
export async function readRequestLog(world: World, path: string, windowMs: number): Promise<Recording> {
  const findings = createFindings();
  const windows = new Map<number, RecordedWindow>();
  const variants = new Set<string>();
  const progress = progressOf(world);
  const newest = { at: 0, place: '' };
  let lines = 0;
  let late = 0;
  for await (const { text, number } of linesOf(path)) {
    const place = `${path}:${number}`;
    lines += 1;
    progress(() => `Reading ${place}: ${lines.toLocaleString('en')} requests in ${windows.size} windows …`);
    const request = requestOf(text, place, findings);
    if (request === null) continue;
    if (request.at < newest.at - LATE_MS) {
      late += 1;
      findings.note(
        'a request was logged more than 10 minutes late, when its window had been judged; it was left out',
        place,
      );
      continue;
    }
    if (request.at > newest.at) Object.assign(newest, { at: request.at, place });
    variants.add(request.variant);
    // A window is (fromAt, toAt]: what happens on the boundary belongs to the one that ends there.
    const toAt = Math.ceil(request.at / windowMs) * windowMs;
    const window = windows.get(toAt) ?? { fromAt: toAt - windowMs, toAt, variants: {} };
    windows.set(toAt, window);
    count(window, request);
    if (windows.size > WINDOWS_MAX || variants.size > VARIANTS_MAX) {
      const bound =
        windows.size > WINDOWS_MAX
          ? `${WINDOWS_MAX} windows; give --window more than ${formatDuration(windowMs / 1000)}`
          : `${VARIANTS_MAX} variants`;
      findings.refuse(place, `expected at most ${bound}`);
      break;
    }
  }
  if (late > lines * LATE_RATIO_MAX) {
    const problem = `expected lines in order of time, got ${late} of ${lines} more than 10 minutes before ${shownAt(newest.at)}`;
    findings.refuse(newest.place, `${problem}, which is here; sort the file, or mend this line's clock`);
  }
  return finishRecording(path, [...windows.values()], windowMs, findings);
}

function requestOf(text: string, place: string, findings: Findings): Request | null {
  try {
    const parsed = lineSchema.safeParse(jsonOf(text));
    if (!parsed.success) {
      const [issue] = parsed.error.issues;
      throw new BadValue(`${issue?.path.join('.') || 'the line'}: ${issue?.message}`);
    }
    const { timestamp, time, variant, version, deployedModelId, status, latencyMs, prediction } = parsed.data;
    return {
      at: instantOf(timestamp ?? time),
      variant: variantOf(variant ?? version ?? deployedModelId),
      isError: status >= 500,
      latencyMs: latencyMs ?? null,
      prediction: prediction ?? null,
    };
  } catch (error) {
    if (!(error instanceof BadValue)) throw error;
    findings.refuse(place, error.message);
    return null;
  }
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new BadValue(`expected a JSON object, got ${got(text)}`);
  }
}

/** Adds the request in place: a new histogram for each of millions of lines would be most of the work. */
function count(window: RecordedWindow, { variant, isError, latencyMs, prediction }: Request): void {
  const counts: VariantCounts = window.variants[variant] ?? {
    requests: 0,
    errors: 0,
    latencyMs: { bounds: [], counts: [0] },
  };
  window.variants[variant] = counts;
  counts.requests += 1;
  if (isError) counts.errors += 1;
  if (latencyMs !== null) {
    if (counts.latencyMs.bounds.length === 0) counts.latencyMs = emptyHistogram(latencyBoundsMs);
    addValue(counts.latencyMs, latencyMs);
  }
  if (prediction !== null) {
    counts.predictions ??= emptyHistogram(predictionBounds);
    addValue(counts.predictions, prediction);
  }
}

function emptyHistogram(bounds: number[]) {
  return { bounds, counts: Array.from({ length: bounds.length + 1 }, () => 0) };
}

function addValue({ bounds, counts }: VariantCounts['latencyMs'], value: number): void {
  let low = 0;
  let high = bounds.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((bounds[middle] ?? Infinity) < value) low = middle + 1;
    else high = middle;
  }
  counts[low] = (counts[low] ?? 0) + 1;
}
