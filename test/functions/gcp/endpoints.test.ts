import { afterEach, beforeEach, expect, test } from 'vitest';
import { unaryService } from '../../../emulator/grpc.ts';
import { parseEnvironment } from '../../../functions/engine/environment.ts';
import type { DeployOrder, EndpointsPort } from '../../../functions/engine/ports.ts';
import { googleClients } from '../../../functions/gcp/clients.ts';
import { vertexEndpoints } from '../../../functions/gcp/endpoints.ts';
import { endpoint, type LocalVertex, model, serve, startLocalVertex } from './local-vertex.ts';

const minuteMs = 60_000;

const order: DeployOrder = {
  deployedModelId: '101',
  model,
  versionId: '1',
  displayName: 'delays v1',
  deploy: {
    machineType: 'n1-standard-4',
    minReplicas: 2,
    maxReplicas: 5,
    accelerator: { type: 'NVIDIA_L4', count: 1 },
    autoscaling: [{ metric: 'aiplatform.googleapis.com/prediction/online/cpu/utilization', targetPercent: 70 }],
    serviceAccount: 'server@demo.iam.gserviceaccount.com',
    deadlineSeconds: 2700,
  },
};

let vertex: LocalVertex;
let endpoints: EndpointsPort;

beforeEach(async () => {
  vertex = await startLocalVertex();
  endpoints = vertexEndpoints(vertex.clients);
});

afterEach(() => vertex.close());

/** Deploys a version and lets it become ready. */
async function deployed(deployedModelId: string, versionId: string): Promise<void> {
  await endpoints.deploy(endpoint, { ...order, deployedModelId, versionId });
  const [name = ''] = Object.keys(vertex.world.context.state.endpoints);
  vertex.world.reportContainer(name, deployedModelId, 'healthy', '');
  vertex.advance(10 * minuteMs);
}

test('an endpoint that serves nothing has an empty split and an etag', async () => {
  expect(await endpoints.read(endpoint)).toMatchObject({
    name: expect.stringMatching(/^projects\/\d+\/locations\/us-central1\/endpoints\/1$/),
    split: {},
    etag: expect.stringMatching(/./),
    deployedModels: [],
  });
});

test('an endpoint that does not exist is a permanent error that names it', async () => {
  const reading = endpoints.read(endpoint.replace(/1$/, '2'));
  await expect(reading).rejects.toMatchObject({ name: 'PermanentError', code: 'notFound' });
  await expect(reading).rejects.toThrow(/^GetEndpoint .*endpoints\/2: 5 NOT_FOUND/);
});

test('a deployment tells its stage, and is done with the model at no traffic', async () => {
  const { operation } = await endpoints.deploy(endpoint, order);
  expect(await endpoints.readOperation(operation)).toEqual({
    name: operation,
    done: false,
    stage: 'STARTING_DEPLOYMENT',
    error: null,
  });

  const [name = ''] = Object.keys(vertex.world.context.state.endpoints);
  vertex.world.reportContainer(name, '101', 'healthy', '');
  vertex.advance(10 * minuteMs);
  expect(await endpoints.readOperation(operation)).toMatchObject({
    done: true,
    stage: 'SUCCESSFULLY_DEPLOYED',
    error: null,
  });
  expect(await endpoints.read(endpoint)).toMatchObject({
    split: {},
    deployedModels: [
      {
        id: '101',
        model: expect.stringMatching(/\/models\/delays$/),
        versionId: '1',
        displayName: 'delays v1',
        minReplicas: 2,
        maxReplicas: 5,
        availableReplicas: 2,
      },
    ],
  });
});

test('what the policy says of machines arrives', async () => {
  await deployed('101', '1');
  const [at] = Object.values(vertex.world.context.state.endpoints);
  expect(at?.deployedModels[0]).toMatchObject({
    serviceAccount: 'server@demo.iam.gserviceaccount.com',
    resources: {
      kind: 'dedicated',
      machineType: 'n1-standard-4',
      acceleratorType: 'NVIDIA_L4',
      acceleratorCount: 1,
      minReplicaCount: 2,
      maxReplicaCount: 5,
      autoscalingMetricSpecs: [
        { metricName: 'aiplatform.googleapis.com/prediction/online/cpu/utilization', target: 70 },
      ],
    },
  });
});

test('an accelerator that does not exist is refused here, because the client would deploy without one', async () => {
  const deploy = { ...order.deploy, accelerator: { type: 'NVIDIA_L40', count: 1 } };
  const deploying = endpoints.deploy(endpoint, { ...order, deploy });
  await expect(deploying).rejects.toMatchObject({ name: 'PermanentError', code: 'invalidArgument' });
  await expect(deploying).rejects.toThrow(/"NVIDIA_L40" is no accelerator .* NVIDIA_L4,/);
  expect(
    vertex.world.context.state.endpoints[Object.keys(vertex.world.context.state.endpoints)[0] ?? '']?.deployedModels,
  ).toEqual([]);
});

