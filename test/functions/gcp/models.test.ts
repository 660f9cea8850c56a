import { afterAll, beforeAll, expect, test } from 'vitest';
import { vertexModels } from '../../../functions/gcp/models.ts';
import { type LocalVertex, model, startAt, startLocalVertex } from './local-vertex.ts';

let vertex: LocalVertex;

beforeAll(async () => {
  vertex = await startLocalVertex();
});

afterAll(() => vertex.close());

test('a version is read by its id', async () => {
  const version = await vertexModels(vertex.clients).readVersion(model, '3');
  expect(version).toEqual({
    model: expect.stringMatching(/\/models\/delays$/),
    versionId: '3',
    aliases: [],
    labels: { team: 'flights' },
    updatedAt: expect.any(Number),
  });
  expect(version?.updatedAt).toBeGreaterThan(startAt);
});

test('an alias is read as the version that holds it', async () => {
  expect(await vertexModels(vertex.clients).readAlias(model, 'blessed')).toMatchObject({
    versionId: '2',
    aliases: ['blessed'],
  });
});

test('a version, an alias and a model that do not exist are null', async () => {
  const models = vertexModels(vertex.clients);
  expect(await models.readVersion(model, '99')).toBeNull();
  expect(await models.readAlias(model, 'golden')).toBeNull();
  expect(await models.readVersion(`${model}-no`, '1')).toBeNull();
});

test('a registry that is away is an error, and not null', async () => {
  vertex.faults.add([{ method: '*/GetModel', code: 'UNAVAILABLE', times: 1 }]);
  await expect(vertexModels(vertex.clients).readVersion(model, '1')).rejects.toMatchObject({
    name: 'TransientError',
    code: 'unavailable',
  });
});
