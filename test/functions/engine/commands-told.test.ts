/** What does the engine make of a command, an alert or a report that has nothing to act on, or that was carried out before? */
import { afterEach, beforeEach, describe, expect, it, test, vi } from 'vitest';
import { bless } from '../../../functions/engine/blessings.ts';
import { command, evidence, incident } from '../../../functions/engine/commands.ts';
import { TransientError } from '../../../functions/engine/errors.ts';
import type { CommandMessage, EvidenceMessage } from '../../../functions/engine/messages.ts';
import { tick } from '../../../functions/engine/tick.ts';
import { endpointKey } from '../../../machines/rollout/resource-name.ts';
import { policyOf } from '../../machines/rollout/life.ts';
import { endpoint, type Laboratory, laboratory, type LaboratoryOptions, model } from '../../simulation/laboratory.ts';

let lab: Laboratory;
let lines: string[];
/** Done once, just before the next commit goes out. */
let overtaking: (() => Promise<unknown>) | null;

beforeEach(() => {
  [lines, overtaking] = [[], null];
  begin();
  vi.spyOn(process.stdout, 'write').mockImplementation((line) => lines.push(String(line)) > 0);
});

afterEach(() => lab.close());

function begin(options: LaboratoryOptions = {}): void {
  lab = laboratory({
    gate: async (call, moment) => {
      if (`${call} ${moment}` !== 'store.commit before') return;
      const first = overtaking;
      overtaking = null;
      await first?.();
    },
    ...options,
  });
}

const say = (name: CommandMessage['command'], more: Partial<CommandMessage> = {}) =>
  command(lab.ports, { command: name, endpoint, by: 'ann', reason: 'test', commandId: name, ...more }, 'm');

/** A rollout of version 2, some seconds on its way; returns its id. */
async function rolled(seconds = 1): Promise<string> {
  await bless({ ports: lab.ports, project: 'demo' }, { eventId: 'e', model, versionId: '2' }, 'm');
  await ticks(seconds);
  return (await lab.record())?.active?.context.id ?? '';
}

/** The same, aborted and over. */
async function ended(): Promise<string> {
  const rollout = await rolled();
  await say('abort');
  await ticks(8);
  expect((await lab.record())?.active).toBeNull();
  return rollout;
}

async function ticks(seconds: number): Promise<void> {
  for (let second = 0; second < seconds; second += 1) {
    lab.pass(1);
    await tick(lab.ports, { periodMs: 1000 });
  }
}

describe('of two copies of a command, the one that comes later in this very moment was carried out before', () => {
  test.each<[name: CommandMessage['command'], before: () => Promise<string>]>([
    ['pause', rolled],
    ['retry', ended],
  ])('%s', async (name, before) => {
    await before();
    let first: unknown;
    overtaking = async () => (first = await say(name));
    expect(await say(name)).toEqual({ kind: 'ignored', text: `command ${name} was carried out before` });
    expect(first).toMatchObject({ kind: 'done' });
  });
});

describe('a retry is refused', () => {
  test.each<[where: string, prepare: () => Promise<Partial<CommandMessage>>, text: RegExp]>([
    [
      'where none has ended',
      () => Promise.resolve({}),
      /^No rollout has ended on projects\/demo\/.*; there is nothing to retry$/,
    ],
    [
      'of a rollout that is active',
      async () => ({ rollout: await rolled() }),
      /^Rollout delays-2-\w+ is active; only one that has ended can be retried$/,
    ],
    [
      'where its archive is damaged',
      async () => {
        const id = await ended();
        const archive = [{ id, key: endpointKey(endpoint), startedAt: 1, endedAt: 2, data: '{"schema":' }];
        const change = { key: 'l~1', expected: null, data: 'any', isActive: false, journal: [], marks: [] };
        await lab.ports.store.commit({ ...change, archive });
        return {};
      },
      /^The archive of rollout delays-2-\w+ cannot be read$/,
    ],
    [
      'where its policy is gone',
      async () => {
        await ended();
        lab.policies.length = 0;
        return {};
      },
      /^Policy delays does not exist any more$/,
    ],
  ])('%s', async (_where, prepare, text) => {
    const more = await prepare();
    expect(await say('retry', more)).toEqual({ kind: 'rejected', text: expect.stringMatching(text) });
  });
});

