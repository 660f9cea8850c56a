/**
 * The model as a container: serves one version over HTTP as Vertex AI asks of custom containers, and ends when its
 * parent does. https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements
 *
 *   AIP_HTTP_PORT=8080 DELAYS_VERSION=3 node emulator/models/server.ts
 */
import { fstatSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { readModel } from './delay-model.ts';
import { type Flight, flightSchema } from './flights.ts';
import { createVariant, traitsOf, versions } from './variants.ts';

const bounds = {
  /** What Vertex itself takes on a shared endpoint. */
  bodyBytesMax: 1_500_000,
  instancesMax: 1000,
  /** A request that is not here by then will not come. */
  requestMs: 10_000,
  /** Longer than a caller keeps its connections, so that the caller is the one to close them. */
  keepAliveMs: 75_000,
  /** Answers under way get this long when the process is told to end. */
  drainMs: 1000,
};

const environmentSchema = z.object({
  /** 0 takes any free port; the first log line says which. */
  AIP_HTTP_PORT: z.coerce.number().int().min(0).max(65_535).default(8080),
  AIP_HEALTH_ROUTE: z.string().startsWith('/').default('/health'),
  AIP_PREDICT_ROUTE: z.string().startsWith('/').default('/predict'),
  DELAYS_VERSION: z.enum(versions).default('1'),
  DELAYS_CAPACITY_RPS: z.coerce.number().gt(0).default(20),
  DELAYS_CRASH_AFTER: z.coerce.number().int().min(0).default(150),
  DELAYS_SEED: z.coerce.number().int().default(1),
});

const predictSchema = z.object({
  instances: z.array(flightSchema).min(1).max(bounds.instancesMax),
  parameters: z.unknown().optional(),
});

interface Reply {
  status: number;
  body: unknown;
  headers?: Record<string, string>;
}

const environment = parseEnvironment();
let variant: ReturnType<typeof createVariant> | null = null;
const server = createServer(
  { requestTimeout: bounds.requestMs, keepAliveTimeout: bounds.keepAliveMs },
  (request, response) => void answer(request, response),
);
endWithParent();
// On the loopback only: locally the platform is the only caller, and nobody else should be.
server.listen(environment.AIP_HTTP_PORT, '127.0.0.1', start);

function start(): void {
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : null;
  const version = environment.DELAYS_VERSION;
  log('INFO', `delays ${version} listens on port ${port}`, { port, version });
  if (traitsOf[version].fault === 'never-healthy') return;
  variant = createVariant(version, readModel(traitsOf[version].weights), {
    seed: environment.DELAYS_SEED,
    capacityRps: environment.DELAYS_CAPACITY_RPS,
    crashAfter: environment.DELAYS_CRASH_AFTER,
  });
}

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const reply = await handle(request).catch((error: unknown) => refusal(500, String(error)));
  // While ending, a connection that stays open would hold the process back.
  if (!server.listening) response.setHeader('connection', 'close');
  response.writeHead(reply.status, { 'content-type': 'application/json', ...reply.headers });
  response.end(JSON.stringify(reply.body));
}

async function handle(request: IncomingMessage): Promise<Reply> {
  const path = request.url?.split('?', 1)[0];
  if (path === environment.AIP_HEALTH_ROUTE) {
    if (request.method !== 'GET') return wrongMethod('GET');
    return variant === null ? notLoaded() : { status: 200, body: { status: 'healthy' } };
  }
  if (path === environment.AIP_PREDICT_ROUTE) {
    return request.method === 'POST' ? predict(request) : wrongMethod('POST');
  }
  return refusal(404, `nothing at ${path}; predictions are at ${environment.AIP_PREDICT_ROUTE}`);
}

async function predict(request: IncomingMessage): Promise<Reply> {
  const body = await readBody(request);
  if (body === null) return refusal(413, `the body may have ${bounds.bodyBytesMax} bytes`);
  const parsed = parseFlights(body);
  if ('problem' in parsed) return refusal(400, parsed.problem);
  if (variant === null) return notLoaded();
  const outcome = variant(parsed.flights, performance.now());
  if (outcome.kind === 'crash') {
    log('CRITICAL', `delays ${environment.DELAYS_VERSION} crashes after ${environment.DELAYS_CRASH_AFTER} requests`);
    process.exit(1);
  }
  await sleep(outcome.serviceMs);
  return outcome.kind === 'predictions'
    ? { status: 200, body: { predictions: outcome.predictions } }
    : refusal(outcome.status, outcome.message);
}

/** Null when the body is longer than allowed. */
async function readBody(request: IncomingMessage): Promise<string | null> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes <= bounds.bodyBytesMax) chunks.push(chunk);
  }
  return bytes <= bounds.bodyBytesMax ? Buffer.concat(chunks).toString('utf8') : null;
}

function parseFlights(body: string): { flights: Flight[] } | { problem: string } {
  let json: unknown;
  try {
    json = JSON.parse(body);
  } catch {
    return { problem: 'the body is not JSON; expected {"instances":[{"origin":"DTW",…}]}' };
  }
  const parsed = predictSchema.safeParse(json);
  return parsed.success ? { flights: parsed.data.instances } : { problem: z.prettifyError(parsed.error) };
}

function refusal(status: number, message: string): Reply {
  return { status, body: { error: message } };
}

function wrongMethod(allow: string): Reply {
  return { ...refusal(405, `expected ${allow}`), headers: { allow } };
}

function notLoaded(): Reply {
  return refusal(503, 'the weights are not loaded yet');
}

/** A model server must not outlive the platform that started it, however that ended. */
function endWithParent(): void {
  const stdin = fstatSync(0);
  // A terminal or /dev/null says nothing about the parent; a pipe closes when the parent is gone.
  if (stdin.isFIFO() || stdin.isSocket()) process.stdin.on('end', end).on('error', end).resume();
  process.once('disconnect', end).once('SIGTERM', end).once('SIGINT', end);
}

function end(): void {
  server.close(() => process.exit(0));
  setTimeout(() => process.exit(0), bounds.drainMs).unref();
}

function parseEnvironment(): z.infer<typeof environmentSchema> {
  const present = Object.entries(process.env).filter(([, value]) => value !== '');
  const parsed = environmentSchema.safeParse(Object.fromEntries(present));
  if (!parsed.success) {
    console.error(`The environment is not usable:\n${z.prettifyError(parsed.error)}`);
    process.exit(1);
  }
  return parsed.data;
}

/** One structured line, as Cloud Logging reads what a container prints. */
function log(severity: string, message: string, fields: Record<string, unknown> = {}): void {
  process.stdout.write(`${JSON.stringify({ severity, message, ...fields })}\n`);
}
