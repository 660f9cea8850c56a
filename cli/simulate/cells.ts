/**
 * On what work is a rule tried? Cells: a traffic, a stable and a canary, healthy or bad. Each is a model of chance that a
 * life draws from; the same for every rule, so that their answers can be laid side by side.
 */
import { logNormal, type Random, seededRandom } from '../../emulator/models/random.ts';
import { divergence } from '../../machines/analysis/evalue.ts';
import { drawBinomial } from '../chance.ts';

export interface TrafficModel {
  requestsPerSecond: number;
  /** A factor on it, by the second since the rollout's first share took effect. */
  shape: (second: number) => number;
}

/** What goes wrong, as ratios of requests. */
export interface Ratios {
  stable: number;
  canary: number;
}

/** When and where: seconds count from the moment the rollout's first share took effect, negative before it. */
export interface Place {
  second: number;
  /** The canary's share. */
  percent: number;
  /** How long it has had this share. */
  heldSeconds: number;
}

/** The ratios at a place. Made anew for each life, so that it may draw its own chances. */
export type FaultModel = (random: Random) => (place: Place) => Ratios;

export interface Cell {
  name: string;
  isHealthy: boolean;
  /** The canary is as bad as is still allowed: nowhere are more rolled back. */
  isAtEdge?: true;
  traffic: TrafficModel;
  errors: FaultModel;
  /** Requests slower than nearly all healthy ones; one in fifty of both where absent. */
  slow?: FaultModel;
  /** Errors are timeouts: slow as well. */
  areErrorsSlow?: boolean;
  /** How many errors come of one: retries of the same request, routed anew (`spread`) or to the same model (`sticky`). */
  retries?: { count: number; kind: 'spread' | 'sticky' };
  /** Between these seconds nothing can be read, and nothing of it comes later. */
  gap?: { fromSecond: number; toSecond: number };
  /** What makes a bad canary bad; errors where absent. */
  fault?: 'errors' | 'slow';
  /** The share at which it shows first; the policy's first where absent. */
  visiblePercent?: number;
  /** How long to go on looking after the canary is proven; not at all where absent. */
  watchSeconds?: number;
  /** When to stop looking; six hours where absent. */
  horizonSeconds?: number;
}

type RatioModel = (random: Random) => (second: number) => number;

const steady = (requestsPerSecond: number): TrafficModel => ({ requestsPerSecond, shape: () => 1 });
const constant =
  (stable: number, canary = stable): FaultModel =>
  () =>
  () => ({ stable, canary });
/** Both variants alike. */
const alike =
  (ratio: RatioModel): FaultModel =>
  (random) => {
    const at = ratio(random);
    return ({ second }) => {
      const both = at(second);
      return { stable: both, canary: both };
    };
  };
/** Each variant by itself, after the same model. */
const apart =
  (ratio: RatioModel): FaultModel =>
  (random) => {
    const [stable, canary] = [ratio(random), ratio(random)];
    return ({ second }) => ({ stable: stable(second), canary: canary(second) });
  };
const bad = (stable: number, canary: number) => ({ isHealthy: false, errors: constant(stable, canary) });
const healthy = { isHealthy: true };
const atEdge = { isHealthy: true, isAtEdge: true } as const;

/** Another factor every minute, log-normal with mean 1. */
const noise =
  (ratio: number, spread: number): RatioModel =>
  (random) => {
    const factors = new Map<number, number>();
    return (second: number) => {
      const minute = Math.floor(second / 60);
      const factor = factors.get(minute) ?? logNormal(random, Math.exp(-(spread ** 2) / 2), spread);
      factors.set(minute, factor);
      return Math.min(1, ratio * factor);
    };
  };

/** Now and then a burst: `share` of the time it is `high`, for `seconds` each. */
const bursts =
  (low: number, high: number, share: number, seconds: number): RatioModel =>
  (random) => {
    const slots = new Map<number, boolean>();
    const phase = random() * seconds;
    return (second: number) => {
      const slot = Math.floor((second + phase) / seconds);
      const isBurst = slots.get(slot) ?? random() < share;
      slots.set(slot, isBurst);
      return isBurst ? high : low;
    };
  };

/**
 * Every replica restarts each half hour on average, and fails half of its requests for ten seconds. Stable keeps all of
 * its replicas, the canary has its share of as many, one at least.
 */
const restarts =
  (low: number, replicas: number): FaultModel =>
  (random) => {
    let slot = Number.NaN;
    let at: Ratios = { stable: low, canary: low };
    return ({ second, percent }) => {
      if (Math.floor(second / 10) !== slot) {
        slot = Math.floor(second / 10);
        const lost = (count: number): number => (0.5 * drawBinomial(random, count, 10 / 1800)) / count;
        at = { stable: low + lost(replicas), canary: low + lost(Math.max(1, Math.round((replicas * percent) / 100))) };
      }
      return at;
    };
  };

const between =
  (from: number, to: number, inside: number, outside: number): RatioModel =>
  () =>
  (second) =>
    second >= from && second < to ? inside : outside;

