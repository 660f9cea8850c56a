/** Does what a proxy counted take traffic away within the call, in whatever form it comes? */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { StoredRollout } from '../../../machines/rollout/snapshot.ts';
import { type Doors, openDoors, type Subject } from './doors-world.ts';
import { captureLog } from '../../log.ts';
import { shapeNames } from './shapes.ts';

let doors: Doors;
let subject: Subject;
let rollout: StoredRollout;
captureLog();

beforeAll(async () => {
  doors = await openDoors();
  subject = await doors.subject('counted');
  rollout = await doors.rollingOut(subject);
});

afterAll(() => doors.close());

const latencyMs = { bounds: [10, 100], counts: [900, 90, 10] };
const good = { requests: 1000, errors: 0, latencyMs };
const bad = { requests: 1000, errors: 500, latencyMs };

/** Counts of one millisecond since the step took effect: the first, unless told. */
function counted({ endpoint }: Subject, { context }: StoredRollout, source: string, canary: object, after = 0) {
  const from = (context.effectAt ?? 0) + after;
  const window = { from: new Date(from).toISOString(), to: new Date(from + 1).toISOString() };
  return JSON.stringify({ endpoint, window, source, variants: { 1: good, [context.canaryId]: canary } });
}

describe('evidence', () => {
  it.for(shapeNames)('is weighed in the form of a %s', async (shape) => {
    const sent = { messageId: 'm', data: counted(subject, rollout, shape, good), attributes: { by: 'proxy' } };
    expect(await doors.send('onEvidence', sent, shape)).toBe(204);
    const evidence = expect.objectContaining({ source: `proxy ${shape}` });
    const event = expect.objectContaining({ type: 'evidence.observed', evidence });
    expect(await doors.journal(rollout.context.id)).toContainEqual(expect.objectContaining({ event }));
  });

  it('is counted once, however often it is delivered', async () => {
    const data = counted(subject, rollout, 'again', good);
    await doors.send('onEvidence', { messageId: 'a', data });
    const { context } = await doors.active(subject);
    await doors.send('onEvidence', { messageId: 'b', data });
    expect((await doors.active(subject)).context.tally).toEqual(context.tally);
  });

  it('of a good canary never raises the share', async () => {
    await doors.send('onEvidence', { messageId: 'm', data: counted(subject, rollout, 'praise', good) });
    expect(await doors.splitOf(subject)).toEqual({ 1: 90, [rollout.context.canaryId]: 10 });
  });

  it('of a bad canary takes all traffic from it before the answer', async () => {
    const worse = await doors.subject('worse');
    const started = await doors.rollingOut(worse);
    await doors.send('onEvidence', { messageId: 'm', data: counted(worse, started, 'p', bad) });
    expect(await doors.splitOf(worse)).toMatchObject({ 1: 100 });
  });

  it('of an endpoint where nothing is rolled out is set aside, and is no mistake', async () => {
    const idle = await doors.subject('idle');
    expect(await doors.send('onEvidence', { messageId: 'm', data: counted(idle, rollout, 'p', good) })).toBe(204);
    expect(await doors.deadLetters()).toEqual([]);
  });
});