it('a retry is of its own policy, and starts a version that had its rollout', async () => {
  lab.policies.push({ ...policyOf(), name: 'other' });
  const first = await ended();
  lab.policies.reverse();
  await lab.ports.schedule.pause();
  expect(await say('retry')).toEqual({ kind: 'done', text: `retry of ${first} by ann` });
  expect(await lab.ports.schedule.isPaused()).toBe(false);
  const { context } = (await lab.record())?.active ?? {};
  expect([context?.policy.name, context?.versionId, context?.blessing.by]).toEqual(['delays', '2', 'ann']);
});

it('a command that names another rollout than the one that is active has nothing to act on', async () => {
  const first = await ended();
  await bless({ ports: lab.ports, project: 'demo' }, { eventId: 'e3', model, versionId: '3' }, 'm');
  const text = `No rollout ${first} is active; "pause" has nothing to act on`;
  expect(await say('pause', { rollout: first })).toEqual({ kind: 'rejected', text });
  expect((await lab.record())?.active?.context.paused).toBeNull();
});

describe('an alert', () => {
  const alert = (more: object) => ({
    incident: {
      incident_id: 'i',
      state: 'open',
      resource: { labels: { endpoint_id: '1', location: 'us-central1' } },
      ...more,
    },
  });

  it.each<[what: string, more: object, said: string]>([
    ['with a summary', { summary: 'slow', policy_name: 'errors' }, 'slow'],
    ['with the name of its policy', { policy_name: 'errors' }, 'errors'],
    ['with neither', {}, 'no summary'],
  ])('%s pauses with that as the reason, once', async (_what, more, said) => {
    await rolled(8);
    expect(await incident(lab.ports, alert(more))).toEqual({ kind: 'done', text: `${endpoint}: applied` });
    expect((await lab.record())?.active?.context.paused?.reason).toContain(said);
    await say('resume');
    expect(await incident(lab.ports, alert(more))).toEqual({ kind: 'done', text: `${endpoint}: duplicate` });
    expect(await incident(lab.ports, alert({ ...more, incident_id: 'j' }))).toMatchObject({
      text: `${endpoint}: applied`,
    });
  });

  it('that does not say where is about the endpoint of that number alone', async () => {
    await rolled(8);
    const labels = { endpoint_id: '2' };
    expect(await incident(lab.ports, alert({ resource: { labels } }))).toMatchObject({ kind: 'ignored' });
    expect((await lab.record())?.active?.context.paused).toBeNull();
  });
});

describe('a report is from now:', () => {
  const hour = 3_600_000;
  it.each<[what: string, aheadMs: number, kind: string]>([
    ['a day old', -24 * hour, 'ignored'],
    ['older', -24 * hour - 1, 'rejected'],
    ['five minutes ahead', hour / 12, 'ignored'],
    ['further ahead', hour / 12 + 1, 'rejected'],
  ])('%s', async (_what, aheadMs, kind) => {
    const to = lab.now() + aheadMs;
    const counts = { requests: 10, errors: 0, latencyMs: { bounds: [20], counts: [10, 0] } };
    const report = { endpoint, window: { from: to - 1000, to }, source: 'shop', variants: { 1: counts } };
    expect(await evidence(lab.ports, report)).toMatchObject({ kind });
  });
});

