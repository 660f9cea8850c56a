import { afterEach, describe, expect, it } from 'vitest';
import { mergeAliases } from '../../../emulator/world/aliases.ts';
import { resolveVersion } from '../../../emulator/world/models.ts';
import { bless, type BlessingContext } from '../../../functions/engine/blessings.ts';
import { command } from '../../../functions/engine/commands.ts';
import { TransientError } from '../../../functions/engine/errors.ts';
import type { CommandMessage } from '../../../functions/engine/messages.ts';
import { readJournal } from '../../../functions/engine/rollouts.ts';
import { reconcile } from '../../../functions/engine/reconcile.ts';
import { tick } from '../../../functions/engine/tick.ts';
import { stateOf } from '../../../machines/rollout/describe.ts';
import { policyOf } from '../../machines/rollout/life.ts';
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
let serial = 0;

afterEach(() => lab.close());

function begin(options: LaboratoryOptions = {}): BlessingContext {
  lab = laboratory(options);
  return { ports: lab.ports, project: 'demo' };
}

function blessVersion(context: BlessingContext, versionId: string, eventId = `blessing-${(serial += 1)}`) {
  return bless(context, { eventId, model, versionId }, 'm');
}

function say(name: CommandMessage['command'], commandId = `command-${(serial += 1)}`) {
  return command(lab.ports, { command: name, endpoint, by: 'ann', reason: 'test', commandId }, 'm');
}

/** Ticks once a second until the endpoint has no active rollout, or patience ends. */
async function run(seconds: number, each: (state: string) => Promise<void> = async () => {}): Promise<string[]> {
  const states: string[] = [];
  for (let second = 0; second < seconds; second += 1) {
    lab.pass(1);
    await tick(lab.ports, observing);
    const record = await lab.record();
    const state = record?.active == null ? (record?.history[0]?.state ?? 'none') : stateOf(record.active);
    if (states.at(-1) !== state) states.push(state);
    await each(state);
    if (record?.active === null) break;
  }
  return states;
}

function announced(): string[] {
  return lab.published
    .filter(({ topic }) => topic === 'rollout-notifications')
    .map(({ message }) => message.attributes['what'] ?? '');
}

