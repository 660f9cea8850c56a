import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import * as functions from '@google-cloud/functions-framework';
import type { CloudEvent } from '@google-cloud/functions-framework';
import { getTestServer } from '@google-cloud/functions-framework/testing';
import { PubSub as PubSubClient, v1 } from '@google-cloud/pubsub';
import { PassThroughClient } from 'google-auth-library';
import { grpc } from 'google-gax';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { serveGrpc } from '../../../emulator/grpc.ts';
import { createPubSub, type PubSub } from '../../../emulator/pubsub/pubsub.ts';
import { portOf } from '../../port.ts';

const topicName = 'projects/demo/topics/news';
const subscriptionName = 'projects/demo/subscriptions/reader';

let pubsub: PubSub;
let client: PubSubClient;
let subscriber: v1.SubscriberClient;
const closers: (() => Promise<unknown> | void)[] = [];

beforeEach(async () => {
  pubsub = createPubSub({ now: Date.now, timeScale: 1000 });
  const server = await serveGrpc(0, pubsub.services);
  vi.stubEnv('PUBSUB_EMULATOR_HOST', `127.0.0.1:${server.port}`);
  client = new PubSubClient({ projectId: 'demo' });
  subscriber = new v1.SubscriberClient({
    apiEndpoint: '127.0.0.1',
    port: server.port,
    projectId: 'demo',
    sslCreds: grpc.credentials.createInsecure(),
    authClient: new PassThroughClient(),
  });
  closers.push(
    () => server.close(),
    () => pubsub.close(),
    () => subscriber.close(),
    () => client.close(),
  );
  await client.createTopic(topicName);
});

afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
  vi.unstubAllEnvs();
});

interface Received {
  path: string;
  headers: Record<string, unknown>;
  body: { message: Record<string, unknown>; subscription: string; deliveryAttempt?: number };
  answer: (statusCode: number) => void;
}

