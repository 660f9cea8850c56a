/** Does reconcile find what no event tells of, and remind whoever a rollout waits for, without telling it every ten minutes? */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { bless } from '../../../functions/engine/blessings.ts';
import { command } from '../../../functions/engine/commands.ts';
import { PermanentError, TransientError } from '../../../functions/engine/errors.ts';
import { limits } from '../../../functions/engine/limits.ts';
import { reconcile } from '../../../functions/engine/reconcile.ts';
import { tick } from '../../../functions/engine/tick.ts';
import { stateOf } from '../../../machines/rollout/describe.ts';
import { policyOf } from '../../machines/rollout/life.ts';
import { endpoint, type Gate, type Laboratory, laboratory, model } from '../../simulation/laboratory.ts';

const observing = { periodMs: 1000 };
const daySeconds = 24 * 60 * 60;
const reconcileSeconds = limits.reconcileMs / 1000;
const patient = policyOf(`
  steps: [ { percent: 10, hold: 1s, approval: true }, { percent: 100, hold: 1s } ]
  analysis: { metricLag: 1s, noData: { after: 1000h, then: pause }, inconclusive: { after: 1000h, then: pause } }
  keepStable: 0s
`);

let lab: Laboratory;
let lines: string[];
let gates: string[];
let refused: string | null;
/** Time that passes for the controller alone: days of requests would take minutes. */
let aheadMs: number;

const gate: Gate = (call, moment) => {
  if (moment === 'before') gates.push(call);
  return call === refused && moment === 'before'
    ? Promise.reject(new TransientError('unavailable', 'not now'))
    : Promise.resolve();
};

beforeEach(() => {
  [lines, gates, refused, aheadMs] = [[], [], null, 0];
  lab = laboratory({ gate, policies: [patient], behaviour: { 3: { errorRatio: 0.5 } } });
  const { now } = lab.ports;
  lab.ports.now = () => now() + aheadMs;
  vi.spyOn(process.stdout, 'write').mockImplementation((line) => lines.push(String(line)) > 0);
});

afterEach(() => lab.close());

async function blessed(versionId: string): Promise<string> {
  await bless({ ports: lab.ports, project: 'demo' }, { eventId: `e${versionId}`, model, versionId, endpoint }, 'm');
  return (await lab.record())?.active?.context.id ?? '';
}

async function tickUntil(state: string): Promise<void> {
  for (let second = 0; second < 300; second += 1) {
    const record = await lab.record();
    const now = record?.active == null ? record?.history[0]?.state : stateOf(record.active);
    if (now === state) return;
    if (now === 'awaitingApproval') await say('approve');
    lab.pass(1);
    await tick(lab.ports, observing);
  }
  throw new Error(`It never came to ${state}`);
}

function say(name: 'pause' | 'approve' | 'abort') {
  return command(lab.ports, { command: name, endpoint, by: 'ann', reason: 'lunch' }, `${name} ${lab.ports.now()}`);
}

/** Time passes without a tick, so that nothing but reconcile looks. */
async function reconciledAfter(seconds: number): Promise<string[]> {
  aheadMs += seconds * 1000;
  [lines, gates] = [[], []];
  const before = lab.published.length;
  const { failed } = await reconcile({ ports: lab.ports, project: 'demo' }, observing);
  expect(failed).toBe(0);
  const told = lab.published.slice(before).filter(({ message }) => message.attributes['what'] === 'attention');
  return told.map(({ message }) => String(Object(JSON.parse(Buffer.from(message.data).toString())).data.reason));
}

const warned = (): string[] =>
  lines.flatMap((line) => (line.includes('"WARNING"') ? [String(Object(JSON.parse(line)).message)] : []));

async function deployByHand(rollout: string, deployedModelId: string): Promise<void> {
  const order = { deployedModelId, model, versionId: '4', displayName: rollout, deploy: patient.deploy };
  await lab.ports.endpoints.deploy(endpoint, order);
  lab.pass(10);
}

const deployed = async (): Promise<string[]> =>
  (await lab.ports.endpoints.read(endpoint)).deployedModels.map(({ id }) => id);

