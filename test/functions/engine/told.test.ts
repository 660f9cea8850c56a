/**
 * What does the engine do, and what does it say? Lives in the laboratory: each call out, log line, message and outcome, as
 * somebody has read them.
 */
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { z } from 'zod';
import { mergeAliases } from '../../../emulator/world/aliases.ts';
import { resolveVersion } from '../../../emulator/world/models.ts';
import { bless, blessFromLog } from '../../../functions/engine/blessings.ts';
import { command, evidence, incident } from '../../../functions/engine/commands.ts';
import { PermanentError, TransientError } from '../../../functions/engine/errors.ts';
import type { CommandMessage, LogEntry } from '../../../functions/engine/messages.ts';
import type { OutgoingMessage } from '../../../functions/engine/ports.ts';
import { listRollouts, readJournal, readRollout } from '../../../functions/engine/rollouts.ts';
import { reconcile } from '../../../functions/engine/reconcile.ts';
import { tick } from '../../../functions/engine/tick.ts';
import { policyOf } from '../../machines/rollout/life.ts';
import { endpoint, type Laboratory, laboratory, type LaboratoryOptions, model } from '../../simulation/laboratory.ts';

const observing = { periodMs: 1000 };
const fields = z.record(z.string(), z.unknown());
let lab: Laboratory;
let lines: string[] = [];
/** A call that fails, by its name and moment; each entry once. */
let failures: [when: string, error: Error][] = [];

beforeEach(() => {
  lines = [];
  failures = [];
  vi.spyOn(process.stdout, 'write').mockImplementation((line) => {
    const { severity, message, ...rest } = fields.parse(JSON.parse(String(line)));
    say(`${String(severity)} ${String(message)} ${JSON.stringify(rest)}`);
    return true;
  });
});

afterEach(() => lab.close());

function say(line: string): void {
  const short = line
    .replaceAll(endpoint, 'ENDPOINT')
    .replaceAll(model, 'MODEL')
    .replaceAll(/operations\/\d+/g, 'OPERATION');
  lines.push(
    short
      .replaceAll(/"verdict":\{"kind":"(\w+)".*?\}\]\}/g, '"verdict":"$1"')
      .replaceAll(/Canary \d.*?(?=$|")/g, 'Canary …'),
  );
}

function begin(options: LaboratoryOptions = {}) {
  lab = laboratory({
    requestsPerSecond: 100,
    gate: (call, moment) => {
      if (moment === 'before' && !call.startsWith('store.') && call !== 'bus.publish') say(`  ${call}`);
      const failing = failures.findIndex(([when]) => when === `${call} ${moment}`);
      const [failed] = failing === -1 ? [] : failures.splice(failing, 1);
      return failed === undefined ? Promise.resolve() : Promise.reject(failed[1]);
    },
    ...options,
  });
  const { ports } = lab;
  lab.ports.bus.publish = (topic: string, sent: OutgoingMessage[]) => {
    for (const { data, attributes } of sent)
      say(`  ${topic} ${JSON.stringify(attributes)} ${Buffer.from(data).toString()}`);
    return Promise.resolve();
  };
  return { ports, project: 'demo' };
}

async function ticks(seconds: number): Promise<void> {
  for (let second = 0; second < seconds; second += 1) {
    lab.pass(1);
    say(`+1s`);
    const { active, failed } = await tick(lab.ports, observing);
    if (failed > 0 || active === 0) say(`  ${active} active, ${failed} failed`);
  }
}

async function told(what: string, outcome: Promise<unknown>): Promise<void> {
  const text = await outcome.then(JSON.stringify, (error: unknown) => `throws ${String(error)}`);
  say(`= ${what}: ${text}`);
}

const blessing = (versionId: string, more: object = {}) => ({ eventId: `e${versionId}`, model, versionId, ...more });
const order = (name: CommandMessage['command'], more: object = {}) =>
  command(lab.ports, { command: name, endpoint, by: 'ann', reason: 'test', commandId: name, ...more }, 'm');

