/** How is a check said to a person? What was seen of it, what is claimed against it, and what the next share could bring. */
import { type Bet, type Check, countOf, valuesOf } from './checks.ts';
import type { ClimbAnswer } from './climb.ts';
import { distanceOf } from './drift.ts';
import { type Histogram, quantileMs } from './evidence.ts';
import { count, fraction, part, percent, points, round } from './sentences.ts';
import { comparison, type Tally, latestValueOf } from './tally.ts';

/** What was seen, canary against stable, without a full stop. */
export function seen(tally: Tally, check: Check): string {
  const { rule, name } = check;
  const stable = comparison(tally);
  const { canary } = tally.step;
  switch (rule.kind) {
    case 'rate': {
      const say = name === 'errorRate' ? fraction : part;
      const [ours, theirs] = [countOf(check, canary, null), countOf(check, stable, null)];
      const subject = name === 'errorRate' ? 'Canary' : `${name}: canary`;
      return `${subject} ${say(ours)}, stable ${say(theirs)}`;
    }
    case 'quantile': {
      const [ours, theirs] = [canary, stable].map((side) =>
        takes(valuesOf(check, side), rule.quantileRatio, check.unit),
      );
      const [subject, verb] = name === 'latency' ? ['At', 'takes'] : [`${name}: at`, 'has'];
      return `${subject} the ${percent(rule.quantileRatio)} quantile canary ${verb} ${ours}, stable ${theirs}`;
    }
    case 'drift': {
      const { distance } = distanceOf(valuesOf(check, canary), valuesOf(check, stable));
      const whose = name === 'drift' ? "The canary's predictions lie" : `${name}: the canary's values lie`;
      return `${whose} ${round(distance)} from stable's (Jensen-Shannon; at most ${rule.maxDistance} is fine)`;
    }
    case 'limit': {
      const value = latestValueOf(tally, check);
      return `${name}: the canary has ${value === null ? 'no value' : count(value)}; at most ${count(rule.max)} is fine`;
    }
  }
}

/** What is claimed when the check is proven. */
export function claimOf({ rule }: Bet): string {
  switch (rule.kind) {
    case 'rate':
      return `it is worse by more than ${points(rule.marginRatio)}`;
    case 'quantile':
      return `it is more than ${rule.maxRatio} times slower`;
    case 'drift':
      return 'they differ';
  }
}

/** What the next share could bring. */
export function climbed(answer: Omit<ClimbAnswer, 'isAllowed'>, nextPercent: number, budget: number): string {
  const known = `at most ${points(answer.excessAtMost)} more than stable`;
  const blind = `${nextPercent} % would serve ${count(Math.round(answer.blindRequests))} requests before evidence could act`;
  if (answer.blindRequests > answer.blindRequestsMax)
    return `${known}: ${blind}, ${count(Math.round(answer.blindRequestsMax))} are in proportion.`;
  return `${known}: ${blind}, with ${round(answer.excessErrors)} errors too many at most; the budget is ${budget}.`;
}

function takes(values: Histogram, quantileRatio: number, unit: string): string {
  const quantile = quantileMs(values, quantileRatio);
  const suffix = unit === '' ? '' : ` ${unit}`;
  return quantile === null ? `more than ${values.bounds.at(-1) ?? 0}${suffix}` : `${round(quantile)}${suffix}`;
}
