/** Does a canary that must go lose its share at once when the store cannot be reached, and is that recorded later? */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { bless } from '../../../functions/engine/blessings.ts';
import { command, evidence, incident } from '../../../functions/engine/commands.ts';
import { PermanentError, TransientError } from '../../../functions/engine/errors.ts';
import { limits } from '../../../functions/engine/limits.ts';
import { evidenceMessageSchema } from '../../../functions/engine/messages.ts';
import type { EndpointView, Ports, StorePort } from '../../../functions/engine/ports.ts';
import { openSqliteStore } from '../../../functions/engine/sqlite-store.ts';
import { reconcile } from '../../../functions/engine/reconcile.ts';
import { tick } from '../../../functions/engine/tick.ts';
import { parseEnvironment } from '../../../functions/engine/environment.ts';
import { googleClients } from '../../../functions/gcp/clients.ts';
import { firestoreStore } from '../../../functions/gcp/firestore-store.ts';
import { parseRecord, type EndpointRecord } from '../../../machines/rollout/record.ts';
import { endpointKey } from '../../../machines/rollout/resource-name.ts';
import { withFirestoreEmulator } from '../../emulators.ts';
import { policyOf } from '../../machines/rollout/life.ts';
import {
  Crash,
  endpoint,
  type Laboratory,
  laboratory,
  type LaboratoryOptions,
  model,
} from '../../simulation/laboratory.ts';
import { portOf } from '../../port.ts';

const observing = { periodMs: 1000 };
const unavailable = new TransientError('unavailable', 'the store is down');

type Call = Exclude<keyof StorePort, 'close'>;
/** Called at every call of the store, before it goes out and before its answer is seen. Throw to fail, wait to be slow. */
type StoreGate = (call: Call, moment: 'before' | 'after') => Promise<void> | void;

interface Trial {
  lab: Laboratory;
  ports: Ports;
  store: StorePort;
  /** What is wrong with the store from now on; nothing, to begin with. */
  gate: StoreGate;
  /** Calls to the endpoint, in order. */
  calls: string[];
  /** Changes what the endpoint looks like, or fails, when it is read or its write is answered. */
  atEndpoint: (view: EndpointView, call: 'read' | 'writeSplit') => EndpointView;
}

const open: Trial[] = [];

afterEach(async () => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  for (const { lab, store } of open.splice(0)) await Promise.all([lab.close(), store.close()]);
});

function begin(options: LaboratoryOptions = {}, store?: StorePort): Trial {
  const lab = laboratory({ behaviour: { 3: { errorRatio: 0.3 } }, ...options });
  const kept = store ?? openSqliteStore(':memory:');
  const { endpoints } = lab.ports;
  const see = async (call: 'read' | 'writeSplit', asked: Promise<EndpointView>) => {
    trial.calls.push(call);
    return trial.atEndpoint(await asked, call);
  };
  const trial: Trial = {
    lab,
    store: kept,
    gate: () => {},
    calls: [],
    atEndpoint: (view) => view,
    ports: {
      ...lab.ports,
      endpoints: {
        ...endpoints,
        read: (name) => see('read', endpoints.read(name)),
        writeSplit: (name, split, etag) => see('writeSplit', endpoints.writeSplit(name, split, etag)),
      },
      store: gated(kept, (call, moment) => trial.gate(call, moment)),
    },
  };
  open.push(trial);
  return trial;
}

function gated(store: StorePort, gate: StoreGate): StorePort {
  const through =
    <Name extends Call, Answer>(call: Name, work: (...args: Parameters<StorePort[Name]>) => Promise<Answer>) =>
    async (...args: Parameters<StorePort[Name]>): Promise<Answer> => {
      await gate(call, 'before');
      const answer = await work(...args);
      await gate(call, 'after');
      return answer;
    };
  return {
    load: through('load', (key) => store.load(key)),
    listActive: through('listActive', (page) => store.listActive(page)),
    listAll: through('listAll', (page) => store.listAll(page)),
    commit: through('commit', (change) => store.commit(change)),
    isMarked: through('isMarked', (mark) => store.isMarked(mark)),
    readRollout: through('readRollout', (id) => store.readRollout(id)),
    listRollouts: through('listRollouts', (limit) => store.listRollouts(limit)),
    listJournal: through('listJournal', (rollout, limit) => store.listJournal(rollout, limit)),
    close: () => store.close(),
  };
}

