/** Does the doctor find what is broken, and only that? Each fault is planted in an installation that is well. */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { diagnose } from '../../cli/doctor.ts';
import type { Finding } from '../../cli/doctor/checkup.ts';
import { permissionsOf, uses } from '../../cli/doctor/permissions.ts';
import { main } from '../../cli/rollouts.ts';
import { functionNames } from '../../cli/start/places.ts';
import { emptyRecord } from '../../machines/rollout/record.ts';
import { endpointKey } from '../../machines/rollout/resource-name.ts';
import { needed, published } from '../terraform/needs.ts';
import { watcher } from '../functions/engine/watchers.ts';
import * as google from '../emulator/google-clients.ts';
import {
  accountOf,
  createJob,
  endpoint,
  type Installation,
  install,
  parent,
  policyText,
  type ProjectDouble,
  projectDouble,
  subscribe,
} from './doctor/installation.ts';
import { startPerson } from './system-double.ts';

const version = /"version": "([^"]+)"/.exec(readFileSync('package.json', 'utf8'))?.[1] ?? '';
const minute = 60_000;

let skippedMs = 0;
const now = (): number => Date.now() + skippedMs;
let installation: Installation;
let double: ProjectDouble;

beforeAll(async () => {
  installation = await install(now);
});
afterAll(() => installation.close());
beforeEach(() => {
  double = projectDouble(version);
});

/** Looks shortly after the endpoint was asked, when Monitoring shows it. */
async function examine({ project = true, isAsked = true } = {}): Promise<Finding[]> {
  if (isAsked) {
    installation.predict();
    skippedMs += 2000;
  }
  return diagnose(installation.environment, { now, ...(project ? { google: double.google } : {}) });
}

async function problemsOf(options?: { isAsked?: boolean }): Promise<string[]> {
  const findings = await examine(options);
  return findings.flatMap(({ check, problems }) =>
    problems.map(({ what, why, mend }) => {
      expect([why, mend].every((text) => text.length > 3)).toBe(true);
      return `${check}: ${what} → ${mend}`;
    }),
  );
}

async function jobs() {
  const scheduler = await installation.clients.scheduler();
  const tick = `${parent}/jobs/rollout-ticks`;
  const reconcile = `${parent}/jobs/rollout-reconcile`;
  return { scheduler, tick, reconcile };
}

describe('an installation that is well', () => {
  test('has no problem, and everything was looked at', async () => {
    const findings = await examine();
    expect(findings.filter(({ status }) => status !== 'ok')).toEqual([]);
    expect(findings.map(({ check }) => check)).toContain('permissions');
  });

  test('is well on this machine too, where what only a project has is named as not checked', async () => {
    const findings = await examine({ project: false });
    expect(findings.filter(({ status }) => status === 'problem')).toEqual([]);
    const unchecked = findings.filter(({ status }) => status === 'unchecked').map(({ check }) => check);
    expect(unchecked).toEqual([
      'APIs',
      'functions',
      'versions',
      'pushes',
      'backlog',
      'your permissions',
      'permissions',
    ]);
  });

  test('is only read', async () => {
    const url = `http://${installation.emulator.hosts.control}/calls`;
    await fetch(url, { method: 'DELETE' });
    await examine();
    const { methods } = JSON.parse(await (await fetch(url)).text());
    const verbs = Object.keys(methods).map((method) => /\/(Get|List|[A-Z][a-z]+)/.exec(method)?.[1]);
    expect(new Set(verbs)).toEqual(new Set(['Get', 'List']));
  });
});

