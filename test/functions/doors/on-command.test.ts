/** Does a command act when it arrives, in whatever form it comes? */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Doors, openDoors, type Subject } from './doors-world.ts';
import { captureLog } from '../../log.ts';
import { json, shapeNames } from './shapes.ts';

let doors: Doors;
captureLog();

beforeAll(async () => {
  doors = await openDoors();
});

afterAll(() => doors.close());

describe('a command', () => {
  let subject: Subject;

  beforeAll(async () => {
    subject = await doors.subject('shapes');
    await doors.blessed(subject);
  });

  it.for(shapeNames.flatMap((shape) => [`data`, `attributes`].map((part) => [shape, part] as const)))(
    'is understood as %s, with its words in the %s',
    async ([shape, part]) => {
      const reason = `${shape}, ${part}`;
      const words = { command: 'pause', endpoint: subject.endpoint, by: 'ann', reason };
      const sent = part === 'data' ? { data: JSON.stringify(words) } : { attributes: words };
      expect(await doors.send('onCommand', { messageId: reason, ...sent }, shape)).toBe(204);
      const event = expect.objectContaining({ type: 'operator.paused', by: 'ann', reason });
      const { context } = await doors.active(subject);
      expect(await doors.journal(context.id)).toContainEqual(expect.objectContaining({ event, by: 'ann' }));
      expect(await doors.deadLetters()).toEqual([]);
    },
  );
});

describe('all seven commands', () => {
  it('act at once, one after the other, on one model', async () => {
    const subject = await doors.subject('seven');
    const { context } = await doors.rollingOut(subject);
    const say = async (command: string) => {
      const attributes = { command, endpoint: subject.endpoint, by: 'ann' };
      expect(await doors.send('onCommand', { messageId: `seven-${command}`, attributes }, 'push body')).toBe(204);
      return (await doors.record(subject)).active;
    };
    expect(await say('pause')).toMatchObject({ context: { paused: { by: 'ann' } } });
    expect(await say('resume')).toMatchObject({ context: { paused: null } });
    expect(await say('approve')).toMatchObject({ context: { isApproved: true } });
    expect(await say('promote')).toMatchObject({ context: { stepIndex: 1 } });
    expect(await doors.splitOf(subject)).toEqual({ 1: 50, [context.canaryId]: 50 });
    await say('promote-full');
    expect(await doors.splitOf(subject)).toMatchObject({ [context.canaryId]: 100 });
    await say('abort');
    expect(await doors.splitOf(subject)).toMatchObject({ 1: 100 });
    await doors.tickUntil(subject, ({ active }) => active === null);
    expect((await doors.record(subject)).history).toMatchObject([{ rollout: context.id, state: 'aborted' }]);
    const again = await say('retry');
    expect(again).toMatchObject({ context: { versionId: '2', blessing: { by: 'ann' } } });
    expect(again?.context.id).not.toBe(context.id);
    expect(await doors.deadLetters()).toEqual([]);
  });
});

describe('a command that comes again', () => {
  it('acts once', async () => {
    const subject = await doors.subject('twice');
    await doors.blessed(subject);
    const words = (command: string) => ({ data: JSON.stringify({ command, endpoint: subject.endpoint }) });
    await doors.send('onCommand', { messageId: 'twice-1', ...words('pause') });
    await doors.send('onCommand', { messageId: 'twice-2', ...words('resume') });
    await doors.send('onCommand', { messageId: 'twice-1', ...words('pause') });
    expect((await doors.active(subject)).context.paused).toBeNull();
  });

  it('is no mistake after it has ended the rollout that it was for', async () => {
    const subject = await doors.subject('ended');
    const { context } = await doors.blessed(subject);
    const data = JSON.stringify({ command: 'abort', rollout: context.id });
    for (const _ of [1, 2]) expect(await doors.send('onCommand', { messageId: 'ended', data })).toBe(204);
    expect((await doors.record(subject)).history).toMatchObject([{ state: 'aborted' }]);
    expect(await doors.deadLetters()).toEqual([]);
  });

  it('is known by its own commandId, whatever number Pub/Sub gave the message', async () => {
    const subject = await doors.subject('own-id');
    await doors.blessed(subject);
    const words = (command: string, commandId: string) => ({
      data: JSON.stringify({ command, endpoint: subject.endpoint, commandId }),
    });
    await doors.send('onCommand', { messageId: 'own-1', ...words('pause', 'p') });
    await doors.send('onCommand', { messageId: 'own-2', ...words('resume', 'r') });
    await doors.send('onCommand', { messageId: 'own-3', ...words('pause', 'p') });
    expect((await doors.active(subject)).context.paused).toBeNull();
  });

  it('is taken for a new one when nobody numbered it', async () => {
    const subject = await doors.subject('unnumbered');
    await doors.blessed(subject);
    const say = async (command: string) => {
      const data = Buffer.from(JSON.stringify({ command, endpoint: subject.endpoint })).toString('base64');
      expect((await doors.post('onCommand', json({ message: { data } }))).status).toBe(204);
      return (await doors.active(subject)).context.paused !== null;
    };
    expect([await say('pause'), await say('resume'), await say('pause')]).toEqual([true, false, true]);
  });
});

describe('a retry', () => {
  it('of a version that is being rolled out already is set aside, with the reason', async () => {
    const subject = await doors.subject('busy');
    const first = await doors.blessed(subject);
    const say = (command: string, messageId: string, rollout = first.context.id) =>
      doors.send('onCommand', { messageId, data: JSON.stringify({ command, rollout }) });
    await say('abort', 'busy-1');
    await say('retry', 'busy-2');
    await say('retry', 'busy-3');
    const [letter, ...others] = await doors.deadLetters();
    expect(others).toEqual([]);
    expect(letter?.attributes).toMatchObject({ messageId: 'busy-3', reason: expect.stringContaining('already') });
  });

  it('that fails after its commit is made whole when it is delivered again', async () => {
    const subject = await doors.subject('half');
    const { context } = await doors.blessed(subject);
    const say = (command: string) =>
      doors.send('onCommand', {
        messageId: `half-${command}`,
        data: JSON.stringify({ command, rollout: context.id }),
      });
    await say('abort');
    await (await doors.clients.scheduler()).pauseJob({ name: doors.tickJobName });
    await doors.faults([{ method: '*CloudScheduler/ResumeJob', code: 'UNAVAILABLE', times: 1 }]);
    expect(await say('retry')).toBe(500);
    expect(await say('retry')).toBe(204);
    expect(await doors.tickJob()).toBe('ENABLED');
    expect((await doors.record(subject)).history).toHaveLength(1);
    expect(await doors.deadLetters()).toEqual([]);
  });
});

it('a command reaches its door by a push subscription of Pub/Sub, with data and without', async () => {
  const subject = await doors.subject('pushed');
  await doors.blessed(subject);
  await doors.notifications();
  const pubsub = await doors.clients.pubsub();
  const topic = pubsub.topic('rollout-commands');
  await topic.createSubscription('push-commands', { pushEndpoint: doors.urlOf('onCommand') });
  await topic.publishMessage({ attributes: { command: 'pause', endpoint: subject.endpoint, by: 'ann' } });
  expect(await doors.nextNotification('paused')).toMatchObject({ data: { rollout: expect.any(String), by: 'ann' } });
  await topic.publishMessage({ json: { command: 'resume', endpoint: subject.endpoint, by: 'bob' } });
  expect(await doors.nextNotification('resumed')).toMatchObject({ data: { by: 'bob' } });
});