/** Fails these calls, or all, before they arrive or after. */
function down(calls: Call[] | 'all' = 'all', when: 'before' | 'after' = 'before'): StoreGate {
  return (call, moment) => {
    if (moment === when && (calls === 'all' || calls.includes(call))) throw unavailable;
  };
}

async function recordOf({ store }: Trial): Promise<EndpointRecord> {
  const record = parseRecord((await store.load(endpointKey(endpoint)))?.data);
  if (!record.success) throw record.error;
  return record.data;
}

async function canaryOf(trial: Trial): Promise<string> {
  return (await recordOf(trial)).active?.context.canaryId ?? 'no rollout is active';
}

async function idOf(trial: Trial): Promise<string> {
  return (await recordOf(trial)).active?.context.id ?? 'no rollout is active';
}

async function second(trial: Trial): Promise<void> {
  trial.lab.pass(1);
  await tick(trial.ports, observing);
}

/** Blesses a version, and lets time pass until its canary has this share, confirmed. */
async function canaryAt(trial: Trial, percent: number, versionId = '2'): Promise<void> {
  await bless({ ports: trial.ports, project: 'demo' }, { eventId: versionId, model, versionId }, 'm');
  for (let i = 0; i < 60; i += 1) {
    await second(trial);
    const { context } = (await recordOf(trial)).active ?? {};
    if (context?.traffic.confirmed?.[context.canaryId] === percent) {
      trial.lab.writes.length = 0;
      trial.calls.length = 0;
      return;
    }
  }
  throw new Error(`the canary never had ${percent} %: ${JSON.stringify(trial.lab.split())}`);
}

function abort({ ports }: Trial, named: { endpoint?: string; rollout?: string } = { endpoint }) {
  return command(ports, { command: 'abort', ...named, by: 'ann', reason: 'test', commandId: 'abort' }, 'm');
}

/** A second passes, in which the proxy sees the canary fail. */
async function badNews(trial: Trial) {
  trial.lab.pass(1);
  const to = trial.lab.now();
  const counts = (requests: number, errors: number) => ({
    requests,
    errors,
    latencyMs: { bounds: [20], counts: [requests, 0] },
  });
  const window = { from: new Date(to - 1000).toISOString(), to: new Date(to).toISOString() };
  const variants = { 1: counts(6000, 0), [await canaryOf(trial)]: counts(2000, 1500) };
  return evidenceMessageSchema.parse({ endpoint, window, source: 'proxy', variants });
}

function alert() {
  return { incident: { incident_id: 'i', state: 'open', resource: { labels: { endpoint_id: '1' } } } };
}

/** What is logged from now on. */
function listen(): string[] {
  const said: string[] = [];
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => said.push(String(text)) > 0);
  return said;
}

/** Ticks until nothing is active; how the rollout ended. */
async function ending(trial: Trial): Promise<string> {
  for (let i = 0; i < 60; i += 1) {
    const { active, history } = await recordOf(trial);
    if (active === null) return history[0]?.state ?? 'none';
    await second(trial);
  }
  return `never: ${JSON.stringify((await recordOf(trial)).active?.value)}`;
}

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
    trial.atEndpoint = (view) => ({
      ...view,
      deployedModels: view.deployedModels.map((one) => ({ ...one, availableReplicas: one.id === '1' ? 0 : 1 })),
    });
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

