import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type RunningEmulator, startEmulator } from '../../emulator/start.ts';
import {
  type Clients,
  containerSpec,
  createEndpoint,
  deploy,
  googleClients,
  parent,
  post,
  uploadVersion,
} from './google-clients.ts';

let emulator: RunningEmulator;
let clients: Clients;
let endpoint: string;
/** What the injected random answers. */
let unit = 0;

beforeAll(async () => {
  // undici looks at its timeouts about once a second.
  emulator = await startEmulator({ timeScale: 3600, random: () => unit, timings: { predictionMs: 2_000 } });
  clients = googleClients(emulator);
  endpoint = await createEndpoint(clients, '2001');
  for (const name of ['one', 'two']) {
    await uploadVersion(clients, 'echo', { containerSpec: containerSpec({ ECHO_NAME: name }) });
  }
  await deploy(clients, endpoint, '11', 'echo@1', { 0: 100 });
  await deploy(clients, endpoint, '12', 'echo@2', { 11: 90, 0: 10 });
});
afterAll(async () => {
  await clients.close();
  await emulator.close();
});

/** Resolves when the world says what is waited for. */
function until(isTrue: () => boolean): Promise<void> {
  if (isTrue()) return Promise.resolve();
  return new Promise((resolve) => {
    const stop = emulator.world.subscribe(() => {
      if (!isTrue()) return;
      stop();
      resolve();
    });
  });
}

const healthOf = (id: string) =>
  Object.values(emulator.world.context.state.endpoints)
    .find(({ name }) => name.endsWith('/2001'))
    ?.deployedModels.find((deployed) => deployed.id === id)?.health;

describe(':predict', () => {
  test('wraps the predictions with who made them', async () => {
    unit = 0.5;
    const { status, json } = await post(emulator, endpoint, 'predict', { instances: [{}, {}] });
    expect(status).toBe(200);
    expect(json).toMatchObject({
      predictions: ['one', 'one'],
      deployedModelId: '11',
      model: expect.stringMatching(/\/models\/echo$/),
      modelVersionId: '1',
      modelDisplayName: 'echo',
    });
  });

  test('goes where the split says, request by request', async () => {
    const servedBy = async (value: number) => {
      unit = value;
      return (await post(emulator, endpoint, 'predict', { instances: [{}] })).json?.['deployedModelId'];
    };
    expect(await servedBy(0)).toBe('11');
    expect(await servedBy(0.899)).toBe('11');
    expect(await servedBy(0.9)).toBe('12');
    expect(await servedBy(0.999)).toBe('12');
  });

  test('gives the container its routes and expands what refers to its environment', async () => {
    const { json } = await post(emulator, endpoint, 'predict', { instances: [{}] });
    expect(json?.['metadata']).toEqual({ arguments: ['--endpoint=2001'] });
  });

  test.each([
    [422, 400, 'INVALID_ARGUMENT'],
    [503, 500, 'INTERNAL'],
  ])('answers a container that says %i with %i, and does not name it', async (inside, outside, status) => {
    unit = 0;
    const answer = await post(emulator, endpoint, 'predict', { instances: [{ answer: inside }] });
    expect(answer.status).toBe(outside);
    expect(answer.json).toMatchObject({ error: { code: outside, status, message: expect.any(String) } });
    expect(answer.headers.has('x-vertex-ai-deployed-model-id')).toBe(false);
  });

  test('refuses what is no request', async () => {
    const refused = async (body: unknown) => (await post(emulator, endpoint, 'predict', body)).json?.['error'];
    const invalid = { code: 400, status: 'INVALID_ARGUMENT' };
    expect(await refused('{')).toMatchObject(invalid);
    expect(await refused({ rows: [] })).toMatchObject(invalid);
    expect(await refused({ instances: [], padding: 'x'.repeat(1_500_000) })).toMatchObject({ code: 413 });
  });
});

