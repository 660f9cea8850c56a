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
    '/v1/projects/demo/topics/nobody:publish',
    '{"messages":[{"data":"YQ=="}]}',
    404,
    'NOT_FOUND',
  ],
  [
    'data that is not base64',
    '/v1/projects/demo/topics/rollout-commands:publish',
    '{"messages":[{"data":"?"}]}',
    400,
    'INVALID_ARGUMENT',
  ],
  [
    'a message of nothing',
    '/v1/projects/demo/topics/rollout-commands:publish',
    '{"messages":[{}]}',
    400,
    'INVALID_ARGUMENT',
  ],
  ['what is no JSON', '/v1/projects/demo/topics/rollout-commands:publish', '{', 400, 'INVALID_ARGUMENT'],
])('%s is refused', async (_what, path, body, code, status) => {
  const answer = await fetch(`http://${emulator.hosts.pubsub}${path}`, { method: 'POST', body });
  expect(answer.status).toBe(code);
  expect(await answer.json()).toMatchObject({ error: { code, status, message: expect.any(String) } });
});

test('what is not there is refused', async () => {
  const answer = await fetch(`http://${emulator.hosts.pubsub}/v1/projects/demo/topics`);
  expect(answer.status).toBe(404);
  expect(await answer.json()).toMatchObject({ error: { code: 404, status: 'NOT_FOUND' } });
});

test('the bus says who is to blame, as with the client', async () => {
  const bus = restBus(clients);
  const messages = [{ data: Buffer.from('a'), attributes: {} }];
  await expect(bus.publish('nobody', messages)).rejects.toMatchObject({ name: 'PermanentError', code: 'notFound' });
  await bus.publish('nobody', []);
});
