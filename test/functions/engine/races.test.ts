import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bless } from '../../../functions/engine/blessings.ts';
import { command } from '../../../functions/engine/commands.ts';
import { PermanentError, TransientError } from '../../../functions/engine/errors.ts';
import { tick } from '../../../functions/engine/tick.ts';
import { policyOf } from '../../machines/rollout/life.ts';
import { checkLaws } from '../../simulation/laws.ts';
import { Crash, endpoint, type Gate, type Laboratory, laboratory, model } from '../../simulation/laboratory.ts';

const observing = { periodMs: 1000 };
const racers = ['tick', 'tick again', 'pause', 'abort', 'promote', 'promote-full', 'resume', 'bless'] as const;
type Racer = (typeof racers)[number];

/**
 * Several instances act on one rollout at once; which of them goes on at each await is the scheduler's choice, and some
 * die on the way. Afterwards the ticks of one instance must bring the world to what the record says.
 */
describe('instances that race', () => {
  it('end with the split that the record wants, whoever was faster and whoever died', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.scheduler(),
        fc.uniqueArray(fc.constantFrom(...racers), { minLength: 2, maxLength: 4 }),
        fc.integer({ min: 0, max: 60 }),
        fc.array(fc.nat(60), { maxLength: 2 }),
        async (scheduler, names, secondsBefore, crashes) => {
          let isRacing = false;
          let gates = 0;
          const gate: Gate = async (call, moment) => {
            if (!isRacing) return;
            await scheduler.schedule(Promise.resolve(), `${call} ${moment}`);
            gates += 1;
            if (crashes.includes(gates)) throw new Crash(call);
          };
          const lab = laboratory({ gate, policies: [policyOf()], requestsPerSecond: 60 });
          try {
            await bless({ ports: lab.ports, project: 'demo' }, { eventId: 'first', model, versionId: '2' }, 'm');
            for (let second = 0; second < secondsBefore; second += 1) {
              lab.pass(1);
              await tick(lab.ports, observing);
            }
            lab.pass(11);
            isRacing = true;
            const racing = Promise.all(names.map((name) => race(lab, name)));
            await scheduler.waitFor(racing);
            isRacing = false;
            // A write that was under way when somebody else decided otherwise may still go out: the writer looks again
            // and undoes it. So the laws are checked on what is written after the race, and on where it ends.
            lab.writes.length = 0;
            const wanted = await quiet(lab);
            expect(lab.split()).toEqual(wanted);
            if (names.includes('abort') && crashes.length === 0) expect(await canaryOfFirst(lab)).toBe(0);
          } finally {
            await lab.close();
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});

async function race(lab: Laboratory, name: Racer): Promise<void> {
  const context = { ports: lab.ports, project: 'demo' };
  try {
    if (name === 'tick' || name === 'tick again') await tick(lab.ports, observing);
    else if (name === 'bless') await bless(context, { eventId: 'second', model, versionId: '3' }, 'm');
    else await command(lab.ports, { command: name, endpoint, by: 'ann', commandId: name }, 'm');
  } catch (error) {
    if (!(error instanceof Crash || error instanceof TransientError || error instanceof PermanentError)) throw error;
  }
}

/** Ticks, without letting a second pass for evidence, until the record's desire is confirmed. Returns it. */
async function quiet(lab: Laboratory): Promise<Record<string, number>> {
  for (let round = 0; round < 40; round += 1) {
    await tick(lab.ports, observing);
    checkLaws(lab);
    const active = (await lab.record())?.active ?? null;
    if (active === null) return endOf(lab);
    const { traffic, foreign, stable } = active.context;
    expect(foreign, 'our own writes are never taken for somebody else’s').toBeNull();
    if (traffic.generation === 0) return stable ?? lab.split();
    if (!isMoving(active.value)) return traffic.desired;
    lab.pass(1);
  }
  throw new Error(`nothing settled: ${JSON.stringify((await lab.record())?.active?.value)}`);
}

/** What the split must be when everything is over: all to what was promoted last, or to version 1. */
async function endOf(lab: Laboratory): Promise<Record<string, number>> {
  const { history = [] } = (await lab.record()) ?? {};
  const winner = history.find(({ state }) => state === 'promoted')?.versionId ?? '1';
  const { deployedModels } = await lab.ports.endpoints.read(endpoint);
  const id = deployedModels.find(({ versionId }) => versionId === winner)?.id ?? `no version ${winner}`;
  return { [id]: 100 };
}

/** True while the state owes the world a split. */
function isMoving(value: unknown): boolean {
  return /moving|restoring/.test(JSON.stringify(value));
}

/** The share of the version that was aborted; 0 if the abort came after the point of no return. */
async function canaryOfFirst(lab: Laboratory): Promise<number> {
  const { deployedModels, split } = await lab.ports.endpoints.read(endpoint);
  const canary = deployedModels.find(({ versionId }) => versionId === '2');
  const { history = [], active = null } = (await lab.record()) ?? {};
  const isPromoted = history.some(({ versionId, state }) => versionId === '2' && state === 'promoted');
  const wasPromoted = isPromoted || (active !== null && active.context.retiringAt !== null);
  return wasPromoted || canary === undefined ? 0 : (split[canary.id] ?? 0);
}
