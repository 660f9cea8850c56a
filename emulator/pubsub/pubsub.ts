/**
 * How does Pub/Sub behave? The Publisher and Subscriber services of google.pubsub.v1 in memory, for Google's own
 * client: pull, streaming pull and push; leases, retries, ordering keys and dead letters. No IAM, schemas or filters.
 */
import { z } from 'zod';
import {
  type BeforeCall,
  type GrpcService,
  page,
  parseRequest,
  StatusError,
  status,
  type UnaryHandler,
  unaryService,
} from '../grpc.ts';
import {
  type Message,
  type OutgoingMessage,
  parseMessages,
  parseSubscription,
  projectName,
  subscriptionName,
  topicName,
} from './resources.ts';
import { type PullStream, Subscription, shuttingDown, type Surroundings } from './subscription.ts';

export type { OutgoingMessage } from './resources.ts';

export interface PubSub {
  /** For serveGrpc(). */
  services: GrpcService[];
  /** Publishes to `projects/P/topics/T`; returns the message ids. Throws a StatusError as the service would answer. */
  publish(topic: string, messages: readonly OutgoingMessage[]): string[];
  hasTopic(name: string): boolean;
  /** All topics, subscriptions and messages not acknowledged, as JSON. */
  snapshot(): unknown;
  /** Replaces everything by a snapshot; its messages are due at once. Throws when it is not one. */
  restore(snapshot: unknown): void;
  /** Ends pulls, streams and pushes under way, so close it before its server. What is unacknowledged stays stored. */
  close(): void;
}

export interface PubSubOptions {
  now: () => number;
  /** Waits between deliveries are this many times shorter. */
  timeScale: number;
  before?: BeforeCall;
}

const resourceSchema = z.record(z.string(), z.unknown());
const topicSchema = z.object({ topic: topicName });
const subscriptionSchema = z.object({ subscription: subscriptionName });
const projectSchema = z.object({ project: projectName });
const publishSchema = topicSchema.extend({ messages: z.array(z.unknown()) });
const pullSchema = subscriptionSchema.extend({
  maxMessages: z.int().min(1, 'expected 1 or more'),
  returnImmediately: z.boolean(),
});
const acknowledgeSchema = subscriptionSchema.extend({ ackIds: z.array(z.string()).min(1, 'expected one or more') });
const modifyAckDeadlineSchema = acknowledgeSchema.extend({ ackDeadlineSeconds: z.int().min(0).max(600) });
const modifyPushConfigSchema = subscriptionSchema.extend({ pushConfig: resourceSchema.nullish() });
const streamSchema = subscriptionSchema.extend({
  streamAckDeadlineSeconds: z.literal(0).or(z.int().min(10).max(600)),
  maxOutstandingMessages: z.coerce.number(),
});
const snapshotSchema = z.object({
  topics: z.array(resourceSchema),
  subscriptions: z.array(
    z.object({
      resource: resourceSchema,
      pending: z.array(
        z.object({
          messageId: z.string(),
          publishTime: z.number(),
          data: z.base64(),
          attributes: z.record(z.string(), z.string()),
          orderingKey: z.string(),
          attempts: z.number(),
        }),
      ),
    }),
  ),
});

