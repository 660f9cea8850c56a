/** What the simulation of faults has found, each as the smallest life that shows it. */
import { afterEach, describe, expect, it } from 'vitest';
import { bless, type BlessingContext } from '../../../functions/engine/blessings.ts';
import { command } from '../../../functions/engine/commands.ts';
import { goingBack } from '../../../functions/engine/lower.ts';
import type { Ports, Stored } from '../../../functions/engine/ports.ts';
import { tick } from '../../../functions/engine/tick.ts';
import { stateOf } from '../../../machines/rollout/describe.ts';
import { answerSplit } from '../../../machines/rollout/effects.ts';
import { stepRollout } from '../../../machines/rollout/snapshot.ts';
import { canaryModel, deployedCanary, policyOf, shiftingToFirstStep } from '../../machines/rollout/life.ts';
import {
  endpoint,
  type Gate,
  type Laboratory,
  laboratory,
  type LaboratoryOptions,
  model,
} from '../../simulation/laboratory.ts';

const observing = { periodMs: 1000 };
let lab: Laboratory;

afterEach(() => lab?.close());

function begin(options: LaboratoryOptions = {}): BlessingContext {
  lab = laboratory({ requestsPerSecond: 60, ...options });
  return { ports: lab.ports, project: 'demo' };
}

/** Ticks once a second until the state is reached, or there is no active rollout. */
async function runTo(wanted: string): Promise<void> {
  for (let second = 0; second < 200; second += 1) {
    const active = (await lab.record())?.active ?? null;
    if (active === null || stateOf(active) === wanted) return;
    lab.pass(1);
    await tick(lab.ports, observing);
  }
}