describe('an abort whose record cannot be read', () => {
  it('takes the share of the rollout that it names, and is recorded when it is delivered again', async () => {
    const trial = begin();
    await canaryAt(trial, 25);
    const rollout = await idOf(trial);
    trial.gate = down();
    await expect(abort(trial, { endpoint, rollout })).rejects.toBe(unavailable);
    expect(trial.lab.split()).toEqual({ 1: 100 });
    await expect(abort(trial, { endpoint, rollout })).rejects.toBe(unavailable);
    expect(trial.calls.filter((call) => call === 'writeSplit')).toHaveLength(1);
    trial.gate = () => {};
    await abort(trial, { endpoint, rollout });
    expect(await ending(trial)).toBe('aborted');
  });

  it('acts on a damaged record too, with the endpoint from the archive', async () => {
    const trial = begin();
    await canaryAt(trial, 25);
    const rollout = await idOf(trial);
    const key = endpointKey(endpoint);
    const expected = (await trial.store.load(key))?.revision ?? null;
    await trial.store.commit({ key, expected, data: 'damage', isActive: true, journal: [], marks: [], archive: [] });
    await expect(abort(trial, { rollout })).rejects.toThrow(PermanentError);
    expect(trial.lab.split()).toEqual({ 1: 100 });
  });

  it('guesses neither the canary of an endpoint nor the endpoint of a rollout, and says what to send instead', async () => {
    const trial = begin();
    await canaryAt(trial, 25);
    const rollout = await idOf(trial);
    const before = trial.lab.split();
    const said = listen();
    trial.gate = down();
    await expect(abort(trial, { endpoint })).rejects.toBe(unavailable);
    await expect(abort(trial, { rollout })).rejects.toBe(unavailable);
    expect(trial.lab.split()).toEqual(before);
    expect(said[0]).toContain(`first (75 %), ${rollout} (25 %); publish the abort again with both`);
    expect(said[1]).toContain(`which endpoint rollout ${rollout} is on; publish the abort again with both`);
  });

  it('does not take from a stable that a newer canary may stand beside: that would raise the canary', async () => {
    const trial = begin();
    await canaryAt(trial, 25);
    const promoted = await idOf(trial);
    await command(trial.ports, { command: 'promote-full', endpoint, by: 'ann', commandId: 'p' }, 'm');
    expect(await ending(trial)).toBe('promoted');
    await canaryAt(trial, 25, '4');
    const before = trial.lab.split();
    trial.gate = down();
    await expect(abort(trial, { endpoint, rollout: promoted })).rejects.toBe(unavailable);
    expect(trial.lab.split()).toEqual(before);
    trial.gate = () => {};
    const rollout = await idOf(trial);
    trial.gate = down();
    await expect(abort(trial, { endpoint, rollout })).rejects.toBe(unavailable);
    expect(Object.values(trial.lab.split())).toEqual([100]);
    expect(trial.lab.split()).not.toHaveProperty(await canaryOf(trial));
  });

  it('does not empty the endpoint, nor send its traffic to what cannot serve', async () => {
    const trial = begin();
    await canaryAt(trial, 25);
    const rollout = await idOf(trial);
    const canary = await canaryOf(trial);
    trial.gate = down();
    trial.atEndpoint = (view) => ({
      ...view,
      deployedModels: view.deployedModels.map((one) => ({ ...one, availableReplicas: 0 })),
    });
    await expect(abort(trial, { endpoint, rollout })).rejects.toBe(unavailable);
    expect(trial.lab.split()).toEqual({ 1: 75, [canary]: 25 });
    trial.atEndpoint = (view) => view;
    trial.lab.meddle({ [canary]: 100 });
    await expect(abort(trial, { endpoint, rollout })).rejects.toBe(unavailable);
    expect(trial.lab.split()).toEqual({ [canary]: 100 });
  });

  it('leaves other commands, and rollouts that ended, alone', async () => {
    const trial = begin();
    await canaryAt(trial, 25);
    const rollout = await idOf(trial);
    const before = trial.lab.split();
    trial.gate = down();
    for (const name of ['pause', 'retry'] as const) {
      await expect(command(trial.ports, { command: name, endpoint, rollout }, name)).rejects.toBe(unavailable);
    }
    expect(trial.lab.split()).toEqual(before);
    trial.gate = () => {};
    await abort(trial);
    expect(await ending(trial)).toBe('aborted');
    trial.calls.length = 0;
    trial.gate = down(['load']);
    const late = { command: 'abort', rollout, commandId: 'late' } as const;
    expect(await command(trial.ports, late, 'm')).toMatchObject({ kind: 'rejected' });
    expect(trial.calls).toEqual([]);
  });
});

