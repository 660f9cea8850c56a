/**
 * How does a Google service become a local gRPC server? Definitions come from the protos that Google's own clients
 * ship, so both ends speak the same wire format; handlers are plain functions from request to response.
 *
 * Requests reach handlers in camelCase: 64-bit integers as decimal strings (as Google's clients decode them), enums by
 * name, bytes as Buffer, absent messages null, absent lists and maps empty. Responses may be partial; they may give
 * 64-bit integers as strings or numbers and enums by name or number.
 */
import { readFileSync } from 'node:fs';
import { createServer as createWebServer, type RequestListener } from 'node:http';
import { createRequire } from 'node:module';
import { createServer as createListener, type Socket } from 'node:net';
import {
  type Metadata,
  Server,
  ServerCredentials,
  type ServiceDefinition,
  type sendUnaryData,
  type ServerUnaryCall,
  status,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { fromJSON, type PackageDefinition } from '@grpc/proto-loader';
import { type ZodType, z } from 'zod';

export { status };

/** Which package's protos have the names that begin so. The aiplatform package has the operations service as well. */
const protosByPrefix: [prefix: string, path: string][] = [
  ['google.cloud.aiplatform.', '@google-cloud/aiplatform/build/protos/protos.json'],
  ['google.longrunning.', '@google-cloud/aiplatform/build/protos/protos.json'],
  ['google.monitoring.v3.', '@google-cloud/monitoring/build/protos/protos.json'],
  ['google.cloud.scheduler.', '@google-cloud/scheduler/build/protos/protos.json'],
  ['google.pubsub.v1.', '@google-cloud/pubsub/build/protos/protos.json'],
  ['google.protobuf.', '@google-cloud/scheduler/build/protos/protos.json'],
];

/** Pub/Sub takes messages of 10 MB; gRPC's own default of 4 MB would refuse them first. */
const requestBytesMax = 16 * 1024 * 1024;
/** How a connection of HTTP/2 begins. */
const HTTP2 = 'PRI';
/** Calls under way get this long to end when the server closes. */
const closeDeadlineMs = 1_000;

const pageSizeMax = 1000;
const pageSchema = z.object({
  pageSize: z.int().min(0, 'expected 0 or more').default(0),
  pageToken: z.string().regex(/^\d*$/, 'expected a token from an earlier answer').default(''),
});

/** An answer other than OK. Handlers throw it; the client sees its code and message. */
export class StatusError extends Error {
  override readonly name = 'StatusError';
  readonly code: status;
  constructor(code: status, message: string) {
    super(message);
    this.code = code;
  }
}

const httpStatus: Partial<Record<status, number>> = {
  [status.INVALID_ARGUMENT]: 400,
  [status.FAILED_PRECONDITION]: 400,
  [status.OUT_OF_RANGE]: 400,
  [status.UNAUTHENTICATED]: 401,
  [status.PERMISSION_DENIED]: 403,
  [status.NOT_FOUND]: 404,
  [status.ABORTED]: 409,
  [status.ALREADY_EXISTS]: 409,
  [status.RESOURCE_EXHAUSTED]: 429,
  [status.CANCELLED]: 499,
  [status.UNIMPLEMENTED]: 501,
  [status.UNAVAILABLE]: 503,
  [status.DEADLINE_EXCEEDED]: 504,
};

/** The same over HTTP. @see https://cloud.google.com/apis/design/errors#handling_errors */
export function httpStatusOf(code: status): number {
  return httpStatus[code] ?? 500;
}

export interface CallContext {
  /** `google.x.Service/Method` */
  method: string;
  metadata: Metadata;
}

export type UnaryHandler = (request: Record<string, unknown>, context: CallContext) => Promise<object> | object;

/**
 * Runs before every implemented call, with its `google.x.Service/Method`, and may throw a StatusError. A function it
 * returns is called after the work and before the reply: if that throws, the work is done and the reply is lost.
 */
export type BeforeCall = (method: string) => Promise<(() => void) | void>;

export type GrpcService = [ServiceDefinition, UntypedServiceImplementation];

/** Returns the definition of a service by its full name, such as `google.cloud.aiplatform.v1.EndpointService`. */
export function serviceDefinition(fullName: string): ServiceDefinition {
  const definition = definitionOf(fullName);
  if ('format' in definition) throw new Error(`Expected a service, got the message or enum ${fullName}.`);
  return definition;
}

/** Packs a message, given in camelCase, as the google.protobuf.Any that operations carry as metadata and response. */
export function packAny(typeName: string, message: object): { type_url: string; value: Buffer } {
  const definition = definitionOf(typeName);
  if (!('serialize' in definition) || typeof definition.serialize !== 'function') {
    throw new Error(`Expected a message type, got the service or enum ${typeName}.`);
  }
  return { type_url: `type.googleapis.com/${typeName}`, value: definition.serialize(message) };
}

/**
 * Makes a service of unary handlers, named as in the proto (`GetEndpoint`). A StatusError becomes its status, any other
 * throw INTERNAL. Methods without a handler, streaming ones too, answer UNIMPLEMENTED and name themselves.
 */
export function unaryService(
  fullName: string,
  handlers: Record<string, UnaryHandler>,
  before?: BeforeCall,
): GrpcService {
  const definition = serviceDefinition(fullName);
  const implementation: UntypedServiceImplementation = {};
  for (const [name, handler] of Object.entries(handlers)) {
    const method = `${fullName}/${name}`;
    const { requestStream, responseStream } = definition[name] ?? {};
    if (requestStream !== false || responseStream !== false) {
      throw new Error(
        `${method} is not a unary method. Name handlers as the proto does: ${Object.keys(definition).join(', ')}.`,
      );
    }
    implementation[name] = (
      call: ServerUnaryCall<Record<string, unknown>, object>,
      reply: sendUnaryData<object>,
    ): void => {
      void serve(handler, before, method, call, reply);
    };
  }
  return [definition, implementation];
}

/**
 * Serves on 127.0.0.1; port 0 takes any free one. Throws when the port is taken. Closing lets calls under way end, but
 * does not wait long for them.
 * @param rest answers what comes over HTTP/1.1 to the same port, as some of Google's emulators do
 */
export async function serveGrpc(
  port: number,
  services: GrpcService[],
  rest: RequestListener = (_, response) => void response.writeHead(404).end(),
): Promise<{ port: number; close(): Promise<void> }> {
  const server = new Server({ 'grpc.max_receive_message_length': requestBytesMax });
  for (const [definition, implementation] of services) server.addService(definition, implementation);
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  const web = createWebServer(rest);
  const sockets = new Set<Socket>();
  const listener = createListener((socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    // Whoever is cut off hears of it by itself.
    socket.on('error', () => socket.destroy());
    socket.once('readable', () => {
      const first: Buffer = socket.read() ?? Buffer.alloc(0);
      socket.unshift(first);
      if (first.toString('latin1', 0, HTTP2.length) === HTTP2) injector.injectConnection(socket);
      else web.emit('connection', socket);
    });
  });
  await new Promise<void>((resolve, reject) => {
    listener.once('error', (error: NodeJS.ErrnoException) => {
      const advice = error.code === 'EADDRINUSE' ? 'it is taken; stop what holds it, or choose another' : error.message;
      reject(new Error(`Cannot serve gRPC on 127.0.0.1:${port}: ${advice}.`, { cause: error }));
    });
    listener.listen(port, '127.0.0.1', resolve);
  });
  const address = listener.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : port,
    close: () =>
      new Promise((resolve) => {
        listener.close();
        web.close();
        web.closeAllConnections();
        // One that has not said a word belongs to nobody.
        for (const socket of sockets) if (socket.bytesRead === 0) socket.destroy();
        const timer = setTimeout(() => {
          server.forceShutdown();
          resolve();
        }, closeDeadlineMs);
        server.tryShutdown(() => {
          clearTimeout(timer);
          resolve();
        });
      }),
  };
}

