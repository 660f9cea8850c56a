/** What does the engine make of a blessing that says little, and of one that nobody told of? */
import { afterEach, beforeEach, describe, expect, it, test, vi } from 'vitest';
import { mergeAliases } from '../../../emulator/world/aliases.ts';
import { resolveVersion } from '../../../emulator/world/models.ts';
import { bless, blessFromLog } from '../../../functions/engine/blessings.ts';
import type { BlessingMessage, LogEntry } from '../../../functions/engine/messages.ts';
import { reconcile } from '../../../functions/engine/reconcile.ts';
import type { Policy } from '../../../machines/policy/policy.ts';
import { emptyRecord, type EndpointRecord } from '../../../machines/rollout/record.ts';
import { endpointKey } from '../../../machines/rollout/resource-name.ts';
import { policyOf } from '../../machines/rollout/life.ts';
import { endpoint, type Laboratory, laboratory, model } from '../../simulation/laboratory.ts';

let lab: Laboratory;

beforeEach(() => {
  lab = laboratory();
  vi.spyOn(process.stdout, 'write').mockReturnValue(true);
});

afterEach(() => lab.close());

/** The alias is on this version now; returns when the version was changed by that. */
async function alias(versionId: string): Promise<number> {
  const { model: registered, version } = resolveVersion(lab.world.context, `${model}@${versionId}`);
  mergeAliases(lab.world.context, registered, version, ['blessed']);
  return (await lab.ports.models.readAlias(model, 'blessed'))?.updatedAt ?? 0;
}

const blessing = async () => (await lab.record())?.active?.context.blessing;

test('a message without an id is known by the message that brought it', async () => {
  await bless({ ports: lab.ports, project: 'demo' }, { model, versionId: '2' }, 'm7');
  expect(await blessing()).toMatchObject({ eventId: 'm7', by: null, blessedAt: lab.now() });
});

describe('a blessing', () => {
  const told = (message: Partial<BlessingMessage>) =>
    bless({ ports: lab.ports, project: 'demo' }, { model, versionId: '2', ...message }, 'm7');

  const elsewhere = /is in project \w+; this controller serves demo$/;

  it.for<[of: string, name: string, text: RegExp]>([
    ['no model', 'delays', /^delays names no model version$/],
    ['a model of another project', model.replace('demo', 'other'), elsewhere],
    ['a model of a project whose name ends with a number', model.replace('demo', 'other12'), elsewhere],
    ['a model of a project whose name begins with a number', model.replace('demo', '12other'), elsewhere],
    [
      'a model under the number of a project',
      model.replace('demo', '123456789012'),
      /does not exist in the model registry$/,
    ],
  ])('of %s is refused', async ([, name, text]) => {
    expect(await told({ model: name })).toEqual({ kind: 'rejected', text: expect.stringMatching(text) });
  });

  it('of a model with its version is of that model', async () => {
    expect(await told({ model: `${model}@2` })).toMatchObject({ kind: 'done' });
    expect((await lab.record())?.active?.context.model).toBe(model);
  });

  it('that is narrowed to what is not there says to what', async () => {
    const another = endpoint.replace(/1$/, '2');
    expect(await told({ policy: 'other', endpoint: another })).toEqual({
      kind: 'rejected',
      text: `No policy matches version 2 of ${model} under other and ${another}.`,
    });
  });

  it('that no policy matches says which ones are not usable, and is told', async () => {
    lab.ports.policies.list = () => Promise.resolve({ policies: [], problems: ['a', 'b', 'c', 'd'] });
    const text = `No policy matches version 2 of ${model}. Not usable: a; b; c.`;
    expect(await told({})).toEqual({ kind: 'ignored', text });
    lab.ports.policies.list = () => Promise.resolve({ policies: [], problems: [] });
    expect(await told({})).toEqual({ kind: 'ignored', text: `No policy matches version 2 of ${model}.` });
    const sent = lab.published.map(({ message: { data } }) =>
      String(Object(JSON.parse(Buffer.from(data).toString())).data.reason),
    );
    expect(sent).toEqual([text, `No policy matches version 2 of ${model}.`]);
  });

  it('on two endpoints says what became of each', async () => {
    const policy = { ...policyOf(), name: 'second', endpoint: endpoint.replace(/1$/, '2') };
    lab.policies.push(policy);
    expect(await told({})).toEqual({ kind: 'done', text: 'delays: accepted; second: accepted' });
    expect(await told({})).toMatchObject({
      text: expect.stringMatching(/^delays: event m7 was seen before; second: event m7/),
    });
    expect((await told({ eventId: 'again' })).text).toMatch(/^delays: version 2 of .* is being rolled out already/);
  });
});

