/** How does an HTTP door say no? In the JSON of Google's own APIs, so that Google's clients show the reason. */
import type { ServerResponse } from 'node:http';

/** Which `google.rpc.Code` stands beside which HTTP status. */
const statusNames: Record<number, string> = {
  400: 'INVALID_ARGUMENT',
  401: 'UNAUTHENTICATED',
  403: 'PERMISSION_DENIED',
  404: 'NOT_FOUND',
  405: 'UNIMPLEMENTED',
  408: 'DEADLINE_EXCEEDED',
  409: 'ABORTED',
  413: 'INVALID_ARGUMENT',
  415: 'INVALID_ARGUMENT',
  429: 'RESOURCE_EXHAUSTED',
  431: 'INVALID_ARGUMENT',
  499: 'CANCELLED',
  500: 'INTERNAL',
  501: 'UNIMPLEMENTED',
  502: 'UNAVAILABLE',
  503: 'UNAVAILABLE',
  504: 'DEADLINE_EXCEEDED',
};

/** The body of an error: `{"error":{"code","message","status"}}`. */
export function googleError(code: number, message: string): string {
  const status = statusNames[code] ?? (code < 500 ? 'INVALID_ARGUMENT' : 'INTERNAL');
  return JSON.stringify({ error: { code, message, status } });
}

/** Ends the response with an error; a response whose headers are out is cut instead, so that no one takes it for whole. */
export function answerError(
  response: ServerResponse,
  code: number,
  message: string,
  headers: Record<string, string> = {},
): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  answerJson(response, code, googleError(code, message), headers);
}

/** Says no for now, and how many whole seconds to wait before asking again. */
export function answerTryLater(response: ServerResponse, code: 429 | 503, message: string, waitMs: number): void {
  const seconds = Math.max(1, Math.ceil(waitMs / 1000));
  answerError(response, code, `${message}; try again in ${seconds} s`, { 'retry-after': String(seconds) });
}

/** Ends the response with JSON that is already text. */
export function answerJson(
  response: ServerResponse,
  code: number,
  json: string,
  headers: Record<string, string> = {},
): void {
  response.writeHead(code, {
    'content-type': 'application/json; charset=utf-8',
    'content-length': Buffer.byteLength(json),
    'x-content-type-options': 'nosniff',
    ...headers,
  });
  response.end(json);
}
