/** Does an operator's abort take the canary's share when its record cannot be read, and guess nothing? */
import { describe, expect, it } from 'vitest';
import { command } from '../../../functions/engine/commands.ts';
import { PermanentError } from '../../../functions/engine/errors.ts';
import { endpointKey } from '../../../machines/rollout/resource-name.ts';
import { endpoint } from '../../simulation/laboratory.ts';
import { abort, begin, canaryAt, canaryOf, down, ending, idOf, listen, unavailable } from './store-trial.ts';

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
