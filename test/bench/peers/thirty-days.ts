/** What does a verdict cost when a rollout has been watched for a month? It must cost what it did on the first day. */
import { sources, studyPolicy } from '../../../cli/simulate/lives.ts';
import { beginWorld, slotSeconds } from '../../../cli/simulate/world.ts';
import { addCounts, type Evidence, noCounts } from '../../../machines/analysis/evidence.ts';
import { judge } from '../../../machines/analysis/judge.ts';
import { addEvidence, beginStep, emptyTally, type TallyState } from '../../../machines/analysis/tally.ts';
import { machineLimits } from '../../../machines/rollout/limits.ts';

export interface VerdictCost {
  /** Median milliseconds of one verdict, its window added first, at the end of 30 days of minutes. */
  verdictMs: number;
  /** Median microseconds to add a window on the first day, and on the last. */
  firstDayMicros: number;
  lastDayMicros: number;
}

const policy = studyPolicy(sources.monitoring);
const roles = { canaryId: 'canary', stableIds: ['stable'] };
const minutesPerDay = 24 * 60;
const minutes = 30 * minutesPerDay;
const percent = 25;
/** As many windows are served once and come again and again. */
const served = 60;

export function measureVerdict(): VerdictCost {
  const windows = serve();
  const add = (state: TallyState, minute: number): TallyState => {
    const evidence = windows[minute % served];
    if (evidence === undefined) throw new Error(`no window was served for minute ${minute}`);
    const window = { fromAt: minute * 60_000, toAt: (minute + 1) * 60_000 };
    return addEvidence(state, { ...evidence, window }, roles, machineLimits, policy.analysis);
  };
  let state = beginStep(emptyTally, 0);
  const micros: number[] = [];
  for (let minute = 0; minute < minutes; minute += 1) {
    const from = performance.now();
    state = add(state, minute);
    micros.push((performance.now() - from) * 1000);
  }
  const verdicts = Array.from({ length: 200 }, () => {
    const from = performance.now();
    const question = { at: minutes * 60_000, percent, nextPercent: 50, maxExcessErrors: 10 };
    judge(add(state, minutes), 'monitoring', policy.analysis, question);
    return performance.now() - from;
  });
  return {
    verdictMs: median(verdicts),
    // The first hour is the compiler's.
    firstDayMicros: median(micros.slice(60, minutesPerDay)),
    lastDayMicros: median(micros.slice(-minutesPerDay)),
  };
}

function serve(): Omit<Evidence, 'window'>[] {
  const cell = {
    name: 'a month',
    isHealthy: true,
    traffic: { requestsPerSecond: 20, shape: () => 1 },
    errors: () => () => ({ stable: 0.01, canary: 0.01 }),
  };
  const world = beginWorld(cell, 1);
  return Array.from({ length: served }, (_, minute) => {
    const slots = Array.from({ length: 60 / slotSeconds }, (__, i) =>
      world.serve({ second: minute * 60 + i * slotSeconds, percent, heldSeconds: minute * 60 }),
    );
    const variants = {
      canary: slots.map(({ canary }) => canary).reduce(addCounts, noCounts),
      stable: slots.map(({ stable }) => stable).reduce(addCounts, noCounts),
    };
    return { source: 'monitoring', variants };
  });
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}
