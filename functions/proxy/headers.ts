/** Which headers may pass? Those named here, and no other: in neither direction does a credential or a cookie travel. */
import type { IncomingHttpHeaders } from 'node:http';
import { limits } from '../engine/limits.ts';
import { deployedModelIdPattern } from '../engine/deployed-model-id.ts';
import { type TraceContext, traceparentOf } from './trace-context.ts';

const vertexHeaders = [
  'x-vertex-ai-deployed-model-id',
  'x-vertex-ai-endpoint-id',
  'x-vertex-ai-model',
  'x-vertex-ai-model-version-id',
] as const;

/** What a page of another origin may read of an answer, beside what every page may. */
export const exposedHeaders: string = [...vertexHeaders, 'retry-after', 'x-rollouts-cache'].join(', ');

/** As Vertex's headers say; null where they do not, or say what no DeployedModel is called. */
export interface ServedBy {
  deployedModelId: string | null;
  model: string | null;
  modelVersionId: string | null;
}

export interface RequestShape {
  /** True when the body's encoding is the caller's still: functions-framework inflates what it reads. */
  isBodyEncoded: boolean;
  /** True when the answer's bytes are passed on as they are, so that the caller may choose their encoding. */
  isAnswerPassedOn: boolean;
  accessToken: string | null;
  /** Null where the request belongs to no trace. */
  trace: TraceContext | null;
}

/**
 * The headers that go upstream, names and values in turn, as Node takes them: a list is made and read with less ado than an
 * object, and a header that is written out is found sooner than by a name that changes. The caller's key is not among them;
 * the only credential is the proxy's own.
 */
export function upstreamHeaders(headers: IncomingHttpHeaders, shape: RequestShape): string[] {
  const encoding = shape.isAnswerPassedOn ? text(headers['accept-encoding']) : null;
  const picked = [
    'content-type',
    text(headers['content-type']) ?? 'application/json',
    'accept-encoding',
    encoding ?? 'identity',
  ];
  add(picked, 'accept', headers.accept);
  if (shape.isBodyEncoded) add(picked, 'content-encoding', headers['content-encoding']);
  if (shape.trace !== null) picked.push('traceparent', traceparentOf(shape.trace));
  if (shape.accessToken !== null) picked.push('authorization', bearer(shape.accessToken));
  return picked;
}

let bearing = { token: '', header: '' };

/** A token is a thousand characters, and the same for an hour: they are copied once. */
function bearer(token: string): string {
  if (token !== bearing.token) bearing = { token, header: `Bearer ${token}` };
  return bearing.header;
}

/**
 * The name of a header that would go upstream, and is longer than any that says what it should; null where none is. What
 * others refuse without a word of who they are would count against the upstream.
 */
export function overlongHeader(headers: IncomingHttpHeaders): string | null {
  if (isOverlong(headers.accept)) return 'accept';
  if (isOverlong(headers['content-type'])) return 'content-type';
  if (isOverlong(headers['accept-encoding'])) return 'accept-encoding';
  return isOverlong(headers['content-encoding']) ? 'content-encoding' : null;
}

function isOverlong(value: string | undefined): boolean {
  return value !== undefined && value.length > limits.passedHeaderCharactersMax;
}

/**
 * The headers that go back to the caller, as upstreamHeaders() has them. Not `vary`: the answer to a POST varies with its
 * body, and what depends on the origin the proxy says itself.
 * @param jsonBytes of a body that is made here; null where the upstream's is passed on as it is
 */
export function callerHeaders(headers: IncomingHttpHeaders, jsonBytes: number | null): string[] {
  const picked: string[] = [];
  if (jsonBytes === null) {
    add(picked, 'content-type', headers['content-type']);
    add(picked, 'content-length', headers['content-length']);
    add(picked, 'content-encoding', headers['content-encoding']);
  } else picked.push('content-type', 'application/json; charset=utf-8', 'content-length', String(jsonBytes));
  add(picked, 'cache-control', headers['cache-control']);
  add(picked, 'retry-after', headers['retry-after']);
  add(picked, 'x-vertex-ai-deployed-model-id', headers['x-vertex-ai-deployed-model-id']);
  add(picked, 'x-vertex-ai-endpoint-id', headers['x-vertex-ai-endpoint-id']);
  add(picked, 'x-vertex-ai-model', headers['x-vertex-ai-model']);
  add(picked, 'x-vertex-ai-model-version-id', headers['x-vertex-ai-model-version-id']);
  return picked;
}

/** Those headers of an answer that say who served. */
export function vertexHeadersOf(headers: NodeJS.Dict<string | string[]>): Record<string, string> {
  const picked: Record<string, string> = {};
  for (const name of vertexHeaders) {
    const first = text(headers[name]);
    if (first !== null) picked[name] = first;
  }
  return picked;
}

export function servedBy(headers: IncomingHttpHeaders): ServedBy {
  const id = text(headers['x-vertex-ai-deployed-model-id']);
  return {
    deployedModelId: id !== null && deployedModelIdPattern.test(id) ? id : null,
    model: text(headers['x-vertex-ai-model']),
    modelVersionId: text(headers['x-vertex-ai-model-version-id']),
  };
}

function add(to: string[], name: string, value: string | string[] | undefined): void {
  const first = text(value);
  if (first !== null) to.push(name, first);
}

/** A header given twice is no single value: the first counts. */
function text(value: string | string[] | undefined): string | null {
  const first = typeof value === 'object' ? value[0] : value;
  return first === undefined || first === '' ? null : first;
}