test('an id that is taken is a permanent error', async () => {
  await endpoints.deploy(endpoint, order);
  await expect(endpoints.deploy(endpoint, order)).rejects.toMatchObject({
    name: 'PermanentError',
    code: 'alreadyExists',
  });
});

test('a deployment that fails is data, not an error', async () => {
  const { operation } = await endpoints.deploy(endpoint, order);
  vertex.advance(31 * minuteMs);
  expect(await endpoints.readOperation(operation)).toMatchObject({
    done: true,
    stage: 'FAILED_TO_DEPLOY',
    error: { code: 'FAILED_PRECONDITION', message: expect.stringContaining('never became healthy') },
  });
});

test('a cancelled deployment ends, and says so', async () => {
  const { operation } = await endpoints.deploy(endpoint, order);
  await endpoints.cancelOperation(operation);
  expect(await endpoints.readOperation(operation)).toMatchObject({ done: true, error: { code: 'CANCELLED' } });
});

test('a split is written with the etag that was read, and not with an older one', async () => {
  await deployed('101', '1');
  await deployed('102', '2');
  const { etag } = await endpoints.read(endpoint);
  const written = await endpoints.writeSplit(endpoint, { 101: 95, 102: 5 }, etag);
  expect(written.split).toEqual({ 101: 95, 102: 5 });
  expect(written.etag).not.toBe(etag);
  await expect(endpoints.writeSplit(endpoint, { 101: 50, 102: 50 }, etag)).rejects.toMatchObject({
    name: 'TransientError',
    code: 'conflict',
  });
  expect((await endpoints.read(endpoint)).split).toEqual({ 101: 95, 102: 5 });
});

test('a split is never written without an etag', async () => {
  await expect(endpoints.writeSplit(endpoint, {}, '')).rejects.toMatchObject({ code: 'internal' });
  expect(vertex.faults.calls().methods).toEqual({});
});

test('only a model without traffic is undeployed', async () => {
  await deployed('101', '1');
  await deployed('102', '2');
  const { etag } = await endpoints.read(endpoint);
  await endpoints.writeSplit(endpoint, { 101: 95, 102: 5 }, etag);
  await expect(endpoints.undeploy(endpoint, '102')).rejects.toMatchObject({ code: 'failedPrecondition' });

  await endpoints.writeSplit(endpoint, { 101: 100 }, (await endpoints.read(endpoint)).etag);
  const { operation } = await endpoints.undeploy(endpoint, '102');
  expect(await endpoints.readOperation(operation)).toMatchObject({ done: false, stage: '' });
  vertex.advance(2 * minuteMs);
  expect(await endpoints.readOperation(operation)).toMatchObject({ done: true, error: null });
  expect((await endpoints.read(endpoint)).deployedModels.map(({ id }) => id)).toEqual(['101']);
});

test('a model that is not there cannot be undeployed', async () => {
  await expect(endpoints.undeploy(endpoint, '999')).rejects.toMatchObject({ name: 'PermanentError', code: 'notFound' });
});

test('the least number of replicas is changed, and nothing else', async () => {
  await deployed('101', '1');
  const { operation } = await endpoints.resize(endpoint, '101', 4);
  vertex.advance(5 * minuteMs);
  expect(await endpoints.readOperation(operation)).toMatchObject({ done: true, error: null });
  expect((await endpoints.read(endpoint)).deployedModels).toMatchObject([
    { id: '101', minReplicas: 4, maxReplicas: 5 },
  ]);
});

test('a service that is away is a transient error, after one call', async () => {
  vertex.faults.add([{ method: '*/GetEndpoint', code: 'UNAVAILABLE' }]);
  await expect(endpoints.read(endpoint)).rejects.toMatchObject({ name: 'TransientError', code: 'unavailable' });
  expect(Object.values(vertex.faults.calls().methods).map(({ count }) => count)).toEqual([1]);
});

test.each([
  ['a split that does not sum to 100', { trafficSplit: { 101: 60, 102: 30 } }, /must sum to 100.*trafficSplit/s],
  [
    'a DeployedModel of a nameless model',
    { deployedModels: [{ id: '101', model: '@1', modelVersionId: '1', displayName: '' }] },
    /expected a name.*model/s,
  ],
])('%s breaks the contract of the API, and is not passed on', async (_, broken, text) => {
  const reply = { name: endpoint, etag: 'E1', ...broken };
  const { host, close } = await serve([
    unaryService('google.cloud.aiplatform.v1.EndpointService', { GetEndpoint: () => reply }),
  ]);
  const clients = googleClients(
    parseEnvironment({ GOOGLE_CLOUD_PROJECT: 'demo', ROLLOUT_LOCATION: 'us-central1', VERTEX_EMULATOR_HOST: host }),
  );
  const reading = vertexEndpoints(clients).read(endpoint);
  await expect(reading).rejects.toMatchObject({ name: 'PermanentError', code: 'internal' });
  await expect(reading).rejects.toThrow(text);
  await clients.close();
  await close();
});
