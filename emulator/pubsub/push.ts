/** What does a push subscriber receive? One POST per message, in the wire format of the real service. */
import type { Delivery } from './queue.ts';

/**
 * Builds the body of a push request. Some keys come in camel case and snake case, as the service sends them; a message
 * without data has an empty string. `deliveryAttempt` is there only when the subscription has a dead-letter policy.
 */
export function pushBody(subscription: string, delivery: Delivery, hasDeadLetter: boolean): object {
  const { messageId, publishTime, data, attributes, orderingKey } = delivery.message;
  const publishedAt = new Date(publishTime).toISOString();
  return {
    message: {
      data: data.toString('base64'),
      attributes,
      messageId,
      message_id: messageId,
      publishTime: publishedAt,
      publish_time: publishedAt,
      ...(orderingKey === '' ? {} : { orderingKey }),
    },
    subscription,
    ...(hasDeadLetter ? { deliveryAttempt: delivery.attempt } : {}),
  };
}

/** Posts one body; true when the subscriber acknowledged it with a 2xx. False for any other answer, or none in time. */
export async function push(endpoint: string, body: object, deadlineMs: number, closing: AbortSignal): Promise<boolean> {
  try {
    const response = await fetch(endpoint, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
      redirect: 'manual',
      signal: AbortSignal.any([closing, AbortSignal.timeout(deadlineMs)]),
    });
    // Read to its end, so that the connection can serve the next message.
    await response.arrayBuffer();
    return response.ok;
  } catch {
    // Refused, reset or out of time: the service, too, tells a subscriber's failure by delivering again.
    return false;
  }
}
