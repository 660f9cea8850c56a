import { describe, expect, it } from 'vitest';
import { answerSplit } from '../../../machines/rollout/effects.ts';
import {
  bad,
  canaryId,
  canaryModel,
  deployedCanary,
  given,
  good,
  onFirstStep,
  onLastStep,
  policyOf,
  shiftingToFirstStep,
  stableModel,
} from './life.ts';

const operator = { by: 'ann', reason: 'a look' };

describe('a healthy rollout', () => {
  it('looks at the model and the endpoint before anything else', () => {
    expect(given().looks()).toEqual([{ type: 'model.read' }, { type: 'endpoint.read' }]);
    expect(given().effects()).toEqual([]);
  });

  it('deploys the canary at no share', () => {
    const life = given().when({ type: 'endpoint.observed', split: { 1: 100 }, models: [stableModel] });
    expect(life.state).toBe('deploying');
    expect(life.effects()).toEqual([{ type: 'model.deploy', deployedModelId: canaryId }]);
    expect(life.rollout.context.stable).toEqual({ 1: 100 });
  });

  it('waits for the replicas before it gives the canary a share', () => {
    const waiting = deployedCanary().when({
      type: 'endpoint.observed',
      split: { 1: 100 },
      models: [stableModel, { ...canaryModel, availableReplicas: 0 }],
    });
    expect(waiting.state).toBe('warming');
    expect(shiftingToFirstStep().desired).toEqual({ 1: 95, [canaryId]: 5 });
  });

  it('takes the next step only when the hold is over and the evidence is healthy', () => {
    const early = onFirstStep().after(5).monitored(good).after(0);
    expect(early.state).toBe('analysing');
    const unseen = onFirstStep().after(15);
    expect(unseen.state).toBe('analysing');
    const proven = early.after(5).monitored(good).after(0);
    expect(proven.state).toBe('shifting');
    expect(proven.desired).toEqual({ 1: 75, [canaryId]: 25 });
  });

  it('goes to 100 %, keeps stable for the rollback window, undeploys it and is promoted', () => {
    const last = onLastStep();
    expect(last.desired).toEqual({ [canaryId]: 100 });
    const kept = last.after(12).monitored(good).after(0);
    expect(kept.place).toBe('forward.observing.keeping');
    const retiring = kept.after(20);
    expect(retiring.effects()).toEqual([{ type: 'model.remove', deployedModelId: '1' }]);
    const removing = retiring.when({ type: 'removal.started', deployedModelId: '1', operation: 'op' });
    expect(removing.effects()).toEqual([]);
    const done = removing.when({ type: 'operation.finished', operation: 'op', error: null });
    expect(done.state).toBe('promoted');
    expect(done.effects()).toEqual([]);
  });

  it('ends at once when the version serves everything already', () => {
    const life = given().when({
      type: 'endpoint.observed',
      split: { 9: 100 },
      models: [{ ...stableModel, id: '9', versionId: '2' }],
    });
    expect(life.state).toBe('promoted');
  });

  it('gives an empty endpoint its first version without steps', () => {
    const ready = given()
      .when({ type: 'endpoint.observed', split: {}, models: [] }, { type: 'deploy.started', operation: 'op' })
      .when(
        { type: 'operation.finished', operation: 'op', error: null },
        { type: 'endpoint.observed', split: {}, models: [canaryModel] },
      );
    expect(ready.state).toBe('promoting');
    expect(ready.desired).toEqual({ [canaryId]: 100 });
    expect(ready.applied().state).toBe('promoted');
  });

  it('keeps the proportions of several stable models', () => {
    const life = deployedCanary(policyOf(), { 1: 60, 2: 40 }).when({
      type: 'endpoint.observed',
      split: { 1: 60, 2: 40 },
      models: [canaryModel],
    });
    expect(life.desired).toEqual({ 1: 57, 2: 38, [canaryId]: 5 });
  });

  it('chooses another id for the canary when its own is taken', () => {
    const life = given().when({
      type: 'endpoint.observed',
      split: { 1: 100 },
      models: [stableModel, { ...stableModel, id: canaryId }],
    });
    expect(life.effects()).toEqual([{ type: 'model.deploy', deployedModelId: '78' }]);
  });

  it('holds stable at the replicas it has, and gives them back after a rollback', () => {
    const busy = { ...stableModel, availableReplicas: 4 };
    const holding = given().when({ type: 'endpoint.observed', split: { 1: 100 }, models: [busy] });
    expect(holding.effects()).toEqual([{ type: 'replicas.resize', deployedModelId: '1', minReplicas: 4 }]);
    const held = holding
      .when({ type: 'resize.started', deployedModelId: '1', operation: 'op' })
      .when({ type: 'operation.finished', operation: 'op', error: null });
    expect(held.state).toBe('deploying');
    const aborted = held.when({ type: 'operator.aborted', ...operator });
    expect(aborted.effects()).toEqual([{ type: 'replicas.resize', deployedModelId: '1', minReplicas: 1 }]);
  });
});

