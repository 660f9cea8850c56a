/**
 * May the share rise? By evidence, not by the clock: what the next share serves before anybody could act must be in
 * proportion to what finding an excess takes anyway, and within the owner's budget of errors.
 */
import { pastRate } from './baseline.ts';
import { divergence } from './evalue.ts';
import { type Allowance, allowedRate, excessAtMost, type HitTest, patienceSeconds } from './hit-test.ts';

export interface Climb {
  /** In percent; 100 leaves nobody to compare with, so that to act takes longer. */
  nextPercent: number;
  requestsPerSecond: number;
  /** Until evidence of the next share could act: the lag, and the windows it is read in. */
  actSeconds: number;
  falseRollbackRatio: number;
  maxExcessErrors: number;
}

export interface ClimbAnswer {
  isAllowed: boolean;
  /** At most so many more hits per request than stable has, with 95 % confidence at any time. */
  excessAtMost: number;
  /** Requests that the next share serves before evidence could act, and how many it may. */
  blindRequests: number;
  blindRequestsMax: number;
  /** Hits beyond what is allowed that these could bring. */
  excessErrors: number;
}

/** Chance that the bound on the canary's excess is wrong. */
export const beta = 0.05;
/** Nobody can prove a difference of nothing. */
const excessLeast = 0.0005;
/** Requests may be served blind up to so many times what finding the excess takes at best. */
const proportion = 4;
/** However soon evidence comes, to be sure takes about a minute: so much at most is proven by one (`minuteGainMax`). */
const actSecondsMin = 60;

/**
 * Let U bound the canary's excess. To find U takes ln(1/α) / KL(p_s + U ‖ allowed) canary requests at best (Wald 1945). The
 * next share may rise when it serves at most 4 times as many before evidence could act, and when these, at U less what
 * is allowed, bring at most `maxExcessErrors`. So whatever excess there is, the harm stays in proportion to what no rule can
 * avoid, except with probability β; and a canary whose U is within what is allowed may always climb.
 * @example stable 1 %, margin 0.5 %, U = 2.4 %, α = 1 %: 4.605 / KL(3.4 % ‖ 1.5 %) = 511 requests, so 2,044 may be blind
 */
export function mayClimb(test: HitTest, allowance: Allowance, climb: Climb): ClimbAnswer {
  const stableRate = pastRate(test.baseline);
  const excess = excessAtMost(test, allowance.margin, beta);
  const edge = allowedRate(stableRate, allowance);
  const worst = Math.min(stableRate + excess, 1);
  const seconds = Math.max(climb.actSeconds, actSecondsMin) + (climb.nextPercent >= 100 ? patienceSeconds : 0);
  const blindRequests = (climb.nextPercent / 100) * climb.requestsPerSecond * seconds;
  const isWithinAllowed = worst <= edge * (1 + 1e-9) || excess <= excessLeast;
  const needed = isWithinAllowed
    ? Number.MAX_SAFE_INTEGER
    : Math.log(1 / climb.falseRollbackRatio) / divergence(worst, edge);
  const blindRequestsMax = proportion * needed;
  const excessErrors = blindRequests * Math.max(0, worst - edge);
  return {
    isAllowed: blindRequests <= blindRequestsMax && excessErrors <= climb.maxExcessErrors,
    excessAtMost: excess,
    blindRequests,
    blindRequestsMax,
    excessErrors,
  };
}
