import { describe, expect, test } from 'vitest';
import { deployModel, mutateDeployedModel, undeployModel } from '../../../emulator/world/deployments.ts';
import { createEndpoint, findEndpoint, updateEndpoint } from '../../../emulator/world/endpoints.ts';
import { uploadModel } from '../../../emulator/world/models.ts';
import { findOperation } from '../../../emulator/world/operations.ts';
import type { Resources } from '../../../emulator/world/state.ts';
import { createWorld, timingsFor, type World, WorldError } from '../../../emulator/world/world.ts';

const parent = 'projects/p/locations/l';
const endpoint = `${parent}/endpoints/1`;
const settings = { displayName: 'e', description: '', labels: {} };
const containerSpec = {
  imageUri: 'image',
  command: ['node'],
  args: [],
  env: [],
  ports: [],
  predictRoute: '',
  healthRoute: '',
  deploymentTimeoutSeconds: null,
};
const resources: Resources = {
  kind: 'dedicated',
  machineType: 'n1-standard-2',
  acceleratorType: '',
  acceleratorCount: 0,
  minReplicaCount: 2,
  maxReplicaCount: 4,
  requiredReplicaCount: 0,
  autoscalingMetricSpecs: [],
  spot: false,
};

/** A world at Google's pace with an endpoint and a model, and a clock that the test moves. */
function begin(): { world: World; clock: { at: number }; passSeconds: (seconds: number) => void } {
  const clock = { at: 1_000_000 };
  const world = createWorld({ now: () => clock.at, timings: timingsFor(1) });
  const passSeconds = (seconds: number): void => {
    clock.at += seconds * 1000;
    world.advance();
  };
  createEndpoint(world.context, parent, settings, '1');
  uploadModel(world.context, parent, {
    parentModel: '',
    modelId: 'm',
    aliases: [],
    displayName: 'm',
    description: '',
    versionDescription: '',
    labels: {},
    containerSpec,
    artifactUri: 'gs://weights',
  });
  passSeconds(20);
  return { world, clock, passSeconds };
}

function order(world: World, id: string, split: Record<string, number> = {}): string {
  const options = { serviceAccount: '', disableContainerLogging: false, enableAccessLogging: false };
  const deployment = { id, model: `${parent}/models/m@1`, displayName: '', resources, ...options };
  return deployModel(world.context, endpoint, deployment, split).name;
}

function deployed(world: World, passSeconds: (seconds: number) => void, id: string, split = {}): void {
  order(world, id, split);
  passSeconds(250);
  world.reportContainer(findEndpoint(world.context, endpoint).name, id, 'healthy', '');
  passSeconds(50);
}

const canonical = (world: World): string => findEndpoint(world.context, endpoint).name;
const refusal = (call: () => unknown): string => {
  try {
    call();
  } catch (error) {
    if (error instanceof WorldError) return error.code;
    throw error;
  }
  return 'accepted';
};

describe('a deployment', () => {
  test('walks through its stages, wants a container, and waits for it', () => {
    const { world, passSeconds } = begin();
    const name = order(world, '7', { 0: 100 });
    const operation = (): { stage: string; isDone: boolean } => findOperation(world.context, name);
    const seen = [operation().stage];
    for (let i = 0; i < 30; i++) {
      passSeconds(10);
      if (seen.at(-1) !== operation().stage) seen.push(operation().stage);
    }
    expect(seen).toEqual([
      'STARTING_DEPLOYMENT',
      'PREPARING_MODEL',
      'CREATING_SERVING_CLUSTER',
      'ADDING_NODES_TO_CLUSTER',
      'GETTING_CONTAINER_IMAGE',
      'STARTING_MODEL_SERVER',
    ]);
    expect(world.containerOrders()).toEqual([
      {
        endpoint: canonical(world),
        deployedModelId: '7',
        spec: containerSpec,
        artifactUri: 'gs://weights',
        machineType: 'n1-standard-2',
      },
    ]);
    expect(operation().isDone).toBe(false);
    world.reportContainer(canonical(world), '7', 'healthy', '');
    world.advance();
    expect(operation()).toMatchObject({ stage: 'SUCCESSFULLY_DEPLOYED', isDone: true, error: null });
    expect(findEndpoint(world.context, endpoint).split).toEqual({ 7: 100 });
  });

  test('is not done early, however early the container is healthy', () => {
    const { world, passSeconds } = begin();
    const name = order(world, '7');
    passSeconds(220);
    world.reportContainer(canonical(world), '7', 'healthy', '');
    world.advance();
    expect(findOperation(world.context, name)).toMatchObject({ stage: 'FINISHING_UP', isDone: false });
    passSeconds(79);
    expect(findOperation(world.context, name).isDone).toBe(false);
    passSeconds(1);
    expect(findOperation(world.context, name).isDone).toBe(true);
  });

  test('fails at its deadline, with the last thing that was seen of the container', () => {
    const { world, passSeconds } = begin();
    const name = order(world, '7', { 0: 100 });
    passSeconds(300);
    world.reportContainer(canonical(world), '7', 'unhealthy', 'The model server exited with 1');
    passSeconds(1499);
    expect(findOperation(world.context, name).isDone).toBe(false);
    passSeconds(1);
    const { error, stage } = findOperation(world.context, name);
    expect(stage).toBe('FAILED_TO_DEPLOY');
    expect(error).toMatchObject({ code: 'FAILED_PRECONDITION', message: expect.stringContaining('exited with 1') });
    expect(findEndpoint(world.context, endpoint)).toMatchObject({ deployedModels: [], split: {} });
    expect(world.containerOrders()).toEqual([]);
  });

  test('fails when its split has become impossible meanwhile', () => {
    const { world, passSeconds } = begin();
    deployed(world, passSeconds, '7', { 0: 100 });
    const name = order(world, '8', { 0: 10, 7: 90 });
    undeployModel(world.context, endpoint, '7', {});
    passSeconds(250);
    world.reportContainer(canonical(world), '8', 'healthy', '');
    passSeconds(50);
    expect(findOperation(world.context, name)).toMatchObject({ isDone: true, error: { code: 'INVALID_ARGUMENT' } });
    expect(findEndpoint(world.context, endpoint)).toMatchObject({ deployedModels: [], split: {} });
  });

  test('holds its id from the call on, and takes no traffic before it is done', () => {
    const { world } = begin();
    order(world, '7');
    expect(refusal(() => order(world, '7'))).toBe('ALREADY_EXISTS');
    const toCanary = { ...settings, split: { 7: 100 } };
    expect(refusal(() => updateEndpoint(world.context, endpoint, toCanary, ['split'], ''))).toBe('INVALID_ARGUMENT');
    expect(refusal(() => undeployModel(world.context, endpoint, '7', {}))).toBe('FAILED_PRECONDITION');
  });

  test('makes no progress while operations are stuck, and does not time out', () => {
    const { world, passSeconds } = begin();
    const name = order(world, '7');
    world.context.conditions.operationsAreStuck = true;
    passSeconds(10_000);
    expect(world.nextDueAt()).toBeNull();
    expect(findOperation(world.context, name)).toMatchObject({ isDone: false, stage: 'STARTING_DEPLOYMENT' });
  });
});