describe('a bad canary', () => {
  it('is taken off at once, and the reason carries the numbers', () => {
    const life = onFirstStep().after(5).monitored(bad);
    expect(life.state).toBe('rollingBack');
    expect(life.desired).toEqual({ 1: 100 });
    expect(life.rollout.context.ending?.reason).toContain('375 errors in 625 requests (60 %)');
  });

  it('is taken off by what a proxy saw, without waiting for Monitoring', () => {
    expect(onFirstStep().after(1).reported(bad).state).toBe('rollingBack');
  });

  it('is undeployed after the traffic is back, and the rollout is rolled back', () => {
    const restored = onFirstStep().after(5).monitored(bad).applied();
    expect(restored.place).toBe('rollingBack.cleaning');
    expect(restored.effects()).toEqual([{ type: 'model.remove', deployedModelId: canaryId }]);
    const done = restored.when({ type: 'removal.found', deployedModelId: canaryId });
    expect(done.state).toBe('rolledBack');
  });

  it('stays deployed for as long as the policy says, for a person to look at', () => {
    const restored = onFirstStep(policyOf('  keepFailedCanary: 60s\n')).after(5).monitored(bad).applied();
    expect(restored.effects()).toEqual([]);
    expect(restored.after(60).effects()).toEqual([{ type: 'model.remove', deployedModelId: canaryId }]);
  });

  it('is taken off while paused as well', () => {
    const paused = onFirstStep().when({ type: 'operator.paused', ...operator });
    expect(paused.after(5).monitored(bad).state).toBe('rollingBack');
  });

  it('goes back from 100 % to the share before when it fails there alone, and is told apart from an outage', () => {
    const kept = onLastStep(policyOf('  keepStable: 1h\n')).after(12).monitored(good).after(0);
    const doubted = kept.after(60).reported(bad);
    expect(doubted.state).toBe('shifting');
    expect(doubted.desired).toEqual({ 1: 75, [canaryId]: 25 });
    expect(doubted.rollout.context.promotedAt).toBeNull();
    expect(doubted.rollout.context.reason).toContain('Going back to 25 % to compare.');
    const comparing = doubted.applied();
    expect(comparing.state).toBe('analysing');
    expect(comparing.after(5).reported(bad).state).toBe('rollingBack');
    const outage = { ...good, errors: 3000 };
    expect(comparing.after(5).reported(bad, outage).state).toBe('analysing');
  });

  it('rises again on healthy evidence, and waits for a person at the share before when it fails alone once more', () => {
    const doubted = onLastStep().after(12).reported(bad).applied();
    expect(doubted.after(12).reported(good).after(0).state).toBe('analysing');
    const risen = doubted.after(12).monitored(good).after(0);
    expect(risen.desired).toEqual({ [canaryId]: 100 });
    const again = risen.applied().after(12).reported(bad);
    expect([again.place, again.desired]).toEqual(['forward.moving.shifting, paused', { 1: 75, [canaryId]: 25 }]);
    expect(again.rollout.context.paused?.reason).toContain('As before, it fails where it serves alone');
    const waiting = again.applied().after(12).monitored(good).after(0);
    expect(waiting.place).toBe('forward.analysing.watching, paused');
    expect(waiting.when({ type: 'operator.resumed', ...operator }).after(0).desired).toEqual({ [canaryId]: 100 });
  });

  it('is not held to have failed before when stable had an outage then, too', () => {
    const doubted = onLastStep().after(12).reported(bad).applied();
    const outage = doubted.after(12).monitored(bad, { ...good, errors: 3000 });
    expect(outage.rollout.context.suspicions).toBe(0);
  });

  it('stays where it is while somebody else’s split stands, or stable is being removed, or there is no share before', () => {
    const alone = onLastStep(policyOf('  steps: [ { percent: 100, hold: 10s } ]\n'));
    expect(alone.after(12).reported(bad).state).toBe('observing');
    const generation = onLastStep().rollout.context.traffic.generation;
    const foreign = onLastStep().when({
      type: 'traffic.foreign',
      found: { 1: 50, [canaryId]: 50 },
      models: [],
      generation,
    });
    expect(foreign.after(12).reported(bad).state).toBe('observing');
    const retiring = onLastStep().after(12).monitored(good).after(0).after(20);
    expect(retiring.after(5).reported(bad).place).toBe('forward.observing.retiring');
  });

  it('does not count what was seen before the step took effect', () => {
    const life = onFirstStep();
    const early = {
      source: 'proxy a',
      window: { fromAt: life.at - 1000, toAt: life.at + 1000 },
      variants: { [canaryId]: bad, 1: good },
    };
    expect(life.when({ type: 'evidence.observed', evidence: early }).rollout).toBe(life.rollout);
  });

  it('is not proven by what proxies saw: they may lower the share and never raise it', () => {
    expect(onFirstStep().after(12).reported(good).after(5).state).toBe('analysing');
  });

  it('never became ready: failed, and what was ordered is removed', () => {
    const failed = given()
      .when(
        { type: 'endpoint.observed', split: { 1: 100 }, models: [stableModel] },
        { type: 'deploy.started', operation: 'op' },
      )
      .when({
        type: 'operation.finished',
        operation: 'op',
        error: { code: 'INTERNAL', message: 'the health route never answered' },
      });
    expect(failed.state).toBe('rollingBack');
    expect(failed.effects()).toEqual([{ type: 'model.remove', deployedModelId: canaryId }]);
    const done = failed.when({ type: 'removal.found', deployedModelId: canaryId });
    expect(done.state).toBe('failed');
    expect(done.rollout.context.ending?.reason).toContain('the health route never answered');
  });

  it('that does not exist ends as failed, and touches nothing', () => {
    const life = given().when({ type: 'target.missing', message: 'Version 2 does not exist.' });
    expect(life.state).toBe('failed');
  });
});