describe('the command', () => {
  /** At a keyboard whose clock is that of the installation. */
  async function run(args: string[]): Promise<{ code: number; out: string }> {
    const written = { out: '' };
    const sink = { write: (text: string) => (written.out += text) };
    const sleep = () => Promise.resolve();
    const { variables } = installation;
    const world = { stdout: sink, stderr: sink, env: variables, folder: '.', user: 'anna', now, sleep };
    return { code: await main(args, world), ...written };
  }

  test('ends with 0 when all is well and with 1 when not, as text and as JSON', async () => {
    installation.predict();
    skippedMs += 2000;
    const well = await run(['doctor', '--json']);
    expect(well.code).toBe(0);
    expect(JSON.parse(well.out)).toMatchObject({ problems: 0, findings: expect.any(Array) });
    onTestFinished(installation.addPolicy('kind: Nonsense'));
    const broken = await run(['doctor']);
    expect(broken.code).toBe(1);
    expect(broken.out).toMatch(/PROBLEM {4}policies/);
    expect(broken.out).toMatch(/ {2}mend {2}mend the file/);
    expect(broken.out).toContain('unchecked  APIs');
    expect(broken.out).toMatch(/to mend\. 7 of 17 checks were not made\.\n$/);
  });

  test('asks which installation is meant when none is named', async () => {
    const person = await startPerson();
    const { code, err } = await person.run(['doctor'], {});
    expect({ code, err }).toEqual({ code: 2, err: expect.stringContaining('GOOGLE_CLOUD_PROJECT: is required') });
    await person.close();
  });
});

describe('what does not wake is found', () => {
  test('a tick job that is paused while something is active', async () => {
    const { commit } = watcher(1);
    const committed = await installation.store.commit(commit);
    expect(await problemsOf()).toEqual([
      expect.stringMatching(
        /^tick job: Job rollout-ticks is PAUSED while 1 rollout is active.* jobs resume rollout-ticks/,
      ),
    ]);
    const revision = committed.kind === 'committed' ? committed.revision : '';
    await installation.store.commit({ ...commit, expected: revision, isActive: false });
  });

  test('a tick job that runs though nothing is active', async () => {
    const { scheduler, tick } = await jobs();
    await scheduler.resumeJob({ name: tick });
    expect(await problemsOf()).toEqual([]);
    skippedMs += 22 * minute;
    expect(await problemsOf()).toEqual([expect.stringMatching(/^tick job: .* is ENABLED, and nothing is active/)]);
    await scheduler.pauseJob({ name: tick });
  });

  test('a reconcile job that is paused, late, failing or gone', async () => {
    const { scheduler, reconcile } = await jobs();
    await scheduler.pauseJob({ name: reconcile });
    expect(await problemsOf()).toEqual([
      expect.stringMatching(/^reconcile job: Job rollout-reconcile is PAUSED.* jobs resume rollout-reconcile/),
    ]);
    await scheduler.deleteJob({ name: reconcile });
    expect(await problemsOf()).toEqual([expect.stringMatching(/^reconcile job: There is no job/)]);
    await createJob(installation.clients, 'rollout-reconcile', '0 0 1 1 *');
    skippedMs += 40 * minute;
    expect(await problemsOf()).toEqual([expect.stringMatching(/^reconcile job: .* has not run for 40m/)]);
    const pubsub = await installation.clients.pubsub();
    await pubsub.topic('rollout-ticks').delete();
    await scheduler.runJob({ name: reconcile });
    const problems = await problemsOf();
    expect(problems).toContainEqual(expect.stringMatching(/^reconcile job: The last run of job .* failed with 5/));
    expect(problems).toContainEqual(expect.stringMatching(/^topics: There is no topic rollout-ticks/));
    expect(problems).toContainEqual(expect.stringMatching(/^subscriptions: Subscription rollout-ticks is of _deleted/));
    await pubsub.createTopic('rollout-ticks');
    await pubsub.subscription('rollout-ticks').delete();
    await subscribe(installation.clients, 'rollout-ticks');
    await scheduler.runJob({ name: reconcile });
    expect(await problemsOf()).toEqual([]);
  });
});

