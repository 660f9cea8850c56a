/** Callers who write their own bytes, and a server with the bounds of the real one. */
import { createServer } from 'node:http';
import { connect, type Socket } from 'node:net';
import { guardServer } from '../../../functions/proxy/server.ts';
import { portOf } from '../../port.ts';
import { goodKey, longPath, type World } from './proxy-world.ts';

export const head = [`POST ${longPath}:rawPredict HTTP/1.1`, 'host: proxy', `x-goog-api-key: ${goodKey}`];
/** The head of a good request, with these lines more. */
export const request = (...lines: string[]): string => [...head, ...lines].join('\r\n');

export function dial(origin: string): Socket {
  const socket = connect(Number(new URL(origin).port), '127.0.0.1');
  socket.on('error', () => socket.destroy());
  return socket;
}

/** Everything that comes back until the other side ends, or until the text does what is wanted. */
export async function talk(
  origin: string,
  text: string,
  isEnough: (got: string) => boolean = () => false,
): Promise<string> {
  const socket = dial(origin);
  socket.write(text);
  let got = '';
  for await (const chunk of socket) {
    got += String(chunk);
    if (isEnough?.(got)) break;
  }
  socket.destroy();
  return got;
}

/** The world's handler on a server with the bounds of the real one, made short. */
export async function guarded(world: World, bounds = { headersDeadlineMs: 100, requestDeadlineMs: 200 }) {
  const server = createServer({ connectionsCheckingInterval: 20 }, world.handler);
  guardServer(server, bounds);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const port = portOf(server);
  return {
    server,
    origin: `http://127.0.0.1:${port}`,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
