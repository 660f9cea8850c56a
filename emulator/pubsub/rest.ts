/**
 * What does Pub/Sub's REST API answer? `POST /v1/projects/{project}/topics/{topic}:publish`; everything else is refused in
 * Google's own form.
 * @see https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.topics/publish
 */
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { json } from 'node:stream/consumers';
import { z } from 'zod';
import { type BeforeCall, httpStatusOf, parseRequest, StatusError, status } from '../grpc.ts';
import type { PubSub } from './pubsub.ts';

const PUBLISH = /^\/v1\/(projects\/[^/]+\/topics\/[^/:?]+):publish(?:\?|$)/;

const publishSchema = z.object({
  messages: z.array(
    z.strictObject({
      data: z
        .base64()
        .default('')
        .transform((text) => Buffer.from(text, 'base64')),
      attributes: z.record(z.string(), z.string()).default({}),
      orderingKey: z.string().default(''),
    }),
  ),
});

/** Answers what comes over HTTP/1.1 to the port of the gRPC services, as Google's emulator does. */
export function pubsubApi(pubsub: PubSub, before?: BeforeCall): RequestListener {
  async function answer(request: IncomingMessage): Promise<object> {
    const [, topic] = PUBLISH.exec(request.url ?? '') ?? [];
    if (topic === undefined || request.method !== 'POST')
      throw new StatusError(status.NOT_FOUND, `The emulator has no ${request.method} ${request.url}.`);
    const { messages } = parseRequest(publishSchema, await json(request).catch(() => null));
    const beforeReply = await before?.('google.pubsub.v1.Publisher/Publish');
    const messageIds = pubsub.publish(decodeURIComponent(topic), messages);
    beforeReply?.();
    return { messageIds };
  }

  return (request, response) => {
    answer(request).then(
      (body) => reply(response, 200, body),
      (error: unknown) => {
        const known = error instanceof StatusError ? error : new StatusError(status.INTERNAL, String(error));
        const code = httpStatusOf(known.code);
        reply(response, code, { error: { code, message: known.message, status: status[known.code] } });
      },
    );
  };
}

function reply(response: ServerResponse, code: number, body: object): void {
  response.writeHead(code, { 'content-type': 'application/json; charset=UTF-8' }).end(JSON.stringify(body));
}
