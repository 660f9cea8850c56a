/** Does a tick advance what is due, and a reconcile find what no event told of, in whatever form they come? */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { stateOf } from '../../../machines/rollout/describe.ts';
import { type Doors, openDoors, type Subject } from './doors-world.ts';
import { captureLog } from '../../log.ts';
import { shapeNames } from './shapes.ts';

let doors: Doors;
let serial = 0;
captureLog();

beforeAll(async () => {
  doors = await openDoors();
});

afterAll(() => doors.close());

const everyForm = shapeNames.flatMap((shape) => ['data', 'attributes'].map((part) => [shape, part] as const));

function saying(kind: string, part: string) {
  serial += 1;
  const words = part === 'data' ? { data: JSON.stringify({ kind }) } : { attributes: { kind } };
  return { messageId: `${kind}-${serial}`, ...words };
}

describe('a tick', () => {
  it.for(everyForm)('looks at what is active: %s, its word in the %s', async ([shape, part]) => {
    const subject = await doors.subject(`looked-${(serial += 1)}`);
    const { context } = await doors.blessed(subject);
    expect(await doors.send('onTick', saying('tick', part), shape)).toBe(204);
    // Its endpoint was never made.
    const { active, history } = await doors.record(subject);
    expect({ active, history }).toMatchObject({ active: null, history: [{ rollout: context.id, state: 'failed' }] });
  });

  it('takes a rollout to its first step, and puts the ticks to sleep when all is over', async () => {
    const subject = await doors.subject('ticked');
    const { context } = await doors.rollingOut(subject);
    expect(context).toMatchObject({ stepIndex: 0, traffic: { confirmed: { 1: 90, [context.canaryId]: 10 } } });
    expect(await doors.tickJob()).toBe('ENABLED');
    await doors.end(subject);
    expect(await doors.send('onTick', saying('reconcile', 'data'))).toBe(204);
    expect(await doors.tickJob()).toBe('PAUSED');
  });

  it('that finds Vertex AI out of order is over, for the next one looks again', async () => {
    const subject = await doors.subject('dark');
    const { context } = await doors.rollingOut(subject);
    await doors.faults([{ method: '*EndpointService/GetEndpoint', code: 'UNAVAILABLE' }]);
    expect(await doors.send('onTick', saying('tick', 'data'))).toBe(204);
    await doors.faults([]);
    expect((await doors.active(subject)).context).toMatchObject({ id: context.id, stepIndex: 0 });
    await doors.end(subject);
  });
});

describe('a reconcile', () => {
  it.for(['data', 'attributes'])('begins the rollout of a lost blessing, its word in the %s', async (part) => {
    const subject = await doors.lostBlessing(`lost-${(serial += 1)}`);
    expect(await doors.send('onTick', saying('reconcile', part), 'push body')).toBe(204);
    expect((await doors.active(subject)).context).toMatchObject({ model: subject.model, versionId: '2' });
    await endFromFirstStep(subject);
  });

  it('is not kept from one model by what is wrong with another', async () => {
    // Its endpoint does not exist, and by name it comes before the other.
    const broken = await doors.subject('a-broken');
    await doors.vertex.models.mergeVersionAliases({ name: `${broken.model}@2`, versionAliases: ['blessed'] });
    const subject = await doors.lostBlessing('z-lost');
    expect(await doors.send('onTick', saying('reconcile', 'data'))).toBe(204);
    expect((await doors.active(subject)).context).toMatchObject({ versionId: '2' });
    await endFromFirstStep(subject);
  });
});

/** A deployment that is cancelled is tried to be cleaned up only a second later; one that is done, at once. */
async function endFromFirstStep(subject: Subject): Promise<void> {
  await doors.tickUntil(subject, ({ active }) => active !== null && stateOf(active) === 'analysing');
  await doors.end(subject);
}
