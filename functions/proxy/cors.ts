/** May a page of another origin call the proxy from a browser? Only the origins that the configuration names. */
import type { ServerResponse } from 'node:http';
import type { DoorRequest } from './body.ts';
import type { ProxyConfig } from './config.ts';
import { exposedHeaders } from './headers.ts';
import { pinHeader } from './pin.ts';

export interface Cors {
  /** Adds what lets a page read the answer, whatever the answer will be. */
  mark(request: DoorRequest, response: ServerResponse): void;
  /** Answers the question a browser asks before a request, which carries no credential. False: it was none, or not answered. */
  answerPreflight(request: DoorRequest, response: ServerResponse): boolean;
}

/** Makes the answers for browsers; null, which is the default, gives them none. */
export function createCors(config: ProxyConfig['cors']): Cors {
  const origins = new Set(config?.origins);
  const isAllowed = ({ headers }: DoorRequest): boolean => headers.origin !== undefined && origins.has(headers.origin);

  return {
    mark(request, response) {
      if (origins.size === 0) return;
      response.setHeader('vary', 'origin');
      if (!isAllowed(request) || request.headers.origin === undefined) return;
      response.setHeader('access-control-allow-origin', request.headers.origin);
      response.setHeader('access-control-expose-headers', exposedHeaders);
    },
    answerPreflight(request, response) {
      const isPreflight =
        request.method === 'OPTIONS' && request.headers['access-control-request-method'] !== undefined;
      if (config === null || !isPreflight || !isAllowed(request)) return false;
      response.writeHead(204, {
        'access-control-allow-methods': 'POST',
        'access-control-allow-headers': `authorization, cache-control, content-type, traceparent, x-goog-api-key, ${pinHeader}`,
        'access-control-max-age': String(config.maxAgeSeconds),
      });
      response.end();
      return true;
    },
  };
}
