import { describe, expect, it } from 'vitest';
import type { Decision, Minute } from './rule.ts';
import { rules } from './rules.ts';

const good = minuteOf(0, 100);
const bad = minuteOf(10, 100);

function minuteOf(errors: number, requests: number): Minute {
  return { canary: { hits: errors, trials: requests }, stable: { hits: 0, trials: 1000 } };
}

/** What the rule decides each minute, shown `minutes` one by one as if there were no lag, until it ends. */
function decisions(name: string, minutes: readonly (Minute | null)[]): string[] {
  const rule = rules.find((one) => one.name.startsWith(name));
  if (rule === undefined) throw new Error(`no rule begins with "${name}"`);
  const decide = rule.begin();
  let [percent, since] = [rule.firstPercent, 0];
  const said: string[] = [];
  for (let minute = 0; minute <= minutes.length; minute += 1) {
    const decision: Decision = decide({ percent, heldMinutes: minute - since, minutes: minutes.slice(0, minute) });
    said.push(decision.kind === 'shift' ? `${decision.percent} %` : decision.kind);
    if (decision.kind === 'rollBack' || decision.kind === 'complete') break;
    if (decision.kind === 'shift') [percent, since] = [decision.percent, minute];
  }
  return said;
}

describe('the other rules', () => {
  it('Argo rolls back with one failure more than its limit, in a row or not', () => {
    expect(decisions('Argo default', [good, good, bad])).toEqual(['stay', 'stay', 'stay', 'stay']);
    expect(decisions('Argo default', [bad])).toEqual(['stay', 'rollBack']);
    // The rate is over five minutes, so that one bad minute is measured more than once.
    expect(decisions('Argo tuned', [bad, good, good])).toEqual(['stay', 'stay', 'stay', 'stay']);
    expect(decisions('Argo tuned', [bad, good, good, good]).at(-1)).toBe('rollBack');
  });

  it('Argo aborts when the query is empty', () => {
    const lost = Array.from({ length: 5 }, () => null);
    expect(decisions('Argo default', [good, good, ...lost]).at(-1)).toBe('rollBack');
    expect(decisions('Argo default', [good, good, ...lost.slice(1)]).at(-1)).toBe('stay');
  });

  it('Flagger never forgets a failed check, counts a missing value, and rolls back one run late', () => {
    expect(decisions('Flagger tuned', [good, bad, good, null, bad, good])).toEqual([
      'stay',
      '20 %',
      'stay',
      '30 %',
      'stay',
      'stay',
      'rollBack',
    ]);
    expect(
      decisions(
        'Flagger tuned',
        Array.from({ length: 6 }, () => good),
      ).slice(-2),
    ).toEqual(['100 %', 'complete']);
  });

  it('SageMaker needs two of three minutes, and lets a missing one pass', () => {
    expect(decisions('SageMaker', [bad, good, null, bad, good, good]).at(-1)).toBe('stay');
    expect(decisions('SageMaker', [bad, null, bad]).at(-1)).toBe('rollBack');
  });

  it('Kayenta judges at the end of each interval, and passes without data', () => {
    const minutes = (errors: number) => Array.from({ length: 10 }, () => minuteOf(errors, 100));
    expect(decisions('Kayenta tuned', minutes(10)).slice(-2)).toEqual(['stay', 'rollBack']);
    expect(decisions('Kayenta tuned', minutes(0)).at(-1)).toBe('stay');
    expect(
      decisions(
        'Kayenta tuned',
        Array.from({ length: 60 }, () => null),
      ).at(-1),
    ).toBe('100 %');
  });

  it('Release Manager finds fewer than 100 requests inconclusive', () => {
    expect(decisions('Release Manager tuned', [minuteOf(50, 99)]).at(-1)).toBe('stay');
    expect(decisions('Release Manager tuned', [minuteOf(50, 100)]).at(-1)).toBe('rollBack');
  });
});
