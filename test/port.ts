/** On which port? Of a server that listens, and one that nobody has now. */
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';

/** The TCP port that a server listens on. */
export function portOf(server: { address(): AddressInfo | string | null }): number {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('expected a TCP address');
  return address.port;
}

/** From here up to Linux' own for connections that go out, which would take one before its server is there. */
const firstPort = 10_000;
const portsEnd = 32_768;

/** A port that nobody has now, and that no connection is given. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(firstPort, portsEnd);
    const server = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false)).listen(port, '127.0.0.1', () => resolve(true));
    });
    if (!isFree) continue;
    server.close();
    await once(server, 'close');
    return port;
  }
}