describe('reconcile reminds of a rollout that waits for a person', () => {
  it('once a day while it is paused, and logs it each time', async () => {
    const id = await blessed('2');
    await tickUntil('awaitingApproval');
    await say('pause');
    expect(await reconciledAfter(reconcileSeconds)).toEqual([]);
    const text = `Rollout ${id} on ${endpoint} needs a person: it is paused by ann: lunch`;
    expect(warned()).toEqual([text]);
    expect(await reconciledAfter(daySeconds - reconcileSeconds)).toEqual([text]);
    expect(await reconciledAfter(reconcileSeconds)).toEqual([]);
    expect(warned()).toEqual([text]);
    expect(await reconciledAfter(daySeconds - reconcileSeconds)).toEqual([text]);
  });

  it('while it waits for approval', async () => {
    const id = await blessed('2');
    await tickUntil('awaitingApproval');
    const told = await reconciledAfter(daySeconds);
    expect(told).toEqual([`Rollout ${id} on ${endpoint} needs a person: it waits for approval`]);
  });

  it('while the way back is refused', async () => {
    await blessed('2');
    await tickUntil('awaitingApproval');
    refused = 'endpoints.writeSplit';
    await say('abort');
    for (let i = 0; i < 10; i += 1) {
      lab.pass(60);
      await tick(lab.ports, observing);
    }
    const [told] = await reconciledAfter(daySeconds - 600);
    expect(told).toMatch(/needs a person: it was refused \d+ times: unavailable: .*not now/);
  });

  it('and says nothing of one that goes on by itself', async () => {
    await blessed('2');
    await tickUntil('deploying');
    expect(await reconciledAfter(1)).toEqual([]);
    expect(warned()).toEqual([]);
  });
});

describe('reconcile finds what a rollout left behind', () => {
  it('a canary that came after the end, and removes it', async () => {
    const id = await blessed('3');
    await tickUntil('rolledBack');
    await deployByHand(id, '77');
    expect(await deployed()).toEqual(['1', '77']);
    const text = `DeployedModel 77 of rollout ${id} (rolledBack) was still deployed on ${endpoint}; it bills, and is removed.`;
    expect(await reconciledAfter(1)).toEqual([text]);
    lab.pass(10);
    expect(await deployed()).toEqual(['1']);
    expect(await reconciledAfter(1)).toEqual([]);
  });

  it('a version that served once, and leaves it to a person, who is told once a day', async () => {
    const id = await blessed('2');
    await tickUntil('promoted');
    await deployByHand(id, '77');
    const serving = (await deployed()).filter((one) => one !== '77');
    // By now the version that the rollout promoted goes by another name.
    const { endpoints } = lab.ports;
    const read = async (name: string) => {
      const view = await endpoints.read(name);
      const renamed = view.deployedModels.map((one) => (one.id === '77' ? one : { ...one, displayName: 'another' }));
      return { ...view, deployedModels: renamed };
    };
    lab.ports.endpoints = { ...endpoints, read };
    expect(await reconciledAfter(1)).toEqual([]);
    expect(warned()).toEqual([expect.stringContaining(`DeployedModel 77 of rollout ${id} (promoted) has no traffic`)]);
    expect(await reconciledAfter(daySeconds)).toEqual([expect.stringContaining('undeploy it if nobody needs it')]);
    expect(await deployed()).toEqual([...serving, '77']);
  });

  it('for a week after its end; then the endpoint is not read any more', async () => {
    await blessed('3');
    await tickUntil('rolledBack');
    await reconciledAfter(1);
    expect(gates).toContain('endpoints.read');
    await reconciledAfter(limits.leftoversMs / 1000);
    expect(gates).not.toContain('endpoints.read');
  });

  it('and is not troubled by an endpoint that is gone', async () => {
    await blessed('3');
    await tickUntil('rolledBack');
    lab.ports.endpoints.read = () => Promise.reject(new PermanentError('notFound', 'no such endpoint'));
    expect(await reconciledAfter(1)).toEqual([]);
    expect(warned()).toEqual([]);
  });
});
