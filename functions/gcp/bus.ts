/** How does the controller speak? BusPort over Pub/Sub: by its client, and without one. */
import type { Topic } from '@google-cloud/pubsub';
import { limits } from '../engine/limits.ts';
import type { BusPort } from '../engine/ports.ts';
import type { Clients, RecordClients } from './clients.ts';
import { ask } from './rest.ts';
import { call } from './status.ts';

const publishOptions = {
  // Every message goes out at once. A batch would wait for a timer, and a function may be frozen before it fires.
  batching: { maxMessages: 1 },
  // A message published twice does no harm and one lost does, so here the client's own retries stay, up to the deadline.
  gaxOpts: { timeout: limits.callDeadlineMs },
};

/** BusPort over the real Pub/Sub client. When one message fails, those after it are not published. */
export function pubsubBus(clients: Pick<Clients, 'pubsub'>): BusPort {
  const topics = new Map<string, Topic>();

  async function topicOf(name: string): Promise<Topic> {
    const topic = topics.get(name) ?? (await clients.pubsub()).topic(name, publishOptions);
    topics.set(name, topic);
    return topic;
  }

  return {
    async publish(topic, messages) {
      for (const { data, attributes } of messages) {
        await call(`Publish to ${topic}`, limits.callDeadlineMs, async () =>
          (await topicOf(topic)).publishMessage({ data: Buffer.from(data), attributes }),
        );
      }
    },
  };
}

/**
 * BusPort over Pub/Sub's REST API, for who serves people: the client takes longer to load than their first answer, and
 * holds up whatever else is asked meanwhile. It tries once.
 * @see https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.topics/publish
 */
export function restBus(clients: Pick<RecordClients, 'pubsubRest'>): BusPort {
  return {
    async publish(topic, messages) {
      if (messages.length === 0) return;
      await call(`Publish to ${topic}`, limits.callDeadlineMs, async () => {
        const { topics, ...rest } = await clients.pubsubRest();
        const encoded = messages.map(({ data, attributes }) => ({
          data: Buffer.from(data).toString('base64'),
          attributes,
        }));
        await ask(rest, `/v1/${topics}/${topic}:publish`, { messages: encoded }, limits.callDeadlineMs);
      });
    },
  };
}