async function rollout(): Promise<string> {
  const record = await lab.record();
  return record?.active?.context.id ?? record?.history[0]?.rollout ?? '';
}

const unavailable = (message: string) => new TransientError('unavailable', message);

it('a good version, step by step', async () => {
  const context = begin();
  await told('bless', bless(context, { ...blessing('2'), by: 'ann' }, 'm'));
  await told('bless again', bless(context, { ...blessing('2') }, 'm'));
  await ticks(9);
  await told('promote', order('promote'));
  await ticks(3);
  await told('promote to 100 %', order('promote-full'));
  await ticks(2);
  await told('promote for good', order('promote', { commandId: 'last' }));
  await ticks(25);
  await told(
    'list',
    listRollouts(lab.ports.store).then((all) => all.map(({ id, state }) => [id, state])),
  );
  const journal = (await readJournal(lab.ports.store, await rollout())) ?? [];
  for (const { at, event, by, from, to } of journal) say(`${at} ${event} ${by} ${from} ${to}`);
  await expect(`${lines.join('\n')}\n`).toMatchFileSnapshot('told-good.golden');
});

it('a bad version, a world that fails now and then, and a person', async () => {
  const context = begin({ behaviour: { 3: { errorRatio: 1 } } });
  failures = [
    ['endpoints.read before', unavailable('read')],
    ['endpoints.deploy after', unavailable('the reply is lost')],
    ['endpoints.readOperation before', unavailable('operation')],
    ['metrics.read before', unavailable('metrics')],
    ['endpoints.writeSplit before', new TransientError('conflict', 'etag')],
  ];
  await told('bless', bless(context, blessing('3'), 'm'));
  await ticks(9);
  failures = [
    ['endpoints.writeSplit after', unavailable('the reply is lost')],
    ['endpoints.undeploy before', new PermanentError('notFound', 'gone')],
  ];
  await ticks(9);
  await told('abort', order('abort'));
  await told('abort again', order('abort'));
  await told('pause', order('pause', { rollout: await rollout(), endpoint: undefined }));
  await told('retry', order('retry', { rollout: await rollout() }));
  await told('retry again', order('retry'));
  await told('another retry', order('retry', { commandId: 'other' }));
  await told('another rollout', order('abort', { rollout: 'nobody', commandId: 'x' }));
  await told(
    'another endpoint',
    order('abort', { rollout: await rollout(), endpoint: endpoint.replace(/1$/, '2'), commandId: 'y' }),
  );
  await told('abort', order('abort', { commandId: 'second', by: undefined, reason: undefined }));
  await told(
    'list',
    listRollouts(lab.ports.store).then((all) => all.map(({ id, state, reason }) => [id, state, reason])),
  );
  await told('read', readRollout(lab.ports.store, 'nobody'));
  await expect(`${lines.join('\n')}\n`).toMatchFileSnapshot('told-bad.golden');
});

