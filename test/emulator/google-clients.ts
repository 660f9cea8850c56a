/** How do the tests talk to the emulator? With Google's own clients, unmodified, and the few calls that most tests make. */
import { fileURLToPath } from 'node:url';
import { EndpointServiceClient, ModelServiceClient, type protos } from '@google-cloud/aiplatform';
import { MetricServiceClient } from '@google-cloud/monitoring';
import { PassThroughClient } from 'google-auth-library';
import { grpc } from 'google-gax';
import type { RunningEmulator } from '../../emulator/start.ts';

export const project = 'demo-project';
export const parent = `projects/${project}/locations/us-central1`;

/** Google's default wait between polls is seconds; the operations of a fast emulator take less. */
const polling = { longrunning: { initialRetryDelayMillis: 20, retryDelayMultiplier: 1.2, maxRetryDelayMillis: 200 } };

export type Clients = ReturnType<typeof googleClients>;

export function googleClients({ ports }: Pick<RunningEmulator, 'ports'>) {
  const at = (port: number) => ({
    apiEndpoint: '127.0.0.1',
    port,
    projectId: project,
    sslCreds: grpc.credentials.createInsecure(),
    authClient: new PassThroughClient(),
  });
  const endpoints = new EndpointServiceClient(at(ports.vertex));
  const models = new ModelServiceClient(at(ports.vertex));
  const metrics = new MetricServiceClient(at(ports.monitoring));
  return {
    endpoints,
    models,
    metrics,
    close: async (): Promise<void> => {
      await Promise.all([endpoints.close(), models.close(), metrics.close()]);
    },
  };
}

/** Resolves when the operation is done; throws its error. */
export async function done<T>(start: Promise<[{ promise(): Promise<unknown>; name?: string | undefined }, ...T[]]>) {
  const [operation] = await start;
  await operation.promise();
  return operation;
}

export function containerSpec(env: Record<string, string> = {}) {
  return {
    imageUri: 'gcr.io/test/echo',
    command: ['node'],
    args: [fileURLToPath(new URL('echo-container.ts', import.meta.url)), '--endpoint=$(AIP_ENDPOINT_ID)'],
    env: Object.entries(env).map(([name, value]) => ({ name, value })),
    predictRoute: '/predict',
    healthRoute: '/health',
  };
}

/** Creates an endpoint and returns its name, with the project's id. */
export async function createEndpoint({ endpoints }: Clients, endpointId: string): Promise<string> {
  await done(endpoints.createEndpoint({ parent, endpoint: { displayName: endpointId }, endpointId }, polling));
  return `${parent}/endpoints/${endpointId}`;
}

/** Uploads a version, the first of a new model or a further one, and returns its version id. */
export async function uploadVersion(
  { models }: Clients,
  modelId: string,
  model: Partial<protos.google.cloud.aiplatform.v1.IModel> = {},
): Promise<string> {
  const exists = await models.getModel({ name: `${parent}/models/${modelId}` }).then(
    () => true,
    () => false,
  );
  const target = exists ? { parentModel: `${parent}/models/${modelId}` } : { modelId };
  const request = { parent, ...target, model: { displayName: modelId, containerSpec: containerSpec(), ...model } };
  const [operation] = await models.uploadModel(request, polling);
  const [response] = await operation.promise();
  return response.modelVersionId ?? '';
}

export const resources = { dedicatedResources: { machineSpec: { machineType: 'n1-standard-2' }, minReplicaCount: 1 } };

/** Deploys a version and waits until it serves. */
export async function deploy(
  { endpoints }: Clients,
  endpoint: string,
  id: string,
  model: string,
  trafficSplit: Record<string, number> = {},
): Promise<void> {
  const deployedModel = { id, model: `${parent}/models/${model}`, ...resources };
  await done(endpoints.deployModel({ endpoint, deployedModel, trafficSplit }, polling));
}

export interface Answer {
  status: number;
  headers: Headers;
  text: string;
  // biome-ignore lint: the shape is what the tests look at
  json: Record<string, unknown> | null;
}

/** Posts to `:predict`, `:rawPredict` or `:streamRawPredict`. */
export async function post(
  { hosts }: Pick<RunningEmulator, 'hosts'>,
  endpoint: string,
  method: string,
  body: unknown,
  contentType = 'application/json',
): Promise<Answer> {
  const response = await fetch(`http://${hosts.predict}/v1/${endpoint}:${method}`, {
    method: 'POST',
    headers: { 'content-type': contentType },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
  const text = await response.text();
  const isJson = response.headers.get('content-type')?.includes('json') === true;
  return { status: response.status, headers: response.headers, text, json: isJson ? JSON.parse(text) : null };
}

/** The gRPC code and the message of a call that must fail. */
export async function failure(call: Promise<unknown>): Promise<{ code: number; message: string }> {
  try {
    await call;
  } catch (error) {
    if (error instanceof Error && 'code' in error && typeof error.code === 'number') {
      return { code: error.code, message: error.message };
    }
    throw error;
  }
  throw new Error('Expected the call to fail, but it succeeded.');
}