describe('a deployment', () => {
  const deploying = () => given().when({ type: 'endpoint.observed', split: { 1: 100 }, models: [stableModel] });

  it('that finds no room is tried again inside its deadline', () => {
    const refused = deploying().when({
      type: 'deploy.refused',
      code: 'resourceExhausted',
      message: 'no room',
      isRetryable: true,
    });
    expect(refused.effects()).toEqual([]);
    expect(refused.after(1).effects()).toEqual([{ type: 'model.deploy', deployedModelId: canaryId }]);
    const ended = deploying()
      .when({ type: 'deploy.started', operation: 'op' })
      .when({ type: 'operation.finished', operation: 'op', error: { code: 'RESOURCE_EXHAUSTED', message: 'no room' } });
    expect(ended.state).toBe('deploying');
  });

  it('is cancelled at its deadline, and what still arrives is removed', () => {
    const late = deploying()
      .when({ type: 'deploy.started', operation: 'op' })
      .after(45 * 60);
    expect(late.state).toBe('rollingBack');
    expect(late.effects()).toEqual([{ type: 'operation.cancel', operation: 'op' }]);
    const cancelled = late.when({ type: 'operation.cancelled', operation: 'op' });
    expect(cancelled.looks()).toEqual([{ type: 'operation.poll', operation: 'op' }]);
    const arrived = cancelled.when({ type: 'operation.finished', operation: 'op', error: null });
    expect(arrived.effects()).toEqual([{ type: 'model.remove', deployedModelId: canaryId }]);
    expect(arrived.when({ type: 'removal.found', deployedModelId: canaryId }).state).toBe('failed');
  });

  it('that is refused for good fails', () => {
    const life = deploying().when({
      type: 'deploy.refused',
      code: 'permissionDenied',
      message: 'no',
      isRetryable: false,
    });
    expect(life.state).toBe('rollingBack');
  });

  it('whose reply was lost is found', () => {
    const life = deploying()
      .when({ type: 'deploy.refused', code: 'unavailable', message: 'lost', isRetryable: true })
      .when({ type: 'deploy.found' });
    expect(life.state).toBe('warming');
  });
});