describe('found by the simulation of faults', () => {
  it('a blessing that comes late, when a version that was blessed after it has served already, is not followed', async () => {
    const context = begin();
    const early = lab.now();
    lab.pass(5);
    await bless(context, { eventId: 'newer', model, versionId: '3' }, 'm');
    await runTo('promoted');
    await bless(context, { eventId: 'older', model, versionId: '2', blessedAt: early }, 'm');
    expect((await lab.record())?.active).toBeNull();
  });

  it('a stale read of the record does not empty the split', async () => {
    const context = begin();
    await bless(context, { eventId: 'b', model, versionId: '2' }, 'm');
    await runTo('warming');
    lab.pass(1);
    // Every read of this tick gives the record as it was when the tick began.
    const old = new Map<string, Stored | null>();
    const load: Ports['store']['load'] = async (key) => {
      if (!old.has(key)) old.set(key, await lab.ports.store.load(key));
      return old.get(key) ?? null;
    };
    await load('us-central1~1');
    await tick({ ...lab.ports, store: { ...lab.ports.store, load } }, observing);
    expect(Object.keys(lab.split())).toContain('1');
    await runTo('promoted');
    expect((await lab.record())?.history[0]?.state).toBe('promoted');
  });

  it('a command does not act on the rollout that came after the one it meant', async () => {
    let isArmed = false;
    const gate: Gate = async (call, moment) => {
      if (!isArmed || call !== 'store.commit' || moment === 'after') return;
      isArmed = false;
      await command(lab.ports, { command: 'abort', endpoint, commandId: 'faster' }, 'm');
      await runTo('nothing else than the next rollout');
    };
    const context = begin({ gate, policies: [policyOf('  onNewBlessing: queue\n')] });
    await bless(context, { eventId: 'first', model, versionId: '2' }, 'm');
    await runTo('deploying');
    await bless(context, { eventId: 'second', model, versionId: '3' }, 'm');
    const { id = '' } = (await lab.record())?.active?.context ?? {};
    isArmed = true;
    const outcome = await command(lab.ports, { command: 'abort', rollout: id, commandId: 'slower' }, 'm');
    expect(outcome.kind).toBe('rejected');
    expect((await lab.record())?.history.map(({ versionId, state }) => `${versionId} ${state}`)).toEqual([
      '3 promoted',
      '2 aborted',
    ]);
  });

  it('an abort of a first deployment leaves the split that somebody else made meanwhile', () => {
    begin();
    const theirs = { id: '9', model, versionId: '9', minReplicas: 1, availableReplicas: 1 };
    const { rollout } = deployedCanary(policyOf(), {}).when({
      type: 'endpoint.observed',
      split: {},
      models: [canaryModel],
    });
    const { generation } = rollout.context.traffic;
    const aborted = deployedCanary(policyOf(), {})
      .when({ type: 'endpoint.observed', split: {}, models: [canaryModel] })
      .when({ type: 'traffic.foreign', found: { 9: 100 }, models: [theirs, canaryModel], generation })
      .when({ type: 'operator.aborted', by: 'ann', reason: 'test' });
    expect(answerSplit(aborted.rollout, { split: { 9: 100 }, models: [{ id: '9', canServe: true }] })).toEqual({
      kind: 'write',
      split: { 9: 100 },
    });
  });

  it('an abort that comes too late for the record, and not for the split, is not promoted over', async () => {
    // What an instance does whose commit is late: see lower.ts.
    let isArmed = true;
    const gate: Gate = (call, moment) => {
      if (isArmed && call === 'endpoints.undeploy' && moment === 'before') {
        isArmed = false;
        lab.meddle({ 1: 100 });
      }
      return Promise.resolve();
    };
    const context = begin({ gate });
    await bless(context, { eventId: 'b', model, versionId: '2' }, 'm');
    await runTo('none');
    expect(lab.split()).toEqual({ 1: 100 });
    expect((await lab.record())?.history[0]?.state).toBe('rolledBack');
    expect(lab.models()).toEqual(['1']);
  });

  it('what somebody else gave a canary that never had a share is taken back in proportion, and the canary removed', async () => {
    const context = begin();
    await bless(context, { eventId: 'b', model, versionId: '2' }, 'm');
    await runTo('warming');
    const { canaryId = '' } = (await lab.record())?.active?.context ?? {};
    lab.meddle({ 1: 30, [canaryId]: 70 });
    await command(lab.ports, { command: 'abort', endpoint, commandId: 'a' }, 'm');
    await runTo('none');
    expect(lab.split()).toEqual({ 1: 100 });
    expect(lab.models()).toEqual(['1']);
  });

  it('a slow instance does not write again what another one has settled on the way back', async () => {
    let isArmed = false;
    let writes = 0;
    const gate: Gate = async (call, moment) => {
      if (call !== 'endpoints.writeSplit' || moment === 'after') return;
      writes += 1;
      if (!isArmed) return;
      isArmed = false;
      await tick(lab.ports, observing);
      const { active } = (await lab.record()) ?? {};
      expect(active?.value.progress).toEqual({ rollingBack: 'cleaning' });
    };
    const context = begin({ gate });
    await bless(context, { eventId: 'b', model, versionId: '2' }, 'm');
    await runTo('analysing');
    writes = 0;
    isArmed = true;
    await command(lab.ports, { command: 'abort', endpoint }, 'm');
    expect(isArmed).toBe(false);
    // Its own, which comes too late, and the other one's.
    expect(writes).toBe(2);
    await runTo('aborted');
    expect(lab.split()).toEqual({ 1: 100 });
  });

  it('a slow instance does not raise a share that another one has paused, when a person puts the split back', async () => {
    let isArmed = false;
    let writes = 0;
    const gate: Gate = async (call, moment) => {
      if (call !== 'endpoints.writeSplit' || moment === 'after') return;
      writes += 1;
      if (!isArmed) return;
      isArmed = false;
      const { canaryId = '' } = (await lab.record())?.active?.context ?? {};
      lab.meddle({ 1: 90, [canaryId]: 10 });
      await tick(lab.ports, observing);
      expect((await lab.record())?.active?.context.foreign).not.toBeNull();
      lab.meddle({ 1: 100 });
    };
    const context = begin({ gate });
    await bless(context, { eventId: 'b', model, versionId: '2' }, 'm');
    await runTo('warming');
    isArmed = true;
    await runTo('shifting');
    expect([isArmed, writes]).toEqual([false, 1]);
    expect(lab.split()).toEqual({ 1: 100 });
  });

  it('a first deployment that nobody could take over from keeps its share until the abort is recorded', async () => {
    begin();
    const { rollout } = deployedCanary(policyOf(), {})
      .when({ type: 'endpoint.observed', split: {}, models: [canaryModel] })
      .when({ type: 'operator.aborted', by: 'ann', reason: 'test' });
    lab.meddle({ 1: 100 });
    const alone = {
      ...rollout,
      context: { ...rollout.context, canaryId: '1', traffic: { ...rollout.context.traffic, attempted: [{ 1: 100 }] } },
    };
    await goingBack(lab.ports, alone)?.();
    expect(lab.split()).toEqual({ 1: 100 });
  });

  it('an old decision to go back does not take the share of a canary whose stable is being removed', async () => {
    const context = begin();
    await bless(context, { eventId: 'b', model, versionId: '2' }, 'm');
    await runTo('analysing');
    const active = (await lab.record())?.active;
    if (!active) throw new Error('the rollout is under way');
    const before = lab.split();
    const rollout = stepRollout(active, { type: 'operator.aborted', at: lab.now(), by: 'ann', reason: 'old' });
    // The other one of stable's two models is gone by now.
    const stable = { 1: 60, 9: 40 };
    const late = {
      ...rollout,
      context: { ...rollout.context, stable, traffic: { ...rollout.context.traffic, desired: stable } },
    };
    await goingBack(lab.ports, late)?.();
    expect(lab.split()).toEqual(before);
    await goingBack(lab.ports, rollout)?.();
    expect(lab.split()).toEqual({ 1: 100 });
  });

  it('a canary that lost its replicas before its first share does not get it', () => {
    begin();
    const { rollout } = shiftingToFirstStep();
    const models = [
      { id: '1', canServe: true },
      { id: canaryModel.id, canServe: false },
    ];
    expect(answerSplit(rollout, { split: { 1: 100 }, models }).kind).toBe('unready');
  });
});