describe('a log entry finds the model', () => {
  const other = `${model}2`;

  it.each<[where: string, payload: Partial<LogEntry['protoPayload']>]>([
    ['it is about', { resourceName: `${model}@7`, request: { name: other } }],
    ['of its request', { request: { name: model, parentModel: other, versionAliases: ['blessed'] } }],
    [
      'that an upload adds to',
      { resourceName: 'projects/demo', request: { parentModel: model, model: { versionAliases: [7, 'blessed'] } } },
    ],
    ['that an upload made', { resourceName: 'projects/demo', request: { name: 7 }, response: { model } }],
    ['that was answered with', { resourceName: 'projects/demo', response: { name: model } }],
  ])('%s', async (_where, payload) => {
    await alias('2');
    const entry: LogEntry = { insertId: 'i', protoPayload: { methodName: 'UploadModel', ...payload } };
    expect(await blessFromLog({ ports: lab.ports, project: 'demo' }, entry)).toMatchObject({ kind: 'done' });
    expect((await lab.record())?.active?.context.model).toBe(model);
  });

  it.each<[what: string, payload: Partial<LogEntry['protoPayload']>, text: string]>([
    ['failed without a word', { status: { code: 7 } }, 'UploadModel failed: '],
    ['failed', { status: { code: 7, message: 'denied' } }, 'UploadModel failed: denied'],
    [
      'set another alias',
      { request: { model: { versionAliases: ['champion', 7] } } },
      'UploadModel did not set the alias "blessed"',
    ],
    ['set none', { request: { model: null, versionAliases: [] } }, 'UploadModel did not set the alias "blessed"'],
  ])('and nothing where it %s', async (_what, payload, text) => {
    await alias('2');
    const entry: LogEntry = {
      insertId: 'i',
      protoPayload: { methodName: 'UploadModel', resourceName: model, ...payload },
    };
    expect(await blessFromLog({ ports: lab.ports, project: 'demo' }, entry)).toEqual({ kind: 'ignored', text });
  });

  it('and who blessed', async () => {
    await alias('2');
    for (const [authenticationInfo, by] of [
      [{ principalEmail: 'ann@x' }, 'ann@x'],
      [{}, null],
    ] as const) {
      await lab.close();
      lab = laboratory();
      await alias('2');
      const entry: LogEntry = {
        insertId: 'i',
        protoPayload: { methodName: 'UploadModel', resourceName: model, authenticationInfo },
      };
      await blessFromLog({ ports: lab.ports, project: 'demo' }, entry);
      expect(await blessing()).toMatchObject({ by });
    }
  });
});

describe('a log entry dates a blessing, or leaves it to the version', () => {
  const request = { versionAliases: ['blessed'] };

  test.each<[what: string, payload: Partial<LogEntry['protoPayload']>, isDated: boolean, by: 'version' | 'entry']>([
    ['without a request', {}, true, 'version'],
    ['whose request names no aliases', { request: { name: model } }, true, 'version'],
    ['that sets the alias', { request }, true, 'entry'],
    ['that sets the alias, without a date', { request }, false, 'version'],
  ])('%s', async (_what, payload, isDated, by) => {
    const updatedAt = await alias('2');
    lab.pass(5);
    const timestamp = lab.now() - 1000;
    const entry: LogEntry = {
      insertId: 'i',
      protoPayload: { methodName: 'v1.ModelService.MergeVersionAliases', resourceName: model, ...payload },
      ...(isDated ? { timestamp } : {}),
    };
    expect(await blessFromLog({ ports: lab.ports, project: 'demo' }, entry)).toMatchObject({ kind: 'done' });
    const blessedAt = by === 'entry' ? timestamp : updatedAt;
    expect(await blessing()).toMatchObject({ eventId: 'i', versionId: '2', blessedAt, by: null });
  });
});

describe('reconcile finds no blessing', () => {
  const anyModel: Policy = { ...policyOf(), match: { kind: 'any' } };

  it.each<[what: string, policy: Policy, versionId: string]>([
    ['where the policy names no model', anyModel, '2'],
    ['where the version serves already', policyOf(), '1'],
  ])('%s', async (_what, policy, versionId) => {
    lab.policies.splice(0, 1, policy);
    await alias(versionId);
    await reconcile({ ports: lab.ports, project: 'demo' }, { periodMs: 1000 });
    expect(await lab.record()).toBeNull();
  });

  type Ended = EndpointRecord['history'][number];
  const ended = (more: Partial<Ended> = {}): Ended => ({
    rollout: 'r',
    model,
    versionId: '2',
    state: 'aborted',
    endedAt: 0,
    ...more,
  });

  it.each<[what: string, history: (updatedAt: number) => Ended[], isFound: boolean]>([
    ['where the version had its rollout', () => [ended()], false],
    ['where it had it before another', () => [ended({ versionId: '1' }), ended()], false],
    ['but the one of a version of which another had it', () => [ended({ versionId: '3' })], true],
    ['but the one of a model of which another had it', () => [ended({ model: `${model}2` })], true],
    ['where something ended since', (updatedAt) => [ended({ versionId: '3', endedAt: updatedAt + 1 })], false],
    ['where something ended then', (updatedAt) => [ended({ versionId: '3', endedAt: updatedAt })], false],
    ['but the one that came after', (updatedAt) => [ended({ versionId: '3', endedAt: updatedAt - 1 })], true],
  ])('%s', async (_what, history, isFound) => {
    const updatedAt = await alias('2');
    const data = { ...emptyRecord(endpoint), history: history(updatedAt) };
    const change = { key: endpointKey(endpoint), expected: null, isActive: false, journal: [], marks: [], archive: [] };
    await lab.ports.store.commit({ ...change, data });
    await reconcile({ ports: lab.ports, project: 'demo' }, { periodMs: 1000 });
    expect(await blessing()).toEqual(
      isFound ? expect.objectContaining({ versionId: '2', blessedAt: updatedAt }) : undefined,
    );
  });

  it('but the one of a version that does not serve', async () => {
    await alias('2');
    await reconcile({ ports: lab.ports, project: 'demo' }, { periodMs: 1000 });
    expect(await blessing()).toMatchObject({ versionId: '2', by: null });
  });
});