describe('waiting', () => {
  it('without a request of the canary pauses after the bound, and says so', () => {
    const life = onFirstStep().after(30);
    expect(life.place).toBe('forward.analysing.watching, paused');
    expect(life.rollout.context.paused?.reason).toContain('noData');
  });

  it('rolls back instead where the policy says so', () => {
    const policy = policyOf('  analysis: { metricLag: 2s, minRequests: 10, noData: { after: 30s, then: rollBack } }\n');
    expect(onFirstStep(policy).after(30).state).toBe('rollingBack');
  });

  it('with too few requests is inconclusive, has its own bound, and a resume begins it anew', () => {
    const few = { ...good, requests: 8, latencyMs: { bounds: [10, 100, 1000], counts: [8, 0, 0, 0] } };
    const life = onFirstStep().after(5).monitored(few).after(54);
    expect(life.place).toBe('forward.analysing.watching');
    const paused = life.after(1);
    expect(paused.place).toContain('paused');
    const resumed = paused.when({ type: 'operator.resumed', ...operator });
    expect(resumed.after(59).place).toBe('forward.analysing.watching');
    expect(resumed.after(60).place).toContain('paused');
  });

  it('for approval lasts until a person approves', () => {
    const policy = policyOf('  steps: [ { percent: 5, hold: 10s, approval: true }, { percent: 100, hold: 10s } ]\n');
    const waiting = onFirstStep(policy).after(12).monitored(good).after(0);
    expect(waiting.state).toBe('awaitingApproval');
    expect(waiting.when({ type: 'operator.approved', ...operator }).state).toBe('promoting');
  });

  it('in a freeze window holds back rises, the first included, and not the deployment', () => {
    const policy = policyOf('  freeze: [ "Thu 00:00 - Thu 12:00 UTC" ]\n');
    const ready = shiftingToFirstStep(policy);
    expect(ready.state).toBe('warming');
    expect(ready.rollout.context.heldBy).toContain('Thu 00:00');
    expect(ready.when({ type: 'operator.promoted', ...operator }).state).toBe('shifting');
    expect(ready.when({ type: 'operator.aborted', ...operator }).state).toBe('rollingBack');
  });
});

