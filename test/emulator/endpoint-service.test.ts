import { operationsProtos } from 'google-gax';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type RunningEmulator, startEmulator } from '../../emulator/start.ts';
import {
  type Clients,
  containerSpec,
  createEndpoint,
  deploy,
  done,
  failure,
  googleClients,
  parent,
  resources,
  uploadVersion,
} from './google-clients.ts';

const code = { cancelled: 1, invalid: 3, notFound: 5, exists: 6, precondition: 9, aborted: 10, unimplemented: 12 };
const fast = { longrunning: { initialRetryDelayMillis: 20, retryDelayMultiplier: 1.2, maxRetryDelayMillis: 200 } };

let emulator: RunningEmulator;
let clients: Clients;
let endpoint: string;

beforeAll(async () => {
  emulator = await startEmulator({ timeScale: 3600, timings: { deployDeadlineMs: 30_000, deployDeadlineMsMin: 500 } });
  clients = googleClients(emulator);
  endpoint = await createEndpoint(clients, '1001');
  await uploadVersion(clients, 'echo');
  await deploy(clients, endpoint, '11', 'echo@1', { 0: 100 });
  await deploy(clients, endpoint, '12', 'echo@1');
});
afterAll(async () => {
  await clients.close();
  await emulator.close();
});

async function split(trafficSplit: Record<string, number>, etag = ''): Promise<Record<string, number>> {
  const request = { endpoint: { name: endpoint, trafficSplit, etag }, updateMask: { paths: ['traffic_split'] } };
  const [updated] = await clients.endpoints.updateEndpoint(request);
  return { ...updated.trafficSplit };
}

describe('GetEndpoint', () => {
  test('names the project by its number and shows what is deployed', async () => {
    const [found] = await clients.endpoints.getEndpoint({ name: endpoint });
    expect(found.name).toMatch(/^projects\/\d{12}\/locations\/us-central1\/endpoints\/1001$/);
    expect(found.deployedModels?.map(({ id, modelVersionId }) => [id, modelVersionId])).toEqual([
      ['11', '1'],
      ['12', '1'],
    ]);
    expect(found.deployedModels?.[0]?.status?.availableReplicaCount).toBe(1);
    expect(found.deployedModels?.[0]?.dedicatedResources?.maxReplicaCount).toBe(1);
  });

  test('finds an endpoint by the number as well', async () => {
    const [found] = await clients.endpoints.getEndpoint({ name: endpoint });
    const [again] = await clients.endpoints.getEndpoint({ name: found.name ?? '' });
    expect(again).toEqual(found);
  });

  test('refuses what does not exist and what is no name', async () => {
    expect(await failure(clients.endpoints.getEndpoint({ name: `${parent}/endpoints/9` }))).toMatchObject({
      code: code.notFound,
    });
    expect(await failure(clients.endpoints.getEndpoint({ name: 'nonsense' }))).toMatchObject({ code: code.invalid });
  });
});

describe('UpdateEndpoint', () => {
  test('moves traffic at once, and gives a new etag', async () => {
    const [before] = await clients.endpoints.getEndpoint({ name: endpoint });
    expect(await split({ 11: 95, 12: 5 })).toEqual({ 11: 95, 12: 5 });
    const [after] = await clients.endpoints.getEndpoint({ name: endpoint });
    expect(after.trafficSplit).toEqual({ 11: 95, 12: 5 });
    expect(after.etag).not.toBe(before.etag);
  });

  test('accepts the current etag, and aborts on one that is no longer current', async () => {
    const [read] = await clients.endpoints.getEndpoint({ name: endpoint });
    const etag = read.etag ?? '';
    expect(await split({ 11: 90, 12: 10 }, etag)).toEqual({ 11: 90, 12: 10 });
    expect(await failure(split({ 11: 50, 12: 50 }, etag))).toMatchObject({ code: code.aborted });
    const [after] = await clients.endpoints.getEndpoint({ name: endpoint });
    expect(after.trafficSplit).toEqual({ 11: 90, 12: 10 });
  });

  test('accepts an empty split', async () => {
    expect(await split({})).toEqual({});
    expect(await split({ 11: 100 })).toEqual({ 11: 100 });
  });

  test.each([
    ['does not sum to 100', { 11: 95, 12: 4 }],
    ['names an unknown model, even with nothing', { 11: 100, 99: 0 }],
    ['has a negative share', { 11: 101, 12: -1 }],
  ])('refuses a split that %s', async (_, bad) => {
    expect(await failure(split(bad))).toMatchObject({ code: code.invalid });
  });

  test('changes names and labels, and refuses other fields of the mask', async () => {
    const update = (paths: string[]) =>
      clients.endpoints.updateEndpoint({
        endpoint: { name: endpoint, displayName: 'delays', labels: { team: 'flights' } },
        updateMask: { paths },
      });
    const [updated] = await update(['display_name', 'labels']);
    expect(updated).toMatchObject({ displayName: 'delays', labels: { team: 'flights' } });
    expect(await failure(update(['deployed_models']))).toMatchObject({ code: code.invalid });
    expect(await failure(update([]))).toMatchObject({ code: code.invalid });
    expect(await failure(update(['client_connection_config']))).toMatchObject({ code: code.unimplemented });
  });
});

