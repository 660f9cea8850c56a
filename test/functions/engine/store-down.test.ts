/** Does a canary that must go lose its share at once when the store cannot be reached, and is that recorded later? */
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { command, evidence, incident } from '../../../functions/engine/commands.ts';
import { TransientError } from '../../../functions/engine/errors.ts';
import { limits } from '../../../functions/engine/limits.ts';
import { reconcile } from '../../../functions/engine/reconcile.ts';
import { tick } from '../../../functions/engine/tick.ts';
import { endpointKey } from '../../../machines/rollout/resource-name.ts';
import { policyOf } from '../../machines/rollout/life.ts';
import { Crash, endpoint, model } from '../../simulation/laboratory.ts';
import {
  abort,
  alert,
  badNews,
  begin,
  canaryAt,
  canaryOf,
  down,
  ending,
  idOf,
  listen,
  observing,
  recordOf,
  second,
  unavailable,
  stableUnready,
} from './store-trial.ts';

describe('a rollback that the store cannot record', () => {
  it.each(['before', 'after'] as const)(
    'takes the share away at once, if the commit is lost %s it arrived',
    async (when) => {
      const trial = begin();
      await canaryAt(trial, 25);
      trial.gate = down(['commit'], when);
      await expect(abort(trial)).rejects.toBe(unavailable);
      expect(trial.lab.split()).toEqual({ 1: 100 });
      trial.gate = () => {};
      await abort(trial);
      expect(await ending(trial)).toBe('aborted');
      expect(trial.lab.split()).toEqual({ 1: 100 });
    },
  );

  it('is carried out on the evidence of a proxy, and recorded when that is delivered again', async () => {
    const trial = begin();
    await canaryAt(trial, 25);
    const message = await badNews(trial);
    trial.gate = down(['commit']);
    await expect(evidence(trial.ports, message)).rejects.toBe(unavailable);
    expect(trial.lab.split()).toEqual({ 1: 100 });
    trial.gate = () => {};
    await evidence(trial.ports, message);
    expect(await ending(trial)).toBe('rolledBack');
  });

  it('is carried out on an alert', async () => {
    const spec = '  analysis: { metricLag: 2s, minRequests: 10, incident: rollBack }\n';
    const trial = begin({ policies: [policyOf(spec)] });
    await canaryAt(trial, 25);
    trial.gate = down(['commit']);
    await expect(incident(trial.ports, alert())).rejects.toBe(unavailable);
    expect(trial.lab.split()).toEqual({ 1: 100 });
  });

  it('is carried out on what a tick reads, and decided again from the same evidence by a later one', async () => {
    const trial = begin();
    await canaryAt(trial, 5, '3');
    trial.gate = down(['commit']);
    for (let i = 0; i < 20; i += 1) await second(trial);
    expect(trial.lab.split()).toEqual({ 1: 100 });
    expect((await recordOf(trial)).active?.context.ending).toBeNull();
    trial.gate = () => {};
    await second(trial);
    expect((await recordOf(trial)).active?.context.ending?.state ?? 'over').toMatch(/rolledBack|over/);
    expect(await ending(trial)).toBe('rolledBack');
  });

  it('wins over a reconcile that took our own write for somebody else’s', async () => {
    for (const again of ['abort', 'evidence'] as const) {
      const trial = begin();
      await canaryAt(trial, 25);
      const message = await badNews(trial);
      const tell = () => (again === 'abort' ? abort(trial) : evidence(trial.ports, message));
      trial.gate = down(['commit']);
      await expect(tell()).rejects.toBe(unavailable);
      trial.gate = () => {};
      await reconcile({ ports: trial.ports, project: 'demo' }, observing);
      const { value, context } = (await recordOf(trial)).active ?? {};
      expect([value?.pause, context?.foreign?.split]).toEqual(['paused', { 1: 100 }]);
      await tell();
      expect(await ending(trial)).toBe(again === 'abort' ? 'aborted' : 'rolledBack');
      expect(trial.lab.split()).toEqual({ 1: 100 });
    }
  });

  it('is not undone by the way up: what the record still wants meets a split that is not its own', async () => {
    const trial = begin();
    await canaryAt(trial, 25);
    trial.gate = down(['commit']);
    await expect(abort(trial)).rejects.toBe(unavailable);
    trial.gate = () => {};
    await command(trial.ports, { command: 'promote', endpoint, by: 'bob', commandId: 'promote' }, 'm');
    expect(trial.lab.split()).toEqual({ 1: 100 });
    await abort(trial);
    expect(await ending(trial)).toBe('aborted');
  });

  it('gives each of several stable models exactly what it had', async () => {
    const trial = begin();
    const { ports, lab } = trial;
    await lab.ports.endpoints.deploy(endpoint, {
      deployedModelId: '9',
      model,
      versionId: '4',
      displayName: 'second',
      deploy: policyOf().deploy,
    });
    lab.pass(6);
    lab.meddle({ 1: 67, 9: 33 });
    await canaryAt(trial, 25);
    trial.gate = down(['commit']);
    await expect(abort(trial)).rejects.toBe(unavailable);
    expect(lab.split()).toEqual({ 1: 67, 9: 33 });
    trial.gate = () => {};
    await reconcile({ ports, project: 'demo' }, observing);
    await abort(trial);
    expect(await ending(trial)).toBe('aborted');
    expect(lab.split()).toEqual({ 1: 67, 9: 33 });
  });

  it('takes from a split of somebody else’s the canary’s share alone', async () => {
    const trial = begin();
    await canaryAt(trial, 25);
    const canary = await canaryOf(trial);
    await trial.lab.ports.endpoints.deploy(endpoint, {
      deployedModelId: '9',
      model,
      versionId: '4',
      displayName: 'second',
      deploy: policyOf().deploy,
    });
    trial.lab.pass(6);
    trial.lab.meddle({ 1: 20, 9: 60, [canary]: 20 });
    trial.gate = down(['commit']);
    await expect(abort(trial)).rejects.toBe(unavailable);
    expect(trial.lab.split()).toEqual({ 1: 25, 9: 75 });
  });

  it('sends nothing to a stable that is not ready', async () => {
    const trial = begin();
    await canaryAt(trial, 25);
    const before = trial.lab.split();
    trial.atEndpoint = stableUnready;
    trial.gate = down(['commit']);
    const said = listen();
    await expect(abort(trial)).rejects.toBe(unavailable);
    expect(trial.lab.split()).toEqual(before);
    expect(said.join('')).toContain('A canary that must lose its share may have it still: no stable model can take');
  });

  it('throws what the store said when the endpoint cannot be reached either', async () => {
    const trial = begin();
    await canaryAt(trial, 25);
    trial.gate = down(['commit']);
    trial.atEndpoint = () => {
      throw new TransientError('unavailable', 'Vertex is down too');
    };
    await expect(abort(trial)).rejects.toBe(unavailable);
  });

  it('reads again when the endpoint was changed between its read and its write', async () => {
    const trial = begin();
    await canaryAt(trial, 25);
    const canary = await canaryOf(trial);
    trial.gate = down(['commit']);
    trial.atEndpoint = (view, call) => {
      if (call === 'read' && trial.calls.length === 1) trial.lab.meddle({ 1: 90, [canary]: 10 });
      return view;
    };
    await expect(abort(trial)).rejects.toBe(unavailable);
    expect(trial.calls).toEqual(['read', 'writeSplit', 'read', 'writeSplit']);
    expect(trial.lab.split()).toEqual({ 1: 100 });
  });

  it('leaves the endpoint alone where the canary has no share', async () => {
    const trial = begin();
    await canaryAt(trial, 25);
    trial.lab.meddle({ 1: 100 });
    trial.gate = down(['commit']);
    await expect(abort(trial)).rejects.toBe(unavailable);
    expect(trial.calls).toEqual(['read']);
  });

  it('is not carried out by a process that ended at the commit', async () => {
    const trial = begin();
    await canaryAt(trial, 25);
    trial.gate = (call) => {
      if (call === 'commit') throw new Crash(call);
    };
    await expect(abort(trial)).rejects.toThrow(Crash);
    expect(trial.calls).toEqual([]);
  });

  it('is the only decision that is carried out before it is recorded', async () => {
    const trial = begin();
    await canaryAt(trial, 5);
    trial.lab.pass(15);
    trial.gate = down(['commit']);
    for (const name of ['promote', 'promote-full', 'pause'] as const) {
      const message = { command: name, endpoint, by: 'ann', commandId: name };
      await expect(command(trial.ports, message, 'm')).rejects.toBe(unavailable);
    }
    expect(trial.calls).toEqual([]);
  });

  it('that was recorded is carried out although the record cannot be loaded again', async () => {
    const trial = begin();
    await canaryAt(trial, 25);
    trial.gate = (call, moment) => {
      if (call === 'commit' && moment === 'after') trial.gate = down();
    };
    await expect(abort(trial)).rejects.toBe(unavailable);
    expect(trial.lab.split()).toEqual({ 1: 100 });
    trial.gate = () => {};
    expect(await abort(trial)).toMatchObject({ kind: 'ignored' });
    expect(await ending(trial)).toBe('aborted');
  });

  it('is carried out on the decision of a moment ago when the store conflicts and then goes', async () => {
    const trial = begin();
    await canaryAt(trial, 25);
    trial.gate = async (call, moment) => {
      if (call !== 'commit' || moment !== 'before') return;
      trial.gate = down();
      const stored = await trial.store.load(endpointKey(endpoint));
      if (stored === null) throw new Error('expected a record');
      const { key, data, revision: expected } = stored;
      await trial.store.commit({ key, expected, data, isActive: true, journal: [], marks: [], archive: [] });
      trial.gate = (later) => {
        if (later === 'load') throw unavailable;
      };
    };
    await expect(abort(trial)).rejects.toBe(unavailable);
    expect(trial.lab.split()).toEqual({ 1: 100 });
  });
});

