/**
 * A whole world on one clock that a test moves: the emulator's model of Vertex AI behind the engine's ports, the real
 * SQLite store in memory, and a gate at every await, at which a test may wait, fail or crash the caller.
 */
import { deployModel, mutateDeployedModel, undeployModel } from '../../emulator/world/deployments.ts';
import { createEndpoint, findEndpoint, route, updateEndpoint } from '../../emulator/world/endpoints.ts';
import { recordPrediction } from '../../emulator/world/metrics.ts';
import { uploadModel } from '../../emulator/world/models.ts';
import { findOperation } from '../../emulator/world/operations.ts';
import { cancelOperation } from '../../emulator/world/progress.ts';
import { createWorld, timingsFor, type World, WorldError } from '../../emulator/world/world.ts';
import type { MetricsQuery, OutgoingMessage, Ports } from '../../functions/engine/ports.ts';
import { openSqliteStore } from '../../functions/engine/sqlite-store.ts';
import { recordSchema, type EndpointRecord } from '../../machines/rollout/record.ts';
import { endpointKey, isSameEndpoint } from '../../machines/rollout/resource-name.ts';
import type { Evidence, EvidenceWindow, VariantCounts } from '../../machines/analysis/evidence.ts';
import type { Policy } from '../../machines/policy/policy.ts';
import { policyOf } from '../machines/rollout/life.ts';
import { flags, operationOf, translated, upload, versionOf, viewOf } from './vertex-views.ts';

export const parent = 'projects/demo/locations/us-central1';
export const endpoint = `${parent}/endpoints/1`;
export const model = `${parent}/models/delays`;

/** Called before each call out and after it, before its answer is seen. Throw to fail, wait to be overtaken. */
export type Gate = (call: string, moment: 'before' | 'after') => Promise<void>;

/** Thrown at a gate: the process is gone at this await. */
export class Crash extends Error {
  override readonly name = 'Crash';
}

/** A version's share of errors, by its id. */
export type Behaviour = Record<string, { errorRatio: number }>;

export interface Laboratory {
  world: World;
  ports: Ports;
  policies: Policy[];
  /** Splits as they were written, with who was active then. */
  writes: { split: Record<string, number>; record: EndpointRecord | null }[];
  published: { topic: string; message: OutgoingMessage }[];
  now(): number;
  /** Time passes; requests are served as the split says, then Vertex's operations come up to the clock. */
  pass(seconds: number): void;
  /** What the endpoint's split is, whatever the record says. */
  split(): Record<string, number>;
  /** Who is deployed, by id. */
  models(): string[];
  record(): Promise<EndpointRecord | null>;
  /** Somebody changes the split by hand. */
  meddle(split: Record<string, number>): void;
  close(): Promise<void>;
}

export interface LaboratoryOptions {
  gate?: Gate;
  behaviour?: Behaviour;
  requestsPerSecond?: number;
  policies?: Policy[];
  /** Seconds that a deployment takes. */
  deploySeconds?: number;
}

