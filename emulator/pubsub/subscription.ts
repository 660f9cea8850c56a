/**
 * Who gets the messages of one subscription, and when? A queue, its consumers (a push endpoint, pulls that wait, open
 * streams) and one timer that wakes them when a lease or a back-off ends.
 */
import type { ServerDuplexStream } from '@grpc/grpc-js';
import { StatusError, status, toTimestamp } from '../grpc.ts';
import { push, pushBody } from './push.ts';
import { type Delivery, Queue } from './queue.ts';
import { type Message, parseSubscription, type SubscriptionSettings } from './resources.ts';

export interface Surroundings {
  now: () => number;
  /** Waits of the back-off are divided by this; leases are not, for the subscriber's work takes real time. */
  timeScale: number;
  /** Publishes to a dead-letter topic; false when there is no such topic. */
  forward(topic: string, message: Message): boolean;
}

export type PullStream = ServerDuplexStream<Record<string, unknown>, object>;

interface Consumer {
  leaseMs: number;
  /** How many messages it can take now. */
  capacity(): number;
  take(deliveries: Delivery[]): void;
  /** Ends it with this status. */
  end(reason: StatusError): void;
}

/** The back-off of push subscriptions without a retry policy. */
const pushRetry = { minimumMs: 100, maximumMs: 60_000 };
const backoffMsMin = 100;
const pushConcurrencyMax = 16;
/** A unary pull that finds nothing answers with nothing after this long. */
const pullWaitMs = 1_000;
/** A stream that names no bound still has one. */
const streamOutstandingMax = 1_000;
/** setTimeout takes no more than 24 days. */
const timerMsMax = 86_400_000;

export class Subscription {
  readonly name: string;
  /** As the client knows it: google.pubsub.v1.Subscription. */
  resource: Record<string, unknown>;
  settings: SubscriptionSettings;
  readonly #surroundings: Surroundings;
  readonly #queue: Queue;
  readonly #consumers = new Set<Consumer>();
  readonly #closing = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #isWaking = false;

