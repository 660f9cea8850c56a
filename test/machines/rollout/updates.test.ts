/** Of which events do updates speak? Of operations in operations.test.ts, of everything else here. */
import { describe, expect, test } from 'vitest';
import * as endings from '../../../machines/rollout/endings.ts';
import { actorName } from '../../../machines/rollout/events.ts';
import * as people from '../../../machines/rollout/people.ts';
import * as shares from '../../../machines/rollout/shares.ts';
import { deployedCanary, given, type Life, onFirstStep, policyOf, stableModel } from './life.ts';
import { oneOfEach, tick } from './moments.ts';

const updates = { ...endings, ...people, ...shares };

function changing(name: keyof typeof updates, { rollout, at }: Life): string[] {
  const { context } = rollout;
  const events = oneOfEach(at).filter((event) => Object.keys(updates[name]({ context, event })).length > 0);
  return events.map(({ type }) => type);
}

describe('an update about an event changes nothing at another', () => {
  const refusals = ['deploy.refused', 'removal.refused', 'resize.refused', 'traffic.refused'];

  test.each<[name: keyof typeof updates, types: string[]]>([
    ['blameOperator', ['operator.aborted']],
    ['blameIncident', ['incident.opened']],
    ['blameNewer', ['blessing.newer']],
    ['blameMissing', ['target.missing']],
    ['blameRefusal', refusals],
    ['blameOperation', []],
    ['notePause', ['operator.paused']],
    ['noteForeign', ['traffic.foreign']],
    ['noteIncident', ['incident.opened']],
    ['noteEffect', ['traffic.applied']],
    ['weigh', ['evidence.observed']],
  ])('%s', (name, types) => {
    expect(changing(name, onFirstStep())).toEqual(types);
  });

  test('rememberPast', () => {
    expect(changing('rememberPast', deployedCanary())).toEqual(['past.observed']);
  });
});

describe('an update with a reason changes nothing without it', () => {
  test.each<[name: keyof typeof updates, reason: string, live: () => Life]>([
    ['blameVerdict', 'an unhealthy verdict', () => onFirstStep()],
    ['noteHeld', 'a freeze', () => onFirstStep()],
    ['desireStable', 'a share that was wanted', () => given()],
  ])('%s: %s', (name, _reason, live) => {
    expect(changing(name, live())).toEqual([]);
  });

  test('noteImpatience pauses though a doubt lowers the share in the same moment, and ends the wait', () => {
    const { rollout, at } = onFirstStep();
    const context = { ...rollout.context, effectAt: null };
    const { paused, reason } = people.noteImpatience({ context, event: tick(at + 60_000) });
    expect([paused?.reason, reason]).toEqual([
      reason,
      expect.stringMatching(/^No conclusion after 1 minutes \(noData\)/),
    ]);
  });

  test('noteImpatience: the way back, which may begin in the same moment', () => {
    const silent = policyOf('  analysis: { metricLag: 2s, noData: { after: 30s, then: pause } }\n');
    const life = onFirstStep(silent).when({ type: 'operator.aborted', by: 'ann', reason: 'a look' });
    const { context } = life.rollout;
    expect(people.noteImpatience({ context, event: tick(life.at + 31_000) })).toEqual({});
  });
});

test('noteForeign takes who has a share for stable, and nobody else', () => {
  const { rollout, at } = onFirstStep();
  const models = [stableModel, { ...stableModel, id: '5' }, { ...stableModel, id: '6' }];
  const event = { type: 'traffic.foreign' as const, at, found: { 1: 100, 5: 0 }, models, generation: 1 };
  const { foreign } = people.noteForeign({ context: rollout.context, event });
  expect(foreign?.models.map(({ id }) => id)).toEqual([stableModel.id]);
});

test('an event is by a person, or by the controller', () => {
  expect(actorName({ type: 'operator.resumed', at: 0, by: 'ann', reason: 'a look' })).toBe('ann');
  expect(actorName(tick(0))).toBe('the controller');
});