describe('what does not arrive is found', () => {
  test.each([
    ['gone', null, 'is not there'],
    ['without a dead letter', { deadLetterPolicy: null }, 'has no dead letter'],
    ['pulled by somebody', { pushEndpoint: undefined }, 'pushes to nobody'],
  ])('a subscription that is %s', async (_, options, what) => {
    const pubsub = await installation.clients.pubsub();
    await pubsub.subscription('rollout-commands').delete();
    if (options !== null) await subscribe(installation.clients, 'rollout-commands', options);
    expect(await problemsOf()).toEqual([
      expect.stringContaining(`subscriptions: Subscription rollout-commands ${what}`),
    ]);
    if (options !== null) await pubsub.subscription('rollout-commands').delete();
    await subscribe(installation.clients, 'rollout-commands');
  });

  test('a push that Pub/Sub may not make, or that goes elsewhere', async () => {
    double.invokable.delete('rollout-commands');
    expect(await problemsOf()).toEqual([
      expect.stringMatching(/^pushes: Pub\/Sub may not call service-rollout-commands.*add-iam-policy-binding/),
    ]);
    double = projectDouble(version);
    double.functions.delete('onCommand');
    const problems = await problemsOf();
    expect(problems).toContainEqual(expect.stringMatching(/^pushes: Subscription rollout-commands pushes to https:/));
    expect(problems).toContainEqual(expect.stringMatching(/^functions: There is no function onCommand/));
  });

  test('messages that wait, and messages that were set aside', async () => {
    double.backlogSeconds = 3600;
    double.waitingMessages = 2;
    expect(await problemsOf()).toEqual([
      expect.stringContaining('backlog: The oldest message of rollout-commands waits for 1h'),
      expect.stringContaining('backlog: 2 messages in rollout-dead-letters'),
    ]);
  });
});

