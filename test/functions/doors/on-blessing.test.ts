/** Does every form of a blessing begin a rollout, once? */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Doors, openDoors, policyText, type Subject } from './doors-world.ts';
import { captureLog } from '../../log.ts';
import { auditWritten, binary, shapeNames, structured } from './shapes.ts';

let doors: Doors;
let serial = 0;
const logged = captureLog();

beforeAll(async () => {
  doors = await openDoors();
});

afterAll(() => doors.close());

const newSubject = () => {
  serial += 1;
  return doors.subject(`subject-${serial}`);
};

/** As Cloud Audit Logs writes that somebody gave version 2 the alias. */
function auditEntry({ model }: Subject, aliases = ['blessed']) {
  return {
    insertId: `entry-${model}`,
    logName: 'projects/demo-project/logs/cloudaudit.googleapis.com%2Factivity',
    resource: { type: 'audited_resource', labels: { service: 'aiplatform.googleapis.com' } },
    timestamp: '2026-01-01T00:00:00.123456789Z',
    severity: 'NOTICE',
    protoPayload: {
      '@type': 'type.googleapis.com/google.cloud.audit.AuditLog',
      serviceName: 'aiplatform.googleapis.com',
      methodName: 'google.cloud.aiplatform.v1.ModelService.MergeVersionAliases',
      resourceName: model,
      authenticationInfo: { principalEmail: 'ann@example.com' },
      request: { name: `${model}@2`, versionAliases: aliases },
      status: {},
    },
  };
}

async function setAlias({ model }: Subject, alias = 'blessed'): Promise<void> {
  await doors.vertex.models.mergeVersionAliases({ name: `${model}@2`, versionAliases: [alias] });
}

describe('a blessing', () => {
  it.for(shapeNames.flatMap((shape) => ['data', 'attributes'].map((part) => [shape, part] as const)))(
    'is understood as a message in the form of a %s, with its words in the %s',
    async ([shape, part]) => {
      const subject = await newSubject();
      const words = { eventId: `event-${serial}`, model: subject.model, versionId: '2', by: 'ann' };
      const sent = part === 'data' ? { data: JSON.stringify(words) } : { attributes: words };
      expect(await doors.send('onBlessing', { messageId: 'm', ...sent }, shape)).toBe(204);
      const { context } = await doors.active(subject);
      expect(context).toMatchObject({ versionId: '2', blessing: { eventId: words.eventId, by: 'ann' } });
    },
  );

  it.for(['binary', 'structured'] as const)('is understood as an audit-log CloudEvent, %s', async (mode) => {
    const subject = await newSubject();
    await setAlias(subject);
    const post = { binary, structured }[mode]('audit', auditWritten, auditEntry(subject));
    expect((await doors.post('onBlessing', post)).status).toBe(204);
    const { context } = await doors.active(subject);
    expect(context.blessing).toMatchObject({ versionId: '2', by: 'ann@example.com', blessedAt: 1767225600123 });
  });

  it.for(shapeNames)(
    'is understood as an entry that the Logging sink passed on, in the form of a %s',
    async (shape) => {
      const subject = await newSubject();
      await setAlias(subject);
      const attributes = { 'logging.googleapis.com/timestamp': '2026-01-01T00:00:00Z' };
      const sent = { messageId: 'm', data: JSON.stringify(auditEntry(subject)), attributes };
      expect(await doors.send('onBlessing', sent, shape)).toBe(204);
      expect(await doors.active(subject)).toMatchObject({ context: { versionId: '2' } });
    },
  );

  it('needs no more than the alias: its log entry comes by the sink, and starts the rollout', async () => {
    const subject = await newSubject();
    const pubsub = await doors.clients.pubsub();
    await pubsub.topic('model-blessings').createSubscription('sink', { pushEndpoint: doors.urlOf('onBlessing') });
    await doors.notifications();
    await setAlias(subject);
    const told = await doors.nextNotification('started');
    expect(told).toMatchObject({ type: 'dev.vertex-rollouts.rollout.started.v1', data: { model: subject.model } });
    await pubsub.subscription('sink').delete();
  });

  it('that comes by message, by audit log and by sink begins one rollout', async () => {
    const subject = await newSubject();
    await setAlias(subject);
    const { context } = await doors.blessed(subject);
    const entry = auditEntry(subject);
    await doors.post('onBlessing', binary('audit', auditWritten, entry));
    await doors.send('onBlessing', { messageId: 'sink', data: JSON.stringify(entry) });
    await doors.send('onBlessing', { messageId: 'sink', data: JSON.stringify(entry) });
    const record = await doors.record(subject);
    expect(record).toMatchObject({ active: { context: { id: context.id } }, queued: null, history: [] });
    expect(await doors.deadLetters()).toEqual([]);
  });

  it('wakes the ticks', async () => {
    const subject = await newSubject();
    await (await doors.clients.scheduler()).pauseJob({ name: doors.tickJobName });
    await doors.blessed(subject);
    expect(await doors.tickJob()).toBe('ENABLED');
  });
});