describe('people', () => {
  it('pause a rollout, and its share does not rise until they resume', () => {
    const paused = onFirstStep()
      .when({ type: 'operator.paused', ...operator })
      .after(12)
      .monitored(good)
      .after(0);
    expect(paused.state).toBe('analysing');
    expect(paused.when({ type: 'operator.resumed', ...operator }).state).toBe('shifting');
  });

  it('pause while a share is being raised, and it goes back to the one before', () => {
    const shifting = onFirstStep().after(12).monitored(good).after(0);
    expect(shifting.desired).toEqual({ 1: 75, [canaryId]: 25 });
    const paused = shifting.when({ type: 'operator.paused', ...operator });
    expect(paused.desired).toEqual({ 1: 95, [canaryId]: 5 });
    expect(paused.applied().place).toBe('forward.analysing.watching, paused');
    const first = shiftingToFirstStep().when({ type: 'operator.paused', ...operator });
    expect(first.desired).toEqual({ 1: 100 });
    expect(first.applied().place).toBe('forward.warming, paused');
    expect(
      first
        .applied()
        .after(1)
        .when({ type: 'operator.resumed', ...operator }).state,
    ).toBe('shifting');
  });

  it('promote to the next step, or to 100 %, without evidence', () => {
    expect(onFirstStep().when({ type: 'operator.promoted', ...operator }).desired).toEqual({ 1: 75, [canaryId]: 25 });
    expect(onFirstStep().when({ type: 'operator.promotedFully', ...operator }).desired).toEqual({ [canaryId]: 100 });
  });

  it('abort in every state that is not final', () => {
    const lives = [
      given(),
      deployedCanary(),
      shiftingToFirstStep(),
      onFirstStep(),
      onLastStep(),
      onLastStep().after(12).monitored(good).after(0),
    ];
    for (const life of lives) {
      let aborted = life.when({ type: 'operator.aborted', ...operator });
      for (let i = 0; i < 5 && aborted.state === 'rollingBack'; i += 1) {
        aborted = aborted.applied().when({ type: 'removal.found', deployedModelId: canaryId });
      }
      expect(aborted.state).toBe('aborted');
      expect(aborted.rollout.context.traffic.confirmed?.[canaryId] ?? 0).toBe(0);
    }
  });

  it('abort too late, when stable is being removed, and are told so', () => {
    const removing = onLastStep()
      .after(12)
      .monitored(good)
      .after(0)
      .after(20)
      .when({ type: 'removal.started', deployedModelId: '1', operation: 'op' });
    const aborted = removing.when({ type: 'operator.aborted', ...operator });
    expect(aborted.place).toBe('forward.observing.retiring');
    expect(aborted.rollout.context.reason).toContain('too late');
  });
});

describe('somebody else', () => {
  const found = {
    type: 'traffic.foreign' as const,
    generation: 1,
    found: { 1: 50, 5: 45, [canaryId]: 5 },
    models: [stableModel, { ...stableModel, id: '5', versionId: '9' }, canaryModel],
  };

  it('changed the split: the rollout pauses, writes nothing, and says what it found', () => {
    const life = onFirstStep()
      .after(12)
      .monitored(good)
      .after(0)
      .when({ ...found, generation: 2 });
    expect(life.place).toBe('forward.moving.shifting, paused');
    expect(life.effects()).toEqual([]);
    expect(life.rollout.context.paused?.reason).toContain('"5":45');
  });

  it('is accepted as stable by a resume', () => {
    const life = onFirstStep()
      .when(found)
      .when({ type: 'operator.resumed', ...operator });
    expect(life.state).toBe('shifting');
    expect(life.desired).toEqual({ 1: 50, 5: 45, [canaryId]: 5 });
    expect(life.rollout.context.stable).toEqual({ 1: 53, 5: 47 });
    expect(life.rollout.context.stableModels.map(({ id }) => id)).toEqual(['1', '5']);
  });

  it('keeps its proportions when a person aborts', () => {
    const life = onFirstStep()
      .when(found)
      .when({ type: 'operator.aborted', ...operator });
    expect(life.desired).toEqual({ 1: 53, 5: 47 });
  });
});

describe('alerts and newer blessings', () => {
  it('an incident pauses, rolls back or is ignored, as the policy says', () => {
    const incident = { type: 'incident.opened' as const, incident: 'i1', summary: 'errors' };
    const analysis = (what: string) => policyOf(`  analysis: { metricLag: 2s, minRequests: 10, incident: ${what} }\n`);
    expect(onFirstStep(analysis('pause')).when(incident).place).toBe('forward.analysing.watching, paused');
    expect(onFirstStep(analysis('rollBack')).when(incident).state).toBe('rollingBack');
    expect(onFirstStep(analysis('ignore')).when(incident).place).toBe('forward.analysing.watching');
    expect(deployedCanary(analysis('rollBack')).when(incident).place).toBe('forward.warming, paused');
  });

  it('a newer blessing takes the canary to 0 where the policy replaces, and changes nothing where it queues', () => {
    const newer = { type: 'blessing.newer' as const, versionId: '3' };
    expect(onFirstStep().when(newer).rollout.context.ending?.state).toBe('superseded');
    expect(onFirstStep(policyOf('  onNewBlessing: queue\n')).when(newer).state).toBe('analysing');
    expect(onLastStep().after(12).monitored(good).after(0).when(newer).place).toBe('forward.observing.retiring');
  });
});

