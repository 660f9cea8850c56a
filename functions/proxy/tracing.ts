/** Where does the time of a request go? Two spans of OpenTelemetry for each sampled one: the proxy's, and the upstream's in it. */
import { z } from 'zod';
import { log } from '../engine/log.ts';
import { isSafeToFetch } from './safe-url.ts';
import type { TraceContext } from './trace-context.ts';
import type { AccessTokens } from './upstream.ts';

export const tracingConfigSchema = z.strictObject({
  /** Takes OTLP over HTTP, such as http://localhost:4318/v1/traces, or Google's https://telemetry.googleapis.com/v1/traces. */
  url: z.url().refine(isSafeToFetch, 'expected an https URL; http only on this machine'),
  /** Of the traces, by their ids; a caller who says that a trace is not sampled is believed, one who says it is, is not. */
  share: z.number().min(0).max(1).default(0.01),
  serviceName: z.string().min(1).max(100).default('rollouts-predict'),
});

export type TracingConfig = z.output<typeof tracingConfigSchema>;

/** A request of a known caller, as far as it is known when it begins. */
export interface TracedRequest {
  /** Null where it begins a trace. */
  parent: TraceContext | null;
  verb: string;
  endpoint: string;
  caller: string;
}

/** How it ended. */
export interface TracedEnd {
  statusCode: number;
  deployedModelId: string | null;
}

export interface UpstreamTrace {
  context: TraceContext;
  end(isError: boolean): void;
}

export interface RequestTrace {
  /** Ours, for the log. */
  context: TraceContext;
  /** Begins the span of the upstream, which gets its context. */
  beginUpstream(): UpstreamTrace;
  end(end: TracedEnd): void;
}

export interface Tracing {
  begin(request: TracedRequest): RequestTrace;
  /** Sends what is there; never rejects. */
  flush(): Promise<void>;
  close(): Promise<void>;
}

/** Takes a step of tracing. What fails there is told, and costs no request anything; then there is no trace of it. */
export function traced<T>(step: () => T): T | undefined {
  try {
    return step();
  } catch (error) {
    log('ERROR', 'Tracing failed on a request', { error: String(error) });
    return undefined;
  }
}

/** Opens what the configuration wants; undefined without. OpenTelemetry is loaded by none but who wants it. */
export async function openTracing(
  config: TracingConfig | null,
  accessToken: AccessTokens | null,
  project: string,
): Promise<Tracing | undefined> {
  return config === null ? undefined : (await import('./spans.ts')).createTracing(config, accessToken, project);
}
