/** Is Pub/Sub's REST API at the port of its gRPC services, and does what it publishes arrive? */
import { PubSub } from '@google-cloud/pubsub';
import { PassThroughClient } from 'google-auth-library';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type RunningEmulator, startEmulator } from '../../../emulator/start.ts';
import { parseEnvironment } from '../../../functions/engine/environment.ts';
import { restBus } from '../../../functions/gcp/bus.ts';
import { type Clients, googleClients } from '../../../functions/gcp/clients.ts';

let emulator: RunningEmulator;
let pubsub: PubSub;
let clients: Clients;

beforeAll(async () => {
  emulator = await startEmulator();
  const environment = { ...emulator.environment, GOOGLE_CLOUD_PROJECT: 'demo', ROLLOUT_LOCATION: 'us-central1' };
  clients = googleClients(parseEnvironment(environment));
  pubsub = new PubSub({
    projectId: 'demo',
    apiEndpoint: emulator.hosts.pubsub,
    emulatorMode: true,
    authClient: new PassThroughClient(),
  });
});

afterAll(async () => {
  await pubsub.close();
  await clients.close();
  await emulator.close();
});

test('what is published over REST arrives with its data and attributes', async () => {
  const [topic] = await pubsub.createTopic('rollout-commands');
  const [subscription] = await topic.createSubscription('told');
  const received = new Promise<{ text: string; attributes: Record<string, string> }>((resolve) => {
    subscription.on('message', (message) => {
      message.ack();
      resolve({ text: message.data.toString(), attributes: message.attributes });
    });
  });
  await restBus(clients).publish('rollout-commands', [{ data: Buffer.from('ünd'), attributes: { a: 'b' } }]);
  expect(await received).toEqual({ text: 'ünd', attributes: { a: 'b' } });
  await subscription.close();
});

test.each([
  [
    'a topic that is not there',
    'POST',
    '/v1/projects/demo/topics/nobody:publish',
    '{"messages":[{"data":"YQ=="}]}',
    404,
    'NOT_FOUND',
  ],
  [
    'data that is not base64',
    'POST',
    '/v1/projects/demo/topics/rollout-commands:publish',
    '{"messages":[{"data":"?"}]}',
    400,
    'INVALID_ARGUMENT',
  ],
  [
    'a message of nothing',
    'POST',
    '/v1/projects/demo/topics/rollout-commands:publish',
    '{"messages":[{}]}',
    400,
    'INVALID_ARGUMENT',
  ],
  ['what is no JSON', 'POST', '/v1/projects/demo/topics/rollout-commands:publish', '{', 400, 'INVALID_ARGUMENT'],
  ['another method', 'GET', '/v1/projects/demo/topics', null, 404, 'NOT_FOUND'],
])('%s is refused', async (_what, method, path, body, code, status) => {
  const answer = await fetch(`http://${emulator.hosts.pubsub}${path}`, { method, body });
  expect(answer.status).toBe(code);
  expect(await answer.json()).toMatchObject({ error: { code, status, message: expect.any(String) } });
});

test('the bus says who is to blame, as with the client', async () => {
  const bus = restBus(clients);
  const messages = [{ data: Buffer.from('a'), attributes: {} }];
  await expect(bus.publish('nobody', messages)).rejects.toMatchObject({ name: 'PermanentError', code: 'notFound' });
  await bus.publish('nobody', []);
});
