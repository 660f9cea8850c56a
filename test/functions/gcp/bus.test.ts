import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseEnvironment } from '../../../functions/engine/environment.ts';
import { pubsubBus } from '../../../functions/gcp/bus.ts';
import { type Clients, googleClients } from '../../../functions/gcp/clients.ts';
import { withPubSubEmulator } from '../../emulators.ts';

withPubSubEmulator('the Pub/Sub bus', (emulator) => {
  let clients: Clients;

  beforeAll(() => {
    clients = googleClients(
      parseEnvironment({
        GOOGLE_CLOUD_PROJECT: 'bus',
        ROLLOUT_LOCATION: 'us-central1',
        PUBSUB_EMULATOR_HOST: emulator.host,
      }),
    );
  });

  afterAll(() => clients.close());

  test('what was published arrives, with data and attributes, and with attributes alone', async () => {
    const pubsub = await clients.pubsub();
    const [topic] = await pubsub.createTopic('notifications');
    const [subscription] = await topic.createSubscription('reader');
    const received = Promise.withResolvers<{ text: string; attributes: Record<string, string> }[]>();
    const seen: { text: string; attributes: Record<string, string> }[] = [];
    subscription.on('message', (message) => {
      seen.push({ text: message.data.toString(), attributes: message.attributes });
      message.ack();
      if (seen.length === 3) received.resolve(seen);
    });
    subscription.on('error', received.reject);

    const bus = pubsubBus(clients);
    await bus.publish('notifications', [
      { data: Buffer.from('first'), attributes: {} },
      { data: Buffer.from('second'), attributes: { kind: 'held' } },
    ]);
    await bus.publish('notifications', [{ data: new Uint8Array(), attributes: { command: 'pause' } }]);

    expect(await received.promise).toEqual(
      expect.arrayContaining([
        { text: 'first', attributes: {} },
        { text: 'second', attributes: { kind: 'held' } },
        { text: '', attributes: { command: 'pause' } },
      ]),
    );
    await subscription.close();
  });

  test('a topic that does not exist is named in a permanent error', async () => {
    const publishing = pubsubBus(clients).publish('no-such-topic', [{ data: Buffer.from('x'), attributes: {} }]);
    await expect(publishing).rejects.toMatchObject({ name: 'PermanentError', code: 'notFound' });
    await expect(publishing).rejects.toThrow(/^Publish to no-such-topic: .*NOT_FOUND/);
  });

  test('nothing to publish asks nothing of the service', async () => {
    await expect(pubsubBus(clients).publish('no-such-topic', [])).resolves.toBeUndefined();
  });
});
