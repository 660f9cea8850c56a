/** A mistake of ours is no answer of the platform's: is it thrown on, and not taken for one? */
import { afterEach, beforeEach, describe, expect, it, test } from 'vitest';
import { bless } from '../../../functions/engine/blessings.ts';
import { command } from '../../../functions/engine/commands.ts';
import { messageOf, TransientError } from '../../../functions/engine/errors.ts';
import { limits } from '../../../functions/engine/limits.ts';
import { applyEvents } from '../../../functions/engine/loop.ts';
import { pagesOf } from '../../../functions/engine/pages.ts';
import type { Stored } from '../../../functions/engine/ports.ts';
import { readable } from '../../../functions/engine/records.ts';
import { listRollouts } from '../../../functions/engine/rollouts.ts';
import { tick } from '../../../functions/engine/tick.ts';
import { endpoint, type Laboratory, laboratory, model } from '../../simulation/laboratory.ts';
import { captureLog } from '../../log.ts';

const observing = { periodMs: 1000 };
const ours = new TypeError('ours');
const mistaken = () => Promise.reject(ours);

/** Data at which whoever reads it fails. */
const trap = {
  get schema(): never {
    throw ours;
  },
};

captureLog();

let lab: Laboratory;

beforeEach(() => {
  lab = laboratory();
});

afterEach(() => lab.close());

async function ticks(seconds: number): Promise<void> {
  await bless({ ports: lab.ports, project: 'demo' }, { eventId: 'e', model, versionId: '2' }, 'm');
  for (let second = 0; second < seconds; second += 1) {
    lab.pass(1);
    await tick(lab.ports, observing);
  }
}

describe('a mistake of ours is thrown on', () => {
  const page = (): Stored[] =>
    Array.from({ length: limits.recordsPerTick }, (_, i) => ({ key: `l~${i}`, data: null, revision: '1' }));

  test.each<[where: string, work: () => Promise<unknown>]>([
    [
      'where a page is passed on',
      () => {
        const store = { ...lab.ports.store, listActive: () => Promise.resolve(page()) };
        return pagesOf({ store, bus: { publish: mistaken } }, 'tick', null).next();
      },
    ],
    [
      'where the world is looked at',
      () => {
        lab.ports.endpoints.readOperation = mistaken;
        return ticks(3);
      },
    ],
    [
      'where metrics are read',
      () => {
        lab.ports.metrics.read = mistaken;
        return ticks(10);
      },
    ],
    [
      'where a share is lowered while the store is down',
      async () => {
        await ticks(1);
        lab.ports.store.load = () => Promise.reject(new TransientError('unavailable', 'down'));
        lab.ports.endpoints.read = mistaken;
        return command(lab.ports, { command: 'abort', endpoint }, 'm');
      },
    ],
    [
      'where what happened is told',
      () => {
        lab.ports.bus.publish = mistaken;
        return ticks(0);
      },
    ],
    ['where a record is read', () => Promise.resolve([{ key: 'l~1', data: trap, revision: '1' }]).then(readable)],
    [
      'where an archive is read',
      () => {
        const archived = { id: 'r', key: 'l~1', startedAt: 1, endedAt: 2, data: trap };
        return listRollouts({ ...lab.ports.store, listRollouts: () => Promise.resolve([archived]) });
      },
    ],
  ])('%s', async (_where, work) => {
    await expect(work()).rejects.toBe(ours);
  });
});

it('a decision that is no valid record is not committed', async () => {
  await ticks(1);
  const before = await lab.record();
  const event = { type: 'operator.paused' as const, at: Number.NaN, by: 'ann', reason: 'a look' };
  await expect(applyEvents(lab.ports, endpoint, [event])).rejects.toThrow(
    /what was decided is no valid record \(.*paused\.at.*\); nothing was committed/,
  );
  expect(await lab.record()).toEqual(before);
});

test('what was thrown is said, whatever it is', () => {
  expect([messageOf(ours), messageOf('no more')]).toEqual(['ours', 'no more']);
});
