/** Is what Terraform makes what the code expects? Both examples, applied by Terraform itself. */
import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { tickMessageSchema } from '../../functions/engine/messages.ts';
import { topics } from '../../functions/engine/publish.ts';
import { policiesCollection } from '../../functions/gcp/firestore-policies.ts';
import { parsePolicy } from '../../machines/policy/document.ts';
import { happenings } from '../../machines/rollout/announce.ts';
import { type Applied, type Example, registered, withTerraform } from './installation.ts';
import { blocks, laws, ofType, uriOf } from './laws.ts';

const examples: Example[] = ['minimal', 'hardened'];

withTerraform('an installation', ({ open, installed }) => {
  describe.each(examples)('%s', (example) => {
    test.each(Object.entries(laws))('%s', async (_, law) => {
      expect(law(await installed(example))).toEqual([]);
    });

    test('is left alone by a second apply', async () => {
      const { terraform } = await installed(example);
      expect((await terraform.run('plan', '-no-color')).text).toContain('No changes.');
    });

    test('runs on Node 24, each function from a bundle that is named by its content', async () => {
      const applied = await installed(example);
      const functions = ofType(applied, 'google_cloudfunctions2_function');
      expect(functions).toHaveLength(registered.length);
      for (const { key, values } of functions) {
        const [build = {}] = blocks(values, 'build_config');
        const [source = {}] = blocks(blocks(build, 'source')[0] ?? {}, 'storage_source');
        expect(build['runtime']).toBe('nodejs24');
        expect(values['labels']).toEqual({ app: 'vertex-rollouts', version: '1-2-3' });
        expect(source['object']).toMatch(new RegExp(`^${key}-[0-9a-f]{64}\\.zip$`));
      }
    });

    test('pushes each topic to its function, as an account that may call it, for longer than it may take', async () => {
      const applied = await installed(example);
      const functions = new Map(ofType(applied, 'google_cloudfunctions2_function').map((one) => [uriOf(one), one]));
      const invokers = ofType(applied, 'google_cloud_run_v2_service_iam_member').map(({ values }) => values);
      const pushed = ofType(applied, 'google_pubsub_subscription').filter(({ name }) => name === 'push');
      expect(pushed).toHaveLength(5);
      for (const { values } of pushed) {
        const [push = {}] = blocks(values, 'push_config');
        const [token = {}] = blocks(push, 'oidc_token');
        const called = functions.get(String(token['audience']));
        const [config = {}] = blocks(called?.values ?? {}, 'service_config');
        expect(push['push_endpoint']).toBe(`${String(token['audience'])}/${String(values['topic'])}`);
        expect(invokers).toContainEqual(
          expect.objectContaining({
            name: called?.values['name'],
            role: 'roles/run.invoker',
            member: `serviceAccount:${String(token['service_account_email'])}`,
          }),
        );
        expect(config['ingress_settings']).toBe('ALLOW_INTERNAL_ONLY');
        expect(values['ack_deadline_seconds']).toBeGreaterThanOrEqual(Number(config['timeout_seconds']));
        expect(values['ack_deadline_seconds']).toBeLessThanOrEqual(600);
        expect(blocks(values, 'retry_policy')).toEqual([{ minimum_backoff: '1s', maximum_backoff: '60s' }]);
        expect(blocks(values, 'expiration_policy')).toEqual([{ ttl: '' }]);
      }
    });

    test('lets Pub/Sub move messages to the dead letters, from every subscription', async () => {
      const applied = await installed(example);
      const agent = 'serviceAccount:service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com';
      const withLetter = ofType(applied, 'google_pubsub_subscription').filter(
        ({ values }) => blocks(values, 'dead_letter_policy').length > 0,
      );
      const mayTake = ofType(applied, 'google_pubsub_subscription_iam_member').filter(
        ({ values }) => values['member'] === agent && values['role'] === 'roles/pubsub.subscriber',
      );
      expect(new Set(mayTake.map(({ values }) => values['subscription']))).toEqual(
        new Set(withLetter.map(({ values }) => values['name'])),
      );
      expect(ofType(applied, 'google_pubsub_topic_iam_member').map(({ values }) => values)).toContainEqual(
        expect.objectContaining({ topic: topics.deadLetters, role: 'roles/pubsub.publisher', member: agent }),
      );
    });

    test('wakes the controller with messages that it understands', async () => {
      const applied = await installed(example);
      const jobs = ofType(applied, 'google_cloud_scheduler_job').map(({ values }) => {
        const [target = {}] = blocks(values, 'pubsub_target');
        expect(target['topic_name']).toBe(`projects/my-project/topics/${topics.ticks}`);
        const message: unknown = JSON.parse(Buffer.from(String(target['data']), 'base64').toString());
        return [tickMessageSchema.parse(message).kind, values['schedule']];
      });
      expect(Object.fromEntries(jobs)).toEqual({ tick: '* * * * *', reconcile: '*/10 * * * *' });
    });

    test('hears of an alias from every surface of the registry, and of nothing else', async () => {
      const applied = await installed(example);
      const [sink] = ofType(applied, 'google_logging_project_sink');
      const [, pattern = ''] = /methodName=~"([^"]+)"/.exec(String(sink?.values['filter'])) ?? [];
      const methods = ['v1', 'v1beta1', 'ui'].flatMap((surface) => [
        `google.cloud.aiplatform.${surface}.ModelService.MergeVersionAliases`,
        `google.cloud.aiplatform.${surface}.ModelService.UploadModel`,
      ]);
      for (const method of methods) expect(method).toMatch(new RegExp(pattern));
      for (const other of ['EndpointService.DeployModel', 'ModelService.DeleteModel', 'ModelService.UploadModelX'])
        expect(`google.cloud.aiplatform.v1.${other}`).not.toMatch(new RegExp(pattern));
      expect(sink?.values['destination']).toBe(`pubsub.googleapis.com/projects/my-project/topics/${topics.blessings}`);
      expect(ofType(applied, 'google_pubsub_topic_iam_member').map(({ values }) => values)).toContainEqual(
        expect.objectContaining({ topic: topics.blessings, member: sink?.values['writer_identity'] }),
      );
    });

    test('writes policies where and as the controller reads them', async () => {
      const applied = await installed(example);
      const documents = ofType(applied, 'google_firestore_document');
      expect(documents.length).toBeGreaterThan(0);
      for (const { values } of documents) {
        const fields: { yaml?: { stringValue?: string } } = JSON.parse(String(values['fields']));
        expect(values['collection']).toBe(policiesCollection);
        expect(parsePolicy(fields.yaml?.stringValue ?? '')).toMatchObject({ kind: 'ok' });
      }
    });

    test('indexes what the store searches by, and nothing large', async () => {
      const applied = await installed(example);
      const source = ['firestore-store', 'firestore-policies']
        .map((file) => readFileSync(`functions/gcp/${file}.ts`, 'utf8'))
        .join('\n');
      const searched = [...source.matchAll(/\b(?:where|orderBy)(?:\(|: )'(\w+)'/g)].map(([, field]) => field);
      const collections = [...source.matchAll(/ollection(?:\(| = )'([\w-]+)'/g)].map(([, name = '']) => name);
      const fields = ofType(applied, 'google_firestore_field').filter(({ name }) => name === 'unindexed');
      expect(new Set(searched)).toEqual(new Set(['isActive', 'startedAt']));
      expect(new Set(fields.map(({ values }) => values['collection']))).toEqual(new Set(collections));
      for (const { values } of fields) expect(searched).not.toContain(values['field']);
      expect(fields.map(({ key }) => key)).toEqual(
        expect.arrayContaining(['rollout-endpoints.data', 'rollouts.data', 'journal.data']),
      );
    });

    test('has an alert for each kind of trouble, on what is there', async () => {
      const applied = await installed(example);
      const alerts = ofType(applied, 'google_monitoring_alert_policy');
      const troubles = ['stuck-rollout', 'dead-letters', 'failing-function', 'missing-tick', 'slow-tick', 'critical'];
      expect(new Set(alerts.map(({ key, name }) => key ?? name))).toEqual(new Set(troubles));
      const there = [
        ...ofType(applied, 'google_cloudfunctions2_function'),
        ...ofType(applied, 'google_pubsub_subscription'),
      ].map(({ values }) => values['name']);
      const charts = String(ofType(applied, 'google_monitoring_dashboard')[0]?.values['dashboard_json']).replaceAll(
        '\\"',
        '"',
      );
      const queries = alerts.flatMap(({ values }) =>
        blocks(values, 'conditions').flatMap((one) =>
          blocks(one, 'condition_prometheus_query_language').map(({ query }) => String(query)),
        ),
      );
      const watched = [charts, ...queries].flatMap((query) =>
        [...query.matchAll(/(?:service_name|subscription_id)=~?"([^"]+)"/g)].flatMap(([, names = '']) =>
          names.split('|'),
        ),
      );
      expect(watched.length).toBeGreaterThan(10);
      for (const name of watched) expect(there).toContain(name);
    });

    test('keeps for a person what the controller says that it waits for', async () => {
      const applied = await installed(example);
      const waiting = ofType(applied, 'google_pubsub_subscription').find(({ name }) => name === 'waiting');
      const filter = String(waiting?.values['filter']);
      const words = [...filter.matchAll(/attributes\.what = "([\w-]+)"/g)].map(([, word]) => word);
      expect(words).toContain('attention');
      expect(happenings).toEqual(expect.arrayContaining(words));
      expect(Buffer.byteLength(filter)).toBeLessThanOrEqual(256);
    });

    test('uses names that Google takes', async () => {
      const applied = await installed(example);
      for (const { values } of ofType(applied, 'google_service_account'))
        expect(values['account_id']).toMatch(/^[a-z][a-z0-9-]{4,28}[a-z0-9]$/);
      for (const { values } of ofType(applied, 'google_project_iam_custom_role')) {
        expect(values['role_id']).toMatch(/^[a-zA-Z0-9_.]{3,64}$/);
        expect(String(values['title']).length).toBeLessThanOrEqual(100);
      }
      for (const { values } of ofType(applied, 'google_cloudfunctions2_function'))
        expect(values['name']).toMatch(/^[a-z][a-z0-9-]{0,47}[a-z0-9]$/);
    });

    test('has no secret in its state', async () => {
      const applied = await installed(example);
      const secrets = ofType(applied, 'google_secret_manager_secret_version').map(
        ({ values }) => values['secret_data'],
      );
      expect(secrets).toEqual([`nobody:${'0'.repeat(64)}`]);
    });
  });

  test('the proxy alone is open to the world, where its variable says so', async () => {
    const openTo = ({ resources }: Applied) => resources.filter(({ values }) => values['member'] === 'allUsers');
    expect(openTo(await installed('minimal'))).toEqual([]);
    expect(openTo(await installed('hardened')).map(({ values }) => values['name'])).toEqual(['rollouts-predict']);
  });

  test('is called in docs/deploy.md by the names that it has', async () => {
    const made = [await installed('minimal'), await installed('hardened')];
    const names = made.flatMap(({ resources }) =>
      resources.flatMap(({ values }) => [values['name'], values['secret_id'], values['account_id']]),
    );
    const text = readFileSync('docs/deploy.md', 'utf8');
    const called = [...text.matchAll(/(?<![/\w.-])(rollouts?-[a-z-]+|model-blessings)\b(?!\.)/g)].map(
      ([, name]) => name,
    );
    const outputs = [...text.matchAll(/output -raw (\w+)/g)].map(([, name = '']) => name);
    const addresses = [...text.matchAll(/module\.rollouts\.(\w+)\.(\w+)/g)].map(([, type, name]) => [type, name]);
    expect(called.length).toBeGreaterThan(5);
    expect(called.filter((name) => !names.includes(name))).toEqual([]);
    expect(outputs.filter((name) => !made.some((one) => name in one.outputs))).toEqual([]);
    expect(addresses).toEqual([['google_firestore_database', 'records']]);
    for (const applied of made)
      expect(ofType(applied, 'google_firestore_database').map(({ name }) => name)).toEqual(['records']);
  });

  test('can be taken away again, where its variable says so', async () => {
    const change = (text: string) => text.replace('source = "../.."', 'source = "../.."\n  is_deletable = true');
    const terraform = await open('minimal', { 'examples/minimal/main.tf': change });
    const applied = await terraform.apply();
    expect(ofType(applied, 'google_firestore_database')[0]?.values).toMatchObject({
      delete_protection_state: 'DELETE_PROTECTION_DISABLED',
      deletion_policy: 'DELETE',
    });
    expect((await terraform.run('destroy', '-auto-approve', '-no-color')).text).toContain(
      `Destroy complete! Resources: ${applied.resources.length} destroyed.`,
    );
  });

  test("with a key of one's own, all that stores anything uses it", async () => {
    const applied = await installed('hardened');
    const [key] = ofType(applied, 'google_kms_crypto_key');
    const stores = [
      'google_pubsub_topic',
      'google_firestore_database',
      'google_storage_bucket',
      'google_artifact_registry_repository',
      'google_secret_manager_secret',
      'google_cloudfunctions2_function',
      'google_redis_instance',
    ];
    for (const type of stores) {
      const made = ofType(applied, type);
      const withKey = made.filter(({ values }) => JSON.stringify(values).includes(`"${String(key?.values['id'])}"`));
      expect([type, made.length > 0, withKey.length]).toEqual([type, true, made.length]);
    }
  });

  test('a tick job that the controller paused stays paused, and a reconcile job that somebody paused is resumed', async () => {
    const terraform = await open('minimal');
    await terraform.apply();
    const state = readFileSync(terraform.statePath, 'utf8');
    const paused = (job: string) =>
      state.replace(new RegExp(`("name": "${job}"[^]*?"paused": )(null|false)`), '$1true');

    writeFileSync(terraform.statePath, paused('reconcile'));
    expect((await terraform.run('plan', '-no-color')).text).toContain('Plan: 0 to add, 1 to change, 0 to destroy.');

    expect(paused('tick')).not.toBe(state);
    writeFileSync(terraform.statePath, paused('tick'));
    expect((await terraform.run('plan', '-no-color')).text).toContain('No changes.');
  });
});