it('a report of which a part is attributed counts', async () => {
  await rolled(8);
  const counts = { requests: 10, errors: 0, latencyMs: { bounds: [20], counts: [10, 0] } };
  lab.pass(2);
  const window = { from: lab.now() - 1000, to: lab.now() };
  const report = (variants: EvidenceMessage['variants']) =>
    evidence(lab.ports, { endpoint, window, source: 'shop', variants });
  expect(await report({ unattributed: counts })).toEqual({ kind: 'ignored', text: 'Nothing is attributed' });
  expect(await report({ unattributed: counts, 1: counts })).toEqual({
    kind: 'done',
    text: 'Evidence of shop: applied',
  });
  expect(await report({ unattributed: counts, 1: counts })).toEqual({
    kind: 'ignored',
    text: 'Evidence of shop: unchanged',
  });
});

it('an alert on an endpoint whose rollout is over is about none', async () => {
  await ended();
  const resource = { labels: { endpoint_id: '1', location: 'us-central1' } };
  const outcome = await incident(lab.ports, { incident: { incident_id: 'i', state: 'open', resource } });
  expect(outcome).toEqual({ kind: 'ignored', text: 'No rollout is active on endpoint 1' });
});

it('an abort that names an endpoint alone says so where nothing serves and nobody can be asked', async () => {
  const { store, endpoints } = lab.ports;
  lab.ports.store = { ...store, load: () => Promise.reject(new TransientError('unavailable', 'down')) };
  lab.ports.endpoints = { ...endpoints, read: async (name) => ({ ...(await endpoints.read(name)), split: {} }) };
  await expect(say('abort')).rejects.toThrow('down');
  expect(lines.join()).toContain('which model is the canary, of none; publish the abort again with both');
});

describe('a report counts', () => {
  const checks = `[
      { name: lost, rate: { max: 10%, margin: 1% }, from: reported },
      { name: tokens, quantile: { quantile: 90%, maxRatio: 2 }, from: reported },
      { name: late, rate: { max: 10%, margin: 1% }, from: { filter: 'metric.type="a.b/c"' } } ]`;
  const counts = { requests: 10, errors: 0, latencyMs: { bounds: [20], counts: [10, 0] } };
  const [hits, values] = [
    { hits: 1, trials: 10 },
    { bounds: [5], counts: [9, 1] },
  ];
  const signals = (own: Record<string, typeof hits | typeof values>) => ({ ...counts, signals: own });

  test.each<[what: string, told: EvidenceMessage['variants'][string], kept: object, refused: string[]]>([
    ['what was predicted', { ...counts, predictions: values }, { predictions: values }, []],
    [
      'what the policy has reported',
      signals({ lost: hits, tokens: values }),
      { signals: { lost: hits, tokens: values } },
      [],
    ],
    ['nothing of another kind', signals({ lost: values, tokens: hits }), {}, ['lost', 'tokens']],
    [
      'nothing that is measured elsewhere, or that nobody asked for',
      signals({ late: hits, x: hits }),
      {},
      ['late', 'x'],
    ],
  ])('%s', async (_what, told, kept, refused) => {
    await lab.close();
    begin({ policies: [policyOf(`  analysis: { metricLag: 2s, minRequests: 10, checks: ${checks} }\n`)] });
    await rolled(8);
    const canaryId = (await lab.record())?.active?.context.canaryId ?? '';
    lab.pass(2);
    const window = { from: lab.now() - 1000, to: lab.now() };
    const outcome = await evidence(lab.ports, { endpoint, window, source: 'shop', variants: { [canaryId]: told } });
    expect(outcome).toMatchObject({ kind: 'done' });
    for (const name of refused) expect(outcome.text).toContain(name);
    const seen = (await lab.record())?.active?.context.tally.proxy.step.canary;
    expect(seen).toEqual({ ...counts, ...kept });
    const again = await evidence(lab.ports, { endpoint, window, source: 'shop', variants: { [canaryId]: told } });
    expect(again).toMatchObject({ kind: 'ignored', text: expect.stringMatching(/^Evidence of shop: unchanged/) });
  });
});
