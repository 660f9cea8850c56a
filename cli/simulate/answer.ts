/** How do rollouts under this policy go? Lives each fault many times and counts: ends, times, harm, the share over time. */
import type { Policy } from '../../machines/policy/policy.ts';
import type { Cell } from './cells.ts';
import { type Fault, type FaultName, faultOf, type Scenario } from './faults.ts';
import { type LifeResult, liveOnce } from './lives.ts';
import { upperBound } from '../chance.ts';

/** Over all lives; null where that part of them never came there. */
export interface Spread {
  median: number | null;
  ninety: number | null;
}

/** The canary's share at a second, over all lives: what a tenth, half and nine tenths of them are at or below. */
export interface ShareBand {
  second: number;
  low: number;
  median: number;
  high: number;
}

export interface FaultAnswer {
  fault: FaultName;
  text: string;
  kind: 'healthy' | 'bad' | 'allowed';
  lives: number;
  ends: Record<LifeResult['end'], number>;
  /** Healthy and rolled back, or bad and not; null where either is right. The bound is Clopper and Pearson's, 95 %. */
  wrong: { count: number; ratioAtMost: number } | null;
  minutesTo100: Spread;
  /** Errors (or slow answers) that stable would not have had. */
  excessErrors: { mean: number; ninety: number };
  /** Requests that the canary served while it was not yet proven. */
  exposure: { median: number; ninety: number };
  /** Of the lives that were rolled back, from the first harm on. */
  minutesToRollback: Spread;
  /** How long each step lasted in lives that left it; null where fewer than half of all did. */
  stepMinutes: (number | null)[];
  shares: ShareBand[];
  /** Why the most frequent kind of end came, in one of its lives. */
  example: string;
}

export interface PolicyAnswer {
  policy: Policy;
  answers: FaultAnswer[];
  notSimulated: { fault: FaultName; why: string }[];
  /** How much of time is worth showing: until nine lives of ten of each fault have ended. */
  seconds: number;
}

interface Lived extends LifeResult {
  changes: { second: number; percent: number }[];
}

/** Points on the time axis of the bands. */
const bandPoints = 120;
/** Study's stride: neighbouring seeds are lived apart. */
const seedStride = 7919;

/**
 * The policy as lives can live it. The canary is deployed and ready at once, approvals are given at once, and no window
 * freezes anything, as lives are not dated.
 */
export function livedPolicy(policy: Policy): Policy {
  const steps = policy.steps.map((step) => ({ ...step, approval: false }));
  return { ...policy, steps, freeze: [], deploy: { ...policy.deploy, minReplicas: 1 } };
}

/** Lives every fault `lives` times. The same arguments, the same answer; the same seeds whatever the policy. */
export function answerFor(
  owned: Policy,
  scenario: Scenario,
  names: readonly FaultName[],
  { lives, seed, progress }: { lives: number; seed: number; progress: (fault: FaultName, life: number) => void },
): PolicyAnswer {
  const policy = livedPolicy(owned);
  const faults = names.map((name) => faultOf(name, policy, scenario));
  const all = faults.flatMap((fault) => {
    if (fault.kind === 'notSimulated') return [];
    const lived = Array.from({ length: lives }, (_, i) => {
      progress(fault.name, i);
      return liveWatched(policy, fault.cellOf(i, lives), seed + i * seedStride, scenario);
    });
    return [{ fault, lived }];
  });
  const ninetieths = all.map(({ lived }) =>
    quantile(
      lived.map(({ minutes }) => minutes),
      0.9,
    ),
  );
  const seconds = 120 * Math.max(1, Math.ceil(Math.max(0, ...ninetieths) / 2));
  return {
    policy: owned,
    answers: all.map(({ fault, lived }) => summarise(policy, fault, lived, seconds)),
    notSimulated: faults.flatMap(({ kind, name, text }) =>
      kind === 'notSimulated' ? [{ fault: name, why: text }] : [],
    ),
    seconds,
  };
}

