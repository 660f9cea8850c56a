/**
 * What do Vertex's prediction URLs answer? `:predict`, `:rawPredict` and `:streamRawPredict` over HTTP, served by one
 * DeployedModel that the split picks for each request, and counted in the world's metrics.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { type Agent, type Dispatcher, errors, request as send } from 'undici';
import type { RequestLog } from './bigquery/request-log.ts';
import type { Containers } from './containers.ts';
import { type BeforeCall, httpStatusOf, StatusError, status } from './grpc.ts';
import { toStatusError } from './vertex/handlers.ts';
import { route } from './world/endpoints.ts';
import { recordPrediction } from './world/metrics.ts';
import type { DeployedModel, Endpoint } from './world/state.ts';
import type { World } from './world/world.ts';

/** What Vertex takes on a shared endpoint. */
const bodyBytesMax = 1_500_000;
/** Longer than clients keep connections, so that they are the ones to close them. */
const keepAliveMs = 75_000;

const PATH = /^\/v1\/(projects\/[^/]+\/locations\/[^/]+\/endpoints\/[^/:]+):([A-Za-z]+)$/;
const methods: Record<string, string> = {
  predict: 'Predict',
  rawPredict: 'RawPredict',
  streamRawPredict: 'StreamRawPredict',
};

export interface PredictOptions {
  world: World;
  containers: Containers;
  /** Its headersTimeout is the deadline of a prediction. */
  agent: Agent;
  /** Uniform in [0, 1): picks the DeployedModel. */
  random: () => number;
  before?: BeforeCall;
  requestLog?: RequestLog;
  /** Google's other REST APIs, on the same port: the first that takes a request answers it. */
  others?: readonly RestApi[];
}

/** Answers a request, or returns false without having touched it: its path is not this API's. */
export type RestApi = (request: IncomingMessage, response: ServerResponse) => boolean;

/** One prediction on its way: who serves it, and what is known of it so far. */
interface Prediction {
  endpoint: Endpoint;
  deployed: DeployedModel;
  body: Buffer;
  /** Null for a raw request. */
  instances: unknown[] | null;
  contentType: string;
}

/** Returns a server that is not listening yet. */
export function createPredictServer(options: PredictOptions): Server {
  return createServer({ keepAliveTimeout: keepAliveMs }, (request, response) => {
    if (options.others?.some((api) => api(request, response)) !== true) void answer(options, request, response);
  });
}

async function answer(options: PredictOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const startedAt = performance.now();
  let prediction: Prediction | null = null;
  try {
    const { name, method } = target(request);
    const finish = await options.before?.(`google.cloud.aiplatform.v1.PredictionService/${methods[method]}`);
    prediction = await accept(options, request, name, method);
    if (method === 'rawPredict') nameServer(response, prediction);
    const upstream = await forward(options, prediction, response);
    finish?.();
    const payload = await replies[method]?.(prediction, upstream, response);
    if (payload !== undefined && response.statusCode === 200) log(options, prediction, payload);
  } catch (error) {
    refuse(response, toStatusError(error));
  }
  if (prediction !== null) {
    recordPrediction(options.world.context, {
      endpoint: prediction.endpoint,
      deployedModelId: prediction.deployed.id,
      responseCode: response.statusCode,
      instances: prediction.instances?.length ?? 1,
      latencyMs: performance.now() - startedAt,
    });
  }
}

function target(request: IncomingMessage): { name: string; method: string } {
  const [path = ''] = request.url?.split('?', 1) ?? [];
  const [, name = '', method = ''] = PATH.exec(path) ?? [];
  if (name === '' || request.method !== 'POST') {
    throw new StatusError(
      status.NOT_FOUND,
      `Nothing at ${request.method} ${path}; expected POST /v1/projects/P/locations/L/endpoints/E:predict.`,
    );
  }
  if (!Object.hasOwn(methods, method)) {
    throw new StatusError(status.UNIMPLEMENTED, `The emulator does not have the method ${method}.`);
  }
  return { name, method };
}