describe('trouble', () => {
  it('waits twice as long after each refusal, and a minute at the most', () => {
    let life = onFirstStep().after(5).monitored(bad);
    const waits: number[] = [];
    for (let i = 0; i < 8; i += 1) {
      life = life.when({ type: 'traffic.refused', code: 'unavailable', message: 'down', isRetryable: true });
      const retryAt = life.rollout.context.retryAt ?? 0;
      waits.push((retryAt - life.at) / 1000);
      life = life.after((retryAt - life.at) / 1000);
    }
    expect(waits).toEqual([1, 2, 4, 8, 16, 32, 60, 60]);
    expect(life.effects()).toEqual([{ type: 'traffic.apply', generation: life.rollout.context.traffic.generation }]);
  });

  it('leaves a model behind that cannot be removed, rather than hang for ever', () => {
    let life = onFirstStep().after(5).monitored(bad).applied();
    for (let i = 0; i < 10; i += 1) {
      life = life
        .when({ type: 'removal.refused', code: 'failedPrecondition', message: 'no', isRetryable: false })
        .after(60);
    }
    expect(life.state).toBe('rolledBack');
  });

  it('a canary that somebody else gave a share loses it before it is removed, though its rollout gave it none', () => {
    const found = { 1: 50, [canaryId]: 50 };
    const ending = deployedCanary().when({ type: 'operator.aborted', ...operator });
    expect(ending.effects()).toEqual([{ type: 'model.remove', deployedModelId: canaryId }]);
    const serving = ending.when({ type: 'removal.serving', deployedModelId: canaryId, found });
    expect(serving.effects()).toEqual([{ type: 'traffic.apply', generation: 1 }]);
    const models = [stableModel, canaryModel].map(({ id }) => ({ id, canServe: true }));
    expect(answerSplit(serving.rollout, { split: found, models })).toEqual({ kind: 'write', split: { 1: 100 } });
    expect(serving.applied().effects()).toEqual(ending.effects());
  });

  it('stable that has the traffic again while it is being removed keeps it, and the rollout goes back', () => {
    const retiring = onLastStep().after(12).monitored(good).after(0).after(20);
    const back = retiring.when({ type: 'removal.serving', deployedModelId: '1', found: { 1: 100 } });
    expect(back.state).toBe('rollingBack');
    expect(back.applied().effects()).toEqual([{ type: 'model.remove', deployedModelId: canaryId }]);
    const shared = { 1: 50, [canaryId]: 50 };
    let life = retiring.when({ type: 'removal.serving', deployedModelId: '1', found: shared });
    expect(life.place).toBe(retiring.place);
    expect(life.effects()).toEqual([]);
    for (let i = 0; i < 9; i += 1)
      life = life.after(60).when({ type: 'removal.serving', deployedModelId: '1', found: shared });
    expect(life.after(60).state).toBe('promoted');
  });

  it('a confirmation of what is not desired any more is not one', () => {
    const shifting = onFirstStep().after(12).monitored(good).after(0);
    const { generation } = shifting.rollout.context.traffic;
    const aborted = shifting.when({ type: 'operator.aborted', ...operator });
    expect(aborted.when({ type: 'traffic.applied', split: shifting.desired, generation }).state).toBe('rollingBack');
  });

  it('a share that cannot be raised for half an hour is not waited for', () => {
    expect(shiftingToFirstStep().after(30 * 60).state).toBe('rollingBack');
  });
});

