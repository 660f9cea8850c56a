/** Does a tick advance what is due, and a reconcile find what no event told of, in whatever form they come? */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { captureLog, type Doors, openDoors } from './doors-world.ts';
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
  it.for(everyForm)('with nothing to do puts the ticks to sleep: %s, its word in the %s', async ([shape, part]) => {
    await (await doors.clients.scheduler()).resumeJob({ name: doors.tickJobName }).catch(() => undefined);
    expect(await doors.send('onTick', saying('tick', part), shape)).toBe(204);
    expect(await doors.tickJob()).toBe('PAUSED');
  });

  it('takes a rollout to its first step', async () => {
    const subject = await doors.subject('ticked');
    const { context } = await doors.rollingOut(subject);
    expect(context).toMatchObject({ stepIndex: 0, traffic: { confirmed: { 1: 90, [context.canaryId]: 10 } } });
    await doors.send('onCommand', { messageId: 'end', attributes: { command: 'abort', endpoint: subject.endpoint } });
    await doors.tickUntil(subject, ({ active }) => active === null);
  });

  it('that finds Vertex AI out of order is over, for the next one looks again', async () => {
    const subject = await doors.subject('dark');
    const { context } = await doors.rollingOut(subject);
    await doors.faults([{ method: '*EndpointService/GetEndpoint', code: 'UNAVAILABLE' }]);
    expect(await doors.send('onTick', saying('tick', 'data'))).toBe(204);
    await doors.faults([]);
    expect((await doors.active(subject)).context).toMatchObject({ id: context.id, stepIndex: 0 });
    await doors.send('onCommand', { messageId: 'dark', attributes: { command: 'abort', endpoint: subject.endpoint } });
    await doors.tickUntil(subject, ({ active }) => active === null);
  });
});

describe('a reconcile', () => {
  it.for(everyForm)('begins the rollout of a lost blessing: %s, its word in the %s', async ([shape, part]) => {
    const subject = await doors.lostBlessing(`lost-${(serial += 1)}`);
    expect(await doors.send('onTick', saying('reconcile', part), shape)).toBe(204);
    expect((await doors.active(subject)).context).toMatchObject({ model: subject.model, versionId: '2' });
  });

  it('is not kept from one model by what is wrong with another', async () => {
    // Its endpoint does not exist, and by name it comes before the other.
    const broken = await doors.subject('a-broken');
    await doors.vertex.models.mergeVersionAliases({ name: `${broken.model}@2`, versionAliases: ['blessed'] });
    const subject = await doors.lostBlessing('z-lost');
    expect(await doors.send('onTick', saying('reconcile', 'data'))).toBe(204);
    expect((await doors.active(subject)).context).toMatchObject({ versionId: '2' });
  });
});
