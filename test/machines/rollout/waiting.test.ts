import { describe, expect, it } from 'vitest';
import { waitForPerson } from '../../../machines/rollout/waiting.ts';
import { bad, canaryId, given, good, type Life, onFirstStep, onLastStep, policyOf } from './life.ts';

const approved = policyOf('  steps: [ { percent: 5, hold: 10s, approval: true }, { percent: 100, hold: 10s } ]\n');
const ann = { by: 'ann', reason: 'a look' };
const awaitingApproval = (): Life => onFirstStep(approved).after(12).monitored(good).after(0);

function refused(life: Life, times: number): Life {
  let last = life;
  for (let i = 0; i < times; i += 1)
    last = last.after(60).when({ type: 'traffic.refused', code: 'unavailable', message: 'later', isRetryable: true });
  return last;
}

describe('a rollout', () => {
  it('that is paused waits since then, and says for what', () => {
    const paused = onFirstStep()
      .after(5)
      .when({ type: 'operator.paused', ...ann });
    expect(waitForPerson(paused.after(20).rollout)).toEqual({ sinceAt: paused.at, text: 'is paused by ann: a look' });
  });

  it('that needs approval waits since its share took effect, whoever paused and resumed between', () => {
    const begun = onFirstStep(approved);
    const waiting = awaitingApproval()
      .when({ type: 'operator.paused', ...ann })
      .after(1)
      .when({ type: 'operator.resumed', ...ann });
    expect(waitForPerson(waiting.rollout)).toEqual({ sinceAt: begun.at, text: 'waits for approval' });
  });

  it('that needs approval for a share that is not known to be in effect waits since it began to wait', () => {
    const { rollout } = awaitingApproval();
    const context = { ...rollout.context, effectAt: null };
    expect(waitForPerson({ ...rollout, context })?.sinceAt).toBe(context.waitingSince);
  });

  it('that goes back waits from the fifth refusal on, since it turned back', () => {
    const back = onFirstStep().after(5).monitored(bad);
    expect(waitForPerson(refused(back, 4).rollout)).toBeNull();
    const text = 'was refused 5 times: unavailable: later';
    expect(waitForPerson(refused(back, 5).rollout)).toEqual({ sinceAt: back.at, text });
  });

  it('that goes forward waits from the fifth refusal on, since the share was wanted', () => {
    const shifting = onFirstStep().after(12).monitored(good).after(0);
    expect(waitForPerson(refused(shifting, 4).rollout)).toBeNull();
    expect(waitForPerson(refused(shifting, 5).rollout)?.sinceAt).toBe(shifting.at);
  });

  it.each<[string, () => Life]>([
    ['begins', () => given()],
    ['is watched', () => onFirstStep().after(1)],
    ['needs approval that it has', () => awaitingApproval().when({ type: 'operator.approved', ...ann })],
    ['keeps stable', () => onLastStep().after(12).monitored(good).after(0)],
    ['goes back', () => onFirstStep().after(5).monitored(bad)],
    [
      'is over',
      () => onFirstStep().after(5).monitored(bad).applied().when({ type: 'removal.found', deployedModelId: canaryId }),
    ],
  ])('that %s waits for nobody', (_what, live) => {
    expect(waitForPerson(live().rollout)).toBeNull();
  });
});