describe('found by reading and probing', () => {
  const foreign = {
    type: 'traffic.foreign' as const,
    found: { 1: 40, [canaryId]: 60 },
    models: [stableModel, canaryModel],
  };

  it('a pause during promote-full goes back to the confirmed share, not to the step before the last', () => {
    const paused = onFirstStep().when(
      { type: 'operator.promotedFully', ...operator },
      { type: 'operator.paused', ...operator },
    );
    expect(paused.desired).toEqual({ 1: 95, [canaryId]: 5 });
    const twice = paused.when({ type: 'operator.resumed', ...operator }, { type: 'operator.paused', ...operator });
    expect(twice.desired).toEqual({ 1: 95, [canaryId]: 5 });
  });

  it('a pause while the first version of an empty endpoint is promoted takes its traffic away', () => {
    const promoting = given()
      .when({ type: 'endpoint.observed', split: {}, models: [] }, { type: 'deploy.found' })
      .when({ type: 'endpoint.observed', split: {}, models: [canaryModel] });
    expect(promoting.when({ type: 'operator.paused', ...operator }).desired).toEqual({});
  });

  it('Monitoring is watched while a share is being raised or cannot be written', () => {
    const refused = onFirstStep()
      .after(12)
      .monitored(good)
      .after(0)
      .when({ type: 'traffic.refused', code: 'unavailable', message: 'x', isRetryable: true });
    expect(refused.after(5).looks()).toHaveLength(1);
    expect(refused.after(5).monitored(bad).state).toBe('rollingBack');
  });

  it('a newer blessing does not remove a stable to which somebody gave traffic', () => {
    const kept = onLastStep().after(12).monitored(good).after(0);
    const disturbed = kept.when({ ...foreign, generation: kept.rollout.context.traffic.generation });
    expect(disturbed.when({ type: 'blessing.newer', versionId: '3' }).place).toBe('forward.observing.keeping, paused');
  });

  it('a promote accepts what somebody else changed, wherever it comes', () => {
    const shifting = onFirstStep().after(12).monitored(good).after(0);
    const kept = onLastStep().after(12).monitored(good).after(0);
    for (const life of [shifting, kept]) {
      const found = life.when({ ...foreign, generation: life.rollout.context.traffic.generation });
      const promoted = found.when({ type: 'operator.promoted', ...operator });
      expect(promoted.rollout.context.foreign).toBeNull();
      expect(promoted.rollout.context.paused).toBeNull();
      expect(promoted.effects()).toHaveLength(1);
    }
  });

  it('replicas that cannot be given back do not count as a canary that was removed', () => {
    const busy = { ...stableModel, availableReplicas: 4 };
    let life = given()
      .when(
        { type: 'endpoint.observed', split: { 1: 100 }, models: [busy] },
        { type: 'resize.started', deployedModelId: '1', operation: 'hold' },
      )
      .when({ type: 'operation.finished', operation: 'hold', error: null }, { type: 'deploy.started', operation: 'op' })
      .when({ type: 'operation.finished', operation: 'op', error: null }, { type: 'operator.aborted', ...operator });
    for (let i = 0; i < 10; i += 1)
      life = life.when({ type: 'resize.refused', code: 'unavailable', message: 'x', isRetryable: true }).after(60);
    expect(life.effects()).toEqual([{ type: 'model.remove', deployedModelId: canaryId }]);
  });

  it('an order to hold replicas that ends on the way back is followed by one to give them back', () => {
    const busy = { ...stableModel, availableReplicas: 4 };
    const aborted = given()
      .when(
        { type: 'endpoint.observed', split: { 1: 100 }, models: [busy] },
        { type: 'resize.started', deployedModelId: '1', operation: 'hold' },
      )
      .when({ type: 'operator.aborted', ...operator });
    const held = aborted.when({ type: 'operation.finished', operation: 'hold', error: null });
    expect(held.effects()).toEqual([{ type: 'replicas.resize', deployedModelId: '1', minReplicas: 1 }]);
    const given1 = held.when(
      { type: 'resize.started', deployedModelId: '1', operation: 'give' },
      { type: 'operation.finished', operation: 'give', error: null },
    );
    expect(given1.state).toBe('aborted');
  });

  it('only the replicas that were refused are given up', () => {
    const models = [
      { ...stableModel, availableReplicas: 4 },
      { ...stableModel, id: '2', availableReplicas: 3 },
    ];
    const life = given()
      .when(
        { type: 'endpoint.observed', split: { 1: 50, 2: 50 }, models },
        { type: 'resize.started', deployedModelId: '1', operation: 'hold' },
      )
      .when(
        { type: 'operation.finished', operation: 'hold', error: null },
        { type: 'resize.refused', code: 'invalidArgument', message: 'x', isRetryable: false },
      );
    expect(life.rollout.context.reserved.map(({ id }) => id)).toEqual(['1']);
  });

  it('a healthy verdict that has gone stale is no data, and does not wait for ever', () => {
    const policy = policyOf('  steps: [ { percent: 5, hold: 2h }, { percent: 100, hold: 10s } ]\n');
    const life = onFirstStep(policy).after(60).monitored(good);
    expect(life.after(2 * 3600 + 100).place).toBe('forward.analysing.watching, paused');
  });

  it('a canary slower than the histogram shows is unhealthy, not unknown', () => {
    const slow = { requests: 5000, errors: 0, latencyMs: { bounds: [10, 100, 1000], counts: [0, 0, 0, 5000] } };
    expect(onFirstStep().after(5).monitored(slow).state).toBe('rollingBack');
  });

  it('looking again at what has not changed changes nothing', () => {
    const observed = { type: 'endpoint.observed' as const, split: { 1: 100 }, models: [stableModel] };
    const waiting = deployedCanary().when(observed);
    expect(waiting.when(observed).rollout).toBe(waiting.rollout);
  });

  it('an operation that never ends is not waited for', () => {
    const removing = onFirstStep()
      .after(5)
      .monitored(bad)
      .applied()
      .when({ type: 'removal.started', deployedModelId: canaryId, operation: 'op' });
    expect(removing.after(2 * 3600).effects()).toEqual([]);
    expect(
      removing
        .after(2 * 3600)
        .after(60)
        .effects(),
    ).toEqual([{ type: 'model.remove', deployedModelId: canaryId }]);
  });

  it('a deployment that is answered after the abort is undone', () => {
    const deploying = given().when({ type: 'endpoint.observed', split: { 1: 100 }, models: [stableModel] });
    const aborted = deploying.when({ type: 'operator.aborted', ...operator });
    expect(aborted.effects()).toEqual([{ type: 'model.remove', deployedModelId: canaryId }]);
    expect(aborted.when({ type: 'deploy.started', operation: 'op' }).effects()).toEqual([
      { type: 'operation.cancel', operation: 'op' },
    ]);
  });
});

