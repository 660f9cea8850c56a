/** Which headers may pass? Those named here, and no other: in neither direction does a credential or a cookie travel. */
import type { IncomingHttpHeaders } from 'node:http';
import { limits } from '../engine/limits.ts';
import { deployedModelIdPattern } from '../engine/deployed-model-id.ts';
import { type TraceContext, traceparentOf } from './trace-context.ts';

const requestHeaders = ['accept', 'content-type'] as const;
/** Where the other end may read the body as it is said to be. */
const encodingHeaders = ['accept-encoding', 'content-encoding'] as const;
const passedOnHeaders = [...requestHeaders, ...encodingHeaders];

const vertexHeaders = [
  'x-vertex-ai-deployed-model-id',
  'x-vertex-ai-endpoint-id',
  'x-vertex-ai-model',
  'x-vertex-ai-model-version-id',
] as const;

/** Not `vary`: the answer to a POST varies with its body, and what depends on the origin the proxy says itself. */
const answerHeaders = [
  'cache-control',
  'content-encoding',
  'content-length',
  'content-type',
  'retry-after',
  ...vertexHeaders,
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

/** The headers that go upstream. The caller's key is not among them; the only credential is the proxy's own. */
export function upstreamHeaders(headers: IncomingHttpHeaders, shape: RequestShape): Record<string, string> {
  const picked: Record<string, string> = { 'content-type': 'application/json', 'accept-encoding': 'identity' };
  for (const name of requestHeaders) copy(picked, headers, name);
  if (shape.isBodyEncoded) copy(picked, headers, 'content-encoding');
  if (shape.isAnswerPassedOn) copy(picked, headers, 'accept-encoding');
  if (shape.trace !== null) picked['traceparent'] = traceparentOf(shape.trace);
  if (shape.accessToken !== null) picked['authorization'] = `Bearer ${shape.accessToken}`;
  return picked;
}

/**
 * The name of a header that would go upstream, and is longer than any that says what it should; null where none is. What
 * others refuse without a word of who they are would count against the upstream.
 */
export function overlongHeader(headers: IncomingHttpHeaders): string | null {
  const isOverlong = (name: string): boolean => (headers[name]?.length ?? 0) > limits.passedHeaderCharactersMax;
  return passedOnHeaders.find(isOverlong) ?? null;
}

/** The headers that go back to the caller. */
export function callerHeaders(headers: IncomingHttpHeaders): Record<string, string> {
  const picked: Record<string, string> = {};
  for (const name of answerHeaders) copy(picked, headers, name);
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

function copy(to: Record<string, string>, from: IncomingHttpHeaders, name: string): void {
  const value = text(from[name]);
  if (value !== null) to[name] = value;
}

/** A header given twice is no single value: the first counts. */
function text(value: string | string[] | undefined): string | null {
  const first = typeof value === 'object' ? value[0] : value;
  return first === undefined || first === '' ? null : first;
}