describe('a store that does not answer', () => {
  it('is waited for so long and no longer, whether it answers late or fails', async () => {
    for (const isLost of [false, true]) {
      const trial = begin();
      await canaryAt(trial, 25);
      const stuck = Promise.withResolvers<void>();
      trial.gate = (call, moment) => (call === 'commit' && moment === 'before' ? stuck.promise : undefined);
      vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
      const aborting = abort(trial);
      await vi.advanceTimersByTimeAsync(limits.storePatienceMs - 1);
      expect(trial.calls).toEqual([]);
      await vi.advanceTimersByTimeAsync(1);
      expect(trial.lab.split()).toEqual({ 1: 100 });
      expect(vi.getTimerCount()).toBe(0);
      vi.useRealTimers();
      trial.gate = () => {};
      if (isLost) stuck.reject(unavailable);
      else stuck.resolve();
      if (isLost) await expect(aborting).rejects.toBe(unavailable);
      else expect(await aborting).toMatchObject({ kind: 'done' });
      await abort(trial);
      expect(await ending(trial)).toBe('aborted');
    }
  });

  it('is not waited for when only the load before the write is stuck', async () => {
    const trial = begin();
    await canaryAt(trial, 25);
    const stuck = Promise.withResolvers<void>();
    trial.gate = (call, moment) => {
      if (call !== 'commit' || moment !== 'after') return;
      trial.gate = (later) => (later === 'load' ? stuck.promise : undefined);
    };
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const aborting = abort(trial);
    await vi.advanceTimersByTimeAsync(limits.storePatienceMs);
    expect(trial.lab.split()).toEqual({ 1: 100 });
    stuck.resolve();
    expect(await aborting).toMatchObject({ kind: 'done' });
    expect((await recordOf(trial)).active?.value.progress).toEqual({ rollingBack: 'cleaning' });
  });

  it('leaves no timer behind when it answers in time', async () => {
    const trial = begin();
    await canaryAt(trial, 25);
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    await abort(trial);
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe('outages at any moment', () => {
  const actors = ['abort', 'tick', 'reconcile', 'promote', 'second', 'outage', 'commits fail', 'back'] as const;

  it('end in an abort that is recorded, with the canary at nothing', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(5, 25),
        fc.array(fc.constantFrom(...actors), { minLength: 3, maxLength: 14 }),
        fc.constantFrom('before', 'after'),
        async (percent, names, when) => {
          const trial = begin({ requestsPerSecond: 100 });
          await canaryAt(trial, percent);
          const canary = await canaryOf(trial);
          const rollout = await idOf(trial);
          const named = { endpoint, rollout };
          let isOut = false;
          for (const name of names) {
            const before = trial.lab.split()[canary] ?? 0;
            if (name === 'outage' || name === 'commits fail' || name === 'back') isOut = name === 'outage';
            try {
              if (name === 'abort') await abort(trial, named);
              else if (name === 'reconcile') await reconcile({ ports: trial.ports, project: 'demo' }, observing);
              else if (name === 'promote') await command(trial.ports, { command: name, endpoint }, 'promote');
              else if (name === 'tick') await tick(trial.ports, observing);
              else if (name === 'second') trial.lab.pass(1);
              else trial.gate = name === 'back' ? () => {} : down(name === 'outage' ? 'all' : ['commit'], when);
            } catch (error) {
              if (error !== unavailable) throw error;
            }
            // Without the record, nobody knows what served before a canary that has everything.
            const mayBeLeft = before === 100 && isOut;
            if (name === 'abort' && !mayBeLeft) expect(trial.lab.split()[canary] ?? 0, 'after an abort').toBe(0);
          }
          trial.gate = () => {};
          await abort(trial, named);
          expect(await ending(trial)).toBe('aborted');
          expect(trial.lab.split()).toEqual({ 1: 100 });
        },
      ),
      { numRuns: 25 },
    );
  });
});