describe('a life of a rollout', () => {
  it('takes a good version from its blessing to 100 %, and removes the old one', async () => {
    const context = begin();
    expect(await blessVersion(context, '2')).toMatchObject({ kind: 'done' });
    const states = await run(120);
    expect(states).toEqual(['deploying', 'warming', 'analysing', 'observing', 'promoted']);
    const record = await lab.record();
    expect(Object.values(lab.split())).toEqual([100]);
    expect((await lab.ports.endpoints.read(endpoint)).deployedModels.map(({ versionId }) => versionId)).toEqual(['2']);
    expect(record?.history[0]).toMatchObject({ versionId: '2', state: 'promoted' });
    expect(announced()).toEqual(['started', 'deployed', 'shifted', 'shifted', 'shifted', 'promoted', 'completed']);
  });

  it('takes a bad version off, with stable as it was', async () => {
    const context = begin({ behaviour: { 3: { errorRatio: 0.3 } } });
    await blessVersion(context, '3');
    const states = await run(120);
    expect(states.at(-1)).toBe('rolledBack');
    expect(lab.split()).toEqual({ 1: 100 });
    expect((await lab.ports.endpoints.read(endpoint)).deployedModels.map(({ id }) => id)).toEqual(['1']);
    expect(announced()).toContain('rolled-back');
  });

  it('explains every transition from the journal alone', async () => {
    const context = begin({ behaviour: { 3: { errorRatio: 0.3 } } });
    await blessVersion(context, '3');
    await run(120);
    const id = (await lab.record())?.history[0]?.rollout ?? '';
    const places = (await readJournal(lab.ports.store, id)) ?? [];
    expect(places[0]?.to).toBe('forward.preparing.inspecting');
    for (const [i, entry] of places.slice(1).entries()) expect(entry.from).toBe(places[i]?.to);
    expect(places.at(-1)?.to).toBe('rolledBack');
    expect(places.some(({ text }) => /\d+ errors in \d+ requests/.test(text))).toBe(true);
  });

  it('learns what stable was like before the first share, and says so in the journal', async () => {
    const context = begin();
    lab.pass(30);
    await blessVersion(context, '2');
    await run(20);
    const id = (await lab.record())?.active?.context.id ?? '';
    const learnt = (await readJournal(lab.ports.store, id))?.filter(({ event }) => event === 'past.observed');
    expect(learnt?.map(({ from, to }) => [from, to])).toEqual([['forward.moving.shifting', 'forward.moving.shifting']]);
  });

  it('replaces the canary by a newer blessing: the old one is at 0 before the new one is deployed', async () => {
    const context = begin();
    await blessVersion(context, '2');
    await run(8);
    expect(Object.keys(lab.split())).toHaveLength(2);
    await blessVersion(context, '3');
    expect(lab.split()).toEqual({ 1: 100 });
    const record = await lab.record();
    expect(record?.active?.context.versionId).toBe('2');
    await run(20);
    await run(120);
    const after = await lab.record();
    expect(after?.history.map(({ versionId, state }) => `${versionId} ${state}`)).toEqual([
      '3 promoted',
      '2 superseded',
    ]);
  });

  it('queues a newer blessing where the policy says so; the newest takes the one place', async () => {
    const context = begin({ policies: [policyOf('  onNewBlessing: queue\n')] });
    await blessVersion(context, '2');
    await run(8);
    await blessVersion(context, '3');
    await blessVersion(context, '4');
    expect((await lab.record())?.queued?.blessing.versionId).toBe('4');
    for (let i = 0; i < 3; i += 1) await run(120);
    const history = (await lab.record())?.history.map(({ versionId, state }) => `${versionId} ${state}`);
    expect(history).toEqual(['4 promoted', '2 promoted']);
  });

  it('acts at most once on a blessing and on a command, however often they come', async () => {
    const context = begin();
    await blessVersion(context, '2', 'same');
    await blessVersion(context, '2', 'same');
    await run(120);
    await blessVersion(context, '2', 'same');
    expect((await lab.record())?.active).toBeNull();
    await say('retry', 'once');
    expect((await lab.record())?.active?.context.versionId).toBe('2');
    await run(120);
    expect(await say('retry', 'once')).toMatchObject({ kind: 'ignored' });
    expect((await lab.record())?.active).toBeNull();
  });

  it('sets a copy of a command aside that finds its rollout ended by the first, though it began before it', async () => {
    const context = begin();
    await blessVersion(context, '2');
    await run(8);
    const { store } = lab.ports;
    let asked = 0;
    const late = {
      ...lab.ports,
      store: { ...store, isMarked: async (mark: string) => asked++ > 0 && store.isMarked(mark) },
    };
    await say('abort', 'once');
    await run(30);
    const copy = { command: 'abort' as const, endpoint, by: 'ann', commandId: 'once' };
    expect(await command(late, copy, 'm')).toMatchObject({ kind: 'ignored' });
    const other = { ...copy, commandId: 'another' };
    expect(await command(lab.ports, other, 'm')).toMatchObject({ kind: 'rejected' });
  });

  it('does not start a version again by a late copy of its blessing, but by a newer one', async () => {
    const context = begin({ behaviour: { 3: { errorRatio: 0.3 } } });
    const early = lab.now();
    await blessVersion(context, '3');
    await run(120);
    await bless(context, { eventId: 'late', model, versionId: '3', blessedAt: early }, 'm');
    expect((await lab.record())?.active).toBeNull();
    await bless(context, { eventId: 'anew', model, versionId: '3', blessedAt: lab.now() }, 'm');
    lab.pass(1);
    await bless(context, { eventId: 'newer', model, versionId: '3' }, 'm');
    expect((await lab.record())?.active?.context.versionId).toBe('3');
  });

  it('does not give up an order whose reply was lost: the id that is taken is its own', async () => {
    let isLost = false;
    const gate: Gate = (call, moment) => {
      if (call !== 'endpoints.deploy' || moment !== 'after' || isLost) return Promise.resolve();
      isLost = true;
      throw new TransientError('unavailable', 'the reply was lost');
    };
    const context = begin({ gate });
    await blessVersion(context, '2');
    expect((await run(200)).at(-1)).toBe('promoted');
    expect(isLost).toBe(true);
  });
});

