import { PubSub } from '@google-cloud/pubsub';
import { PassThroughClient } from 'google-auth-library';
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
  project,
  uploadVersion,
} from './google-clients.ts';

const code = { invalid: 3, notFound: 5, exists: 6, precondition: 9, unimplemented: 12 };
const fast = { longrunning: { initialRetryDelayMillis: 20, retryDelayMultiplier: 1.2, maxRetryDelayMillis: 200 } };

let emulator: RunningEmulator;
let clients: Clients;

beforeAll(async () => {
  emulator = await startEmulator({ timeScale: 3600 });
  clients = googleClients(emulator);
});
afterAll(async () => {
  await clients.close();
  await emulator.close();
});

const get = async (name: string) => (await clients.models.getModel({ name: `${parent}/models/${name}` }))[0];
const merge = async (name: string, versionAliases: string[]) =>
  (await clients.models.mergeVersionAliases({ name: `${parent}/models/${name}`, versionAliases }))[0];
const sorted = (aliases: string[] | null | undefined) => (aliases ?? []).toSorted();

describe('UploadModel', () => {
  test('makes a model, then versions that are numbered and may be born with aliases', async () => {
    expect(await uploadVersion(clients, 'delays', { labels: { quality: 'good' } })).toBe('1');
    expect(await uploadVersion(clients, 'delays', { versionAliases: ['blessed'] })).toBe('2');
    expect(await get('delays')).toMatchObject({ versionId: '1', versionAliases: ['default'] });
    expect(await get('delays@2')).toMatchObject({ versionId: '2', versionAliases: ['blessed'] });
    expect(await get('delays@blessed')).toMatchObject({ versionId: '2' });
    expect((await get('delays')).name).toMatch(/^projects\/\d{12}\/locations\/us-central1\/models\/delays$/);
    expect((await get('delays')).containerSpec).toMatchObject({ command: ['node'], predictRoute: '/predict' });
  });

  test('refuses a taken id, an unknown parent, a bad alias, and what is not emulated', async () => {
    const upload = (request: object, model: object = {}) =>
      failure(clients.models.uploadModel({ parent, ...request, model: { displayName: 'm', ...model } }));
    expect(await upload({ modelId: 'delays' })).toMatchObject({ code: code.exists });
    expect(await upload({ modelId: '1st' })).toMatchObject({ code: code.invalid });
    expect(await upload({ parentModel: `${parent}/models/none` })).toMatchObject({ code: code.notFound });
    expect(await upload({}, { versionAliases: ['7'] })).toMatchObject({ code: code.invalid });
    expect(await upload({}, { displayName: '' })).toMatchObject({ code: code.invalid });
    expect(await upload({}, { explanationSpec: { parameters: { topK: 1 } } })).toMatchObject({
      code: code.unimplemented,
      message: expect.stringContaining('explanationSpec'),
    });
    expect(await upload({ serviceAccount: 'a@b' })).toMatchObject({ code: code.unimplemented });
  });
});

describe('MergeVersionAliases', () => {
  test('moves an alias from the version that had it', async () => {
    await uploadVersion(clients, 'aliases', { versionAliases: ['champion'] });
    await uploadVersion(clients, 'aliases');
    expect(sorted((await merge('aliases@2', ['champion', 'blessed'])).versionAliases)).toEqual(['blessed', 'champion']);
    expect((await get('aliases@1')).versionAliases).toEqual(['default']);
    expect((await merge('aliases@2', ['-champion'])).versionAliases).toEqual(['blessed']);
    expect(await failure(get('aliases@champion'))).toMatchObject({ code: code.notFound });
  });

  test('leaves an alias that is both added and removed as it was', async () => {
    await uploadVersion(clients, 'both', { versionAliases: ['kept'] });
    expect(sorted((await merge('both@1', ['kept', '-kept', 'new', '-new'])).versionAliases)).toEqual([
      'default',
      'kept',
    ]);
  });

  test('moves default but does not remove it, and takes no alias in the name', async () => {
    await uploadVersion(clients, 'defaults');
    await uploadVersion(clients, 'defaults');
    expect(await failure(merge('defaults@1', ['-default']))).toMatchObject({ code: code.invalid });
    expect(await failure(merge('defaults@default', ['x1']))).toMatchObject({ code: code.invalid });
    expect(await failure(merge('defaults@9', ['x1']))).toMatchObject({ code: code.notFound });
    await merge('defaults@2', ['default']);
    expect((await get('defaults')).versionId).toBe('2');
  });
});