it('alerts, evidence, and what somebody else does', async () => {
  const context = begin({ policies: [policyOf('  onNewBlessing: queue\n')] });
  const alert = (more: object) =>
    incident(lab.ports, {
      incident: {
        incident_id: 'i1',
        state: 'open',
        resource: { labels: { endpoint_id: '1', location: 'us-central1' } },
        ...more,
      },
    });
  const counts = { requests: 500, errors: 400, latencyMs: { bounds: [20], counts: [500, 0] } };
  const report = (
    variants: Record<string, typeof counts & { signals?: Record<string, { hits: number; trials: number }> }>,
    agoMs = 0,
  ) =>
    evidence(lab.ports, {
      endpoint,
      window: { from: lab.now() - agoMs - 1000, to: lab.now() - agoMs },
      source: 'shop',
      variants,
    });
  await told('evidence of nothing', report({ 1: counts }));
  await told('an alert on nothing', alert({}));
  await told('bless', bless(context, blessing('2'), 'm'));
  await ticks(7);
  const canaryId = (await lab.record())?.active?.context.canaryId ?? '';
  await told('a closed alert', alert({ state: 'closed' }));
  await told('an alert without an endpoint', alert({ resource: null }));
  await told('an alert elsewhere', alert({ resource: { labels: { endpoint_id: '1', location: 'europe-west1' } } }));
  await told('an alert', alert({ summary: 'errors' }));
  await told('the same', alert({ policy_name: 'errors' }));
  await told('resume', order('resume'));
  lab.meddle({ 1: 40, [canaryId]: 60 });
  await told('reconcile', reconcile(context, observing));
  await told('resume', order('resume', { commandId: 'again' }));
  await told('bless another', bless(context, blessing('4'), 'm'));
  await told(
    'list',
    listRollouts(lab.ports.store).then((all) => all.map(({ id, state, reason }) => [id, state, reason])),
  );
  await told('old evidence', report({ [canaryId]: counts }, 25 * 3_600_000));
  await told('evidence ahead', report({ [canaryId]: counts }, -6 * 60_000));
  await told('evidence of nobody', report({ unattributed: counts }));
  lab.pass(1);
  await told(
    'evidence',
    report({ 1: { ...counts, errors: 0 }, [canaryId]: { ...counts, signals: { nothing: { hits: 1, trials: 1 } } } }),
  );
  await expect(`${lines.join('\n')}\n`).toMatchFileSnapshot('told-others.golden');
});

it('blessings from logs, and those that nobody told of', async () => {
  const context = begin();
  const entry = (protoPayload: Partial<LogEntry['protoPayload']>, more: Partial<LogEntry> = {}) =>
    blessFromLog(context, {
      insertId: 'i1',
      protoPayload: { methodName: 'a.MergeVersionAliases', resourceName: `${model}@2`, ...protoPayload },
      ...more,
    });
  await told('no such method', entry({ methodName: 'a.DeleteModel' }));
  await told('failed', entry({ status: { code: 7, message: 'denied' } }));
  await told('failed, without a word', entry({ status: { code: 7 } }));
  await told('has begun', entry({}, { operation: { first: true } }));
  await told('another alias', entry({ request: { versionAliases: ['champion'] } }));
  await told(
    'another alias of an upload',
    entry({ methodName: 'UploadModel', request: { model: { versionAliases: ['x', 7] } } }),
  );
  await told('no model', entry({ resourceName: 'x' }));
  await told('nobody blessed', entry({ request: { versionAliases: ['blessed'] } }));
  const { model: registered, version } = resolveVersion(lab.world.context, `${model}@2`);
  mergeAliases(lab.world.context, registered, version, ['blessed']);
  const narrowed = { ...blessing('2'), eventId: 'n' };
  await told('no model version', bless(context, { ...narrowed, versionId: undefined }, 'm'));
  await told('another project', bless(context, { ...narrowed, model: model.replace('demo', 'other') }, 'm'));
  await told('no such version', bless(context, { ...narrowed, versionId: '99' }, 'm'));
  await told('another policy', bless(context, { ...narrowed, policy: 'other' }, 'm'));
  await told('another endpoint', bless(context, { ...narrowed, endpoint: endpoint.replace(/1$/, '2') }, 'm'));
  lab.ports.policies.list = () => Promise.resolve({ policies: [], problems: ['a.yaml is bad', 'b', 'c', 'd'] });
  await told('no policy', bless(context, narrowed, 'm'));
  lab.ports.policies.list = () => Promise.resolve({ policies: lab.policies, problems: [] });
  await told('reconcile', reconcile(context, observing));
  await told('reconcile again', reconcile(context, observing));
  await lab.ports.schedule.pause();
  await told('reconcile, paused', reconcile(context, observing));
  await told(
    'blessed',
    entry(
      { request: { versionAliases: ['blessed'] }, authenticationInfo: { principalEmail: 'ann@x' } },
      { operation: { first: true, last: true }, timestamp: lab.now() },
    ),
  );
  await order('abort');
  await ticks(8);
  await told('reconcile, ended', reconcile(context, observing));
  await expect(`${lines.join('\n')}\n`).toMatchFileSnapshot('told-blessings.golden');
});