  /** Throws StatusError INVALID_ARGUMENT or UNIMPLEMENTED, as parseSubscription() does. */
  constructor(name: string, resource: Record<string, unknown>, surroundings: Surroundings) {
    this.name = name;
    this.resource = resource;
    this.settings = parseSubscription(resource);
    this.#surroundings = surroundings;
    this.#queue = new Queue({
      isOrdered: this.settings.isOrdered,
      retentionMs: this.settings.retentionMs,
      attemptsMax: this.settings.deadLetter?.attemptsMax ?? null,
      backoffMs: (attempts) => this.#backoffMs(attempts),
      deadLetter: (message, attempts) => this.#deadLetter(message, attempts),
    });
    this.#consumers.add(this.#pushConsumer());
  }

  /** Replaces the resource; a push endpoint that is added or removed takes effect with the next message. */
  update(resource: Record<string, unknown>): void {
    this.settings = parseSubscription(resource);
    this.resource = resource;
    this.#wake();
  }

  add(message: Message, attempts = 0): void {
    this.#queue.add(message, attempts);
    this.#wake();
  }

  pending(): { message: Message; attempts: number }[] {
    return this.#queue.pending();
  }

  acknowledge(ackIds: string[]): void {
    for (const ackId of ackIds) this.#queue.acknowledge(ackId);
    this.#wake();
  }

  /** 0 seconds gives the messages back. */
  modifyAckDeadline(ackIds: string[], seconds: number): void {
    for (const ackId of ackIds) this.#queue.extend(ackId, seconds * 1000, this.#surroundings.now());
    this.#wake();
  }

  /** Answers with what is due; when nothing is, waits a second for it. */
  pull(max: number, isImmediate: boolean): Promise<object[]> {
    return new Promise((resolve) => {
      const settle = (deliveries: Delivery[]): void => {
        clearTimeout(timer);
        this.#consumers.delete(consumer);
        resolve(deliveries.map((delivery) => this.#received(delivery)));
      };
      const timer = setTimeout(() => settle([]), isImmediate ? 0 : pullWaitMs);
      const consumer: Consumer = {
        leaseMs: this.settings.ackDeadlineMs,
        capacity: () => max,
        take: settle,
        end: () => settle([]),
      };
      this.#consumers.add(consumer);
      this.#wake();
    });
  }

  /** Serves a StreamingPull. Messages are acknowledged by unary calls, as Google's Node client does. */
  stream(call: PullStream, leaseSeconds: number, outstandingMax: number): void {
    let outstanding: string[] = [];
    const max = outstandingMax > 0 ? outstandingMax : streamOutstandingMax;
    const consumer: Consumer = {
      leaseMs: leaseSeconds > 0 ? leaseSeconds * 1000 : this.settings.ackDeadlineMs,
      capacity: () => {
        outstanding = outstanding.filter((ackId) => this.#queue.isLeased(ackId));
        return max - outstanding.length;
      },
      take: (deliveries) => {
        for (const { ackId } of deliveries) outstanding.push(ackId);
        call.write({ receivedMessages: deliveries.map((delivery) => this.#received(delivery)) });
      },
      end: (reason) => call.emit('error', reason),
    };
    // The client pings with an empty request, and takes a stream that does not answer for dead.
    call.on('data', () => call.write({}));
    // What the stream did not acknowledge stays leased: its client may still do so.
    const stop = (): void => {
      this.#consumers.delete(consumer);
      call.end();
    };
    for (const ending of ['end', 'cancelled', 'close']) call.on(ending, stop);
    this.#consumers.add(consumer);
    this.#wake();
  }

  close(reason: StatusError): void {
    clearTimeout(this.#timer);
    this.#closing.abort();
    for (const consumer of this.#consumers) consumer.end(reason);
    this.#consumers.clear();
  }

  /** Lets consumers take what is due, once the current call is over, however often it is asked for until then. */
  #wake(): void {
    if (this.#isWaking) return;
    this.#isWaking = true;
    queueMicrotask(() => {
      this.#isWaking = false;
      if (!this.#closing.signal.aborted) this.#deliver();
    });
  }

  #deliver(): void {
    const now = this.#surroundings.now();
    for (const consumer of this.#consumers) {
      const capacity = consumer.capacity();
      const deliveries = capacity > 0 ? this.#queue.lease(capacity, consumer.leaseMs, now) : [];
      if (deliveries.length > 0) consumer.take(deliveries);
    }
    clearTimeout(this.#timer);
    const waitMs = this.#queue.nextDueAt(now) - now;
    if (waitMs < Infinity) this.#timer = setTimeout(() => this.#wake(), Math.min(waitMs, timerMsMax)).unref();
  }

  #pushConsumer(): Consumer {
    let pushing = 0;
    const deliver = async (endpoint: string, delivery: Delivery): Promise<void> => {
      const body = pushBody(this.name, delivery, this.settings.deadLetter !== null);
      pushing += 1;
      const isAcknowledged = await push(endpoint, body, this.settings.ackDeadlineMs, this.#closing.signal);
      pushing -= 1;
      if (isAcknowledged) this.acknowledge([delivery.ackId]);
      else this.modifyAckDeadline([delivery.ackId], 0);
    };
    return {
      leaseMs: this.settings.ackDeadlineMs,
      capacity: () => (this.settings.pushEndpoint === null ? 0 : pushConcurrencyMax - pushing),
      take: (deliveries) => {
        const { pushEndpoint } = this.settings;
        if (pushEndpoint !== null) for (const delivery of deliveries) void deliver(pushEndpoint, delivery);
      },
      end: () => {},
    };
  }

  #received({ ackId, message, attempt }: Delivery): object {
    return {
      ackId,
      message: { ...message, publishTime: toTimestamp(message.publishTime) },
      deliveryAttempt: this.settings.deadLetter === null ? 0 : attempt,
    };
  }

  #backoffMs(attempts: number): number {
    const retry = this.settings.retry ?? (this.settings.pushEndpoint === null ? null : pushRetry);
    if (retry === null) return 0;
    const waitMs = Math.min(retry.minimumMs * 2 ** Math.min(attempts - 1, 30), retry.maximumMs);
    return Math.max(waitMs / this.#surroundings.timeScale, backoffMsMin);
  }

  #deadLetter(message: Message, attempts: number): boolean {
    const [, project = '', , subscription = ''] = this.name.split('/');
    return this.#surroundings.forward(this.settings.deadLetter?.topic ?? '', {
      ...message,
      attributes: {
        ...message.attributes,
        CloudPubSubDeadLetterSourceDeliveryCount: String(attempts),
        CloudPubSubDeadLetterSourceSubscription: subscription,
        CloudPubSubDeadLetterSourceSubscriptionProject: project,
        CloudPubSubDeadLetterSourceTopicPublishTime: new Date(message.publishTime).toISOString().replace('Z', '+00:00'),
      },
    });
  }
}

export const shuttingDown = new StatusError(status.UNAVAILABLE, 'The emulator is shutting down.');