/** A push subscriber: next() resolves to one request after the other, which the test answers. */
async function receiver() {
  const received: Received[] = [];
  const waiting: ((request: Received) => void)[] = [];
  const server = createServer((request, response: ServerResponse) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const entry: Received = {
        path: request.url ?? '',
        headers: request.headers,
        body: JSON.parse(Buffer.concat(chunks).toString('utf8')),
        answer: (statusCode) => response.writeHead(statusCode).end(),
      };
      const waiter = waiting.shift();
      if (waiter === undefined) received.push(entry);
      else waiter(entry);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  closers.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return {
    url: `http://127.0.0.1:${portOf(server)}`,
    waiting: () => received.length,
    next: (): Promise<Received> => {
      const first = received.shift();
      return first === undefined ? new Promise((resolve) => waiting.push(resolve)) : Promise.resolve(first);
    },
  };
}

async function pull(maxMessages = 10, subscription = subscriptionName) {
  const [{ receivedMessages }] = await subscriber.pull({ subscription, maxMessages });
  return (receivedMessages ?? []).map(({ ackId, message, deliveryAttempt }) => ({
    ackId: ackId ?? '',
    data: Buffer.from(message?.data ?? '').toString(),
    attributes: message?.attributes ?? {},
    orderingKey: message?.orderingKey,
    deliveryAttempt,
  }));
}

async function subscribePush(pushEndpoint: string, options: object = {}): Promise<void> {
  await client.topic(topicName).createSubscription(subscriptionName, { pushConfig: { pushEndpoint }, ...options });
}

describe('topics and subscriptions', () => {
  test('are created, read, listed and deleted', async () => {
    await client.topic(topicName).createSubscription(subscriptionName, { labels: { team: 'a' } });
    const [metadata] = await client.subscription(subscriptionName).getMetadata();
    expect(metadata).toMatchObject({
      name: subscriptionName,
      topic: topicName,
      ackDeadlineSeconds: 10,
      messageRetentionDuration: { seconds: '604800' },
      labels: { team: 'a' },
      state: 'ACTIVE',
    });
    await client.createTopic('projects/other/topics/news');
    const [topics] = await client.getTopics();
    expect(topics.map(({ name }) => name)).toEqual([topicName]);
    const [subscriptions] = await client.getSubscriptions();
    expect(subscriptions.map(({ name }) => name)).toEqual([subscriptionName]);
    const [attached] = await client.topic(topicName).getSubscriptions();
    expect(attached.map(({ name }) => name)).toEqual([subscriptionName]);

    expect(pubsub.hasTopic(topicName)).toBe(true);
    await client.topic(topicName).delete();
    expect(pubsub.hasTopic(topicName)).toBe(false);
    const [orphan] = await client.subscription(subscriptionName).getMetadata();
    expect(orphan.topic).toBe('_deleted-topic_');
    await client.subscription(subscriptionName).delete();
    expect(await client.subscription(subscriptionName).exists()).toEqual([false]);
  });

  test('lists come in pages', async () => {
    for (const id of ['aaa', 'bbb', 'ccc']) await client.createTopic(id);
    const [first, , answer] = await client.getTopics({ pageSize: 3, autoPaginate: false });
    expect(first).toHaveLength(3);
    const pageToken = String(Object(answer).nextPageToken);
    const [second] = await client.getTopics({ pageSize: 3, pageToken, autoPaginate: false });
    expect(second.map(({ name }) => name)).toEqual(['projects/demo/topics/ccc']);
  });

  test('what exists already, does not exist or is named badly is refused with its status', async () => {
    await expect(client.createTopic(topicName)).rejects.toMatchObject({ code: grpc.status.ALREADY_EXISTS });
    await expect(client.createTopic('ab')).rejects.toMatchObject({ code: grpc.status.INVALID_ARGUMENT });
    await expect(client.createTopic('googly')).rejects.toMatchObject({ code: grpc.status.INVALID_ARGUMENT });
    await expect(client.topic('absent').delete()).rejects.toMatchObject({ code: grpc.status.NOT_FOUND });
    await expect(client.topic('absent').publishMessage({ data: Buffer.from('x') })).rejects.toMatchObject({
      code: grpc.status.NOT_FOUND,
    });
    const topic = client.topic(topicName);
    await topic.createSubscription('reader');
    await expect(topic.createSubscription('reader')).rejects.toMatchObject({ code: grpc.status.ALREADY_EXISTS });
    await expect(client.topic('absent').createSubscription('other')).rejects.toMatchObject({
      code: grpc.status.NOT_FOUND,
    });
    await expect(topic.createSubscription('xx')).rejects.toMatchObject({ code: grpc.status.INVALID_ARGUMENT });
    await expect(
      topic.createSubscription('bad-letters', {
        deadLetterPolicy: { deadLetterTopic: topicName, maxDeliveryAttempts: 3 },
      }),
    ).rejects.toMatchObject({ code: grpc.status.INVALID_ARGUMENT });
    await expect(
      topic.createSubscription('bad-url', { pushConfig: { pushEndpoint: 'nowhere' } }),
    ).rejects.toMatchObject({ code: grpc.status.INVALID_ARGUMENT });
    await expect(pull(10, 'projects/demo/subscriptions/absent')).rejects.toMatchObject({
      code: grpc.status.NOT_FOUND,
    });
  });

  test('what is not emulated is refused, not ignored', async () => {
    const creating = client.topic(topicName).createSubscription('filtered', { filter: 'attributes.kind = "tick"' });
    await expect(creating).rejects.toMatchObject({
      code: grpc.status.UNIMPLEMENTED,
      details: expect.stringContaining('filter'),
    });
    expect(await client.subscription('filtered').exists()).toEqual([false]);
  });
});

describe('publishing', () => {
  test('a message without data and attributes, with too long an attribute, or over 10 MB is refused', async () => {
    const refused = { code: grpc.status.INVALID_ARGUMENT };
    const topic = client.topic(topicName);
    await expect(topic.publishMessage({ data: Buffer.alloc(0) })).rejects.toMatchObject(refused);
    await expect(topic.publishMessage({ attributes: { reason: 'x'.repeat(1025) } })).rejects.toMatchObject(refused);
    await expect(topic.publishMessage({ data: Buffer.alloc(10_000_001) })).rejects.toMatchObject(refused);
    await expect(topic.publishMessage({ data: Buffer.alloc(9_900_000) })).resolves.toMatch(/^\d+$/);
  });

  test('message ids rise, and differ from those of an emulator that ran before', () => {
    const clock = { now: 1_700_000_000_000 };
    const before = createPubSub({ now: () => clock.now, timeScale: 1 });
    before.restore(pubsub.snapshot());
    const ids = before.publish(topicName, [{ data: Buffer.from('1') }, { data: Buffer.from('2') }]);
    clock.now += 1;
    const after = createPubSub({ now: () => clock.now, timeScale: 1 });
    after.restore(before.snapshot());
    ids.push(...after.publish(topicName, [{ data: Buffer.from('3') }]));
    expect(ids.map(Number)).toEqual(ids.map(Number).toSorted((a, b) => a - b));
    expect(new Set(ids).size).toBe(3);
  });
});

describe('pull', () => {
  beforeEach(async () => {
    await client.topic(topicName).createSubscription(subscriptionName);
  });

  test('gives each message once while it is leased, and never again once it is acknowledged', async () => {
    await client.topic(topicName).publishMessage({ data: Buffer.from('hello'), attributes: { a: 'b' } });
    await client.topic(topicName).publishMessage({ attributes: { only: 'attributes' } });
    const messages = await pull();
    expect(messages).toMatchObject([
      { data: 'hello', attributes: { a: 'b' }, deliveryAttempt: 0 },
      { data: '', attributes: { only: 'attributes' } },
    ]);
    await subscriber.acknowledge({ subscription: subscriptionName, ackIds: messages.map(({ ackId }) => ackId) });
    const [empty] = await subscriber.pull({ subscription: subscriptionName, maxMessages: 1, returnImmediately: true });
    expect(empty.receivedMessages).toEqual([]);
  });

  test('a message that is given back comes again', async () => {
    pubsub.publish(topicName, [{ data: Buffer.from('again') }]);
    const [first] = await pull();
    await subscriber.modifyAckDeadline({
      subscription: subscriptionName,
      ackIds: [first?.ackId ?? ''],
      ackDeadlineSeconds: 0,
    });
    expect(await pull()).toMatchObject([{ data: 'again' }]);
  });

  test('a pull that waits is answered by the next publish', async () => {
    const waiting = pull();
    pubsub.publish(topicName, [{ data: Buffer.from('soon') }]);
    expect(await waiting).toMatchObject([{ data: 'soon' }]);
  });

  test('a stream delivers to on("message") and takes its acknowledgements', async () => {
    const subscription = client.subscription(subscriptionName);
    const texts: string[] = [];
    const two = new Promise<void>((resolve, reject) => {
      subscription.on('error', reject);
      subscription.on('message', (message) => {
        texts.push(message.data.toString());
        message.ack();
        if (texts.length === 2) resolve();
      });
    });
    pubsub.publish(topicName, [{ data: Buffer.from('one') }]);
    await vi.waitUntil(() => texts.length === 1);
    pubsub.publish(topicName, [{ data: Buffer.from('two') }]);
    await two;
    await subscription.close();
    expect(texts).toEqual(['one', 'two']);
    expect(pubsub.snapshot()).toMatchObject({ subscriptions: [{ pending: [] }] });
  });

  test('a stream on a subscription that does not exist fails with NOT_FOUND', async () => {
    const subscription = client.subscription('absent');
    const [error] = await new Promise<unknown[]>((resolve) => {
      subscription.on('error', (...args: unknown[]) => resolve(args));
      subscription.on('message', () => {});
    });
    expect(error).toMatchObject({ code: grpc.status.NOT_FOUND });
    await subscription.close();
  });
});

describe('push', () => {
  test('posts the message in the wire format of the service', async () => {
    const http = await receiver();
    await subscribePush(`${http.url}/projects/demo/topics/news`, { enableMessageOrdering: true });
    const messageId = await client
      .topic(topicName, { messageOrdering: true })
      .publishMessage({ data: Buffer.from('{"kind":"tick"}'), attributes: { a: 'b' }, orderingKey: 'k' });
    const { path, headers, body, answer } = await http.next();
    answer(204);
    expect(path).toBe('/projects/demo/topics/news');
    expect(headers['content-type']).toBe('application/json');
    const publishTime = body.message['publishTime'];
    expect(new Date(String(publishTime)).toISOString()).toBe(publishTime);
    expect(body).toEqual({
      message: {
        data: Buffer.from('{"kind":"tick"}').toString('base64'),
        attributes: { a: 'b' },
        messageId,
        message_id: messageId,
        publishTime,
        publish_time: publishTime,
        orderingKey: 'k',
      },
      subscription: subscriptionName,
    });
  });

  test('reaches a function of the Functions Framework as a CloudEvent', async () => {
    const event = new Promise<CloudEvent<unknown>>((resolve) => functions.cloudEvent('door', resolve));
    const server = getTestServer('door').listen(0, '127.0.0.1');
    await once(server, 'listening');
    closers.push(() => {
      server.closeAllConnections();
      server.close();
    });
    await subscribePush(`http://127.0.0.1:${portOf(server)}/projects/demo/topics/news`);
    const [messageId] = pubsub.publish(topicName, [{ data: Buffer.from('{"a":1}'), attributes: { b: 'c' } }]);
    expect(await event).toMatchObject({
      id: messageId,
      type: 'google.cloud.pubsub.topic.v1.messagePublished',
      source: '//pubsub.googleapis.com/projects/demo/topics/news',
      data: { message: { data: Buffer.from('{"a":1}').toString('base64'), attributes: { b: 'c' }, messageId } },
    });
    await vi.waitUntil(() => JSON.stringify(pubsub.snapshot()).includes('"pending":[]'));
  });

  test('posts an attribute-only message with empty data', async () => {
    const http = await receiver();
    await subscribePush(http.url);
    pubsub.publish(topicName, [{ attributes: { kind: 'tick' } }]);
    const { body, answer } = await http.next();
    answer(200);
    expect(body.message).toMatchObject({ data: '', attributes: { kind: 'tick' } });
  });

  test('any 2xx acknowledges, anything else is delivered again with the same id', async () => {
    const http = await receiver();
    await subscribePush(http.url);
    const [messageId] = pubsub.publish(topicName, [{ data: Buffer.from('x') }]);
    for (const statusCode of [500, 302, 429, 404]) (await http.next()).answer(statusCode);
    const last = await http.next();
    expect(last.body.message['messageId']).toBe(messageId);
    last.answer(202);
    await vi.waitUntil(() => JSON.stringify(pubsub.snapshot()).includes('"pending":[]'));
    expect(http.waiting()).toBe(0);
  });

  test('delivers again when the subscriber was not there', async () => {
    const http = await receiver();
    await subscribePush('http://127.0.0.1:1');
    const [messageId] = pubsub.publish(topicName, [{ data: Buffer.from('x') }]);
    await client.subscription(subscriptionName).modifyPushConfig({ pushEndpoint: http.url });
    const { body, answer } = await http.next();
    answer(200);
    expect(body.message['messageId']).toBe(messageId);
  });

  test('holds 16 messages in flight for a subscription, and no more', async () => {
    const http = await receiver();
    await subscribePush(http.url);
    pubsub.publish(
      topicName,
      Array.from({ length: 48 }, (_, index) => ({ data: Buffer.from(String(index)) })),
    );
    const inFlight = await Promise.all(Array.from({ length: 16 }, () => http.next()));
    for (let index = 16; index < 48; index += 1) {
      expect(http.waiting()).toBe(0);
      inFlight.shift()?.answer(200);
      const next = await http.next();
      expect(next.body.message['data']).toBe(Buffer.from(String(index)).toString('base64'));
      inFlight.push(next);
    }
    for (const { answer } of inFlight) answer(200);
  });

  test('keeps the order of a key: the second waits until the first is acknowledged', async () => {
    const http = await receiver();
    await subscribePush(http.url, { enableMessageOrdering: true });
    pubsub.publish(topicName, [
      { data: Buffer.from('1'), orderingKey: 'k' },
      { data: Buffer.from('2'), orderingKey: 'k' },
    ]);
    const seen: unknown[] = [];
    for (const statusCode of [500, 200, 200]) {
      const { body, answer } = await http.next();
      expect(http.waiting()).toBe(0);
      seen.push(Buffer.from(String(body.message['data']), 'base64').toString());
      answer(statusCode);
    }
    expect(seen).toEqual(['1', '1', '2']);
  });

  test('after the last attempt the message is on the dead-letter topic, with where it came from', async () => {
    const http = await receiver();
    const deadLetterTopic = 'projects/demo/topics/dead';
    const graveyard = 'projects/demo/subscriptions/graveyard';
    await client.createTopic(deadLetterTopic);
    await client.topic(deadLetterTopic).createSubscription(graveyard);
    await subscribePush(http.url, { deadLetterPolicy: { deadLetterTopic, maxDeliveryAttempts: 5 } });
    pubsub.publish(topicName, [{ data: Buffer.from('poison'), attributes: { a: 'b' } }]);
    for (const attempt of [1, 2, 3, 4, 5]) {
      const { body, answer } = await http.next();
      expect(body.deliveryAttempt).toBe(attempt);
      answer(500);
    }
    expect(await pull(1, graveyard)).toMatchObject([
      {
        data: 'poison',
        attributes: {
          a: 'b',
          CloudPubSubDeadLetterSourceDeliveryCount: '5',
          CloudPubSubDeadLetterSourceSubscription: 'reader',
          CloudPubSubDeadLetterSourceSubscriptionProject: 'demo',
          CloudPubSubDeadLetterSourceTopicPublishTime: expect.stringMatching(/^\d{4}-.*\+00:00$/),
        },
      },
    ]);
    expect(http.waiting()).toBe(0);
  });

  test('what was not acknowledged is delivered again after a restart from a snapshot', async () => {
    const http = await receiver();
    await subscribePush(http.url);
    pubsub.publish(topicName, [{ data: Buffer.from('kept'), attributes: { a: 'b' } }]);
    const cut = await http.next();
    const snapshot: unknown = JSON.parse(JSON.stringify(pubsub.snapshot()));
    pubsub.close();
    const restarted = createPubSub({ now: Date.now, timeScale: 1 });
    closers.push(() => restarted.close());
    restarted.restore(snapshot);
    const again = await http.next();
    cut.answer(200);
    expect(again.body.message).toEqual(cut.body.message);
    again.answer(200);
    await vi.waitUntil(() => JSON.stringify(restarted.snapshot()).includes('"pending":[]'));
  });
});
