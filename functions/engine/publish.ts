/** What is the world told, and in which form? CloudEvents for what happened, the original for what was not understood. */
import type { OutboxNotification } from '../../machines/rollout/record.ts';
import { endpointKey } from '../../machines/rollout/resource-name.ts';
import { limits } from './limits.ts';
import type { BusPort } from './ports.ts';

export const topics = {
  blessings: 'model-blessings',
  ticks: 'rollout-ticks',
  commands: 'rollout-commands',
  incidents: 'rollout-incidents',
  evidence: 'rollout-evidence',
  notifications: 'rollout-notifications',
  deadLetters: 'rollout-dead-letters',
} as const;

/** Sends what waits, in order, and returns the ids that were sent. Sending twice is seen by the CloudEvent's id. */
export async function sendOutbox(bus: BusPort, outbox: OutboxNotification[]): Promise<string[]> {
  const messages = outbox.map((notification) => ({
    data: Buffer.from(JSON.stringify(cloudEvent(notification))),
    attributes: {
      'content-type': 'application/cloudevents+json',
      what: notification.what,
      rollout: notification.rollout,
      endpoint: notification.endpoint,
    },
  }));
  await bus.publish(topics.notifications, messages);
  return outbox.map(({ id }) => id);
}

/** A structured-mode CloudEvent 1.0. @see https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md */
export function cloudEvent({ id, what, verdict, by, at, ...rest }: OutboxNotification): Record<string, unknown> {
  const time = new Date(at).toISOString();
  return {
    specversion: '1.0',
    id,
    source: `//vertex-rollouts/endpoints/${endpointKey(rest.endpoint)}`,
    type: `dev.vertex-rollouts.rollout.${what}.v1`,
    subject: rest.rollout,
    time,
    datacontenttype: 'application/json',
    data: { ...rest, ...(by === null ? {} : { by }), ...(verdict === null ? {} : { verdict }), at: time },
  };
}

/** Something that arrived and was not understood: its bytes, where it came in, and why it was set aside. */
export interface DeadLetter {
  data: Uint8Array;
  reason: string;
  door: string;
  messageId: string;
}

/** Keeps the original with its reason. Attributes are capped at Pub/Sub's 1024 bytes. */
export async function sendDeadLetter(bus: BusPort, { data, reason, door, messageId }: DeadLetter): Promise<void> {
  const attributes = { reason: clip(reason), door, messageId: clip(messageId) };
  const kept = data.length > limits.messageBytesMax ? data.subarray(0, limits.messageBytesMax) : data;
  await bus.publish(topics.deadLetters, [{ data: kept.length === 0 ? Buffer.from('{}') : kept, attributes }]);
}

function clip(text: string): string {
  return Buffer.from(text).subarray(0, 1000).toString();
}

/** Tells that something needs a person where no rollout could tell it. */
export async function sendAttention(
  bus: BusPort,
  { subject, text, at }: { subject: string; text: string; at: number },
): Promise<void> {
  const time = new Date(at).toISOString();
  const event = {
    specversion: '1.0',
    id: `attention/${subject}/${at}`,
    source: '//vertex-rollouts/controller',
    type: 'dev.vertex-rollouts.rollout.attention.v1',
    subject,
    time,
    datacontenttype: 'application/json',
    data: { reason: text, at: time },
  };
  const attributes = { 'content-type': 'application/cloudevents+json', what: 'attention' };
  await bus.publish(topics.notifications, [{ data: Buffer.from(JSON.stringify(event)), attributes }]);
}