describe('DeployModel', () => {
  test('refuses an id that is taken, one that is not digits, and a model that does not exist', async () => {
    const attempt = (id: string, model = 'echo@1') =>
      failure(
        clients.endpoints.deployModel({
          endpoint,
          deployedModel: { id, model: `${parent}/models/${model}`, ...resources },
        }),
      );
    expect(await attempt('11')).toMatchObject({ code: code.exists });
    expect(await attempt('abc')).toMatchObject({ code: code.invalid });
    expect(await attempt('12345678901')).toMatchObject({ code: code.invalid });
    expect(await attempt('13', 'echo@7')).toMatchObject({ code: code.notFound });
    expect(await attempt('13', 'other')).toMatchObject({ code: code.notFound });
  });

  test('refuses what the emulator does not have, and names it', async () => {
    const deployedModel = { id: '13', model: `${parent}/models/echo`, sharedResources: 'pool' };
    expect(await failure(clients.endpoints.deployModel({ endpoint, deployedModel }))).toMatchObject({
      code: code.unimplemented,
      message: expect.stringContaining('sharedResources'),
    });
  });

  test('is followed by name from another process, stage by stage', async () => {
    const deployedModel = { id: '21', model: `${parent}/models/echo@1`, ...resources };
    const [started] = await clients.endpoints.deployModel({ endpoint, deployedModel });
    const name = started.name ?? '';
    expect(name).toMatch(/^projects\/\d+\/locations\/us-central1\/endpoints\/1001\/operations\/\d+$/);

    const other = googleClients(emulator);
    await done(Promise.resolve([started]));
    const progress = await other.endpoints.checkDeployModelProgress(name);
    expect(progress.done).toBe(true);
    expect(progress.metadata).toMatchObject({ deploymentStage: 11 });
    expect(progress.result).toMatchObject({ deployedModel: { id: '21', modelVersionId: '1' } });
    await other.close();
    await done(clients.endpoints.undeployModel({ endpoint, deployedModelId: '21' }, fast));
  });

  test('that is cancelled ends as cancelled and frees its id', async () => {
    const deployedModel = { id: '22', model: `${parent}/models/echo@1`, ...resources };
    emulator.world.context.conditions.operationsAreStuck = true;
    const [started] = await clients.endpoints.deployModel({ endpoint, deployedModel });
    const name = started.name ?? '';
    expect((await clients.endpoints.checkDeployModelProgress(name)).done).toBe(false);
    await clients.endpoints.cancelOperation(new operationsProtos.google.longrunning.CancelOperationRequest({ name }));
    emulator.world.context.conditions.operationsAreStuck = false;
    const progress = await clients.endpoints.checkDeployModelProgress(name);
    expect(progress).toMatchObject({ done: true, error: { code: code.cancelled } });
    await deploy(clients, endpoint, '22', 'echo@1');
    await done(clients.endpoints.undeployModel({ endpoint, deployedModelId: '22' }, fast));
  });

  test('of a command that cannot be started fails, and says why', async () => {
    const spec = { ...containerSpec(), command: ['no-such-command'], deploymentTimeout: { seconds: 1 } };
    const versionId = await uploadVersion(clients, 'missing', { containerSpec: spec });
    const failed = failure(deploy(clients, endpoint, '24', `missing@${versionId}`));
    expect(await failed).toMatchObject({ message: expect.stringContaining('no-such-command') });
  });

  test('of a container that is never healthy fails at its deadline, and says so', async () => {
    const versionId = await uploadVersion(clients, 'sick', {
      containerSpec: { ...containerSpec({ ECHO_HEALTH: '500' }), deploymentTimeout: { seconds: 1 } },
    });
    const deployedModel = { id: '23', model: `${parent}/models/sick@${versionId}`, ...resources };
    const [started] = await clients.endpoints.deployModel({ endpoint, deployedModel }, fast);
    expect(await failure(started.promise())).toMatchObject({
      code: code.precondition,
      message: expect.stringContaining('health route'),
    });
    const progress = await clients.endpoints.checkDeployModelProgress(started.name ?? '');
    expect(progress).toMatchObject({ done: true, error: { code: code.precondition } });
    const [after] = await clients.endpoints.getEndpoint({ name: endpoint });
    expect(after.deployedModels?.map(({ id }) => id)).toEqual(['11', '12']);
  });
});