/** Makes an empty Pub/Sub. */
export function createPubSub({ now, timeScale, before }: PubSubOptions): PubSub {
  const topics = new Map<string, Record<string, unknown>>();
  const subscriptions = new Map<string, Subscription>();
  const surroundings: Surroundings = { now, timeScale, forward };
  let lastId = 0;

  /** Ids rise, also across restarts: a subscriber that remembers ids must not meet one again. */
  function nextId(): string {
    lastId = Math.max(lastId + 1, Math.floor(now()) * 1000);
    return String(lastId);
  }

  function publish(topic: string, outgoing: readonly unknown[]): string[] {
    if (!topics.has(topic)) throw notFound(topic);
    const messages = parseMessages(outgoing, now(), nextId);
    for (const message of messages) enqueue(topic, message);
    return messages.map(({ messageId }) => messageId);
  }

  function enqueue(topic: string, message: Message): void {
    for (const subscription of subscriptions.values()) {
      if (subscription.settings.topic === topic) subscription.add(message);
    }
  }

  function forward(topic: string, message: Message): boolean {
    if (!topics.has(topic)) return false;
    enqueue(topic, { ...message, messageId: nextId(), publishTime: now() });
    return true;
  }

  function find(name: string): Subscription {
    const subscription = subscriptions.get(name);
    if (subscription === undefined) throw notFound(name);
    return subscription;
  }

  function subscribe(resource: Record<string, unknown>): Subscription {
    const { name } = parseRequest(z.object({ name: subscriptionName }), resource);
    if (subscriptions.has(name)) throw new StatusError(status.ALREADY_EXISTS, `${name} exists already.`);
    const subscription = new Subscription(name, resource, surroundings);
    subscriptions.set(name, subscription);
    return subscription;
  }

  function remove(subscription: Subscription, reason: StatusError): void {
    subscriptions.delete(subscription.name);
    subscription.close(reason);
  }

  const publisher: Record<string, UnaryHandler> = {
    CreateTopic(request) {
      const { name } = parseRequest(z.object({ name: topicName }), request);
      if (topics.has(name)) throw new StatusError(status.ALREADY_EXISTS, `${name} exists already.`);
      const topic = { ...request, state: 'ACTIVE' };
      topics.set(name, topic);
      return topic;
    },
    GetTopic(request) {
      const { topic } = parseRequest(topicSchema, request);
      const found = topics.get(topic);
      if (found === undefined) throw notFound(topic);
      return found;
    },
    ListTopics(request) {
      const { project } = parseRequest(projectSchema, request);
      const { items, nextPageToken } = page(under(project, [...topics.keys()]), request);
      return { topics: items.map((name) => topics.get(name)), nextPageToken };
    },
    ListTopicSubscriptions(request) {
      const { topic } = parseRequest(topicSchema, request);
      if (!topics.has(topic)) throw notFound(topic);
      const attached = [...subscriptions.values()].filter(({ settings }) => settings.topic === topic);
      const { items, nextPageToken } = page(attached, request);
      return { subscriptions: items.map(({ name }) => name), nextPageToken };
    },
    DeleteTopic(request) {
      const { topic } = parseRequest(topicSchema, request);
      if (!topics.delete(topic)) throw notFound(topic);
      for (const subscription of subscriptions.values()) {
        if (subscription.settings.topic === topic) {
          subscription.update({ ...subscription.resource, topic: '_deleted-topic_' });
        }
      }
      return {};
    },
    Publish(request) {
      const { topic, messages } = parseRequest(publishSchema, request);
      return { messageIds: publish(topic, messages) };
    },
  };

  const subscriber: Record<string, UnaryHandler> = {
    CreateSubscription(request) {
      const resource = {
        ...request,
        ackDeadlineSeconds: request['ackDeadlineSeconds'] || 10,
        messageRetentionDuration: request['messageRetentionDuration'] ?? { seconds: '604800' },
        state: 'ACTIVE',
      };
      const { topic, deadLetter } = parseSubscription(resource);
      for (const name of [topic, deadLetter?.topic ?? topic]) if (!topics.has(name)) throw notFound(name);
      return subscribe(resource).resource;
    },
    GetSubscription(request) {
      return find(parseRequest(subscriptionSchema, request).subscription).resource;
    },
    ListSubscriptions(request) {
      const { project } = parseRequest(projectSchema, request);
      const { items, nextPageToken } = page(under(project, [...subscriptions.keys()]), request);
      return { subscriptions: items.map((name) => find(name).resource), nextPageToken };
    },
    ModifyPushConfig(request) {
      const { subscription, pushConfig } = parseRequest(modifyPushConfigSchema, request);
      const found = find(subscription);
      found.update({ ...found.resource, pushConfig: pushConfig ?? null });
      return {};
    },
    DeleteSubscription(request) {
      const { subscription } = parseRequest(subscriptionSchema, request);
      remove(find(subscription), notFound(subscription));
      return {};
    },
    async Pull(request) {
      const { subscription, maxMessages, returnImmediately } = parseRequest(pullSchema, request);
      return { receivedMessages: await find(subscription).pull(maxMessages, returnImmediately) };
    },
    Acknowledge(request) {
      const { subscription, ackIds } = parseRequest(acknowledgeSchema, request);
      find(subscription).acknowledge(ackIds);
      return {};
    },
    ModifyAckDeadline(request) {
      const { subscription, ackIds, ackDeadlineSeconds } = parseRequest(modifyAckDeadlineSchema, request);
      find(subscription).modifyAckDeadline(ackIds, ackDeadlineSeconds);
      return {};
    },
  };

  function streamingPull(call: PullStream): void {
    call.once('data', (request: unknown) => {
      try {
        const { subscription, ...bounds } = parseRequest(streamSchema, request);
        find(subscription).stream(call, bounds.streamAckDeadlineSeconds, bounds.maxOutstandingMessages);
      } catch (error) {
        call.emit('error', error);
      }
    });
  }

  const [definition, unary] = unaryService('google.pubsub.v1.Subscriber', subscriber, before);
  return {
    services: [
      unaryService('google.pubsub.v1.Publisher', publisher, before),
      [definition, { ...unary, StreamingPull: streamingPull }],
    ],
    publish,
    hasTopic: (name) => topics.has(name),
    snapshot: () => ({
      topics: [...topics.values()],
      subscriptions: Array.from(subscriptions.values(), (subscription) => ({
        resource: subscription.resource,
        pending: subscription
          .pending()
          .map(({ message, attempts }) => ({ ...message, data: message.data.toString('base64'), attempts })),
      })),
    }),
    restore: (snapshot) => {
      const stored = snapshotSchema.parse(snapshot);
      for (const subscription of subscriptions.values()) remove(subscription, shuttingDown);
      topics.clear();
      for (const topic of stored.topics) topics.set(parseRequest(z.object({ name: topicName }), topic).name, topic);
      for (const { resource, pending } of stored.subscriptions) {
        const subscription = subscribe(resource);
        for (const { attempts, ...message } of pending) {
          subscription.add({ ...message, data: Buffer.from(message.data, 'base64') }, attempts);
        }
      }
    },
    close: () => {
      for (const subscription of subscriptions.values()) subscription.close(shuttingDown);
    },
  };
}

function under(project: string, names: string[]): string[] {
  return names.filter((name) => name.startsWith(`${project}/`));
}

function notFound(name: string): StatusError {
  return new StatusError(status.NOT_FOUND, `${name} does not exist. Create it first, or mend the name.`);
}