describe('versions', () => {
  test('are listed and filtered by label', async () => {
    const [all] = await clients.models.listModelVersions({ name: `${parent}/models/delays` });
    expect(all.map(({ versionId }) => versionId)).toEqual(['1', '2']);
    const filter = 'labels.quality=good';
    const [good] = await clients.models.listModelVersions({ name: `${parent}/models/delays`, filter });
    expect(good.map(({ versionId }) => versionId)).toEqual(['1']);
    const [models] = await clients.models.listModels({ parent, filter: 'model=delays' });
    expect(models.map(({ versionId }) => versionId)).toEqual(['1']);
  });

  test('can be deleted unless deployed or the only one; default moves to the newest left', async () => {
    await uploadVersion(clients, 'gone');
    await uploadVersion(clients, 'gone');
    const remove = (name: string) => clients.models.deleteModelVersion({ name: `${parent}/models/${name}` }, fast);
    const endpoint = await createEndpoint(clients, 'models-endpoint');
    await deploy(clients, endpoint, '5', 'gone@2');
    expect(await failure(remove('gone@2'))).toMatchObject({ code: code.precondition });
    expect(await failure(remove('gone'))).toMatchObject({ code: code.invalid });
    await done(remove('gone@1'));
    expect(await get('gone')).toMatchObject({ versionId: '2', deployedModels: [{ deployedModelId: '5' }] });
    expect(await uploadVersion(clients, 'gone')).toBe('3');
    await done(clients.endpoints.undeployModel({ endpoint, deployedModelId: '5' }, fast));
    await done(clients.models.deleteModel({ name: `${parent}/models/gone` }, fast));
    expect(await failure(get('gone'))).toMatchObject({ code: code.notFound });
  });
});

test('deploying a version without a command is refused: there is no image to run', async () => {
  await uploadVersion(clients, 'image-only', { containerSpec: { ...containerSpec(), command: [] } });
  const endpoint = await createEndpoint(clients, 'image-endpoint');
  expect(await failure(deploy(clients, endpoint, '1', 'image-only'))).toMatchObject({
    code: code.unimplemented,
    message: expect.stringContaining('command'),
  });
});

test('aliases reach the topic model-blessings as audit log entries', async () => {
  const authClient = new PassThroughClient();
  const pubsub = new PubSub({ projectId: project, apiEndpoint: emulator.hosts.pubsub, emulatorMode: true, authClient });
  const [topic] = await pubsub.createTopic('model-blessings');
  const [subscription] = await topic.createSubscription('blessings-seen');
  const entries: Record<string, never>[] = [];
  const seen = new Promise<void>((resolve) => {
    subscription.on('message', (message) => {
      message.ack();
      entries.push(JSON.parse(String(message.data)));
      if (entries.length === 3) resolve();
    });
  });

  await uploadVersion(clients, 'audited');
  await uploadVersion(clients, 'audited', { versionAliases: ['blessed'] });
  await merge('audited@1', ['blessed']);
  await seen;
  await subscription.close();
  await pubsub.close();

  const service = 'google.cloud.aiplatform.v1.ModelService';
  const model = expect.stringMatching(/\/models\/audited$/);
  const entry = (method: string, payload: object, rest: object) =>
    expect.objectContaining({
      insertId: expect.any(String),
      timestamp: expect.any(String),
      logName: `projects/${project}/logs/cloudaudit.googleapis.com%2Factivity`,
      protoPayload: expect.objectContaining({
        methodName: `${service}.${method}`,
        serviceName: 'aiplatform.googleapis.com',
        ...payload,
      }),
      ...rest,
    });
  expect(entries).toHaveLength(3);
  expect(new Set(entries.map(({ insertId }) => insertId)).size).toBe(3);
  expect(entries).toContainEqual(
    entry('UploadModel', { resourceName: model }, { operation: expect.objectContaining({ first: true }) }),
  );
  expect(entries).toContainEqual(
    entry(
      'UploadModel',
      { response: { model, modelVersionId: '2' } },
      { operation: expect.objectContaining({ last: true }) },
    ),
  );
  expect(entries).toContainEqual(
    entry(
      'MergeVersionAliases',
      {
        resourceName: `${parent}/models/audited@1`,
        request: { name: `${parent}/models/audited@1`, versionAliases: ['blessed'] },
        response: expect.objectContaining({ versionId: '1', versionAliases: ['default', 'blessed'] }),
      },
      {},
    ),
  );
});