const twoHours = 2 * 3600;
const daily = (second: number): number => 1 + 0.8 * Math.sin((2 * Math.PI * second) / twoHours);

/** The cells of the published table. */
export const plainCells: Cell[] = [
  { name: '0.1 % 20 rps', ...healthy, traffic: steady(20), errors: constant(0.001) },
  { name: '1 % 20 rps', ...healthy, traffic: steady(20), errors: constant(0.01) },
  { name: '1 % 1 rps', ...healthy, traffic: steady(1), errors: constant(0.01) },
  { name: '1 % 500 rps', ...healthy, traffic: steady(500), errors: constant(0.01) },
  { name: '1 % noisy', ...healthy, traffic: steady(20), errors: alike(noise(0.01, 0.5)) },
  { name: 'shared outage', ...healthy, traffic: steady(20), errors: alike(between(600, 900, 0.3, 0.01)) },
  {
    name: '8 min data gap',
    ...healthy,
    traffic: steady(20),
    errors: constant(0.01),
    gap: { fromSecond: 300, toSecond: 780 },
  },
  { name: '100 % 20 rps', traffic: steady(20), ...bad(0.01, 1) },
  { name: '30 v 1 %', traffic: steady(20), ...bad(0.01, 0.3) },
  { name: '10 v 1 %', traffic: steady(20), ...bad(0.01, 0.1) },
  { name: '3 v 1 % 20 rps', traffic: steady(20), ...bad(0.01, 0.03) },
  { name: '3 v 1 % 500 rps', traffic: steady(500), ...bad(0.01, 0.03) },
  { name: '2 v 1 % 500 rps', traffic: steady(500), ...bad(0.01, 0.02) },
  { name: '2 v 0.1 %', traffic: steady(20), ...bad(0.001, 0.02) },
  {
    name: 'only above 25 % load',
    traffic: steady(20),
    isHealthy: false,
    errors:
      () =>
      ({ percent }) => ({ stable: 0.01, canary: percent > 25 ? 0.3 : 0.01 }),
    visiblePercent: 50,
  },
];

/** Harder ones. */
export const hardCells: Cell[] = [
  { name: '0.01 % 20 rps', ...healthy, traffic: steady(20), errors: constant(0.0001) },
  { name: 'no errors at all', ...healthy, traffic: steady(20), errors: constant(0) },
  { name: '1 % 0.2 rps', ...healthy, traffic: steady(0.2), errors: constant(0.01), horizonSeconds: 12 * 3600 },
  { name: 'edge: 1.5 v 1 %', ...atEdge, traffic: steady(20), errors: constant(0.01, 0.015) },
  { name: 'edge: 0.6 v 0.1 %', ...atEdge, traffic: steady(20), errors: constant(0.001, 0.006) },
  { name: 'edge: 1.5 v 1 % 500 rps', ...atEdge, traffic: steady(500), errors: constant(0.01, 0.015) },
  { name: 'independent bursts', ...healthy, traffic: steady(20), errors: apart(bursts(0.007, 0.1, 0.03, 20)) },
  { name: 'long bursts apart', ...healthy, traffic: steady(20), errors: apart(bursts(0.007, 0.1, 0.03, 60)) },
  { name: 'noise apart', ...healthy, traffic: steady(20), errors: apart(noise(0.01, 0.3)) },
  { name: 'restarts', ...healthy, traffic: steady(20), errors: restarts(0.005, 10) },
  { name: 'restarts, timeouts', ...healthy, traffic: steady(20), errors: restarts(0.005, 10), areErrorsSlow: true },
  {
    name: 'diurnal traffic',
    ...healthy,
    traffic: { requestsPerSecond: 20, shape: daily },
    errors: alike(() => (second) => 0.01 * daily(second)),
  },
  {
    name: 'deployments in waves',
    ...healthy,
    traffic: steady(20),
    errors: alike(() => (second) => (second % 900 >= 600 ? 0.04 : 0.01)),
  },
  {
    name: 'outages in waves, watched',
    ...healthy,
    traffic: steady(20),
    errors: alike(() => (second) => (second >= 0 && second % 1800 >= 1500 ? 0.3 : 0.01)),
    watchSeconds: 2 * 3600,
  },
  {
    name: 'blips, watched',
    ...healthy,
    traffic: steady(20),
    errors: alike(() => (second) => (second >= 0 && second % 1800 >= 1770 ? 0.3 : 0.01)),
    watchSeconds: 2 * 3600,
  },
  { name: 'early outage', ...healthy, traffic: steady(20), errors: alike(between(60, 360, 0.3, 0.01)) },
  { name: 'outage at 100 %', ...healthy, traffic: steady(20), errors: alike(between(1500, 1800, 0.3, 0.01)) },
  {
    name: 'outage in the hour before',
    ...healthy,
    traffic: steady(20),
    errors: alike(between(-1500, -900, 0.3, 0.01)),
  },
  {
    name: 'retries routed anew',
    ...healthy,
    traffic: steady(20),
    errors: constant(0.01),
    retries: { count: 3, kind: 'spread' },
  },
  {
    name: 'retries at one model',
    ...healthy,
    traffic: steady(20),
    errors: constant(0.01),
    retries: { count: 3, kind: 'sticky' },
  },
  {
    name: 'timeouts, retried at one model',
    ...healthy,
    traffic: steady(20),
    errors: constant(0.01),
    retries: { count: 3, kind: 'sticky' },
    areErrorsSlow: true,
  },
  { name: 'stable fails 20 %', ...healthy, traffic: steady(20), errors: constant(0.2) },
  { name: 'stable gets better', ...healthy, traffic: steady(20), errors: alike(between(-9999, 600, 0.02, 0.004)) },
  { name: '100 % 0.2 rps', traffic: steady(0.2), ...bad(0.01, 1), horizonSeconds: 12 * 3600 },
  { name: '30 v 1 % 1 rps', traffic: steady(1), ...bad(0.01, 0.3) },
  { name: '5 v 1 % 20 rps', traffic: steady(20), ...bad(0.01, 0.05) },
  { name: '100 % over no errors', traffic: steady(20), ...bad(0, 1) },
  { name: '40 v 20 %', traffic: steady(20), ...bad(0.2, 0.4) },
  {
    name: '10 v 1 % noisy',
    traffic: steady(20),
    ...bad(0.01, 0.1),
    errors: (random) => {
      const at = noise(0.01, 0.5)(random);
      return ({ second }) => ({ stable: at(second), canary: Math.min(1, at(second) * 10) });
    },
  },
  {
    name: 'ramp to 30 %',
    traffic: steady(20),
    isHealthy: false,
    errors:
      () =>
      ({ second }) => ({ stable: 0.01, canary: 0.01 + 0.29 * Math.min(1, Math.max(0, second / 1800)) }),
  },
  {
    name: 'onset at 50 %, after 20 s',
    traffic: steady(20),
    isHealthy: false,
    errors:
      () =>
      ({ percent, heldSeconds }) => ({
        stable: 0.01,
        canary: percent === 100 || (percent === 50 && heldSeconds >= 20) ? 0.3 : 0.01,
      }),
    visiblePercent: 50,
  },
  {
    name: 'onset at 100 %',
    traffic: steady(20),
    isHealthy: false,
    errors:
      () =>
      ({ percent, heldSeconds }) => ({ stable: 0.01, canary: percent === 100 && heldSeconds >= 120 ? 0.3 : 0.01 }),
    visiblePercent: 100,
    watchSeconds: 3600,
  },
  {
    name: 'slow: 20 v 2 %',
    traffic: steady(20),
    isHealthy: false,
    errors: constant(0.01),
    slow: constant(0.02, 0.2),
    fault: 'slow',
  },
];

