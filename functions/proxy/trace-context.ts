/** To which trace does a request belong? As W3C's header says, or else Google's own. */
import type { IncomingHttpHeaders } from 'node:http';

export interface TraceContext {
  /** 32 hex digits. */
  traceId: string;
  /** 16 hex digits: the caller's span. */
  spanId: string;
  isSampled: boolean;
}

const w3c = /^(?!ff)[\da-f]{2}-(?!0{32})([\da-f]{32})-(?!0{16})([\da-f]{16})-([\da-f]{2})$/;
/** `TRACE_ID/SPAN_ID;o=OPTIONS`, whose span is a decimal number. */
const google = /^(?!0{32})([\da-f]{32})\/(\d{1,20})(?:;o=(\d))?$/;

/** Null where a request is in no trace, or says so in words that nobody would understand. */
export function traceContextOf(headers: IncomingHttpHeaders): TraceContext | null {
  if (headers['traceparent'] === undefined && headers['x-cloud-trace-context'] === undefined) return null;
  const [, traceId, spanId, flags = ''] = w3c.exec(headers['traceparent']?.toString() ?? '') ?? [];
  if (traceId !== undefined && spanId !== undefined)
    return { traceId, spanId, isSampled: (Number.parseInt(flags, 16) & 1) === 1 };
  const [, trace, span = '0', options] = google.exec(headers['x-cloud-trace-context']?.toString() ?? '') ?? [];
  const number = BigInt.asUintN(64, BigInt(span));
  // W3C has no word for a span of 0.
  if (trace === undefined || number === 0n) return null;
  return { traceId: trace, spanId: number.toString(16).padStart(16, '0'), isSampled: options === '1' };
}

/** As W3C's header has it. */
export function traceparentOf({ traceId, spanId, isSampled }: TraceContext): string {
  return `00-${traceId}-${spanId}-0${Number(isSampled)}`;
}

/** What puts a line of the log beside the others of its request. @see https://cloud.google.com/logging/docs/structured-logging */
export function traceFields(project: string, context: TraceContext | null): Record<string, unknown> {
  if (context === null) return {};
  return {
    'logging.googleapis.com/trace': `projects/${project}/traces/${context.traceId}`,
    'logging.googleapis.com/spanId': context.spanId,
    'logging.googleapis.com/trace_sampled': context.isSampled,
  };
}