test('the world says when something is due, so that a driver need not poll', () => {
  const { world, clock } = begin();
  expect(world.nextDueAt()).toBeNull();
  const name = order(world, '7');
  const dueAt: number[] = [];
  for (let i = 0; i < 20 && !findOperation(world.context, name).isDone; i++) {
    const next = world.nextDueAt();
    if (next === null) break;
    clock.at = next;
    dueAt.push(next);
    world.advance();
    if (world.containerOrders().length > 0) world.reportContainer(canonical(world), '7', 'healthy', '');
  }
  expect(findOperation(world.context, name).isDone).toBe(true);
  expect(dueAt).toEqual(dueAt.toSorted((a, b) => a - b));
  expect(dueAt.length).toBeLessThan(10);
});

test('a change of size takes effect when its operation is done, and fails if the model has gone', () => {
  const { world, passSeconds } = begin();
  deployed(world, passSeconds, '7', { 0: 100 });
  deployed(world, passSeconds, '8');
  const sizeOf = (id: string) =>
    findEndpoint(world.context, endpoint).deployedModels.find((model) => model.id === id)?.resources.minReplicaCount;
  mutateDeployedModel(world.context, endpoint, '7', { minReplicaCount: 3 });
  const gone = mutateDeployedModel(world.context, endpoint, '8', { minReplicaCount: 3 }).name;
  undeployModel(world.context, endpoint, '8', {});
  expect(sizeOf('7')).toBe(2);
  passSeconds(120);
  expect(sizeOf('7')).toBe(3);
  expect(findOperation(world.context, gone).error).toMatchObject({ code: 'NOT_FOUND' });
});

test('undeploying keeps the rest of the split, and an undeployed model leaves it', () => {
  const { world, passSeconds } = begin();
  deployed(world, passSeconds, '7', { 0: 100 });
  deployed(world, passSeconds, '8', { 7: 100, 0: 0 });
  undeployModel(world.context, endpoint, '8', {});
  expect(findEndpoint(world.context, endpoint).split).toEqual({ 7: 100 });
  expect(refusal(() => undeployModel(world.context, endpoint, '8', {}))).toBe('FAILED_PRECONDITION');
  passSeconds(60);
  expect(world.containerOrders().map(({ deployedModelId }) => deployedModelId)).toEqual(['7']);
});

test('a restored world is the same, but takes no container to be healthy', () => {
  const { world, passSeconds, clock } = begin();
  deployed(world, passSeconds, '7', { 0: 100 });
  order(world, '8');
  const state = JSON.parse(JSON.stringify(world.snapshot()));
  const again = createWorld({ now: () => clock.at, timings: timingsFor(1), state });
  expect(again.context.state.endpoints[canonical(world)]?.deployedModels[0]?.health).toBe('starting');
  for (const one of [world, again]) one.reportContainer(canonical(world), '7', 'healthy', 'looked at again');
  expect(again.context.state.endpoints).toEqual(world.context.state.endpoints);
  expect(again.nextDueAt()).toBe(world.nextDueAt());
});

test('two worlds that see the same calls at the same times are equal', () => {
  const play = () => {
    const { world, passSeconds } = begin();
    deployed(world, passSeconds, '', { 0: 100 });
    deployed(world, passSeconds, '7');
    return world.snapshot();
  };
  expect(play()).toEqual(play());
});
