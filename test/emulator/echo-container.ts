/**
 * The smallest model server: answers with its own name and what it was sent. An instance {"answer":503} makes it answer
 * so, {"exit":true} makes it exit, {"chunks":3} makes it stream. ECHO_HEALTH is the status of its health route.
 */
import { createServer } from 'node:http';

const { AIP_HTTP_PORT, AIP_HEALTH_ROUTE, AIP_PREDICT_ROUTE, ECHO_NAME = 'echo', ECHO_HEALTH = '200' } = process.env;

const server = createServer(async (request, response) => {
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
  if (first.chunks !== undefined) {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    for (let i = 0; i < first.chunks; i++) response.write(`data: ${i}\n\n`);
    return response.end();
  }
  response.writeHead(first.answer ?? 200, { 'content-type': 'application/json' });
  return response.end(
    JSON.stringify({ predictions: instances.map(() => ECHO_NAME), metadata: { arguments: process.argv.slice(2) } }),
  );
});

process.stdin.on('end', () => process.exit(0)).resume();
server.listen(Number(AIP_HTTP_PORT), '127.0.0.1');
