/** Does a rollback that the store records take the fewest calls, and is a lost answer asked for again at once? */
import { describe, expect, it } from 'vitest';
import { command } from '../../../functions/engine/commands.ts';
import { PermanentError, TransientError } from '../../../functions/engine/errors.ts';
import { limits } from '../../../functions/engine/limits.ts';
import { endpoint } from '../../simulation/laboratory.ts';
import { abort, begin, canaryAt, ending, recordOf, second, stableUnready } from './store-trial.ts';

describe('a rollback that the store records', () => {
  it('sends nothing to a stable that is not ready, and everything as soon as it is', async () => {
    const trial = begin();
    await canaryAt(trial, 25);
    const before = trial.lab.split();
    trial.atEndpoint = stableUnready;
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
