/**
 * How is the emulator steered from outside? HTTP on the control port, JSON in and out.
 *
 * | request          | does                                                                                            |
 * | ---------------- | ----------------------------------------------------------------------------------------------- |
 * | GET /healthz     | 200 {"status":"ok"}                                                                             |
 * | GET /world       | the whole state of the world                                                                    |
 * | GET /faults      | the rules that stand                                                                            |
 * | POST /faults     | adds rules, a JSON array of these:                                                              |
 * |                  | {"method":GLOB,"code":"UNAVAILABLE","message"?,"times"?:n}        the call fails, nothing done  |
 * |                  | {"method":GLOB,"code":"UNAVAILABLE","afterWork":true,"times"?:n}  done, but the reply is lost   |
 * |                  | {"method":GLOB,"latencyMs":250,"times"?:n}                        the call takes longer         |
 * |                  | {"metricGap":{"fromMs":T,"toMs":T}} or true or false              points that end there, hidden |
 * |                  | {"stuckOperations":true} or false                                 operations make no progress   |
 * | DELETE /faults   | ends all rules                                                                                  |
 * | GET /calls       | gRPC calls by method since the start, and by second: {sinceAt,total,methods:{M:{count,seconds}}}|
 * | DELETE /calls    | counts from zero                                                                                |
 * | POST /deviations | plants what Model Monitoring found, a JSON array of these:                                      |
 * |                  | {"job":NAME,"deployedModelId","objective"?,"feature","deviation","fromMs":T,"toMs":T}     of v1 |
 * |                  | {"monitor":NAME,"objective"?,"feature","deviation","atMs":T}                              of v2 |
 *
 * A GLOB is `google.cloud.aiplatform.v1.EndpointService/UpdateEndpoint`, where `*` stands for anything. Of the rules
 * that fit a call the first applies. They hold for every gRPC service, unary calls of Pub/Sub and Scheduler too, and for
 * predictions as `google.cloud.aiplatform.v1.PredictionService/Predict`, `…/RawPredict` and `…/StreamRawPredict`. T is
 * milliseconds since the epoch.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { ZodError, z } from 'zod';
import type { Faults } from './faults.ts';
import { plantDeviations } from './world/model-monitoring.ts';
import { jobDeviationSchema, monitorDeviationSchema } from './world/state.ts';
import { type World, WorldError } from './world/world.ts';

const bodyBytesMax = 1_000_000;

const deviationsSchema = z.array(
  z.union([jobDeviationSchema.extend({ job: z.string() }), monitorDeviationSchema.extend({ monitor: z.string() })]),
);

class BadRequest extends Error {}

/** Returns a server that is not listening yet. */
export function createControlServer(world: World, faults: Faults): Server {
  const routes: Record<string, (request: IncomingMessage) => unknown> = {
    'GET /healthz': () => ({ status: 'ok' }),
    'GET /world': () => {
      world.advance();
      return world.context.state;
    },
    'GET /faults': () => faults.list(),
    'POST /faults': async (request) => {
      faults.add(await readJson(request));
      return faults.list();
    },
    'DELETE /faults': () => {
      faults.clear();
      return faults.list();
    },
    'GET /calls': () => faults.calls(),
    'DELETE /calls': () => {
      faults.clearCalls();
      return faults.calls();
    },
    'POST /deviations': async (request) => {
      const planted = deviationsSchema.parse(await readJson(request));
      plantDeviations(world.context, planted);
      return planted;
    },
  };
  return createServer((request, response) => {
    const route = `${request.method} ${request.url?.split('?', 1)[0]}`;
    void answer(routes[route], route, request, response, Object.keys(routes));
  });
}

async function answer(
  handler: ((request: IncomingMessage) => unknown) | undefined,
  route: string,
  request: IncomingMessage,
  response: ServerResponse,
  known: string[],
): Promise<void> {
  if (handler === undefined)
    return reply(response, 404, { error: `Nothing at ${route}; there is ${known.join(', ')}.` });
  try {
    reply(response, 200, await handler(request));
  } catch (error) {
    if (error instanceof ZodError) reply(response, 400, { error: z.prettifyError(error) });
    else if (error instanceof BadRequest || error instanceof WorldError) reply(response, 400, { error: error.message });
    else reply(response, 500, { error: String(error) });
  }
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes <= bodyBytesMax) chunks.push(chunk);
  }
  if (bytes > bodyBytesMax) throw new BadRequest(`The body has more than ${bodyBytesMax} bytes.`);
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch (error) {
    throw new BadRequest(`The body is not JSON: ${String(error)}`);
  }
}

function reply(response: ServerResponse, code: number, body: unknown): void {
  response.writeHead(code, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}
