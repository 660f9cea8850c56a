import { describe, expect, it } from 'vitest';
import { announce, type Notification } from '../../../machines/rollout/announce.ts';
import type { RolloutEvent } from '../../../machines/rollout/events.ts';
import { stepRollout } from '../../../machines/rollout/snapshot.ts';
import {
  bad,
  canaryId,
  deployedCanary,
  given,
  good,
  type Life,
  onFirstStep,
  onLastStep,
  policyOf,
  shiftingToFirstStep,
  stableModel,
} from './life.ts';

type Undated = RolloutEvent extends infer Event ? (Event extends { at: number } ? Omit<Event, 'at'> : never) : never;

const ann = { by: 'ann', reason: 'a look' };
const paused: Undated = { type: 'operator.paused', ...ann };
const aborted: Undated = { type: 'operator.aborted', ...ann };
const tick: Undated = { type: 'clock.ticked' };
const removalRefused: Undated = { type: 'removal.refused', code: 'internal', message: 'no', isRetryable: true };
const removed: Undated = { type: 'removal.found', deployedModelId: canaryId };
const approval = policyOf('  steps: [ { percent: 5, hold: 10s, approval: true }, { percent: 100, hold: 10s } ]\n');
/** Life begins on a Thursday, twenty seconds before it. */
const frozen = policyOf(
  '  freeze: [ "Thu 00:17 - 12:00 UTC" ]\n  steps: [ { percent: 5, hold: 30s }, { percent: 100, hold: 10s } ]\n',
);

/** What is told when the event happens after so many seconds. */
function told(life: Pick<Life, 'rollout' | 'at'>, event: Undated, seconds = 0): Notification[] {
  const dated = { ...event, at: life.at + seconds * 1000 };
  return announce(life.rollout, stepRollout(life.rollout, dated), dated);
}

function repeated(life: Life, event: Undated, times: number): Life {
  let last = life;
  for (let i = 0; i < times; i += 1) last = last.after(60).when(event);
  return last;
}

const goingBack = (): Life => onFirstStep().after(5).monitored(bad);

describe('the world is told', () => {
  it('once that a rollout began', () => {
    const { rollout, at } = given();
    const { endpoint, model } = rollout.context;
    const started = { what: 'started', rollout: 'delays-2', endpoint, model, versionId: '2', state: 'preparing' };
    expect(announce(null, rollout, { type: 'clock.ticked', at })).toEqual([
      { ...started, percent: 0, reason: 'Version 2 was blessed.', by: null, verdict: null, at },
    ]);
  });

  it.each<[string, () => Notification[], string[]]>([
    [
      'the canary is deployed',
      () =>
        told(given().when({ type: 'endpoint.observed', split: { 1: 100 }, models: [stableModel] }), {
          type: 'deploy.found',
        }),
      ['deployed'],
    ],
    [
      'a share takes effect',
      () => {
        const { rollout, at, desired: split } = shiftingToFirstStep();
        return told({ rollout, at }, { type: 'traffic.applied', split, generation: 1 });
      },
      ['shifted'],
    ],
    ['a person pauses', () => told(onFirstStep(), paused), ['paused']],
    ['a person resumes', () => told(onFirstStep().when(paused), { type: 'operator.resumed', ...ann }), ['resumed']],
    ['a person aborts what is paused', () => told(onFirstStep().when(paused), aborted), ['rolling-back']],
    ['a deployment is aborted', () => told(deployedCanary(), aborted), ['rolling-back']],
    ['it is aborted before a deployment', () => told(given(), aborted), ['rolling-back', 'aborted']],
    [
      'the model is not there',
      () => told(given(), { type: 'target.missing', message: 'gone' }),
      ['rolling-back', 'failed'],
    ],
    [
      'a newer version replaces',
      () => told(onFirstStep(), { type: 'blessing.newer', versionId: '3' }),
      ['rolling-back'],
    ],
    [
      'the traffic is back',
      () => {
        const { rollout, at, desired: split } = goingBack();
        return told({ rollout, at }, { type: 'traffic.applied', split, generation: 2 });
      },
      [],
    ],
    ['the canary is gone', () => told(goingBack().applied(), removed), ['rolled-back']],
    [
      'somebody else changed the split',
      () => told(onFirstStep(), { type: 'traffic.foreign', generation: 1, found: { 1: 100 }, models: [] }),
      ['paused', 'attention'],
    ],
    ['the last share is proven', () => told(onLastStep().after(9).monitored(good), tick, 1), ['promoted']],
    ['the last share is not held long enough', () => told(onLastStep().after(9).monitored(good), tick, 0.999), []],
    ['a step needs approval', () => told(onFirstStep(approval).after(9).monitored(good), tick, 1), ['approval-needed']],
  ])('what happened when %s', (_when, tell, whats) => {
    expect(tell().map(({ what }) => what)).toEqual(whats);
  });

  it('once that a freeze window holds a proven step', () => {
    const life = onFirstStep(frozen).after(22).monitored(good);
    const reason = 'The next step waits for the freeze window to end: Thu 00:17 - 12:00 UTC.';
    expect(told(life, tick, 8)).toMatchObject([{ what: 'held', state: 'analysing', reason }]);
    expect(told(life.after(8), tick, 1)).toEqual([]);
  });

  it('that approval is needed, with the verdict that proves the step', () => {
    const [asked] = told(onFirstStep(approval).after(9).monitored(good), tick, 1);
    expect(asked).toMatchObject({ state: 'awaitingApproval', percent: 5, verdict: { kind: 'healthy' } });
  });

  it('a person’s name with what that person did, and nobody’s with the rest', () => {
    expect(told(onFirstStep(), paused)[0]).toMatchObject({ by: 'ann', reason: 'Paused by ann: a look' });
    expect(told(onFirstStep().after(29), tick, 1)[0]).toMatchObject({ what: 'paused', by: null });
  });
});

describe('a person is asked for', () => {
  const attention = (notifications: Notification[]): string[] =>
    notifications.flatMap(({ what, reason }) => (what === 'attention' ? [reason] : []));

  it('at the fifth refusal in a row, once', () => {
    const refused = (times: number) =>
      attention(told(repeated(goingBack().applied(), removalRefused, times), removalRefused, 60));
    expect([3, 4, 5, 8].map(refused)).toEqual([[], ['internal: no'], [], []]);
  });

  it('when what could not be removed is left behind, after ten', () => {
    const [reason] = attention(told(repeated(goingBack().applied(), removalRefused, 9), removalRefused, 60));
    expect(reason).toContain('could not be removed after 10 tries (internal: no); remove it by hand');
  });

  it.each<[string, (life: Life) => Life, Undated]>([
    ['is found to be gone', (life) => life, removed],
    [
      'is removed',
      (life) => life.when({ type: 'removal.started', deployedModelId: canaryId, operation: 'op' }),
      { type: 'operation.finished', operation: 'op', error: null },
    ],
  ])('not when what was refused often %s in the end', (_how, then, event) => {
    const life = then(repeated(goingBack().applied(), removalRefused, 6).after(60));
    expect(told(life, event).map(({ what }) => what)).toEqual(['rolled-back']);
  });
});
