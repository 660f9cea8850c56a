/** Is a deployment that does not run found, and one that runs let through, whatever models and people do meanwhile? */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { checks } from '../../cli/doctor.ts';
import { deployed, smoke } from '../../cli/smoke.ts';
import { topics } from '../../functions/engine/publish.ts';
import { type Installation, install, type ProjectDouble, projectDouble } from './doctor/installation.ts';

const version = /"version": "([^"]+)"/.exec(readFileSync('package.json', 'utf8'))?.[1] ?? '';
const answered = { severity: 'INFO', service: 'rollouts-on-tick', message: 'reconcile: 2 active, 0 failed' };

let passedMs = 0;
const now = (): number => Date.now() + passedMs;
let installation: Installation;
let double: ProjectDouble;

beforeAll(async () => {
  installation = await install(now);
});
afterAll(() => installation.close());
beforeEach(() => {
  double = projectDouble(version);
});

/** What it finds, while `happens` once it has looked and seen nothing. */
function found(happens: () => void = () => undefined): Promise<string[]> {
  const sleep = (ms: number): Promise<void> => {
    passedMs += ms;
    happens();
    return Promise.resolve();
  };
  return smoke(installation.environment, { now, google: double.google, sleep });
}

test('what runs is let through, once it has answered a message', async () => {
  const pubsub = await installation.clients.pubsub();
  const [subscription] = await pubsub.topic(topics.ticks).createSubscription('witness');
  // The installation's own jobs publish here too, an empty object.
  const message = new Promise<string>((resolve) => {
    subscription.on('message', (one) => {
      one.ack();
      if (one.data.toString() !== '{}') resolve(one.data.toString());
    });
  });
  expect(await found(() => double.logged.push(answered))).toEqual([]);
  expect(JSON.parse(await message)).toEqual({ kind: 'reconcile' });
  await subscription.close();
});

describe('what does not run is found:', () => {
  test('a function that is down, before anything is waited for', async () => {
    double.functions.set('onCommand', { state: 'FAILED', version: version.replaceAll('.', '-') });
    const problems = await found(() => expect.unreachable('nothing is waited for'));
    expect(problems).toEqual([
      expect.stringMatching(/^functions: Function onCommand is FAILED.*Mend: gcloud functions/),
    ]);
  });

  test('a function of another version, and one that may not do what it must', async () => {
    double.functions.set('onTick', { state: 'ACTIVE', version: '0-0-9' });
    double.lacking.set('onTick', ['aiplatform.endpoints.update']);
    expect(await found()).toEqual([
      expect.stringContaining('versions: Function onTick is of version 0.0.9'),
      expect.stringContaining('lacks aiplatform.endpoints.update'),
    ]);
  });

  test('a push that Pub/Sub may not make', async () => {
    double.invokable.delete('rollout-commands');
    expect(await found()).toEqual([expect.stringMatching(/^pushes: Pub\/Sub may not call service-rollout-commands/)]);
  });

  test('a controller that does not answer, or that says it failed', async () => {
    expect(await found()).toEqual(['A message on rollout-ticks was not answered within 5 minutes.']);
    double.logged.push({ ...answered, message: 'reconcile: 2 active, 1 failed' });
    expect(await found()).toEqual(['A message on rollout-ticks was not answered within 5 minutes.']);
    double.logged.push({ severity: 'CRITICAL', service: 'rollouts-predict', message: 'The environment is not usable' });
    expect(await found()).toEqual(['rollouts-predict failed: The environment is not usable']);
  });
});

test('what a deployment does not do is left to the doctor', async () => {
  double.backlogSeconds = 3600;
  double.waitingMessages = 2;
  double.logged.push(answered);
  expect(await found()).toEqual([]);
});

test('each of its checks is one of the doctor', () => {
  const names = checks.map(({ name }) => name);
  expect(deployed.filter((name) => !names.includes(name))).toEqual([]);
});
