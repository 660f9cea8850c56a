/** Is the advice right about what the numbers say, and silent where they say nothing? */
import { describe, expect, test } from 'vitest';
import {
  advise,
  changesToTry,
  firstWindowSeconds,
  isHeldUp,
  livesFor,
  policyWarnings,
  requestsInPatience,
} from '../../cli/simulate/advice.ts';
import type { FaultAnswer } from '../../cli/simulate/answer.ts';
import type { Scenario } from '../../cli/simulate/faults.ts';
import { sources } from '../../cli/simulate/lives.ts';
import { parsePolicy } from '../../machines/policy/document.ts';
import type { Policy } from '../../machines/policy/policy.ts';

function policyWith(analysis: string, steps = '[ { percent: 5, hold: 10m }, { percent: 100, hold: 10m } ]'): Policy {
  const parsed = parsePolicy(`
apiVersion: rollouts/v1
kind: RolloutPolicy
metadata: { name: delays }
spec:
  match: { model: projects/demo/locations/us-central1/models/delays }
  endpoint: projects/demo/locations/us-central1/endpoints/456
  steps: ${steps}
  analysis: { ${analysis} }
`);
  if (parsed.kind === 'invalid') throw new Error(JSON.stringify(parsed.problems));
  return parsed.policy;
}

const usual = policyWith('metricLag: 3m, minRequests: 50');
const scenario: Scenario = { requestsPerSecond: 20, shape: 'steady', errorRatio: 0.01, source: sources.monitoring };
const healthy: FaultAnswer = {
  fault: 'none',
  text: 'as good as stable',
  kind: 'healthy',
  lives: 400,
  ends: { proven: 400, rolledBack: 0, contained: 0, paused: 0, waiting: 0 },
  wrong: { count: 0, ratioAtMost: 0.0075 },
  minutesTo100: { median: 12, ninety: 14 },
  excessErrors: { mean: 0, ninety: 0 },
  exposure: { median: 1000, ninety: 1100 },
  minutesToRollback: { median: null, ninety: null },
  stepMinutes: [12, 11],
  shares: [],
  example: 'proven',
};
const bad: FaultAnswer = {
  ...healthy,
  fault: '2x',
  text: '2% errors',
  kind: 'bad',
  ends: { proven: 0, rolledBack: 400, contained: 0, paused: 0, waiting: 0 },
  minutesToRollback: { median: 6, ninety: 8 },
  minutesTo100: { median: null, ninety: null },
};
const texts = (policy: Policy, answers: FaultAnswer[]): string[] =>
  advise({ policy, answers, notSimulated: [], seconds: 600 }, scenario, []).map(({ text }) => text);

describe('before any life', () => {
  test('the first window is read a lag and two minutes after a step took effect', () => {
    expect(firstWindowSeconds(usual)).toBe(180 + 2 * 60);
  });

  test('a policy that can decide in time is not warned about', () => {
    expect(policyWarnings(usual)).toEqual([]);
    expect(policyWarnings(usual, 20)).toEqual([]);
  });

  test('patience that ends before the first window is warned about at any rate', () => {
    const policy = policyWith('metricLag: 3m, noData: { after: 4m59s }, inconclusive: { after: 3m }');
    expect(policyWarnings(policy).map(({ path }) => path)).toEqual([
      'spec.analysis.noData.after',
      'spec.analysis.inconclusive.after',
    ]);
    expect(policyWarnings(policy)[0]?.text).toContain('5m after it took effect');
    expect(policyWarnings(policyWith('metricLag: 3m, noData: { after: 5m }'))).toEqual([]);
  });

  test('at 1 request/s and 5 %, two hours show 348 canary requests', () => {
    expect(requestsInPatience(usual, 5, 1)).toBeCloseTo((7200 - 180 - 60) * 0.05);
  });

  test('a step whose requests cannot come in time is warned about with what would do', () => {
    const policy = policyWith('metricLag: 3m, minRequests: 1000');
    const [warning, ...rest] = policyWarnings(policy, 1);
    expect(rest).toEqual([]);
    // 1000 of 6960 requests are 14.4 %; 1000 at 0.05/s take 5 h 33 min 20 s, and the window and its lag.
    expect(warning?.path).toBe('spec.analysis.minRequests');
    expect(warning?.text).toContain('about 348 canary requests');
    expect(warning?.text).toContain('Begin at 15 %, or ask for at most 348, or wait for 5h40m.');
    expect(policyWarnings(policy)).toEqual([]);
  });
});

