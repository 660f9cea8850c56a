import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bless } from '../../../functions/engine/blessings.ts';
import { command, evidence } from '../../../functions/engine/commands.ts';
import { PermanentError, TransientError } from '../../../functions/engine/errors.ts';
import { commandNames } from '../../../functions/engine/messages.ts';
import { reconcile } from '../../../functions/engine/reconcile.ts';
import { tick } from '../../../functions/engine/tick.ts';
import { policyOf } from '../../machines/rollout/life.ts';
import { Crash, endpoint, type Laboratory, laboratory, model } from '../../simulation/laboratory.ts';
import { checkLaws } from '../../simulation/laws.ts';

const observing = { periodMs: 1000 };
const policies = [policyOf('  onNewBlessing: replace\n'), policyOf('  onNewBlessing: queue\n')];

type Action =
  | { do: 'pass'; seconds: number }
  | { do: 'tick' | 'reconcile' | 'reportBad' }
  | { do: 'bless'; versionId: string }
  | { do: 'say'; name: (typeof commandNames)[number]; id: number }
  | { do: 'meddle'; percent: number };

const anyAction: fc.Arbitrary<Action> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constant('pass' as const), seconds: fc.integer({ min: 1, max: 15 }) }) },
  { weight: 8, arbitrary: fc.record({ do: fc.constantFrom('tick' as const, 'tick' as const, 'reconcile' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('reportBad' as const) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('bless' as const), versionId: fc.constantFrom('2', '3', '4') }) },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant('say' as const), name: fc.constantFrom(...commandNames), id: fc.nat(5) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('meddle' as const), percent: fc.integer({ min: 0, max: 100 }) }),
  },
);

/** Some awaits fail: the process dies there, or the call is refused, or its reply is lost after the work was done. */
const fault = fc.record({
  at: fc.nat(400),
  kind: fc.constantFrom('crash' as const, 'unavailable' as const, 'conflict' as const),
});

describe('the laws hold', () => {
  it('over any life with crashes, lost replies, people, newer blessings and foreign changes, and every life ends', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(anyAction, { minLength: 5, maxLength: 40 }),
        fc.array(fault, { maxLength: 6 }),
        fc.constantFrom(...policies),
        fc.boolean(),
        async (actions, faults, policy, isBad) => {
          const faultAt = new Map(faults.map(({ at, kind }) => [at, kind]));
          let gates = 0;
          let isFaulty = true;
          const gate = (call: string): Promise<void> => {
            const kind = isFaulty ? faultAt.get((gates += 1)) : undefined;
            if (kind === 'crash') throw new Crash(`at gate ${gates}, ${call}`);
            if (kind !== undefined) throw new TransientError(kind, `at gate ${gates}, ${call}`);
            return Promise.resolve();
          };
          const behaviour = isBad ? { 2: { errorRatio: 0.4 }, 3: { errorRatio: 0.4 } } : {};
          const lab = laboratory({ gate, behaviour, policies: [policy], requestsPerSecond: 60 });
          try {
            for (const one of actions) {
              await act(lab, one);
              checkLaws(lab);
            }
            isFaulty = false;
            await settleDown(lab);
          } finally {
            await lab.close();
          }
        },
      ),
      { numRuns: 150 },
    );
  });

  it('when a message is delivered twice, at once or much later: the end is the same', async () => {
    const commandsTwice = fc.array(
      fc.record({
        name: fc.constantFrom('pause' as const, 'resume' as const, 'promote' as const, 'abort' as const),
        after: fc.integer({ min: 1, max: 9 }),
      }),
      { maxLength: 6 },
    );
    await fc.assert(
      fc.asyncProperty(commandsTwice, async (said) => {
        const ends: string[] = [];
        for (const times of [1, 2]) {
          const lab = laboratory({ requestsPerSecond: 60 });
          for (let copy = 0; copy < times; copy += 1)
            await bless({ ports: lab.ports, project: 'demo' }, { eventId: 'b', model, versionId: '2' }, 'm');
          for (const [i, { name, after }] of said.entries()) {
            for (let copy = 0; copy < times; copy += 1) {
              await command(lab.ports, { command: name, endpoint, commandId: `c${i}` }, 'm');
            }
            lab.pass(after);
            await tick(lab.ports, observing);
          }
          const { active, history } = (await lab.record()) ?? {};
          ends.push(JSON.stringify([active?.value, history?.map(({ state }) => state), lab.split()]));
          await lab.close();
        }
        expect(ends[1]).toBe(ends[0]);
      }),
      { numRuns: 40 },
    );
  });
});

async function act(lab: Laboratory, action: Action): Promise<void> {
  const context = { ports: lab.ports, project: 'demo' };
  try {
    switch (action.do) {
      case 'pass':
        lab.pass(action.seconds);
        return;
      case 'tick':
        await tick(lab.ports, observing);
        return;
      case 'reconcile':
        await reconcile(context, observing);
        return;
      case 'bless':
        await bless(context, { eventId: `b${lab.now()}`, model, versionId: action.versionId }, 'm');
        return;
      case 'say':
        await command(lab.ports, { command: action.name, endpoint, commandId: `c${action.id}`, by: 'ann' }, 'm');
        return;
      case 'reportBad': {
        const canary = (await lab.record())?.active?.context.canaryId ?? '1234';
        const counts = { requests: 50, errors: 40, latencyMs: { bounds: [10], counts: [50, 0] } };
        await evidence(lab.ports, {
          endpoint,
          source: 'a',
          window: { from: lab.now() - 500, to: lab.now() },
          variants: { [canary]: counts },
        });
        return;
      }
      case 'meddle': {
        const canary = (await lab.record())?.active?.context.canaryId;
        const serving = (await lab.ports.endpoints.read(endpoint)).deployedModels.map(({ id }) => id);
        const [first = '1'] = serving.filter((id) => id !== canary);
        if (canary !== undefined && serving.includes(canary) && serving.includes(first)) {
          lab.meddle({ [first]: 100 - action.percent, [canary]: action.percent });
        }
      }
    }
  } catch (error) {
    // A crash loses the call; a refusal is healed by redelivery, which here is whatever comes next.
    if (!(error instanceof Crash || error instanceof TransientError || error instanceof PermanentError)) throw error;
  }
}

/** Faults are over: within bounded ticks every rollout ends, or waits for a person and says so. */
async function settleDown(lab: Laboratory): Promise<void> {
  for (let second = 0; second < 400; second += 1) {
    lab.pass(1);
    await tick(lab.ports, observing);
    checkLaws(lab);
    const record = await lab.record();
    if (record === null || (record.active === null && record.queued === null)) break;
    if (record.active?.value.pause === 'paused') {
      expect(record.active.context.paused?.reason).not.toBe('');
      await command(lab.ports, { command: 'abort', endpoint, commandId: `end ${second}` }, 'm');
    }
  }
  const record = await lab.record();
  expect(record?.active?.value ?? null).toBeNull();
  const view = await lab.ports.endpoints.read(endpoint);
  expect(Object.values(view.split).reduce((a, b) => a + b, 0)).toBe(100);
}