describe(':rawPredict', () => {
  test('passes bytes both ways and says in headers who served', async () => {
    unit = 0.95;
    const answer = await post(emulator, endpoint, 'rawPredict', 'plain text', 'text/plain');
    expect(answer).toMatchObject({ status: 200, text: 'PLAIN TEXT' });
    expect(answer.headers.get('content-type')).toBe('application/octet-stream');
    expect(answer.headers.get('x-vertex-ai-endpoint-id')).toBe('2001');
    expect(answer.headers.get('x-vertex-ai-deployed-model-id')).toBe('12');
  });

  test('passes the errors of the container as they are, and names it', async () => {
    unit = 0;
    const answer = await post(emulator, endpoint, 'rawPredict', { instances: [{ answer: 503 }] });
    expect(answer.status).toBe(503);
    expect(answer.json).toMatchObject({ predictions: ['one'] });
    expect(answer.headers.get('x-vertex-ai-deployed-model-id')).toBe('11');
  });
});

test(':streamRawPredict passes a stream', async () => {
  const { status, text } = await post(emulator, endpoint, 'streamRawPredict', { instances: [{ chunks: 3 }] });
  expect(status).toBe(200);
  expect(text).toBe('data: 0\n\ndata: 1\n\ndata: 2\n\n');
});

describe('errors of the platform', () => {
  test('an empty split is a failed precondition', async () => {
    const idle = await createEndpoint(clients, '2002');
    const { status, json } = await post(emulator, idle, 'predict', { instances: [] });
    expect(status).toBe(400);
    expect(json).toEqual({
      error: { code: 400, status: 'FAILED_PRECONDITION', message: `Endpoint ${idle} doesn't have traffic_split.` },
    });
  });

  test('an unknown endpoint, path or method is refused', async () => {
    const statusOf = async (name: string, method: string) => (await post(emulator, name, method, {})).json?.['error'];
    expect(await statusOf(`${parent}/endpoints/9`, 'rawPredict')).toMatchObject({ code: 404, status: 'NOT_FOUND' });
    expect(await statusOf('nonsense', 'predict')).toMatchObject({ code: 404 });
    expect(await statusOf(endpoint, 'explain')).toMatchObject({ code: 501, status: 'UNIMPLEMENTED' });
  });
});

test('a container that does not answer in time is 504', async () => {
  unit = 0;
  const { status, json } = await post(emulator, endpoint, 'predict', { instances: [{ hang: true }] });
  expect(status).toBe(504);
  expect(json).toMatchObject({ error: { code: 504, status: 'DEADLINE_EXCEEDED' } });
});

test('a caller that goes away is counted as 499, and not as a failure of the model', async () => {
  unit = 0;
  const gone = new AbortController();
  const url = `http://${emulator.hosts.predict}/v1/${endpoint}:predict`;
  const call = fetch(url, { method: 'POST', body: '{"instances":[{"hang":true}]}', signal: gone.signal });
  setTimeout(() => gone.abort(), 50);
  await expect(call).rejects.toThrow('aborted');
  const codes = () =>
    Object.values(emulator.world.context.state.metrics).flatMap(({ slots }) =>
      slots.flatMap((slot) => Object.keys(slot.responses)),
    );
  await expect.poll(codes).toContain('499');
});

test('a container that exits answers 503 until it has been restarted', async () => {
  unit = 0.95;
  const crash = await post(emulator, endpoint, 'rawPredict', { instances: [{ exit: true }] });
  expect(crash.status).toBe(503);
  expect(crash.headers.get('x-vertex-ai-deployed-model-id')).toBe('12');
  await until(() => healthOf('12') !== 'healthy');
  unit = 0;
  expect((await post(emulator, endpoint, 'predict', { instances: [{}] })).status).toBe(200);
  await until(() => healthOf('12') === 'healthy');
  unit = 0.95;
  expect((await post(emulator, endpoint, 'predict', { instances: [{}] })).json).toMatchObject({ predictions: ['two'] });
});
