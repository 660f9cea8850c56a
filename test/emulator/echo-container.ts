/**
 * The smallest model server: answers with its own name. An instance {"answer":503} makes it answer so, {"exit":true}
 * makes it exit, {"hang":true} never answer, {"chunks":3} stream; what is no JSON comes back in capitals. ECHO_HEALTH is
 * the status of its health route. It does not notice when its parent is gone: to end it is the emulator's business.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';

const { AIP_HTTP_PORT, AIP_HEALTH_ROUTE, AIP_PREDICT_ROUTE, ECHO_NAME = 'echo', ECHO_HEALTH = '200' } = process.env;

createServer((request, response) => void answer(request, response)).listen(Number(AIP_HTTP_PORT), '127.0.0.1');

async function answer(request: IncomingMessage, response: ServerResponse): Promise<unknown> {
  if (request.url === AIP_HEALTH_ROUTE) return response.writeHead(Number(ECHO_HEALTH)).end();
  if (request.url !== AIP_PREDICT_ROUTE) return response.writeHead(404).end();
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  const text = Buffer.concat(chunks).toString('utf8');
  if (request.headers['content-type'] !== 'application/json') {
    return response.writeHead(200, { 'content-type': 'application/octet-stream' }).end(text.toUpperCase());
  }
  const { instances = [] } = JSON.parse(text);
  const [first = {}] = instances;
  if (first.exit === true) process.exit(3);
  if (first.hang === true) return;
  if (first.chunks !== undefined) {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    for (let i = 0; i < first.chunks; i++) response.write(`data: ${i}\n\n`);
    return response.end();
  }
  response.writeHead(first.answer ?? 200, { 'content-type': 'application/json' });
  return response.end(
    JSON.stringify({ predictions: instances.map(() => ECHO_NAME), metadata: { arguments: process.argv.slice(2) } }),
  );
}
