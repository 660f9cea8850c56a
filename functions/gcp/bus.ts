/** How does the controller speak? BusPort over Pub/Sub. */
import type { Topic } from '@google-cloud/pubsub';
import { limits } from '../engine/limits.ts';
import type { BusPort } from '../engine/ports.ts';
import type { RecordClients } from './clients.ts';
import { call } from './status.ts';

const publishOptions = {
  // Every message goes out at once. A batch would wait for a timer, and a function may be frozen before it fires.
  batching: { maxMessages: 1 },
  // A message published twice does no harm and one lost does, so here the client's own retries stay, up to the deadline.
  gaxOpts: { timeout: limits.callDeadlineMs },
};

/** BusPort over the real Pub/Sub client. When one message fails, those after it are not published. */
export function pubsubBus(clients: Pick<RecordClients, 'pubsub'>): BusPort {
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