/** What a rule may know: how sure it must be, what is still fine, and how long what it reads takes to come. */
export interface Terms {
  falseRollbackRatio: number;
  marginRatio: number;
  lagSeconds: number;
  firstPercent: number;
}

/**
 * Errors beyond stable's that no rule can avoid on average. A rule that stays at the share where the fault shows first must
 * gather ln(1/α) nats at KL(p_c ‖ p_s + margin) a request (Wald 1945); then its lag passes. Summed second by second, so that
 * a fault may grow or begin late. Null for healthy cells.
 * @example 3 v 1 %, 20 rps, margin 0.5 %, α = 1 %, lag 180 s at 5 %: (779 + 180) requests · 0.02 = 19.2
 */
export function harmLimit(
  cell: Cell,
  { falseRollbackRatio, marginRatio, lagSeconds, firstPercent }: Terms,
): number | null {
  if (cell.isHealthy) return null;
  const percent = cell.visiblePercent ?? firstPercent;
  const ratiosAt = (cell.fault === 'slow' && cell.slow ? cell.slow : cell.errors)(seededRandom(1));
  let missing = Math.log(1 / falseRollbackRatio);
  let harm = 0;
  let lagLeft = lagSeconds;
  for (let second = 0; second < (cell.horizonSeconds ?? horizonSeconds) && lagLeft > 0; second += 1) {
    const { stable, canary } = ratiosAt({ second, percent, heldSeconds: second });
    const requests = cell.traffic.requestsPerSecond * cell.traffic.shape(second) * (percent / 100);
    const edge = cell.fault === 'slow' ? slowAllowed : stable + marginRatio;
    const gained = canary > edge ? requests * divergence(canary, edge) : 0;
    // The part of this second in which evidence is still missing; the rest of it belongs to the lag.
    const part = gained === 0 || missing >= gained ? (missing > 0 ? 1 : 0) : Math.max(0, missing / gained);
    missing -= gained * part;
    lagLeft -= 1 - part;
    harm += requests * Math.max(0, canary - stable);
  }
  return harm;
}

export const horizonSeconds = 6 * 3600;
/** Slower than a multiple of stable's 95 % quantile: as many as lie above it anyway are fine. */
const slowAllowed = 0.05;