/** One life, and how its share moved: the fault's model is asked at every slot, and told the share. */
function liveWatched(policy: Policy, cell: Cell, seed: number, { source }: Scenario): Lived {
  const changes: Lived['changes'] = [];
  const errors: Cell['errors'] = (random) => {
    const at = cell.errors(random);
    return (place) => {
      if (place.second >= 0 && place.percent !== (changes.at(-1)?.percent ?? 0))
        changes.push({ second: place.second, percent: place.percent });
      return at(place);
    };
  };
  const result = liveOnce(policy, { ...cell, errors }, seed, source);
  if (result.end === 'rolledBack') changes.push({ second: result.minutes * 60, percent: 0 });
  return { ...result, changes };
}

function summarise(
  policy: Policy,
  { name, text, kind }: Exclude<Fault, { kind: 'notSimulated' }>,
  lived: Lived[],
  seconds: number,
): FaultAnswer {
  const ends: FaultAnswer['ends'] = { proven: 0, rolledBack: 0, contained: 0, paused: 0, waiting: 0 };
  for (const { end } of lived) ends[end] += 1;
  const lives = lived.length;
  const count = kind === 'healthy' ? ends.rolledBack : lives - ends.rolledBack - ends.contained;
  const harms = lived.map(({ excessErrors }) => excessErrors);
  const exposures = lived.map(({ exposure }) => exposure);
  const caught = lived.flatMap(({ detectionSeconds: found }) => (found === null ? [] : [found / 60]));
  const most = lived.toSorted((a, b) => ends[b.end] - ends[a.end])[0];
  return {
    fault: name,
    text,
    kind,
    lives,
    ends,
    wrong: kind === 'allowed' ? null : { count, ratioAtMost: upperBound(count, lives) },
    minutesTo100: spread(lived.map(({ minutesTo100 }) => minutesTo100 ?? Number.POSITIVE_INFINITY)),
    excessErrors: { mean: harms.reduce((sum, harm) => sum + harm, 0) / lives, ninety: quantile(harms, 0.9) },
    exposure: { median: quantile(exposures, 0.5), ninety: quantile(exposures, 0.9) },
    minutesToRollback: caught.length === 0 ? { median: null, ninety: null } : spread(caught),
    stepMinutes: policy.steps.map(({ percent }) => stepMinutes(lived, percent)),
    shares: bands(lived, seconds),
    example: most?.reason ?? '',
  };
}

/** The last step ends with the rollout. */
function stepMinutes(lived: Lived[], percent: number): number | null {
  const lasted = lived.map(({ changes, end, minutes }) => {
    const at = changes.findIndex((change) => change.percent === percent);
    const [begun, left] = [changes[at], changes[at + 1]];
    if (begun === undefined || left?.percent === 0) return Number.POSITIVE_INFINITY;
    if (left !== undefined) return (left.second - begun.second) / 60;
    return end === 'proven' ? minutes - begun.second / 60 : Number.POSITIVE_INFINITY;
  });
  return spread(lasted).median;
}

function bands(lived: Lived[], seconds: number): ShareBand[] {
  return Array.from({ length: bandPoints + 1 }, (_, i) => {
    const second = (i / bandPoints) * seconds;
    const shares = lived.map(({ changes }) => changes.findLast((change) => change.second <= second)?.percent ?? 0);
    return { second, low: quantile(shares, 0.1), median: quantile(shares, 0.5), high: quantile(shares, 0.9) };
  });
}

function spread(values: number[]): Spread {
  const [median, ninety] = [quantile(values, 0.5), quantile(values, 0.9)];
  return { median: Number.isFinite(median) ? median : null, ninety: Number.isFinite(ninety) ? ninety : null };
}

/**
 * The least value that so large a part of them is at or below; 0 of none.
 * @example 0.9 of 1, 2, …, 10 is 9
 */
export function quantile(values: readonly number[], part: number): number {
  const ordered = values.toSorted((a, b) => a - b);
  return ordered[Math.max(0, Math.ceil(part * ordered.length) - 1)] ?? 0;
}