async function accept(
  { world, random }: PredictOptions,
  request: IncomingMessage,
  name: string,
  method: string,
): Promise<Prediction> {
  const body = await readBody(request);
  const instances = method === 'predict' ? parseInstances(body) : null;
  world.advance();
  const { endpoint, id } = route(world.context, name, random());
  const deployed = endpoint.deployedModels.find((candidate) => candidate.id === id);
  if (deployed === undefined)
    throw new StatusError(status.INTERNAL, `The split of ${name} names ${id}, which is gone.`);
  // `:predict` is JSON whatever the caller calls it; raw bodies keep their type.
  const contentType = method === 'predict' ? undefined : request.headers['content-type'];
  return { endpoint, deployed, body, instances, contentType: contentType ?? 'application/json' };
}

async function forward(
  { containers, agent }: PredictOptions,
  { endpoint, deployed, body, contentType }: Prediction,
  response: ServerResponse,
): Promise<Dispatcher.ResponseData> {
  const address = containers.addressOf(endpoint.name, deployed.id);
  if (address === null) {
    throw new StatusError(
      status.UNAVAILABLE,
      `The model server of ${deployed.id} is not ready: ${deployed.statusMessage}`,
    );
  }
  const abandoned = new AbortController();
  response.once('close', () => abandoned.abort());
  try {
    return await send(`${address.origin}${address.predictRoute}`, {
      method: 'POST',
      headers: { 'content-type': contentType },
      body,
      dispatcher: agent,
      signal: abandoned.signal,
    });
  } catch (error) {
    throw upstreamError(error);
  }
}

/** They resolve with what a request log keeps of the answer, if anything. */
const replies: Record<
  string,
  (
    prediction: Prediction,
    upstream: Dispatcher.ResponseData,
    response: ServerResponse,
  ) => Promise<unknown[] | Buffer | void>
> = { predict: replyPredictions, rawPredict: replyBytes, streamRawPredict: replyStream };

/** A failed prediction does not name its DeployedModel, as on Vertex. */
async function replyPredictions(
  { deployed, endpoint }: Prediction,
  upstream: Dispatcher.ResponseData,
  response: ServerResponse,
): Promise<unknown[]> {
  const text = await upstream.body.text().catch((error: unknown) => Promise.reject(upstreamError(error)));
  if (upstream.statusCode >= 400) {
    const code = upstream.statusCode < 500 ? status.INVALID_ARGUMENT : status.INTERNAL;
    throw new StatusError(code, `The model server of ${endpoint.name} answered ${upstream.statusCode}: ${text}`);
  }
  const { predictions, metadata } = parsePredictions(text);
  replyJson(response, 200, {
    predictions,
    deployedModelId: deployed.id,
    model: deployed.model,
    modelDisplayName: deployed.displayName,
    modelVersionId: deployed.versionId,
    ...(metadata === undefined ? {} : { metadata }),
  });
  return predictions;
}

async function replyBytes(_: Prediction, upstream: Dispatcher.ResponseData, response: ServerResponse): Promise<Buffer> {
  const bytes = await upstream.body.bytes().catch((error: unknown) => Promise.reject(upstreamError(error)));
  response.writeHead(upstream.statusCode, { ...contentTypeOf(upstream), 'content-length': bytes.length });
  response.end(bytes);
  return Buffer.from(bytes);
}

async function replyStream(_: Prediction, upstream: Dispatcher.ResponseData, response: ServerResponse): Promise<void> {
  response.writeHead(upstream.statusCode, contentTypeOf(upstream));
  response.flushHeaders();
  // A stream that breaks has its status already; all that is left is to break the caller's as well.
  await pipeline(upstream.body, response).catch(() => response.destroy());
}

