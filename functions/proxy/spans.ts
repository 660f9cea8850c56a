/** How do spans leave the process? By OpenTelemetry's own SDK, in batches, over OTLP. Loaded only where tracing is configured. */
import { type Context, ROOT_CONTEXT, type Span, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { resourceFromAttributes } from '@opentelemetry/resources';
import {
  AlwaysOffSampler,
  BatchSpanProcessor,
  ParentBasedSampler,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace';
import { limits } from '../engine/limits.ts';
import { log } from '../engine/log.ts';
import type { TraceContext } from './trace-context.ts';
import type { Tracing, TracingConfig } from './tracing.ts';
import type { AccessTokens } from './upstream.ts';

/** Google's own receiver, which wants the token that predictions are asked with. */
const googleHost = 'telemetry.googleapis.com';

/** Makes the tracing of one process. Nothing is registered globally: other libraries' spans are not ours to send. */
export function createTracing(
  { url, share, serviceName }: TracingConfig,
  accessToken: AccessTokens | null,
  project: string,
): Tracing {
  const isGoogle = accessToken !== null && new URL(url).hostname === googleHost;
  // A factory must not throw; without a token the receiver says what is wrong.
  const authorized = async (): Promise<Record<string, string>> => {
    try {
      return { authorization: `Bearer ${(await accessToken?.()) ?? ''}` };
    } catch {
      return { authorization: 'Bearer' };
    }
  };
  const exporter = new OTLPTraceExporter({
    url,
    timeoutMillis: limits.callDeadlineMs,
    ...(isGoogle && { headers: authorized }),
  });
  const ofShare = new TraceIdRatioBasedSampler(share);
  const provider = new TracerProvider({
    // Google refuses spans that do not say whose they are.
    resource: resourceFromAttributes({ 'service.name': serviceName, 'gcp.project_id': project }),
    // A caller may keep its requests out of the traces, but not fill them: the share holds for all.
    sampler: new ParentBasedSampler({
      root: ofShare,
      remoteParentSampled: ofShare,
      remoteParentNotSampled: new AlwaysOffSampler(),
    }),
    spanProcessors: [new BatchSpanProcessor({ exporter })],
  });
  const tracer = provider.getTracer('vertex-rollouts-proxy');

  async function flush(): Promise<void> {
    try {
      await provider.forceFlush({ timeoutMillis: limits.shutdownFlushMs });
    } catch (error) {
      log('WARNING', 'Spans could not be sent', { url, error: String(error) });
    }
  }

  return {
    begin({ parent, verb, endpoint, caller }) {
      const span = tracer.startSpan(
        `POST :${verb}`,
        { kind: SpanKind.SERVER, attributes: { 'http.request.method': 'POST', endpoint, caller } },
        parentContext(parent),
      );
      return {
        context: contextOf(span),
        beginUpstream() {
          const asked = tracer.startSpan(
            `:${verb} of the model`,
            { kind: SpanKind.CLIENT, attributes: { endpoint } },
            trace.setSpan(ROOT_CONTEXT, span),
          );
          return {
            context: contextOf(asked),
            end(isError) {
              if (isError) asked.setStatus({ code: SpanStatusCode.ERROR });
              asked.end();
            },
          };
        },
        end({ statusCode, deployedModelId }) {
          span.setAttribute('http.response.status_code', statusCode);
          if (deployedModelId !== null) span.setAttribute('deployed_model_id', deployedModelId);
          if (statusCode >= 500) span.setStatus({ code: SpanStatusCode.ERROR });
          span.end();
        },
      };
    },
    flush,
    async close() {
      await flush();
      await provider.shutdown().catch(() => undefined);
    },
  };
}

function parentContext(parent: TraceContext | null): Context {
  if (parent === null) return ROOT_CONTEXT;
  const { traceId, spanId, isSampled } = parent;
  return trace.setSpanContext(ROOT_CONTEXT, { traceId, spanId, traceFlags: Number(isSampled), isRemote: true });
}

function contextOf(span: Span): TraceContext {
  const { traceId, spanId, traceFlags } = span.spanContext();
  return { traceId, spanId, isSampled: (traceFlags & 1) === 1 };
}
