/** What if the code changes while rollouts are under way? New code takes on what old code began; old code stops politely. */
import { readdirSync, readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { bless } from '../../../functions/engine/blessings.ts';
import { command } from '../../../functions/engine/commands.ts';
import { PermanentError } from '../../../functions/engine/errors.ts';
import type { Commit } from '../../../functions/engine/ports.ts';
import { reconcile } from '../../../functions/engine/reconcile.ts';
import { tick } from '../../../functions/engine/tick.ts';
import { emptyRecord } from '../../../machines/rollout/record.ts';
import { endpointKey } from '../../../machines/rollout/resource-name.ts';
import { snapshotSchemaVersion } from '../../../machines/rollout/snapshot.ts';
import { policyOf } from '../../machines/rollout/life.ts';
import { endpoint, type Laboratory, laboratory, model } from '../../simulation/laboratory.ts';

const observing = { periodMs: 1000 };
const key = endpointKey(endpoint);
const snapshots = new URL('../../machines/rollout/snapshots/', import.meta.url);

let lab: Laboratory;
let logged: string[];

beforeEach(() => {
  lab = laboratory({ policies: [policyOf()] });
  logged = [];
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => logged.push(String(text)) > 0);
});

afterEach(async () => {
  vi.restoreAllMocks();
  await lab.close();
});

describe('old code that meets a record of a newer version', () => {
  it('leaves it as it is, says which version to deploy, and goes on with the others', async () => {
    const newer = { ...emptyRecord('projects/demo/locations/us-central1/endpoints/9'), schema: 99 };
    await store({ key: 'us-central1~9', data: newer });
    const before = await lab.ports.store.load('us-central1~9');
    await start();

    expect(await tick(lab.ports, observing)).toEqual({ active: 2, failed: 1 });
    expect(await reconcile({ ports: lab.ports, project: 'demo' }, observing)).toEqual({ active: 2, failed: 2 });
    for (let second = 0; second < 120 && lab.split()['1'] === 95; second += 1) {
      lab.pass(1);
      await tick(lab.ports, observing);
    }

    expect(lab.split()['1']).toBe(75);
    expect(await lab.ports.store.load('us-central1~9')).toEqual(before);
    const said =
      /"CRITICAL".*us-central1~9 was written by a newer version \(schema 99, this code knows \d+\); deploy that/;
    expect(logged).toContainEqual(expect.stringMatching(said));
  });

  it('keeps the ticks awake for it, so that the newer code goes on as soon as it is back', async () => {
    await store({ key: 'us-central1~9', data: { schema: 99 } });
    await lab.ports.schedule.resume();
    await tick(lab.ports, observing);
    expect(await lab.ports.schedule.isPaused()).toBe(false);
  });

  it('sets a command aside with the reason, and yet takes the share away when it is an abort', async () => {
    await start();
    const stable = { 1: 100 };
    const rollout = (await lab.record())?.active?.context.id ?? '';
    const stored = await lab.ports.store.load(key);
    const newer = { key, revision: '99', data: { ...Object(stored?.data), schema: 99 } };
    lab.ports.store.load = () => Promise.resolve(newer);
    lab.ports.store.listActive = () => Promise.resolve([newer]);

    const refusal = await command(lab.ports, { command: 'pause', endpoint }, 'm1').catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(PermanentError);
    expect(String(refusal)).toContain('newer version');
    expect(lab.split()).not.toEqual(stable);
    await expect(command(lab.ports, { command: 'abort', endpoint, rollout }, 'm2')).rejects.toThrow('newer version');
    expect(lab.split()).toEqual(stable);
    expect(await lab.record()).toEqual(stored?.data);
  });
});

describe('new code that meets a rollout of an earlier version', () => {
  it.each(readdirSync(snapshots))('%s: takes it on, keeps it in its own form, and can be steered', async (file) => {
    const active: unknown = JSON.parse(readFileSync(new URL(file, snapshots), 'utf8'));
    const schema = Number(/\d+/.exec(file)?.[0]);
    const { deploy } = policyOf();
    const order = { deployedModelId: '77', model, versionId: '2', displayName: 'delays-2', deploy };
    await lab.ports.endpoints.deploy(endpoint, order);
    lab.pass(6);
    lab.meddle({ 1: 95, 77: 5 });
    await store({ data: { ...emptyRecord(endpoint), schema, active } });

    expect(await tick(lab.ports, observing)).toEqual({ active: 1, failed: 0 });
    expect(await lab.record()).toMatchObject({
      schema: snapshotSchemaVersion,
      active: { context: { id: 'delays-2' } },
    });
    await command(lab.ports, { command: 'abort', endpoint }, 'm');
    expect(lab.split()).toEqual({ 1: 100 });
    lab.pass(5);
    await tick(lab.ports, observing);
    expect(await lab.record()).toMatchObject({ active: null, history: [{ rollout: 'delays-2', state: 'aborted' }] });
  });
});

/** A rollout of version 2, at its first step. */
async function start(): Promise<void> {
  await bless({ ports: lab.ports, project: 'demo' }, { eventId: 'first', model, versionId: '2', endpoint }, 'm');
  for (let second = 0; second < 20 && lab.split()['1'] !== 95; second += 1) {
    lab.pass(1);
    await tick(lab.ports, observing);
  }
  expect(lab.split()['1']).toBe(95);
}

async function store(change: Partial<Commit>): Promise<void> {
  const base = { key, expected: null, data: null, isActive: true, journal: [], marks: [], archive: [] };
  const result = await lab.ports.store.commit({ ...base, ...change });
  if (result.kind !== 'committed') throw new Error(`Expected a commit, got ${result.kind}`);
}
