/**
 * What does Pub/Sub accept? Names, subscriptions and messages, checked with the limits of the real service. What is not
 * emulated is refused, not ignored.
 * @see https://cloud.google.com/pubsub/quotas#resource_limits
 */
import { z } from 'zod';
import { parseRequest, StatusError, status } from '../grpc.ts';

export interface Message {
  messageId: string;
  /** Milliseconds since the epoch. */
  publishTime: number;
  data: Buffer;
  attributes: Record<string, string>;
  /** Empty when there is none. */
  orderingKey: string;
}

/** A message as its publisher gives it: data, or at least one attribute. */
export interface OutgoingMessage {
  data?: Uint8Array;
  attributes?: Record<string, string>;
  orderingKey?: string;
}

export interface SubscriptionSettings {
  topic: string;
  /** Null for a pull subscription. */
  pushEndpoint: string | null;
  ackDeadlineMs: number;
  retentionMs: number;
  isOrdered: boolean;
  /** Null: as soon as possible for pull; for push, the back-off of the service. */
  retry: { minimumMs: number; maximumMs: number } | null;
  deadLetter: { topic: string; attemptsMax: number } | null;
}

const messageBytesMax = 10_000_000;
const messagesPerPublishMax = 1000;
const attributesMax = 100;
const attributeKeyBytesMax = 256;
const attributeValueBytesMax = 1024;

const id = '(?!goog)[A-Za-z][\\w.~+%-]{2,254}';
const nameRule = 'with an id of 3 to 255 characters that starts with a letter, and not with "goog"';
export const topicName = z
  .string()
  .regex(new RegExp(`^projects/[^/]+/topics/${id}$`), `expected projects/P/topics/T, ${nameRule}`);
export const subscriptionName = z
  .string()
  .regex(new RegExp(`^projects/[^/]+/subscriptions/${id}$`), `expected projects/P/subscriptions/S, ${nameRule}`);
export const projectName = z.string().regex(/^projects\/[^/]+$/, 'expected projects/P');

/** A google.protobuf.Duration between two bounds, in milliseconds; the default where it is absent. */
function duration(minSeconds: number, maxSeconds: number, defaultSeconds: number): z.ZodType<number> {
  return z
    .object({ seconds: z.coerce.number(), nanos: z.number().default(0) })
    .nullish()
    .transform((value) => (value ? value.seconds * 1000 + value.nanos / 1e6 : defaultSeconds * 1000))
    .refine(
      (ms) => ms >= minSeconds * 1000 && ms <= maxSeconds * 1000,
      `expected ${minSeconds} to ${maxSeconds} seconds`,
    );
}

const pushConfigSchema = z.object({
  pushEndpoint: z.union([z.literal(''), z.url({ protocol: /^https?$/, error: 'expected an http or https URL' })]),
});

const subscriptionSchema = z.object({
  name: subscriptionName,
  // A subscription outlives its topic, whose name then becomes this.
  topic: z.union([topicName, z.literal('_deleted-topic_')], { error: 'expected projects/P/topics/T' }),
  pushConfig: pushConfigSchema.nullish(),
  ackDeadlineSeconds: z.literal(0).or(z.int().min(10).max(600)).default(0),
  messageRetentionDuration: duration(600, 31 * 86_400, 7 * 86_400),
  enableMessageOrdering: z.boolean().default(false),
  retryPolicy: z.object({ minimumBackoff: duration(0, 600, 10), maximumBackoff: duration(0, 600, 600) }).nullish(),
  deadLetterPolicy: z
    .object({ deadLetterTopic: topicName, maxDeliveryAttempts: z.literal(0).or(z.int().min(5).max(100)).default(0) })
    .nullish(),
});

const notEmulatedSchema = z.object({
  filter: z.string().optional(),
  enableExactlyOnceDelivery: z.boolean().optional(),
  bigqueryConfig: z.unknown().optional(),
  bigtableConfig: z.unknown().optional(),
  cloudStorageConfig: z.unknown().optional(),
  messageTransforms: z.array(z.unknown()).optional(),
  pushConfig: z.object({ noWrapper: z.unknown().optional() }).nullish(),
});

const messageSchema = z.object({
  data: z.instanceof(Uint8Array).default(new Uint8Array()),
  attributes: z.record(z.string(), z.string()).default({}),
  orderingKey: z.string().default(''),
});

/** Reads what a google.pubsub.v1.Subscription asks for. INVALID_ARGUMENT, or UNIMPLEMENTED for what is not emulated. */
export function parseSubscription(resource: unknown): SubscriptionSettings {
  const parsed = parseRequest(subscriptionSchema, resource);
  const { pushConfig, ...others } = parseRequest(notEmulatedSchema, resource);
  for (const [field, value] of Object.entries({ ...others, 'pushConfig.noWrapper': pushConfig?.noWrapper })) {
    if (Array.isArray(value) ? value.length > 0 : value) {
      throw new StatusError(status.UNIMPLEMENTED, `This emulator has no ${field}; create ${parsed.name} without it.`);
    }
  }
  const { retryPolicy: retry, deadLetterPolicy: deadLetter } = parsed;
  return {
    topic: parsed.topic,
    pushEndpoint: parsed.pushConfig?.pushEndpoint || null,
    ackDeadlineMs: (parsed.ackDeadlineSeconds || 10) * 1000,
    retentionMs: parsed.messageRetentionDuration,
    isOrdered: parsed.enableMessageOrdering,
    retry: retry ? { minimumMs: retry.minimumBackoff, maximumMs: retry.maximumBackoff } : null,
    deadLetter: deadLetter
      ? { topic: deadLetter.deadLetterTopic, attemptsMax: deadLetter.maxDeliveryAttempts || 5 }
      : null,
  };
}

/** Checks one publish call and completes its messages; `nextId` gives each its id. INVALID_ARGUMENT when one is bad. */
export function parseMessages(messages: readonly unknown[], publishTime: number, nextId: () => string): Message[] {
  if (messages.length === 0 || messages.length > messagesPerPublishMax) {
    throw invalid(`expected 1 to ${messagesPerPublishMax} messages in a publish, got ${messages.length}`);
  }
  const parsed = messages.map((message) => parseRequest(messageSchema, message));
  let bytes = 0;
  for (const { data, attributes } of parsed) {
    const pairs = Object.entries(attributes);
    if (data.length === 0 && pairs.length === 0) throw invalid('a message needs data, or at least one attribute');
    if (pairs.length > attributesMax)
      throw invalid(`expected at most ${attributesMax} attributes, got ${pairs.length}`);
    bytes += data.length;
    for (const [key, value] of pairs) {
      const keyBytes = Buffer.byteLength(key);
      const valueBytes = Buffer.byteLength(value);
      if (keyBytes === 0 || keyBytes > attributeKeyBytesMax || key.startsWith('goog')) {
        throw invalid(`attribute "${key}": expected a key of 1 to ${attributeKeyBytesMax} bytes, not starting "goog"`);
      }
      if (valueBytes > attributeValueBytesMax) {
        throw invalid(`attribute "${key}": expected at most ${attributeValueBytesMax} bytes, got ${valueBytes}`);
      }
      bytes += keyBytes + valueBytes;
    }
  }
  if (bytes > messageBytesMax) throw invalid(`expected at most ${messageBytesMax} bytes in a publish, got ${bytes}`);
  return parsed.map((message) => ({
    ...message,
    data: Buffer.from(message.data),
    messageId: nextId(),
    publishTime,
  }));
}

function invalid(problem: string): StatusError {
  return new StatusError(status.INVALID_ARGUMENT, problem);
}