/** Parses a request, or throws INVALID_ARGUMENT with every problem and where it is. */
export function parseRequest<T>(schema: ZodType<T>, request: unknown): T {
  const parsed = schema.safeParse(request);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map((issue) => [...issue.path, issue.message].join(': '));
  throw new StatusError(status.INVALID_ARGUMENT, problems.join('; '));
}

/** Cuts one page out of a list, as `page_size` (0: all that fits) and `page_token` of the request ask. */
export function page<T>(items: T[], request: Record<string, unknown>): { items: T[]; nextPageToken: string } {
  const { pageSize, pageToken } = parseRequest(pageSchema, request);
  const start = Number(pageToken);
  const end = start + Math.min(pageSize || pageSizeMax, pageSizeMax);
  return { items: items.slice(start, end), nextPageToken: end < items.length ? String(end) : '' };
}

/** Milliseconds since the epoch as a google.protobuf.Timestamp. */
export function toTimestamp(epochMs: number): { seconds: string; nanos: number } {
  const seconds = Math.floor(epochMs / 1000);
  return { seconds: String(seconds), nanos: Math.floor((epochMs - seconds * 1000) * 1e6) };
}

async function serve(
  handler: UnaryHandler,
  before: BeforeCall | undefined,
  method: string,
  call: ServerUnaryCall<Record<string, unknown>, object>,
  reply: sendUnaryData<object>,
): Promise<void> {
  try {
    const beforeReply = await before?.(method);
    const response = await handler(call.request, { method, metadata: call.metadata });
    beforeReply?.();
    reply(null, response);
  } catch (error) {
    reply(toStatus(error, method));
  }
}

function toStatus(error: unknown, method: string): { code: status; details: string } {
  if (error instanceof StatusError) return { code: error.code, details: error.message };
  const reason = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { code: status.INTERNAL, details: `The emulator failed in ${method}: ${reason}` };
}

const packages = new Map<string, PackageDefinition>();

function definitionOf(fullName: string): PackageDefinition[string] {
  const path = protosByPrefix.find(([prefix]) => fullName.startsWith(prefix))?.[1];
  const definition = path === undefined ? undefined : loadProtos(path)[fullName];
  if (definition === undefined) throw new Error(`No Google client that is installed here defines ${fullName}.`);
  return definition;
}

/** Parsing takes 20 to 400 ms, so once for each package, and only when it is asked for. */
function loadProtos(path: string): PackageDefinition {
  const loaded = packages.get(path);
  if (loaded !== undefined) return loaded;
  const json = JSON.parse(readFileSync(createRequire(import.meta.url).resolve(path), 'utf8'));
  const definitions = fromJSON(json, { keepCase: false, longs: String, enums: String, defaults: true, oneofs: true });
  packages.set(path, definitions);
  return definitions;
}