describe("stable's past", () => {
  const pastOf = (requests: number, fromAt: number) => ({
    source: 'monitoring',
    window: { fromAt, toAt: fromAt + 1000 },
    variants: { 1: { requests, errors: 1, latencyMs: { bounds: [10], counts: [requests, 0] } } },
  });

  it('is read while the canary warms up, up to what can be seen', () => {
    const warming = deployedCanary();
    const toAt = warming.at - 2000;
    expect(warming.looks()).toEqual([
      { type: 'endpoint.read' },
      { type: 'past.read', window: { fromAt: toAt - 180_000, toAt } },
    ]);
    expect(onFirstStep().looks()).toEqual([]);
  });

  it('is learnt once, window by window, and judges nothing', () => {
    const windows = [pastOf(100, 900_000), pastOf(200, 901_000)];
    const learnt = deployedCanary().when({ type: 'past.observed', windows });
    const again = learnt.when({ type: 'past.observed', windows });
    const { monitoring } = again.rollout.context.tally;
    expect(again.rollout).toBe(learnt.rollout);
    expect([monitoring.checks['errorRate']?.hits.baseline.past.trials, monitoring.checks['latency']?.above]).toEqual([
      300, 12,
    ]);
    expect(learnt.rollout.context.verdicts.monitoring).toBeNull();
    expect(learnt.looks()).toEqual([{ type: 'endpoint.read' }]);
  });

  it('comes too late once the share is in effect', () => {
    const step = onFirstStep();
    expect(step.when({ type: 'past.observed', windows: [pastOf(100, 900_000)] }).rollout).toBe(step.rollout);
  });
});
