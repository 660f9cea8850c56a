/**
 * Preloaded (`node --import`) into every process that npm start starts. Ends it when its parent is gone, however that
 * ended: standard input is a pipe that the parent holds, and the system closes it. Servers listen on the loopback only.
 */
import { Server } from 'node:net';

/** Who does not end by itself within this time is holding on to something that nobody will come for. */
const END_MS = 3000;

process.stdin.on('end', end).on('error', end).resume();

function end(): void {
  process.kill(process.pid, 'SIGTERM');
  setTimeout(() => process.exit(1), END_MS).unref();
}

// functions-framework listens on every interface. A local run must not be open to the network around it.
// oxlint-disable-next-line typescript/unbound-method -- Reflect.apply gives it its server
Server.prototype.listen = new Proxy(Server.prototype.listen, {
  apply: (listen, server: Server, [port, ...rest]: unknown[]) => {
    const isPort = typeof port === 'number' || (typeof port === 'string' && /^\d+$/.test(port));
    const hasHost = typeof rest[0] === 'string';
    return Reflect.apply(listen, server, isPort && !hasHost ? [port, '127.0.0.1', ...rest] : [port, ...rest]);
  },
});
