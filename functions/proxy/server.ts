/**
 * How does the server around the proxy treat connections? Its bounds for slow and broken ones, the end that lets running
 * requests finish, and how it comes to be ours under functions-framework.
 */
import { subscribe } from 'node:diagnostics_channel';
import { type IncomingMessage, Server, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { limits } from '../engine/limits.ts';
import { log } from '../engine/log.ts';
import type { DoorRequest } from './body.ts';
import { answerError, googleError } from './google-error.ts';

export interface PredictHandler {
  (request: DoorRequest, response: ServerResponse): void;
  /** Reports what is counted and not yet reported; never rejects. For SIGTERM, as far as the platform grants time. */
  flush(): Promise<void>;
  /** Flushes, and closes the connections to the upstream. */
  close(): Promise<void>;
}

/** For http.createServer, where it cannot be set later: how often the deadlines below are looked at. */
export const serverOptions = { connectionsCheckingInterval: 1000 };

export interface ServerBounds {
  headersDeadlineMs: number;
  requestDeadlineMs: number;
}

const defaultBounds: ServerBounds = {
  headersDeadlineMs: limits.requestHeadersDeadlineMs,
  requestDeadlineMs: limits.requestHeadersDeadlineMs + limits.predictBodyDeadlineMs,
};

/** Sets a server's deadlines for what callers send, and makes it refuse what is no HTTP in Google's JSON. */
export function guardServer(server: Server, bounds: ServerBounds = defaultBounds): void {
  server.headersTimeout = bounds.headersDeadlineMs;
  server.requestTimeout = bounds.requestDeadlineMs;
  server.keepAliveTimeout = limits.keepAliveMs;
  server.off('clientError', refuse).on('clientError', refuse);
  server.off('checkExpectation', refuseExpectation).on('checkExpectation', refuseExpectation);
}

function refuseExpectation(_request: IncomingMessage, response: ServerResponse): void {
  answerError(response, 417, 'The only expectation that is met is 100-continue', { connection: 'close' });
}

function refuse(error: Error & { code?: string }, socket: Socket): void {
  const status = error.code === 'HPE_HEADER_OVERFLOW' ? 431 : error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 408 : 400;
  // Of an answer that has begun, what follows would be taken for its end.
  if (!socket.writable || socket.bytesWritten > 0) {
    socket.destroy();
    return;
  }
  const body = googleError(status, 'The request is not HTTP as it must be, is too large, or came too slowly');
  const headers = [
    'content-type: application/json; charset=utf-8',
    `content-length: ${body.length}`,
    'connection: close',
  ];
  socket.end([`HTTP/1.1 ${status} ${STATUS_CODES[status]}`, ...headers, '', body].join('\r\n'));
}

/**
 * Takes no more connections, lets running requests finish, tells what was counted, and resolves; in less than the ten
 * seconds that Cloud Run grants after SIGTERM. What then still runs is cut when the process ends.
 */
export async function drain(
  server: Server,
  handler: PredictHandler,
  drainMs: number = limits.shutdownDrainMs,
): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  // On a kept connection one more may come: it is answered, and told to be the last.
  server.prependListener('request', (_request, response) => void response.setHeader('connection', 'close'));
  // Should a request outlast the grace, at least all the others were told of.
  const told = handler.flush();
  // A connection whose request ends in the meantime becomes idle, and would be kept for the next one.
  const idling = setInterval(() => server.closeIdleConnections(), 50);
  await Promise.race([closed, sleep(drainMs, undefined, { ref: false })]);
  clearInterval(idling);
  await Promise.race([told.then(() => handler.close()), sleep(limits.shutdownFlushMs, undefined, { ref: false })]);
}

/** Ends the process on SIGTERM, after draining. functions-framework would end it at once, in the middle of answers. */
export function endOnSigterm(server: Server, handler: PredictHandler): void {
  process.removeAllListeners('SIGTERM');
  process.once('SIGTERM', () => {
    log('INFO', 'Told to stop: running requests are finished first');
    void drain(server, handler).finally(() => process.exit(0));
  });
}

/**
 * Under functions-framework, answers requests before it has read them. It would read every stranger's body first, inflate
 * it, up to 1 GiB, and parse it, before a key is even looked at.
 */
export function takeOverServer(handler: PredictHandler): void {
  const seen = new WeakSet<Server>();
  subscribe('http.server.request.start', (message) => {
    const server = typeof message === 'object' && message !== null && 'server' in message ? message.server : null;
    if (!(server instanceof Server) || seen.has(server)) return;
    seen.add(server);
    server.removeAllListeners('request');
    server.on('request', handler);
    guardServer(server);
    endOnSigterm(server, handler);
  });
}
