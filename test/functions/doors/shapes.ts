/**
 * In which forms may one message come through a door? Eventarc's CloudEvent in both modes, and the body that Pub/Sub
 * itself pushes: the emulators write some keys in camel case and in snake case, other senders in one of them.
 */

export interface Sent {
  messageId: string;
  /** The data as bytes or text; absent: a message of attributes alone. */
  data?: Uint8Array | string;
  attributes?: Record<string, string>;
}

export interface Post {
  headers: Record<string, string>;
  body: string;
}

const subscription = 'projects/demo/subscriptions/door';
const publishTime = '2026-01-01T00:00:00Z';

const camel = { id: 'messageId', time: 'publishTime' };
const snake = { id: 'message_id', time: 'publish_time' };

const context = (id: string, type: string) => ({ id, type, source: '//pubsub.googleapis.com/projects/demo/topics/t' });

/** By name; each turns a message into a request. */
export const shapes = {
  'binary CloudEvent': (sent) => binary(sent.messageId, published, pushed(sent, [camel])),
  'structured CloudEvent': (sent) => structured(sent.messageId, published, pushed(sent, [camel])),
  'push body': (sent) => json(pushed(sent, [camel, snake], '')),
  'push body in camel case': (sent) => json(pushed(sent, [camel])),
  'push body in snake case': (sent) => json(pushed(sent, [snake])),
} satisfies Record<string, (sent: Sent) => Post>;

export type Shape = keyof typeof shapes;

export const shapeNames = Object.keys(shapes).filter((name): name is Shape => name in shapes);

const published = 'google.cloud.pubsub.topic.v1.messagePublished';
export const auditWritten = 'google.cloud.audit.log.v1.written';

export function binary(id: string, type: string, data: unknown): Post {
  const headers = Object.fromEntries(Object.entries(context(id, type)).map(([name, value]) => [`ce-${name}`, value]));
  return {
    headers: { 'content-type': 'application/json', 'ce-specversion': '1.0', 'ce-time': publishTime, ...headers },
    body: JSON.stringify(data),
  };
}

export function structured(id: string, type: string, data: unknown): Post {
  const event = {
    specversion: '1.0',
    ...context(id, type),
    time: publishTime,
    datacontenttype: 'application/json',
    data,
  };
  return { headers: { 'content-type': 'application/cloudevents+json; charset=utf-8' }, body: JSON.stringify(event) };
}

export function json(body: unknown): Post {
  return { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
}

/** @param noData what stands for data in a message of attributes alone: an empty text, or nothing */
function pushed({ messageId, data, attributes }: Sent, cases: (typeof camel)[], noData?: string) {
  const encoded = data === undefined ? noData : Buffer.from(data).toString('base64');
  const ids = Object.fromEntries(
    cases.flatMap(({ id, time }) => [
      [id, messageId],
      [time, publishTime],
    ]),
  );
  return {
    message: { ...ids, ...(encoded === undefined ? {} : { data: encoded }), ...(attributes && { attributes }) },
    subscription,
  };
}