/** A world with versions 1 to 5 of `delays`, of which version 1 serves everything. */
export function laboratory({
  gate = async () => {},
  behaviour = {},
  requestsPerSecond = 200,
  policies = [policyOf()],
  deploySeconds = 4,
}: LaboratoryOptions = {}): Laboratory {
  let clock = Date.parse('2026-01-05T00:00:00Z');
  const timings = {
    ...timingsFor(600),
    sampleMs: 1000,
    metricLagMs: 1000,
    deployMs: deploySeconds * 1000,
    undeployMs: 2000,
  };
  const world = createWorld({ now: () => clock, timings });
  const store = openSqliteStore(':memory:');
  const writes: Laboratory['writes'] = [];
  const published: Laboratory['published'] = [];
  let isPaused = true;
  let turn = 0;

  async function call<T>(name: string, work: () => T): Promise<T> {
    await gate(name, 'before');
    try {
      const answer = structuredClone(work());
      await gate(name, 'after');
      return answer;
    } catch (error) {
      throw error instanceof WorldError ? translated(name, error) : error;
    }
  }

  async function gated<T>(name: string, work: () => Promise<T>): Promise<T> {
    await gate(name, 'before');
    const answer = await work();
    await gate(name, 'after');
    return answer;
  }

  async function record(): Promise<EndpointRecord | null> {
    const stored = await store.load(endpointKey(endpoint));
    return stored === null ? null : recordSchema.parse(stored.data);
  }

  const ports: Ports = {
    now: () => clock,
    endpoints: {
      read: (name) => call('endpoints.read', () => viewOf(world, name)),
      writeSplit: async (name, split, etag) => {
        const active = await record();
        return call('endpoints.writeSplit', () => {
          const { displayName, description, labels } = findEndpoint(world.context, name);
          updateEndpoint(world.context, name, { displayName, description, labels, split }, ['split'], etag);
          writes.push({ split, record: active });
          return viewOf(world, name);
        });
      },
      deploy: (name, order) =>
        call('endpoints.deploy', () => {
          const given = {
            id: order.deployedModelId,
            model: `${order.model}@${order.versionId}`,
            displayName: order.displayName,
          };
          return { operation: deployModel(world.context, name, { ...given, ...flags }, {}).name };
        }),
      undeploy: (name, id) =>
        call('endpoints.undeploy', () => ({ operation: undeployModel(world.context, name, id, {}).name })),
      resize: (name, id, minReplicas) =>
        call('endpoints.resize', () => ({
          operation: mutateDeployedModel(world.context, name, id, { minReplicaCount: minReplicas }).name,
        })),
      readOperation: (name) => call('endpoints.readOperation', () => operationOf(findOperation(world.context, name))),
      cancelOperation: (name) => call('endpoints.cancelOperation', () => cancelOperation(world.context, name)),
    },
    models: {
      readVersion: (name, versionId) => call('models.readVersion', () => versionOf(world, `${name}@${versionId}`)),
      readAlias: (name, alias) => call('models.readAlias', () => versionOf(world, `${name}@${alias}`)),
    },
    metrics: {
      read: (queries) =>
        call('metrics.read', () =>
          queries.map((query) => periodsOf(query).flatMap((window) => evidenceOf(world, query.endpoint, window))),
        ),
    },
    bus: {
      publish: (topic, messages) =>
        call('bus.publish', () => {
          for (const message of messages) published.push({ topic, message });
        }),
    },
    schedule: {
      pause: () => call('schedule.pause', () => void (isPaused = true)),
      resume: () => call('schedule.resume', () => void (isPaused = false)),
      isPaused: () => call('schedule.isPaused', () => isPaused),
    },
    policies: { list: () => Promise.resolve({ policies, problems: [] }) },
    store: {
      ...store,
      load: (key) => gated('store.load', () => store.load(key)),
      commit: (change) => gated('store.commit', () => store.commit(change)),
      listActive: () => gated('store.listActive', () => store.listActive()),
    },
  };

  function pass(seconds: number): void {
    for (let second = 0; second < seconds; second += 1) {
      for (let i = 0; i < requestsPerSecond; i += 1) serve();
      clock += 1000;
      world.advance();
      for (const order of world.containerOrders())
        world.reportContainer(order.endpoint, order.deployedModelId, 'healthy', '');
      world.advance();
    }
  }

  /** Requests are spread over the split evenly, by the golden ratio, so that every life is the same. */
  function serve(): void {
    turn += 1;
    try {
      const found = route(world.context, endpoint, (turn * 0.618_033_988_749_895) % 1);
      const version = found.endpoint.deployedModels.find(({ id }) => id === found.id)?.versionId ?? '';
      const isError = (turn * 0.754_877_666) % 1 < (behaviour[version]?.errorRatio ?? 0);
      recordPrediction(world.context, {
        endpoint: found.endpoint,
        deployedModelId: found.id,
        responseCode: isError ? 500 : 200,
        instances: 1,
        latencyMs: 10,
      });
    } catch (error) {
      if (!(error instanceof WorldError)) throw error;
    }
  }

  createEndpoint(world.context, parent, { displayName: 'delays', description: '', labels: {} }, '1');
  for (let version = 1; version <= 5; version += 1) {
    uploadModel(world.context, parent, {
      ...upload,
      parentModel: version === 1 ? '' : model,
      modelId: version === 1 ? 'delays' : '',
    });
    clock += 60_000;
    world.advance();
  }
  deployModel(world.context, endpoint, { id: '1', model: `${model}@1`, displayName: 'first', ...flags }, { '0': 100 });
  pass(deploySeconds + 2);

  return {
    world,
    ports,
    policies,
    writes,
    published,
    now: () => clock,
    pass,
    split: () => ({ ...findEndpoint(world.context, endpoint).split }),
    models: () => findEndpoint(world.context, endpoint).deployedModels.map(({ id }) => id),
    record,
    meddle: (split) => {
      const { displayName, description, labels } = findEndpoint(world.context, endpoint);
      updateEndpoint(world.context, endpoint, { displayName, description, labels, split }, ['split'], '');
    },
    close: () => store.close(),
  };
}

/** What Monitoring would show of a window: the samples that lie in it and are visible. */
function periodsOf({ window: { fromAt, toAt }, periodMs }: MetricsQuery): EvidenceWindow[] {
  const count = Math.ceil((toAt - fromAt) / periodMs);
  return Array.from({ length: count }, (_, i) => ({
    fromAt: fromAt + i * periodMs,
    toAt: Math.min(toAt, fromAt + (i + 1) * periodMs),
  }));
}

/** One window; none where nothing was seen in it. */
function evidenceOf(world: World, name: string, window: EvidenceWindow): Evidence[] {
  const { metrics } = world.context.state;
  const variants: Record<string, VariantCounts> = {};
  for (const variant of Object.values(metrics).filter((candidate) => isSameEndpoint(candidate.endpoint, name))) {
    const slots = variant.slots.filter((slot) => slot.startAt >= window.fromAt && slot.endAt <= window.toAt);
    const codes = slots.flatMap((slot) => Object.entries(slot.responses));
    const requests = codes.reduce((sum, [, responses]) => sum + responses, 0);
    const errors = codes.filter(([code]) => code.startsWith('5')).reduce((sum, [, responses]) => sum + responses, 0);
    if (requests > 0)
      variants[variant.deployedModelId] = { requests, errors, latencyMs: { bounds: [20], counts: [requests, 0] } };
  }
  return Object.keys(variants).length === 0 ? [] : [{ window, source: 'monitoring', variants }];
}
