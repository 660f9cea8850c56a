import { describe, expect, it } from 'vitest';
import { good, type Life, onFirstStep, policyOf } from './life.ts';

const ann = { by: 'ann', reason: 'a look' };
const paused = { type: 'operator.paused' as const, ...ann };
const resumed = { type: 'operator.resumed' as const, ...ann };
const watched = 'forward.analysing.watching';

function held(hold: string, more = ''): Life {
  return onFirstStep(policyOf(`  steps: [ { percent: 5, hold: ${hold}${more} }, { percent: 100, hold: 10s } ]\n`));
}

describe('a proven step', () => {
  // The metrics' lag is two seconds: what was seen last is so old already.
  it.each([
    ['10s', 60],
    ['60s', 60],
    ['61s', 61],
    ['10m', 600],
  ])('held for %s goes on by evidence of the last %s seconds, and of the lag', (hold, seconds) => {
    const seen = held(hold).when(paused).after(12).monitored(good);
    expect(seen.after(seconds).when(resumed).state).toBe('promoting');
    expect(seen.after(seconds + 0.001).when(resumed).state).toBe('analysing');
  });
});

describe('patience', () => {
  it('does not end while what was seen is healthy and fresh, however long a share is held', () => {
    const life = held('10m').after(12).monitored(good);
    expect(life.after(500).place).toBe(watched);
  });

  it('does not end while a person is waited for, however old the evidence grows', () => {
    const life = held('10s', ', approval: true').after(12).monitored(good).after(0);
    const late = life.after(3600);
    expect(late.place).toBe('forward.analysing.awaitingApproval');
    // Approved, it waits for fresh evidence, as long as anyone does.
    const goesOn = late.when({ type: 'operator.approved', ...ann });
    expect([goesOn.place, goesOn.after(29).place]).toEqual([watched, watched]);
    expect(goesOn.after(30).rollout.context.paused?.reason).toMatch(/^No conclusion after 0.5 minutes/);
  });

  it('does not end while a freeze window holds the step, however old the evidence grows', () => {
    const steps = 'steps: [ { percent: 5, hold: 60s }, { percent: 100, hold: 10s } ]';
    const life = onFirstStep(policyOf(`  freeze: [ "Thu 00:17 - 12:00 UTC" ]\n  ${steps}\n`));
    expect(life.after(25).monitored(good).after(3600).place).toBe(watched);
  });

  it('ends when the canary answers nothing while stable does', () => {
    const none = { requests: 0, errors: 0, latencyMs: { bounds: [10, 100, 1000], counts: [0, 0, 0, 0] } };
    const life = onFirstStep().after(12).monitored(none, good);
    expect(life.after(17.999).place).toBe(watched);
    expect(life.after(18).rollout.context.paused?.reason).toBe(
      'No conclusion after 0.5 minutes (noData): The canary has not answered a request since the step took effect.',
    );
  });

  it('ends with all that was seen, but for dry runs', () => {
    const policy = policyOf(
      '  analysis: { metricLag: 2s, minRequests: 10, latency: { dryRun: true }, inconclusive: { after: 60s, then: pause } }\n',
    );
    const life = onFirstStep(policy).after(12).monitored(good, good);
    const reasons = life.rollout.context.verdicts.monitoring?.reasons ?? [];
    const acting = reasons.flatMap(({ text, dryRun }) => (dryRun === true ? [] : [text]));
    expect([acting.length, reasons.length]).toEqual([2, 3]);
    expect(life.after(48).rollout.context.paused?.reason).toBe(
      `No conclusion after 1 minutes (inconclusive): ${acting.join(' ')}`,
    );
  });

  it('ends without a word of Monitoring, which is said', () => {
    expect(onFirstStep().after(30).rollout.context.paused?.reason).toBe(
      'No conclusion after 0.5 minutes (noData): Monitoring shows no request of the canary.',
    );
  });
});
