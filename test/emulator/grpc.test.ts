import { EndpointServiceClient } from '@google-cloud/aiplatform';
import { CloudSchedulerClient } from '@google-cloud/scheduler';
import { PassThroughClient } from 'google-auth-library';
import { grpc } from 'google-gax';
import { afterEach, expect, test } from 'vitest';
import { packAny, serveGrpc, serviceDefinition, StatusError, status, unaryService } from '../../emulator/grpc.ts';

const endpointService = 'google.cloud.aiplatform.v1.EndpointService';
const endpoint = 'projects/p/locations/l/endpoints/1';
const closers: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

async function serve(...services: Parameters<typeof serveGrpc>[1]) {
  const server = await serveGrpc(0, services);
  closers.push(() => server.close());
  return server;
}

function options(port: number) {
  return {
    apiEndpoint: '127.0.0.1',
    port,
    projectId: 'p',
    sslCreds: grpc.credentials.createInsecure(),
    authClient: new PassThroughClient(),
  };
}

function endpointsAt(port: number): EndpointServiceClient {
  const client = new EndpointServiceClient(options(port));
  closers.push(() => client.close());
  return client;
}

test('a handler gets the request in camelCase with defaults, and the client decodes its partial answer', async () => {
  const requests: unknown[] = [];
  const { port } = await serve(
    unaryService(endpointService, {
      UpdateEndpoint: (request, { method }) => {
        requests.push([method, request]);
        return { name: endpoint, trafficSplit: { '7': 100 }, createTime: { seconds: 1_700_000_000, nanos: 5 } };
      },
    }),
  );
  const [answer] = await endpointsAt(port).updateEndpoint({
    endpoint: { name: endpoint, trafficSplit: { '7': 100 } },
    updateMask: { paths: ['traffic_split'] },
  });
  expect(requests).toMatchObject([
    [
      `${endpointService}/UpdateEndpoint`,
      {
        endpoint: { name: endpoint, trafficSplit: { '7': 100 }, displayName: '', deployedModels: [], createTime: null },
        updateMask: { paths: ['traffic_split'] },
      },
    ],
  ]);
  expect(answer).toMatchObject({ trafficSplit: { '7': 100 }, createTime: { seconds: '1700000000', nanos: 5 } });
});

test('64-bit integers go both ways, and enums are taken by name and by number', async () => {
  const name = 'projects/p/locations/l/jobs/';
  const { port } = await serve(
    unaryService('google.cloud.scheduler.v1.CloudScheduler', {
      CreateJob: (request) => ({ ...Object(request['job']), state: 'PAUSED' }),
      GetJob: () => ({ state: 2, attemptDeadline: { seconds: '9007199254740993' } }),
    }),
  );
  const client = new CloudSchedulerClient(options(port));
  closers.push(() => client.close());
  const [created] = await client.createJob({
    parent: 'projects/p/locations/l',
    job: { attemptDeadline: { seconds: 7 } },
  });
  expect(created).toMatchObject({ state: 'PAUSED', attemptDeadline: { seconds: '7' } });
  const [read] = await client.getJob({ name });
  expect(read).toMatchObject({ state: 'PAUSED', attemptDeadline: { seconds: '9007199254740993' } });
});

test('a packed operation resolves to its response and metadata in the client', async () => {
  const operation = {
    name: `${endpoint}/operations/9`,
    done: true,
    metadata: packAny('google.cloud.aiplatform.v1.DeployModelOperationMetadata', {
      genericMetadata: { createTime: { nanos: 3 } },
    }),
    response: packAny('google.cloud.aiplatform.v1.DeployModelResponse', { deployedModel: { id: '77' } }),
  };
  const { port } = await serve(
    unaryService(endpointService, { DeployModel: () => ({ ...operation, done: false, response: null }) }),
    unaryService('google.longrunning.Operations', { GetOperation: () => operation }),
  );
  const client = endpointsAt(port);
  const [started] = await client.deployModel({ endpoint, deployedModel: { model: 'm', dedicatedResources: {} } });
  const checked = await client.checkDeployModelProgress(started.name ?? '');
  expect(checked.done).toBe(true);
  expect(checked.result).toMatchObject({ deployedModel: { id: '77' } });
  expect(checked.metadata).toMatchObject({ genericMetadata: { createTime: { nanos: 3 } } });
});

test('a StatusError keeps its code, and any other throw is INTERNAL and names the method', async () => {
  const { port } = await serve(
    unaryService(endpointService, {
      GetEndpoint: () => {
        throw new StatusError(status.ABORTED, 'etag is stale');
      },
      DeleteEndpoint: () => Promise.reject(new Error('broken')),
    }),
  );
  const client = endpointsAt(port);
  await expect(client.getEndpoint({ name: endpoint })).rejects.toMatchObject({ code: 10, details: 'etag is stale' });
  await expect(client.deleteEndpoint({ name: endpoint })).rejects.toMatchObject({
    code: 13,
    details: expect.stringMatching(/EndpointService\/DeleteEndpoint.*broken/s),
  });
});

test('a method without a handler is UNIMPLEMENTED and named', async () => {
  const { port } = await serve(unaryService(endpointService, {}));
  await expect(endpointsAt(port).getEndpoint({ name: endpoint })).rejects.toMatchObject({
    code: 12,
    details: expect.stringContaining('GetEndpoint'),
  });
});

test('a fault before the call prevents the work, a fault after it loses only the reply', async () => {
  const steps: string[] = [];
  let fault: 'before' | 'after' = 'before';
  const { port } = await serve(
    unaryService(
      endpointService,
      {
        GetEndpoint: () => {
          steps.push('work');
          return {};
        },
      },
      async (method) => {
        steps.push(method);
        await Promise.resolve();
        if (fault === 'before') throw new StatusError(status.PERMISSION_DENIED, 'not now');
        return () => {
          throw new StatusError(status.DATA_LOSS, 'reply lost');
        };
      },
    ),
  );
  const client = endpointsAt(port);
  await expect(client.getEndpoint({ name: endpoint })).rejects.toMatchObject({ code: 7 });
  expect(steps).toEqual([`${endpointService}/GetEndpoint`]);
  fault = 'after';
  await expect(client.getEndpoint({ name: endpoint })).rejects.toMatchObject({ code: 15 });
  expect(steps).toEqual([`${endpointService}/GetEndpoint`, `${endpointService}/GetEndpoint`, 'work']);
});

test('a taken port is refused with its number', async () => {
  const { port } = await serve();
  await expect(serveGrpc(port, [])).rejects.toThrow(`127.0.0.1:${port}: it is taken`);
});

test('names that do not exist are refused where they are written', () => {
  expect(() => unaryService(endpointService, { getEndpoint: () => ({}) })).toThrow('getEndpoint is not a unary method');
  expect(() => serviceDefinition('google.cloud.aiplatform.v1.Nothing')).toThrow('aiplatform.v1.Nothing');
  expect(() => packAny(endpointService, {})).toThrow('Expected a message type');
});
