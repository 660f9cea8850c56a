/** Does an alert stop what it is about, in whatever form it comes, and nothing else? */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openSqliteStore } from '../../../functions/engine/sqlite-store.ts';
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

/** As Cloud Monitoring writes to a Pub/Sub notification channel. */
function alertOn({ name }: Subject, change: object = {}) {
  serial += 1;
  const labels = { endpoint_id: name, location: 'us-central1', project_id: 'demo-project' };
  return JSON.stringify({
    version: '1.2',
    incident: {
      incident_id: `0.incident-${serial}`,
      scoping_project_id: 'demo-project',
      state: 'open',
      started_at: 1767225600,
      ended_at: null,
      policy_name: 'Errors of the endpoint',
      condition_name: 'more than 5 %',
      summary: 'Errors are above 5 %.',
      documentation: null,
      resource: { type: 'aiplatform.googleapis.com/Endpoint', labels },
      resource_name: name,
      ...change,
    },
  });
}

describe('an incident', () => {
  it.for(shapeNames)('pauses the rollout on its endpoint, in the form of a %s', async (shape) => {
    const subject = await doors.subject(`paused-${(serial += 1)}`);
    const other = await doors.subject(`other-${serial}`);
    await doors.blessed(subject);
    await doors.blessed(other);
    expect(await doors.send('onIncident', { messageId: 'm', data: alertOn(subject) }, shape)).toBe(204);
    expect((await doors.active(subject)).context.paused?.reason).toContain('Errors are above 5 %.');
    expect((await doors.active(other)).context.paused).toBeNull();
  });

  it('rolls back where the policy says so', async () => {
    const subject = await doors.subject('back', '  analysis: { incident: rollBack }\n');
    const { context } = await doors.rollingOut(subject);
    expect(await doors.send('onIncident', { messageId: 'm', data: alertOn(subject) })).toBe(204);
    expect(await doors.splitOf(subject)).toMatchObject({ 1: 100 });
    await doors.tickUntil(subject, ({ active }) => active === null);
    expect((await doors.record(subject)).history).toMatchObject([{ rollout: context.id, state: 'rolledBack' }]);
  });

  it('is followed even if nobody summed it up', async () => {
    const subject = await doors.subject('bare');
    await doors.blessed(subject);
    const data = alertOn(subject, { summary: null, policy_name: null });
    expect(await doors.send('onIncident', { messageId: 'm', data })).toBe(204);
    expect((await doors.active(subject)).context.paused).not.toBeNull();
  });

  it('is not kept from its rollout by the damaged record of another endpoint', async () => {
    const store = openSqliteStore(doors.storePath);
    const damaged = { key: 'us-central1~damaged', expected: null, data: {}, isActive: true };
    await store.commit({ ...damaged, journal: [], marks: [], archive: [] });
    await store.close();
    const subject = await doors.subject('whole');
    await doors.blessed(subject);
    expect(await doors.send('onIncident', { messageId: 'm', data: alertOn(subject) })).toBe(204);
    expect((await doors.active(subject)).context.paused).not.toBeNull();
  });

  it('acts once, so that who resumes is not paused again by its copy', async () => {
    const subject = await doors.subject('copy');
    await doors.blessed(subject);
    const data = alertOn(subject);
    await doors.send('onIncident', { messageId: 'm', data });
    await doors.send('onCommand', { messageId: 'copy', attributes: { command: 'resume', endpoint: subject.endpoint } });
    await doors.send('onIncident', { messageId: 'n', data });
    expect((await doors.active(subject)).context.paused).toBeNull();
  });

  it.for([
    ['that is closed', { state: 'closed' }],
    ['of an endpoint in another place', { resource: { labels: { endpoint_id: 'calm', location: 'europe-west4' } } }],
    ['of an endpoint where nothing is rolled out', { resource: { labels: { endpoint_id: 'nowhere' } } }],
  ] as const)('%s changes nothing, and is no mistake', async ([, change]) => {
    const subject = { ...(await doors.subject(`calm-${(serial += 1)}`)), name: 'calm' };
    await doors.blessed(subject);
    expect(await doors.send('onIncident', { messageId: 'm', data: alertOn(subject, change) })).toBe(204);
    expect((await doors.active(subject)).context.paused).toBeNull();
    expect(await doors.deadLetters()).toEqual([]);
  });
});