describe('what is no blessing', () => {
  it.for([
    ['another alias', { request: { name: 'm', versionAliases: ['candidate'] } }],
    ['the alias taken away', { request: { name: 'm', versionAliases: ['-blessed'] } }],
    ['a refused call', { status: { code: 7, message: 'denied' } }],
    ['another method', { methodName: 'google.cloud.aiplatform.v1.ModelService.DeleteModel' }],
  ] as const)('starts nothing and is no mistake: %s', async ([, change]) => {
    const subject = await newSubject();
    await setAlias(subject);
    const entry = auditEntry(subject);
    const changed = { ...entry, protoPayload: { ...entry.protoPayload, ...change } };
    const { status } = await doors.post('onBlessing', binary('audit', auditWritten, changed));
    expect(status).toBe(204);
    expect((await doors.record(subject)).active).toBeNull();
    expect(await doors.deadLetters()).toEqual([]);
  });
});

describe('a version that no policy is for', () => {
  it('is acknowledged, and a person is told', async () => {
    const subject = await newSubject();
    writeFileSync(
      join(doors.policies, `${subject.name}.yaml`),
      policyText({ ...subject, model: `${subject.model}-x` }),
    );
    await doors.notifications();
    const data = JSON.stringify({ model: subject.model, versionId: '2' });
    expect(await doors.send('onBlessing', { messageId: 'm', data })).toBe(204);
    expect(await doors.nextNotification('attention')).toMatchObject({
      subject: subject.model,
      data: { reason: expect.stringContaining(`No policy matches version 2 of ${subject.model}`) },
    });
    expect(await doors.deadLetters()).toEqual([]);
  });

  it('because the steps of its policy descend: the log and the notification name the policy and the step', async () => {
    const subject = await newSubject();
    const steps = '  steps: [ { percent: 50 }, { percent: 10 }, { percent: 100 } ]\n';
    const file = join(doors.policies, `${subject.name}.yaml`);
    writeFileSync(file, policyText(subject, steps));
    await doors.notifications();
    const data = JSON.stringify({ model: subject.model, versionId: '2' });
    expect(await doors.send('onBlessing', { messageId: 'm', data })).toBe(204);
    const complaint = expect.stringMatching(
      new RegExp(
        `${subject.name}\\.yaml:\\d+:\\d+ spec\\.steps\\[1\\]\\.percent: expected more than the step before \\(50\\), got 10`,
      ),
    );
    expect(logged.map((line) => JSON.parse(line))).toContainEqual(
      expect.objectContaining({ severity: 'ERROR', message: complaint }),
    );
    expect(await doors.nextNotification('attention')).toMatchObject({ data: { reason: complaint } });
    expect((await doors.record(subject)).active).toBeNull();
    writeFileSync(file, policyText(subject));
  });
});
