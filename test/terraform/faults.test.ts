/** Would a mistake be found? Each is planted in a copy of terraform/, and must be named by what finds it. */
import { describe, expect, test } from 'vitest';
import { withTerraform } from './installation.ts';
import { laws } from './laws.ts';
import { grantedTo, needed, publishableBy, published } from './needs.ts';

const replace = (from: string | RegExp, to: string) => (text: string) => text.replace(from, to);

withTerraform('a mistake', ({ open }) => {
  describe('in the code is found by Terraform', () => {
    test.each([
      [
        'a misspelt argument',
        'topics.tf',
        replace('ack_deadline_seconds ', 'ack_deadline_secs '),
        'An argument named "ack_deadline_secs" is not expected here',
      ],
      [
        'a misspelt argument deep in a block',
        'functions.tf',
        replace('entry_point ', 'entrypoint '),
        'An argument named "entrypoint" is not expected here',
      ],
      [
        'a missing argument that is required',
        'blessings.tf',
        replace(/ {2}destination .*\n/, ''),
        'The argument "destination" is required',
      ],
      [
        'a block that is unknown',
        'topics.tf',
        replace('retry_policy {', 'retry {'),
        'Blocks of type "retry" are not expected here',
      ],
      [
        'a block that must be there',
        'secrets.tf',
        replace('replication {', 'rotation {'),
        'At least 1 "replication" blocks are required',
      ],
      [
        'a block too many',
        'topics.tf',
        replace('  retry_policy {', '  expiration_policy {\n    ttl = ""\n  }\n  retry_policy {'),
        'No more than 1 "expiration_policy" blocks are allowed',
      ],
      [
        'an argument in place of a block',
        'firestore.tf',
        replace('daily_recurrence {}', 'daily_recurrence = {}'),
        'Did you mean to define a block of type "daily_recurrence"?',
      ],
      [
        'a value of the wrong type',
        'network.tf',
        replace('min_instances = 2', 'min_instances = "two"'),
        'Inappropriate value for attribute "min_instances": a number is required',
      ],
      [
        'a resource that is not there',
        'schedule.tf',
        replace('google_pubsub_topic.topic[', 'google_pubsub_topic.topics['),
        'A managed resource "google_pubsub_topic" "topics" has not been declared',
      ],
      [
        'an attribute that a resource does not have',
        'secrets.tf',
        replace('function["predict"].member', 'function["predict"].members'),
        'This object has no argument, nested block, or exported attribute named "members"',
      ],
      [
        'a variable that is not declared',
        'build.tf',
        replace('var.location', 'var.region'),
        'An input variable with the name "region" has not been declared',
      ],
      [
        'a local value that is not there',
        'iam.tf',
        replace('local.serving_accounts)', 'local.servants)'),
        'A local value with the name "servants" has not been declared',
      ],
      [
        'a resource type that Google does not have',
        'blessings.tf',
        replace('"google_logging_project_sink"', '"google_logging_sink"'),
        'does not support resource type "google_logging_sink"',
      ],
      [
        'a circle of resources',
        'schedule.tf',
        replace('name        = "rollout-ticks"', 'name = google_cloudfunctions2_function.function["onTick"].name'),
        'Cycle:',
      ],
      [
        'an output that the example does not have',
        'examples/minimal/main.tf',
        replace('module.rollouts.next_steps', 'module.rollouts.next_step'),
        'This object does not have an attribute named "next_step"',
      ],
    ])('%s', async (_, file, change, message) => {
      const terraform = await open('minimal', { [file]: change });
      const { code, text } = await terraform.run('validate', '-no-color');
      expect(text).toContain(message);
      expect(code).not.toBe(0);
    });

    test('what depends on a value that Google sets later', async () => {
      const change = replace('var.encryption == null ? {}', 'var.encryption.kms_key == null ? {}');
      const terraform = await open('hardened', { 'encryption.tf': change });
      const { text } = await terraform.run('plan', '-no-color');
      expect(text).toContain('Invalid for_each argument');
    });
  });

  describe('in what a person writes is told with what to write instead', () => {
    test.each([
      ['a number for a project', 'project_id = "123456789012"', "Expected a project's id such as my-project"],
      ['a zone for a region', 'location = "us-central1-a"', 'Expected a region such as us-central1.'],
      ['a folder without policies', 'policies = path.module', 'at least one policy in a file that ends in .yaml'],
      ['everybody as an operator', 'operators = ["allUsers"]', 'Everybody is no operator'],
      ['everybody as a caller', 'proxy = { callers = ["allUsers"] }', 'To let in whoever has a key, set is_public.'],
      ['everybody who blesses', 'blessers = ["allAuthenticatedUsers"]', 'Expected members such as serviceAccount:'],
      ['a domain for a closed proxy', 'proxy = { domain = "a.example" }', 'with `domain`, set is_public too'],
      ['more instances at least than at most', 'proxy = { instances_min = 21 }', 'Expected 0 <= instances_min'],
      ['a range that is too large', 'network = { name = "n", connector_range = "10.8.0.0/24" }', 'such as 10.8.0.0/28'],
      ['a folder without bundles', 'bundles = path.module', 'Expected dashboard.zip, onBlessing.zip,'],
      ['a name for an address', 'alert_emails = ["ann"]', 'Expected addresses such as sre@example.com.'],
      ['a number for a channel', 'notification_channels = ["123"]', 'Expected full names such as projects/'],
      ['a key without its ring', 'encryption = { kms_key = "key" }', 'Expected a kms_key such as projects/P'],
      ['a label that Google refuses', 'labels = { Team = "ml" }', 'Expected labels of lower-case letters'],
      [
        'an image without its digest',
        'deployment = { repository = "projects/P/locations/L/connections/C/repositories/R", composition = "c1", approvers = ["user:a@b.c"], images = { node = "node:24", terraform = "t", gcloud = "g" } }',
        'a tag may be another image tomorrow',
      ],
      [
        'a deployment that a machine approves',
        'deployment = { repository = "projects/P/locations/L/connections/C/repositories/R", composition = "c1", approvers = ["serviceAccount:a@b.c"], images = { node = "n", terraform = "t", gcloud = "g" } }',
        'Who approves is a person',
      ],
      [
        'a repository that is not connected',
        'deployment = { repository = "github.com/a/b", composition = "../c", approvers = [], images = { node = "n", terraform = "t", gcloud = "g" } }',
        'Expected a repository such as projects/P/locations/L/connections/C/repositories/R.',
      ],
      ['Redis without a network', 'redis = {}', 'Redis is only reached from a VPC: set network too.'],
      [
        'a dataset without its project',
        'request_logs = ["logs"]',
        'Expected datasets of this project, such as my-project.request_logs.',
      ],
    ])('%s', async (_, argument, message) => {
      const name = argument.split(' ', 1).join();
      const change = (text: string) =>
        text
          .replace(new RegExp(`^  ${name} += .*\n`, 'm'), '')
          .replace('source = "../.."', `source = "../.."\n${argument}`);
      const terraform = await open('minimal', { 'examples/minimal/main.tf': change });
      const { code, text } = await terraform.run('plan', '-no-color');
      expect(text).toContain(message);
      expect(code).toBe(1);
    });

    const policy = 'examples/minimal/policies/delays.yaml';
    test.each([
      ['a policy that is no YAML', policy, replace('kind:', '{'), 'expected YAML with apiVersion: rollouts/v1'],
      [
        'a policy of another kind',
        policy,
        replace('RolloutPolicy', 'Rollout'),
        'expected YAML with apiVersion: rollouts/v1',
      ],
      [
        'a policy without an endpoint',
        policy,
        replace('endpoint:', 'endpoints:'),
        'expected spec.match, and a spec.endpoint',
      ],
      ['an endpoint elsewhere', policy, replace('us-central1/endpoints', 'us-east1/endpoints'), 'is in another region'],
      [
        'two policies with one name',
        'examples/minimal/policies/more.yaml',
        () => 'apiVersion: rollouts/v1\nkind: RolloutPolicy\nmetadata: { name: delays }\n',
        'more.yaml: expected a metadata.name that no other policy has.',
      ],
    ])('%s', async (_, file, change, message) => {
      const terraform = await open('minimal', { [file]: change });
      const { code, text } = await terraform.run('plan', '-no-color');
      expect(text).toContain(message);
      expect(code).toBe(1);
    });
  });

  test('against a law is found by that law', async () => {
    const terraform = await open('minimal', {
      'functions.tf': (text) =>
        text
          .replace('google_service_account.push.member]', '"allUsers"]')
          .replace(/entry_point += each.key/, 'entry_point = each.key == "onTick" ? "tick" : each.key')
          .replace('function[each.key].email', 'function[each.key == "predict" ? "dashboard" : each.key].email')
          .replace(/ROLLOUT_STORE += "firestore"/, 'ROLLOUT_MODE = "calm"')
          .replace('var.location\n    ROLLOUT_MODE', '"Frankfurt"\n    ROLLOUT_MODE'),
      'topics.tf': (text) =>
        text
          .replace('"rollout-ticks",', '"rollout-ticks", "rollout-whims",')
          .replace('} if can(function.topic) }', '} if can(function.topic) && key != "onIncident" }')
          .replace(/ {2}dead_letter_policy \{\n.*\n {4}max_delivery_attempts.*\n {2}\}\n/, ''),
      'iam.tf': (text) =>
        text
          .replace(/dashboard +=( \["search")/, 'dashboard =$1, "record"')
          .replace(/predict +=( \["rollout-evidence")/, 'predict =$1, "rollout-commands"')
          .replace(
            '"roles/pubsub.publisher"',
            'each.key == "predict/rollout-evidence" ? "roles/editor" : "roles/pubsub.publisher"',
          ),
    });
    const applied = await terraform.apply();
    const found = Object.entries(laws).map(([name, law]) => [name, law(applied)]);
    expect(Object.fromEntries(found)).toEqual({
      'nobody is let in unnamed, but by the proxy where it asks for it': expect.arrayContaining([
        'google_cloud_run_v2_service_iam_member.invoker["onTick/push"] lets in allUsers',
      ]),
      'nobody has a basic role, or rules over anything': [
        'google_pubsub_topic_iam_member.function["predict/rollout-evidence"] gives roles/editor',
      ],
      'every subscription has a dead letter, but that of the dead letters': [
        'google_pubsub_subscription.waiting has no dead letter',
      ],
      'the functions are those of functions/index.ts': [
        'function onTick is missing',
        'function tick is in nothing of the code',
      ],
      'what takes events has a subscription, and what takes requests has none': [
        'pushed URL https://rollouts-on-incident-abc123-uc.a.run.app is missing',
      ],
      'the topics are those of functions/engine/publish.ts': ['topic rollout-whims is in nothing of the code'],
      'each function runs as itself': ['rollouts-dashboard@my-project.iam.gserviceaccount.com is shared'],
      'the variables of functions are those that environment.ts reads': [
        'variable ROLLOUT_STORE is missing',
        'variable ROLLOUT_MODE is in nothing of the code',
      ],
      'every function starts with the variables it has': expect.arrayContaining([
        expect.stringContaining('ROLLOUT_LOCATION: expected a region such as us-central1'),
      ]),
    });
    expect(grantedTo(applied, 'dashboard')).not.toEqual(needed('dashboard', []));
    expect(publishableBy(applied, 'predict')).not.toEqual(published('predict'));
  });
});