describe('a rollback that the store records', () => {
  it('sends nothing to a stable that is not ready, and everything as soon as it is', async () => {
    const trial = begin();
    await canaryAt(trial, 25);
    const before = trial.lab.split();
    trial.atEndpoint = (view) => ({
      ...view,
      deployedModels: view.deployedModels.map((one) => ({ ...one, availableReplicas: one.id === '1' ? 0 : 1 })),
    });
    await abort(trial);
    await second(trial);
    expect(trial.lab.split()).toEqual(before);
    expect((await recordOf(trial)).active?.context.lastProblem).toContain('no stable model can take the traffic back');
    trial.atEndpoint = (view) => view;
    expect(await ending(trial)).toBe('aborted');
    expect(trial.lab.split()).toEqual({ 1: 100 });
  });

  it('is one read and one write of the endpoint', async () => {
    const trial = begin();
    await canaryAt(trial, 25);
    await abort(trial);
    expect(trial.calls).toEqual(['read', 'writeSplit']);
    expect(trial.lab.split()).toEqual({ 1: 100 });
  });

  it.each(['read', 'writeSplit'] as const)('is tried again at once when the answer to %s is lost', async (lost) => {
    const trial = begin();
    await canaryAt(trial, 25);
    trial.atEndpoint = (view, call) => {
      if (call !== lost) return view;
      trial.atEndpoint = (later) => later;
      throw new TransientError('unavailable', 'lost');
    };
    await abort(trial);
    expect(trial.lab.split()).toEqual({ 1: 100 });
    expect((await recordOf(trial)).active?.value.progress).toEqual({ rollingBack: 'cleaning' });
  });

  it('has this over a rise, whose lost answer waits for the next tick', async () => {
    const trial = begin();
    await canaryAt(trial, 5);
    trial.atEndpoint = (view, call) => {
      if (call === 'read') return view;
      throw new TransientError('unavailable', 'lost');
    };
    await command(trial.ports, { command: 'promote', endpoint }, 'promote');
    expect(trial.calls).toEqual(['read', 'writeSplit']);
  });

  it('is given up for now after so many tries, and goes on with the next tick', async () => {
    const trial = begin();
    await canaryAt(trial, 25);
    trial.atEndpoint = () => {
      throw new TransientError('unavailable', 'Vertex is down');
    };
    await abort(trial);
    expect(trial.calls).toHaveLength(limits.settleAttemptsMax);
    trial.atEndpoint = (view) => view;
    expect(await ending(trial)).toBe('aborted');
    expect(trial.lab.split()).toEqual({ 1: 100 });
  });

  it('is not tried again at once for a refusal that another moment does not heal', async () => {
    const trial = begin();
    await canaryAt(trial, 25);
    trial.atEndpoint = () => {
      throw new PermanentError('permissionDenied', 'no');
    };
    await abort(trial);
    expect(trial.calls).toEqual(['read']);
  });

  it('ends its tries when they take too long for one call', async () => {
    const trial = begin();
    await canaryAt(trial, 25);
    trial.atEndpoint = () => {
      trial.lab.pass(6);
      throw new TransientError('deadlineExceeded', 'late');
    };
    await abort(trial);
    expect(trial.calls).toEqual(['read', 'read']);
  });

  it('is confirmed by what the endpoint says it is, and not by an answer alone', async () => {
    const trial = begin();
    await canaryAt(trial, 25);
    const before = trial.lab.split();
    trial.atEndpoint = (view, call) => (call === 'writeSplit' ? { ...view, split: before } : view);
    await abort(trial);
    expect(trial.calls).toEqual(['read', 'writeSplit', 'read']);
    expect((await recordOf(trial)).active?.context.traffic.confirmed).toEqual({ 1: 100 });
  });

  it('is not taken for done while the endpoint says otherwise', async () => {
    const trial = begin();
    await canaryAt(trial, 25);
    const before = trial.lab.split();
    trial.atEndpoint = (view) => ({ ...view, split: before });
    await abort(trial);
    expect((await recordOf(trial)).active?.value.progress).toEqual({ rollingBack: 'restoring' });
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

describe('real stores that fail', () => {
  it('SQLite: another process holds the file', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'rollouts-store-down-'));
    const path = join(folder, 'records.db');
    const trial = begin({}, openSqliteStore(path, 10));
    await canaryAt(trial, 25);
    const holder = new DatabaseSync(path);
    holder.exec('BEGIN IMMEDIATE');
    await expect(abort(trial)).rejects.toMatchObject({ name: 'TransientError', code: 'unavailable' });
    expect(trial.lab.split()).toEqual({ 1: 100 });
    holder.close();
    await abort(trial);
    expect(await ending(trial)).toBe('aborted');
    rmSync(folder, { recursive: true });
  });

  withFirestoreEmulator('Firestore', (emulator) => {
    it('goes away after the record was loaded, and comes back while the commit is waited for', {
      timeout: 60_000,
    }, async () => {
      const line = await startLine(emulator.host);
      const environment = { GOOGLE_CLOUD_PROJECT: 'demo', ROLLOUT_LOCATION: 'us-central1', ROLLOUT_STORE: 'firestore' };
      const clients = googleClients(parseEnvironment({ ...environment, FIRESTORE_EMULATOR_HOST: line.host }));
      const trial = begin({}, firestoreStore(clients));
      await canaryAt(trial, 25);
      const written = Promise.withResolvers<void>();
      trial.gate = (call, moment) => {
        if (call === 'commit' && moment === 'before') line.cut();
      };
      trial.atEndpoint = (view, call) => {
        if (call === 'writeSplit') written.resolve();
        return view;
      };
      const aborting = abort(trial);
      await written.promise;
      expect(trial.lab.split()).toEqual({ 1: 100 });
      trial.gate = () => {};
      line.mend();
      // The client tries by itself until our deadline: by then the commit was made, or is given up.
      await aborting.catch((error: unknown) => expect(error).toBeInstanceOf(TransientError));
      await abort(trial);
      expect(await ending(trial)).toBe('aborted');
      await clients.close();
      line.close();
    });
  });
});

/** A line to the emulator that can be cut: connections end, and new ones with them. */
async function startLine(target: string): Promise<{ host: string; cut(): void; mend(): void; close(): void }> {
  const [host = '', port = ''] = target.split(':');
  const sockets = new Set<Socket>();
  let isCut = false;
  const server = createServer((near) => {
    if (isCut) return void near.destroy();
    const far = connect(Number(port), host);
    for (const socket of [near, far]) {
      sockets.add(socket);
      // Ends with its other half, which the close tells.
      socket.on('error', () => socket.destroy());
      socket.on('close', () => {
        sockets.delete(socket);
        near.destroy();
        far.destroy();
      });
    }
    near.pipe(far).pipe(near);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const cut = () => {
    isCut = true;
    for (const socket of sockets) socket.destroy();
  };
  return {
    host: `127.0.0.1:${portOf(server)}`,
    cut,
    mend: () => void (isCut = false),
    close: () => {
      cut();
      server.close();
    },
  };
}