function log(
  { requestLog, random }: PredictOptions,
  { endpoint, deployed, body, instances }: Prediction,
  answered: unknown[] | Buffer,
): void {
  const { requestLogging: logging } = endpoint;
  if (requestLog === undefined || logging === null || !logging.isEnabled) return;
  if (logging.samplingRate < 1 && random() >= logging.samplingRate) return;
  requestLog.add(logging.table, {
    endpoint: endpoint.name,
    deployedModelId: deployed.id,
    requestPayload: textsOf(instances ?? body),
    responsePayload: textsOf(answered),
  });
}

/** A text for each instance or prediction; of a raw body, one. */
function textsOf(payload: unknown[] | Buffer): string[] {
  return Buffer.isBuffer(payload) ? [payload.toString('utf8')] : payload.map((element) => JSON.stringify(element));
}

function nameServer(response: ServerResponse, { endpoint, deployed }: Prediction): void {
  response.setHeader('X-Vertex-AI-Endpoint-Id', endpoint.name.split('/').at(-1) ?? '');
  response.setHeader('X-Vertex-AI-Deployed-Model-Id', deployed.id);
  response.setHeader('X-Vertex-AI-Model', deployed.model);
  response.setHeader('X-Vertex-AI-Model-Version-Id', deployed.versionId);
}

function refuse(response: ServerResponse, error: unknown): void {
  const { code, message } =
    error instanceof StatusError ? error : { code: status.INTERNAL, message: `The emulator failed: ${String(error)}` };
  if (response.headersSent) {
    response.destroy();
    return;
  }
  if (response.destroyed) {
    // The caller has gone: nobody hears the answer, and it is no failure of the model.
    response.statusCode = 499;
    return;
  }
  const http = message === bodyTooLarge ? 413 : httpStatusOf(code);
  replyJson(response, http, { error: { code: http, message, status: status[code] } });
}

function replyJson(response: ServerResponse, code: number, body: unknown): void {
  const text = Buffer.from(JSON.stringify(body));
  response.writeHead(code, { 'content-type': 'application/json; charset=UTF-8', 'content-length': text.length });
  response.end(text);
}

const bodyTooLarge = `Request payload size exceeds the limit: ${bodyBytesMax} bytes.`;

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes <= bodyBytesMax) chunks.push(chunk);
  }
  if (bytes > bodyBytesMax) throw new StatusError(status.INVALID_ARGUMENT, bodyTooLarge);
  return Buffer.concat(chunks);
}

function parseInstances(body: Buffer): unknown[] {
  const json = parseJson(body.toString('utf8'));
  if (typeof json !== 'object' || json === null || !('instances' in json) || !Array.isArray(json.instances)) {
    throw new StatusError(status.INVALID_ARGUMENT, 'Expected JSON like {"instances":[…],"parameters":…}.');
  }
  return json.instances;
}

function parsePredictions(text: string): { predictions: unknown[]; metadata?: unknown } {
  const json = parseJson(text);
  if (typeof json !== 'object' || json === null || !('predictions' in json) || !Array.isArray(json.predictions)) {
    throw new StatusError(status.INTERNAL, 'The model server did not answer JSON like {"predictions":[…]}.');
  }
  return { predictions: json.predictions, ...('metadata' in json ? { metadata: json.metadata } : {}) };
}

/** Undefined for what is no JSON. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function contentTypeOf(upstream: Dispatcher.ResponseData): Record<string, string> {
  const contentType = upstream.headers['content-type'];
  return typeof contentType === 'string' ? { 'content-type': contentType } : {};
}

function upstreamError(error: unknown): StatusError {
  const isLate = error instanceof errors.HeadersTimeoutError || error instanceof errors.BodyTimeoutError;
  const message = error instanceof Error ? error.message : String(error);
  return isLate
    ? new StatusError(status.DEADLINE_EXCEEDED, 'The model server did not answer in time.')
    : new StatusError(status.UNAVAILABLE, `The model server is gone: ${message}`);
}