describe('after the lives', () => {
  test('nothing is said where everything went as asked', () => {
    expect(texts(usual, [healthy, bad])).toEqual([]);
  });

  test('to show a rate of 1 % takes 299 good lives', () => {
    expect(livesFor(0.01)).toBe(299);
    const [text] = texts(usual, [{ ...healthy, lives: 50, wrong: { count: 0, ratioAtMost: 0.0582 } }]);
    expect(text).toContain('of 50 was rolled back, which shows a rate of at most 5.8%; to show 1% takes --lives 299');
  });

  test('more false alarms than allowed are told, and a single one is not called more', () => {
    expect(texts(usual, [{ ...healthy, wrong: { count: 20, ratioAtMost: 0.07 } }])[0]).toContain(
      '20 of 400 healthy canaries were rolled back (5%), where falseRollbackRate allows 1%',
    );
    expect(texts(usual, [{ ...healthy, wrong: { count: 5, ratioAtMost: 0.03 } }])).toEqual([]);
  });

  test('a step that waits for evidence beyond its hold is named with both times', () => {
    const slow = { ...healthy, stepMinutes: [38, 11] };
    expect(isHeldUp(usual, slow)).toBe(true);
    expect(isHeldUp(usual, healthy)).toBe(false);
    expect(texts(usual, [slow])).toEqual([
      'at 20 requests/s step 1 (5 %) takes 38m of evidence, though its hold is 10m.',
    ]);
  });

  test('only changes that helped when they were lived are advised', () => {
    const slow = { ...healthy, stepMinutes: [38, 11], minutesTo100: { median: 38, ninety: 45 } };
    const trial = (change: string, median: number | null) => ({
      change,
      path: 'spec',
      answer: { ...healthy, minutesTo100: { median, ninety: null } },
    });
    const trials = [trial('more', 20), trial('less', 37), trial('never', null)];
    const advice = advise({ policy: usual, answers: [slow], notSimulated: [], seconds: 600 }, scenario, trials);
    expect(advice.slice(1).map(({ text }) => text)).toEqual([
      'with more, 100 % came after 20m in the median, 38m as it is.',
    ]);
  });

  test('a change to try leaves steps ascending', () => {
    const steps = '[ { percent: 5 }, { percent: 8 }, { percent: 100 } ]';
    expect(changesToTry(policyWith('minRequests: 50', steps)).map(({ path }) => path)).not.toContain(
      'spec.steps[0].percent',
    );
    expect(changesToTry(usual)[0]?.policy.steps.map(({ percent }) => percent)).toEqual([10, 100]);
  });

  test('bad canaries that were kept, and harm beyond the budget, are told', () => {
    const kept = { ...bad, ends: { proven: 3, rolledBack: 397, contained: 0, paused: 0, waiting: 0 } };
    expect(texts(usual, [kept])).toEqual(['3 of 400 canaries with 2x (2% errors) were promoted and kept.']);
    const held = { ...bad, ends: { proven: 0, rolledBack: 300, contained: 0, paused: 100, waiting: 0 } };
    expect(texts(usual, [held])[0]).toContain('bad canaries were paused and not rolled back (2x 100 of 400)');
    const [harm] = texts(usual, [{ ...bad, excessErrors: { mean: 300, ninety: 374 } }]);
    expect(harm).toContain('maxExcessErrors (200)');
    expect(harm).toContain('2x 374 (back after 6m)');
    expect(harm).toContain('--source proxy');
  });

  test('what the margin allows is not called missed', () => {
    const [text] = texts(usual, [{ ...bad, kind: 'allowed', wrong: null, ends: healthy.ends }]);
    expect(text).toContain('promoting it is what the policy asks for');
  });
});
