/** A node:http server of the benchmark: `node server.ts upstream|bare|ours PORT`, with UPSTREAM in the environment. */
import { createServer, type RequestListener, type ServerResponse } from 'node:http';
import { Pool } from 'undici';
import { guardServer, serverOptions } from '../../../functions/proxy/server.ts';
import { ours } from './ours.ts';
import { answer, answerHeaders } from './request.ts';

const [name = '', port] = process.argv.slice(2);
const upstream = process.env['UPSTREAM'] ?? '';

const listeners: Record<string, () => RequestListener> = {
  upstream: () => (request, response) => {
    request.resume().once('end', () => {
      response.writeHead(200, { ...answerHeaders, 'content-length': answer.length }).end(answer);
    });
  },
  /** As little as a proxy can do: the body is read whole, as it must be to be bounded, and everything passes. */
  bare: () => {
    const pool = new Pool(upstream, { connections: 4096 });
    return (request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.once('end', () => {
        const { url: path = '/', headers } = request;
        const sent = { 'content-type': headers['content-type'] ?? '', authorization: 'Bearer ya29.token' };
        pool.dispatch({ path, method: 'POST', headers: sent, body: Buffer.concat(chunks) }, passOn(response));
      });
    };
  },
  ours: () => ours(upstream),
};

function passOn(response: ServerResponse): Parameters<Pool['dispatch']>[1] {
  return {
    onRequestStart: () => undefined,
    onResponseStart: (_controller, status, headers) => void response.writeHead(status, headers),
    onResponseData: (_controller, chunk) => void response.write(chunk),
    onResponseEnd: () => void response.end(),
    onResponseError: (_controller, error) => void response.destroy(error),
  };
}

const listener = listeners[name]?.();
if (listener === undefined) throw new Error(`expected one of ${Object.keys(listeners).join(', ')}; got "${name}"`);
const server = createServer(serverOptions, listener);
guardServer(server);
server.listen(Number(port), '127.0.0.1');
