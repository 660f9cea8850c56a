/** Is each function allowed what its code calls, and nothing else? Derived from the code, compared with what was applied. */
import { globSync } from 'node:fs';
import { EndpointServiceClient } from '@google-cloud/aiplatform/build/src/v1/endpoint_service_client.js';
import { JobServiceClient } from '@google-cloud/aiplatform/build/src/v1/job_service_client.js';
import { ModelServiceClient } from '@google-cloud/aiplatform/build/src/v1/model_service_client.js';
import { ModelMonitoringServiceClient } from '@google-cloud/aiplatform/build/src/v1beta1/model_monitoring_service_client.js';
import { MetricServiceClient } from '@google-cloud/monitoring/build/src/v3/metric_service_client.js';
import { CloudSchedulerClient } from '@google-cloud/scheduler/build/src/v1/cloud_scheduler_client.js';
import { OperationsClient } from 'google-gax';
import { describe, expect, test } from 'vitest';
import { callsByCheck, callsByPort, type GoogleCall, permissionsByCall } from '../../functions/gcp/permissions.ts';
import { registered, withTerraform } from './installation.ts';
import { ofType } from './laws.ts';
import { grantedTo, memberOf, needed, publishableBy, published } from './needs.ts';
import { membersCalledIn } from './reached.ts';

/** Those whose methods are not calls by the names of Google's API; their calls are named for what they do. */
const ownNames: GoogleCall[] = [
  'rawPredict',
  'queryRange',
  'queryJob',
  'publishMessage',
  'getDocument',
  'queryDocuments',
  'createDocument',
  'updateDocument',
  'setDocument',
];

const functionNames = registered.map(({ name }) => name);

describe('the list of permissions', () => {
  test('has every call of functions/gcp, and no other', () => {
    const clients = [
      EndpointServiceClient,
      JobServiceClient,
      ModelServiceClient,
      ModelMonitoringServiceClient,
      MetricServiceClient,
      CloudSchedulerClient,
      OperationsClient,
    ];
    const methods = new Set(clients.flatMap((client) => Object.getOwnPropertyNames(client.prototype)));
    for (const housekeeping of ['close', 'constructor', 'initialize']) methods.delete(housekeeping);
    const files = globSync('functions/gcp/*.ts');
    const called = new Set(files.flatMap((file) => [...membersCalledIn(file)]).filter((name) => methods.has(name)));

    const listed = Object.keys(permissionsByCall).filter((call) => !ownNames.some((name) => name === call));
    expect([...called].toSorted()).toEqual(listed.toSorted());
  });

  test('knows what is done to Firestore', () => {
    const calls = [
      'get',
      'getAll',
      'create',
      'update',
      'set',
      'delete',
      'add',
      'listDocuments',
      'listCollections',
      'count',
    ];
    const more = [
      'aggregate',
      'stream',
      'onSnapshot',
      'runTransaction',
      'recursiveDelete',
      'bulkWriter',
      'findNearest',
    ];
    const called = globSync('functions/gcp/firestore-*.ts').flatMap((file) => [...membersCalledIn(file)]);
    const asked = new Set(called.filter((name) => [...calls, ...more].includes(name)));

    expect([...asked].toSorted()).toEqual(['create', 'get', 'getAll', 'set', 'update']);
  });

  test('has no call that nothing makes', () => {
    const made = [
      ...Object.values(callsByPort).flatMap((port) => Object.values(port).flat()),
      ...Object.values(callsByCheck).flat(),
    ];
    const unmade = Object.keys(permissionsByCall).filter((call) => !made.some((name) => name === call));
    expect(unmade).toEqual(['rawPredict']);
  });
});

withTerraform('permissions', ({ installed }) => {
  test.each(functionNames)('%s may do what it calls, and nothing else', async (name) => {
    expect(grantedTo(await installed('minimal'), name)).toEqual(needed(name, []));
  });

  test.each(functionNames)(
    '%s may read BigQuery and Model Monitoring where it is asked for, and calls them',
    async (name) => {
      expect(grantedTo(await installed('hardened'), name)).toEqual(needed(name, ['requestLog', 'modelMonitoring']));
    },
  );

  test.each(functionNames)('%s may publish to the topics that it publishes to', async (name) => {
    expect(publishableBy(await installed('minimal'), name)).toEqual(published(name));
  });

  test('a service account holds its own role on the project, and no other', async () => {
    const applied = await installed('hardened');
    for (const resource of ofType(applied, 'google_project_iam_member')) {
      const { member, role } = resource.values;
      // Not functions: who builds, plans and deploys, and people who approve.
      if (/^serviceAccount:rollouts-(build|plan|apply)@|^group:/.test(String(member))) continue;
      if (resource.name === 'predict_writes_traces') {
        expect([role, member]).toEqual(['roles/telemetry.tracesWriter', memberOf(applied, 'predict')]);
        continue;
      }
      expect(role).toBe(`projects/my-project/roles/rollouts.${resource.key}`);
      expect(member).toBe(memberOf(applied, String(resource.key)));
    }
  });

  test('the proxy may write traces to Google where its configuration sends them there', async () => {
    const writers = async (example: 'minimal' | 'hardened') =>
      ofType(await installed(example), 'google_project_iam_member').filter(
        ({ name }) => name === 'predict_writes_traces',
      );
    expect([await writers('minimal'), await writers('hardened')].map(({ length }) => length)).toEqual([0, 1]);
  });

  test('who deploys a model may act as the service account that the policy names', async () => {
    const applied = await installed('hardened');
    const actors = ofType(applied, 'google_service_account_iam_member').filter(({ name }) => name === 'act_as');
    const deployers = functionNames.filter((name) => grantedTo(applied, name).includes('aiplatform.endpoints.deploy'));
    expect(new Set(actors.map(({ values }) => values['member']))).toEqual(
      new Set(deployers.map((name) => memberOf(applied, name))),
    );
    for (const { values } of actors) {
      expect(values['service_account_id']).toBe(
        'projects/-/serviceAccounts/delays-serving@my-project.iam.gserviceaccount.com',
      );
    }
  });

  test('rows of a request log are read on its dataset alone', async () => {
    const applied = await installed('hardened');
    const [role] = ofType(applied, 'google_project_iam_custom_role').filter(({ name }) => name === 'request_log');
    expect(role?.values['permissions']).toEqual(['bigquery.tables.getData']);
    expect(ofType(applied, 'google_bigquery_dataset_iam_member').map(({ values }) => values)).toEqual([
      expect.objectContaining({
        dataset_id: 'request_logs',
        role: 'projects/my-project/roles/rollouts.requestLog',
        member: memberOf(applied, 'onTick'),
      }),
    ]);
  });
});
