/** What does the engine make of a blessing that says little, and of one that nobody told of? */
import { afterEach, beforeEach, describe, expect, it, test, vi } from 'vitest';
import { mergeAliases } from '../../../emulator/world/aliases.ts';
import { resolveVersion } from '../../../emulator/world/models.ts';
import { bless, blessFromLog } from '../../../functions/engine/blessings.ts';
import type { LogEntry } from '../../../functions/engine/messages.ts';
import { reconcile } from '../../../functions/engine/reconcile.ts';
import type { Policy } from '../../../machines/policy/policy.ts';
import { policyOf } from '../../machines/rollout/life.ts';
import { type Laboratory, laboratory, model } from '../../simulation/laboratory.ts';

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

  it('but the one of a version that does not serve', async () => {
    await alias('2');
    await reconcile({ ports: lab.ports, project: 'demo' }, { periodMs: 1000 });
    expect(await blessing()).toMatchObject({ versionId: '2', by: null });
  });
});