describe('what cannot be read is found', () => {
  test('a damaged record, and one of a newer version', async () => {
    const base = { expected: null, isActive: false, journal: [], marks: [], archive: [] };
    const damaged = await installation.store.commit({ ...base, key: 'us-central1~damaged', data: { schema: 2 } });
    const newer = await installation.store.commit({ ...base, key: 'us-central1~newer', data: { schema: 99 } });
    expect(await problemsOf()).toEqual([
      expect.stringMatching(/^records: .*us-central1~damaged is damaged at .*runbooks/),
      expect.stringMatching(/^records: .*us-central1~newer was written by a newer version \(schema 99.*upgrade/),
    ]);
    for (const [id, result] of [
      ['damaged', damaged],
      ['newer', newer],
    ] as const) {
      const expected = result.kind === 'committed' ? result.revision : null;
      const data = emptyRecord(`projects/demo-project/locations/us-central1/endpoints/${id}`);
      await installation.store.commit({ ...base, key: `us-central1~${id}`, expected, data });
    }
    expect(await problemsOf()).toEqual([]);
  });

  test('a store that is not there', async () => {
    const environment = { ...installation.environment, store: { kind: 'sqlite', path: '/nowhere/at.all' } as const };
    const findings = await diagnose(environment, { now });
    expect(findings.find(({ check }) => check === 'records')).toMatchObject({
      status: 'problem',
      problems: [{ what: expect.stringContaining('/nowhere/at.all'), mend: 'npm start' }],
    });
  });

  test('a policy that is not valid, that is for nothing, or that is for another region', async () => {
    const second = policyText.replace('name: delays', 'name: second');
    onTestFinished(installation.addPolicy(second.replace('metricLag', 'metricLagg')));
    expect(await problemsOf()).toEqual([expect.stringMatching(/^policies: .*second\.yaml.*metricLagg.*policy lint/)]);
    installation.addPolicy(
      second.replace('endpoints/delays', 'endpoints/gone').replace('models/delays', 'models/gone'),
    );
    expect(await problemsOf()).toEqual([
      expect.stringMatching(/^endpoints: Policy second .*\/endpoints\/gone, which does not exist.* ai endpoints list/),
      expect.stringMatching(/^models: Policy second .*\/models\/gone, which does not exist.* ai models list/),
    ]);
    installation.addPolicy(second.replaceAll('us-central1', 'europe-west4'));
    expect(await problemsOf()).toEqual([expect.stringMatching(/^policies: .*speak to Vertex AI in us-central1/)]);
  });

  test('a service that does not answer is a problem of each check that needs it', async () => {
    const url = `http://${installation.emulator.hosts.control}/faults`;
    onTestFinished(async () => void (await fetch(url, { method: 'DELETE' })));
    await fetch(url, {
      method: 'POST',
      body: JSON.stringify([{ method: '*Subscriber/Get*', code: 'PERMISSION_DENIED' }]),
    });
    const problems = await problemsOf();
    expect(problems.map((text) => text.split(':')[0])).toEqual(['pushes', 'subscriptions']);
    expect(problems[0]).toContain('--role=roles/viewer');
  });
});

describe('what a rollout would miss, and what bills for nobody, is found', () => {
  test('metrics that are stale', async () => {
    await examine();
    skippedMs += 20_000;
    expect(await problemsOf({ isAsked: false })).toEqual([
      expect.stringMatching(/^metrics: The newest request .* is \d+s old; policy delays expects 3s/),
    ]);
    skippedMs += 10 * minute;
    expect((await problemsOf({ isAsked: false }))[0]).toMatch(/is older than \d+s/);
  });

  test('a DeployedModel without traffic, unless a rollout under way needs it', async () => {
    await google.uploadVersion(installation.vertex, 'delays');
    await google.deploy(installation.vertex, endpoint, '77', 'delays@2', { '1': 100 });
    expect(await problemsOf()).toEqual([
      expect.stringMatching(
        /^orphans: DeployedModel 77 .* undeploy-model .*--deployed-model-id=77 --region=us-central1/,
      ),
    ]);
    const { commit } = watcher(3);
    const active = structuredClone(Object(commit.data));
    active.endpoint = endpoint;
    active.active.context.endpoint = endpoint;
    const key = endpointKey(endpoint);
    const committed = await installation.store.commit({ ...commit, key, data: active });
    expect((await problemsOf()).filter((text) => text.startsWith('orphans'))).toEqual([]);
    const expected = committed.kind === 'committed' ? committed.revision : null;
    await installation.store.commit({ ...commit, key, expected, data: { ...active, active: null }, isActive: false });
    const [operation] = await installation.vertex.endpoints.undeployModel({ endpoint, deployedModelId: '77' });
    await operation.promise();
    expect(await problemsOf()).toEqual([]);
  });
});

describe('a project that is not as Terraform left it is found', () => {
  test('an API that is off', async () => {
    double.disabled.push('firestore.googleapis.com');
    expect(await problemsOf()).toEqual([
      expect.stringMatching(/^APIs: firestore\.googleapis\.com is not enabled.* gcloud services enable firestore/),
    ]);
  });

  test('a function that is down, and one of another version', async () => {
    double.functions.set('onTick', { state: 'FAILED', version: '0-0-9' });
    expect(await problemsOf()).toEqual([
      expect.stringMatching(/^functions: Function onTick is FAILED.* gcloud functions describe/),
      expect.stringContaining(`versions: Function onTick is of version 0.0.9, and this command line of ${version}`),
    ]);
  });

  test('functions that do not say their version are not taken to be of this one', async () => {
    for (const name of functionNames) double.functions.set(name, { state: 'ACTIVE', version: null });
    const findings = await examine();
    expect(findings.find(({ check }) => check === 'versions')?.status).toBe('unchecked');
  });

  test('a function that may not do what it must, or that may do everything', async () => {
    double.lacking.set('onTick', ['aiplatform.endpoints.update']);
    double.publishers.set('rollout-evidence', []);
    double.roles.push({ role: 'roles/editor', members: [`serviceAccount:${accountOf('dashboard')}`] });
    expect(await problemsOf()).toEqual([
      expect.stringContaining(`permissions: ${accountOf('onTick')} lacks aiplatform.endpoints.update.`),
      expect.stringContaining(`permissions: ${accountOf('predict')} lacks pubsub.topics.publish on rollout-evidence.`),
      expect.stringContaining(`permissions: ${accountOf('dashboard')} has roles/editor.`),
    ]);
  });

  test('an operator who may not look, or may not abort', async () => {
    double.denied.push('cloudscheduler.jobs.get', 'pubsub.topics.publish');
    expect(await problemsOf()).toEqual([
      expect.stringContaining('your permissions: You lack cloudscheduler.jobs.get.'),
      expect.stringContaining('your permissions: You may not publish to rollout-commands.'),
    ]);
  });

  test.each(functionNames)('what %s is taken to need is what its code calls for', (name) => {
    const needs = new Set(permissionsOf(name, []));
    needs.delete('pubsub.topics.publish');
    expect([...needs]).toEqual(needed(name, []));
    expect(uses[name].topics.toSorted()).toEqual(published(name));
  });
});
