/** What may be wrong with a canary? Each fault as chance would have it at this policy's traffic; or why it cannot be lived. */
import { allowedRate } from '../../machines/analysis/hit-test.ts';
import { allowanceOf } from '../../machines/analysis/checks.ts';
import type { Policy } from '../../machines/policy/policy.ts';
import { formatPercent } from '../../machines/policy/units.ts';
import type { Cell, FaultModel } from './cells.ts';
import type { Source } from './lives.ts';

export const faultNames = ['none', '2x', 'crash', 'slow', 'onset', 'load', 'drift'] as const;
export type FaultName = (typeof faultNames)[number];

/** The world that the policy is tried in. */
export interface Scenario {
  requestsPerSecond: number;
  shape: 'steady' | 'daily';
  /** Stable's errors. */
  errorRatio: number;
  source: Source;
}

export type Fault =
  | {
      name: FaultName;
      text: string;
      /** What the policy is to do about it: promote a healthy canary, roll a bad one back; `allowed` is worse, and fine by it. */
      kind: 'healthy' | 'bad' | 'allowed';
      /** One life's cell; the lives begin evenly over the day. */
      cellOf: (life: number, lives: number) => Cell;
    }
  | { name: FaultName; text: string; kind: 'notSimulated' };

const daySeconds = 86_400;
const badRatio = 0.3;
const loadPercent = 25;
const onsetSeconds = 120;
/** The canary's slow answers; healthy ones are slow one time in fifty (see world.ts). */
const slowRatios = { stable: 0.02, canary: 0.5 };
/** A life's slow answers take two to four times as long as the others, which tells only of quantiles and ratios in here. */
const slowQuantiles = { least: 0.6, most: 0.97, ratioMost: 2 };
/** A bad canary is looked at for so long after it was proven, if stable is kept; a healthy one until it is proven. */
const watchSecondsMax = 3600;
/** No life is longer. */
const lifeSecondsMax = 7 * daySeconds;

/** The fault of that name under this policy. */
export function faultOf(name: FaultName, policy: Policy, scenario: Scenario): Fault {
  const { errorRatio } = scenario;
  const allowed = allowedRate(errorRatio, allowanceOf({ kind: 'rate', ...policy.analysis.errorRate }));
  const errors = (text: string, canary: number, model: FaultModel): Fault => {
    const kind = name === 'none' ? 'healthy' : canary <= allowed ? 'allowed' : 'bad';
    return { name, text, kind, cellOf: cells(name, policy, scenario, kind, { errors: model }) };
  };
  const twice = Math.min(1, 2 * errorRatio);
  const after = Math.max(errorRatio, badRatio);
  switch (name) {
    case 'none':
      return errors('as good as stable', errorRatio, constant(errorRatio, errorRatio));
    case '2x':
      return errors(`${formatPercent(twice)} errors, twice stable's`, twice, constant(errorRatio, twice));
    case 'crash':
      return errors('every request fails', 1, constant(errorRatio, 1));
    case 'onset':
      return errors(
        `${formatPercent(after)} errors from ${onsetSeconds / 60} minutes into step ${Math.min(2, policy.steps.length)} on`,
        after,
        onset(errorRatio, after, policy.steps[1]?.percent ?? 100),
      );
    case 'load':
      return errors(
        `${formatPercent(after)} errors above ${loadPercent} % of the traffic`,
        after,
        () =>
          ({ percent }) => ({
            stable: errorRatio,
            canary: percent > loadPercent ? after : errorRatio,
          }),
      );
    case 'slow':
      return slowFault(policy, scenario);
    case 'drift':
      return { name, kind: 'notSimulated', text: 'lives are made of requests without predictions' };
  }
}

function slowFault(policy: Policy, scenario: Scenario): Fault {
  const { latency } = policy.analysis;
  if (latency === null) return notSlow('the policy does not judge latency: nothing would stop a slow canary');
  const { least, most, ratioMost } = slowQuantiles;
  if (latency.quantileRatio < least || latency.quantileRatio > most || latency.maxRatio > ratioMost)
    return notSlow(
      `lives know quantiles from ${formatPercent(least)} to ${formatPercent(most)} and a maxRatio up to ${ratioMost}`,
    );
  const models = { errors: constant(scenario.errorRatio, scenario.errorRatio), slow: () => () => slowRatios };
  const cellOf = cells('slow', policy, scenario, 'bad', { ...models, fault: 'slow' });
  return { name: 'slow', text: 'half of its answers take over twice as long', kind: 'bad', cellOf };
}

function notSlow(text: string): Fault {
  return { name: 'slow', kind: 'notSimulated', text };
}

function constant(stable: number, canary: number): FaultModel {
  return () => () => ({ stable, canary });
}

/** Once bad it stays bad, whatever share it has then. */
function onset(stable: number, canary: number, fromPercent: number): FaultModel {
  return () => {
    let isBad = false;
    return ({ percent, heldSeconds }) => {
      isBad ||= percent >= fromPercent && heldSeconds >= onsetSeconds;
      return { stable, canary: isBad ? canary : stable };
    };
  };
}

function cells(
  name: FaultName,
  policy: Policy,
  scenario: Scenario,
  kind: 'healthy' | 'bad' | 'allowed',
  models: Pick<Cell, 'errors' | 'slow' | 'fault'>,
): (life: number, lives: number) => Cell {
  const watchSeconds = kind === 'bad' ? Math.min(policy.keepStableSeconds, watchSecondsMax) : 0;
  return (life, lives) => ({
    name,
    isHealthy: kind !== 'bad',
    traffic: {
      requestsPerSecond: scenario.requestsPerSecond,
      shape: scenario.shape === 'steady' ? () => 1 : (second) => daily(second + (life / lives) * daySeconds),
    },
    ...models,
    watchSeconds,
    horizonSeconds: longestSeconds(policy) + watchSeconds,
  });
}

/** Between a fifth and nine fifths of its mean, over a day. */
function daily(second: number): number {
  return 1 + 0.8 * Math.sin((2 * Math.PI * second) / daySeconds);
}

/** By then every step was left, or its patience was over; in whole slots. */
function longestSeconds({ steps, analysis }: Policy): number {
  const { inconclusive, noData, metricLagSeconds } = analysis;
  const patience = Math.max(inconclusive.afterSeconds, noData.afterSeconds) + metricLagSeconds + 600;
  const seconds = steps.reduce((sum, { holdSeconds }) => sum + holdSeconds + patience, 0);
  return Math.min(lifeSecondsMax, Math.ceil(seconds / 60) * 60);
}