describe('UndeployModel', () => {
  test('refuses a model with traffic unless the given split takes it away', async () => {
    await deploy(clients, endpoint, '31', 'echo@1', { 0: 20, 11: 80 });
    const undeploy = (trafficSplit?: Record<string, number>) =>
      clients.endpoints.undeployModel({ endpoint, deployedModelId: '31', trafficSplit: trafficSplit ?? {} }, fast);
    expect(await failure(undeploy())).toMatchObject({ code: code.precondition });
    expect(await failure(undeploy({ 31: 100 }))).toMatchObject({ code: code.precondition });
    await done(undeploy({ 11: 100 }));
    const [after] = await clients.endpoints.getEndpoint({ name: endpoint });
    expect(after.trafficSplit).toEqual({ 11: 100 });
    expect(after.deployedModels?.map(({ id }) => id)).toEqual(['11', '12']);
    expect(await failure(undeploy())).toMatchObject({ code: code.notFound });
  });

  test('of the last model leaves the split empty, and then the endpoint can be deleted', async () => {
    const name = await createEndpoint(clients, 'short-lived');
    await deploy(clients, name, '1', 'echo', { 0: 100 });
    expect(await failure(clients.endpoints.deleteEndpoint({ name }))).toMatchObject({ code: code.precondition });
    await done(clients.endpoints.undeployModel({ endpoint: name, deployedModelId: '1' }, fast));
    const [after] = await clients.endpoints.getEndpoint({ name });
    expect(after).toMatchObject({ trafficSplit: {}, deployedModels: [] });
    await done(clients.endpoints.deleteEndpoint({ name }, fast));
    expect(await failure(clients.endpoints.getEndpoint({ name }))).toMatchObject({ code: code.notFound });
  });
});

describe('MutateDeployedModel', () => {
  const mutate = (dedicatedResources: object, paths: string[]) =>
    clients.endpoints.mutateDeployedModel(
      { endpoint, deployedModel: { id: '12', dedicatedResources }, updateMask: { paths } },
      fast,
    );

  test('changes the number of replicas when it is done', async () => {
    await done(
      mutate({ minReplicaCount: 2, maxReplicaCount: 4 }, [
        'dedicated_resources.min_replica_count',
        'dedicated_resources.max_replica_count',
      ]),
    );
    const [after] = await clients.endpoints.getEndpoint({ name: endpoint });
    const changed = after.deployedModels?.find(({ id }) => id === '12');
    expect(changed?.dedicatedResources).toMatchObject({ minReplicaCount: 2, maxReplicaCount: 4 });
    expect(changed?.status?.availableReplicaCount).toBe(2);
  });

  test('refuses other fields and impossible numbers', async () => {
    expect(await failure(mutate({}, ['model']))).toMatchObject({ code: code.invalid });
    expect(await failure(mutate({ minReplicaCount: 9 }, ['min_replica_count']))).toMatchObject({ code: code.invalid });
  });
});

describe('lists', () => {
  test('endpoints are filtered, sorted and paged', async () => {
    await createEndpoint(clients, 'b-endpoint');
    await createEndpoint(clients, 'a-endpoint');
    const ids = async (request: object) => {
      const [found] = await clients.endpoints.listEndpoints({ parent, ...request });
      return found.map(({ name }) => name?.split('/').at(-1));
    };
    expect(await ids({ filter: 'endpoint=1001' })).toEqual(['1001']);
    expect(await ids({ filter: 'labels.team=flights' })).toEqual(['1001']);
    expect(await ids({ filter: 'endpoint!=1001', orderBy: 'display_name', pageSize: 1 })).toEqual([
      'a-endpoint',
      'b-endpoint',
    ]);
    expect(await failure(ids({ filter: 'etag=1' }))).toMatchObject({ code: code.invalid });
    expect(await failure(ids({ readMask: { paths: ['name'] } }))).toMatchObject({ code: code.unimplemented });
  });

  test('operations are listed by endpoint and by whether they are done', async () => {
    const list = async (filter: string) => {
      const found = [];
      const request = new operationsProtos.google.longrunning.ListOperationsRequest({ name: endpoint, filter });
      for await (const operation of clients.endpoints.operationsClient.listOperationsAsync(request)) {
        found.push(operation);
      }
      return found;
    };
    expect((await list('')).length).toBeGreaterThan(5);
    expect(await list('done=false')).toEqual([]);
    expect(await failure(list('metadata.x=1'))).toMatchObject({ code: code.invalid });
  });
});

test('a method that is not emulated is refused by name', async () => {
  const call = clients.endpoints.updateEndpointLongRunning({ endpoint: { name: endpoint } });
  expect(await failure(call)).toMatchObject({
    code: code.unimplemented,
    message: expect.stringContaining('UpdateEndpointLongRunning'),
  });
});