describe('what cannot be followed', () => {
  it.each([
    ['a version that does not exist', { model, versionId: '99' }, 'does not exist'],
    ['a model that does not exist', { model: `${model}x`, versionId: '1' }, 'does not exist'],
    ['a model in another project', { model: model.replace('demo', 'other'), versionId: '2' }, 'is in project other'],
  ])('%s is rejected with the reason', async (_name, message, reason) => {
    const context = begin();
    const outcome = await bless(context, { eventId: 'e', ...message }, 'm');
    expect(outcome.kind).toBe('rejected');
    expect(outcome.text).toContain(reason);
  });

  it('a blessing that no policy matches is told and not lost', async () => {
    const context = begin({ policies: [] });
    expect(await blessVersion(context, '2')).toMatchObject({ kind: 'ignored' });
    expect(announced()).toEqual(['attention']);
  });

  it('a command for a rollout that is not active is rejected', async () => {
    begin();
    expect(await say('pause')).toMatchObject({ kind: 'rejected' });
    expect(await command(lab.ports, { command: 'abort', rollout: 'nobody' }, 'm')).toMatchObject({ kind: 'rejected' });
  });
});

describe('reconcile', () => {
  it('finds a blessing that no event told of, once', async () => {
    const context = begin();
    const { model: registered, version } = resolveVersion(lab.world.context, `${model}@2`);
    mergeAliases(lab.world.context, registered, version, ['blessed']);
    await reconcile(context, observing);
    expect((await lab.record())?.active?.context.versionId).toBe('2');
    await run(120);
    await reconcile(context, observing);
    expect((await lab.record())?.active).toBeNull();
  });

  it('pauses the tick job while nothing is active, and a blessing resumes it', async () => {
    const context = begin();
    await lab.ports.schedule.resume();
    await reconcile(context, observing);
    expect(await lab.ports.schedule.isPaused()).toBe(true);
    await blessVersion(context, '2');
    expect(await lab.ports.schedule.isPaused()).toBe(false);
    await reconcile(context, observing);
    expect(await lab.ports.schedule.isPaused()).toBe(false);
    await run(120);
    await reconcile(context, observing);
    expect(await lab.ports.schedule.isPaused()).toBe(true);
  });

  it('looks once more before the ticks sleep, for a blessing may just have come', async () => {
    const context = begin();
    const { schedule } = lab.ports;
    const resume = () => schedule.resume();
    await resume();
    const blessed = async (): Promise<void> => {
      await blessVersion(context, '2');
      await schedule.pause();
    };
    lab.ports.schedule = { ...schedule, resume, pause: blessed };
    await reconcile(context, observing);
    expect(await schedule.isPaused()).toBe(false);
  });

  it('resumes a tick job that was paused under a rollout', async () => {
    const context = begin();
    await blessVersion(context, '2');
    await lab.ports.schedule.pause();
    await reconcile(context, observing);
    expect(await lab.ports.schedule.isPaused()).toBe(false);
  });

  it('finds a split that somebody else changed, and pauses without overwriting it', async () => {
    const context = begin();
    await blessVersion(context, '2');
    await run(8);
    const canary = (await lab.record())?.active?.context.canaryId ?? '';
    lab.meddle({ 1: 40, [canary]: 60 });
    await reconcile(context, observing);
    expect((await lab.record())?.active?.value.pause).toBe('paused');
    expect(lab.split()).toEqual({ 1: 40, [canary]: 60 });
    await say('abort');
    expect(lab.split()).toEqual({ 1: 100 });
  });
});
