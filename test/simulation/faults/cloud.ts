/**
 * What is Google Cloud like in a simulated life? The emulator's world, requests that flow as the split says, what Monitoring
 * shows of them, and the truth of them, which only the checkers see.
 */
import { deployModel } from '../../../emulator/world/deployments.ts';
import { createEndpoint, findEndpoint, updateEndpoint } from '../../../emulator/world/endpoints.ts';
import { uploadModel } from '../../../emulator/world/models.ts';
import type { Endpoint, Split, WorldState } from '../../../emulator/world/state.ts';
import { createWorld, timingsFor, type World } from '../../../emulator/world/world.ts';
import type { EndpointView, MetricsQuery } from '../../../functions/engine/ports.ts';
import type { Evidence, VariantCounts } from '../../../machines/analysis/evidence.ts';
import { flags, upload, viewOf } from '../vertex-views.ts';

export const project = '123456789012';
const parent = `projects/${project}/locations/us-central1`;
/** A Monday, so that windows of a week can be met within minutes. */
export const beganAt = Date.parse('2026-01-05T00:00:00Z');
/** Samples, ticks and windows: Google's minute. */
export const periodMs = 60_000;
export const lagMs = 20_000;
export const models = ['delays', 'fares'].map((name) => `${parent}/models/${name}`);
export const versionsMax = 6;

/** What serves when a life begins: one version, two that share, or nothing yet. */
export type Layout = 'one' | 'two' | 'none';

export interface Site {
  endpoint: string;
  model: string;
  layout: Layout;
  requestsPerSecond: number;
}

export interface Counts {
  requests: number;
  errors: number;
}

/** How Monitoring tells less than there was: `from` and `to` are instants; a point is hidden, late, or told in part at first. */
export interface MetricFault {
  kind: 'gap' | 'lag' | 'restated';
  fromAt: number;
  toAt: number;
}

export interface Cloud {
  world: World;
  sites: Site[];
  now(): number;
  /** Requests are served until then, and operations come up to the clock. */
  advanceTo(at: number): void;
  endpoint(name: string): Endpoint;
  view(name: string): EndpointView;
  setSplit(name: string, split: Split, etag: string): void;
  /** A version that answers with errors in this share of its requests, from an instant on. */
  misbehave(model: string, versionId: string, errorRatio: number, fromAt: number): void;
  /** Its containers never become healthy. */
  sicken(model: string, versionId: string): void;
  setHealth(name: string, id: string, health: 'healthy' | 'unhealthy'): void;
  /** Reports the health of what was ordered just now. */
  startContainer(name: string, id: string): void;
  /** Google's autoscaler holds so many replicas, whatever the least is. */
  autoscale(name: string, id: string, replicas: number): void;
  metricFaults: MetricFault[];
  evidence(query: MetricsQuery): Evidence[];
  /** What really happened in the whole periods of a window. */
  truth(name: string, id: string, fromAt: number, toAt: number): Counts;
}

export function cloud(sites: Site[]): Cloud {
  let clock = beganAt;
  const timings = {
    ...timingsFor(60),
    deployMs: 40_000,
    deployDeadlineMs: 300_000,
    undeployMs: 20_000,
    mutateMs: 15_000,
  };
  const world = createWorld({ now: () => clock, timings });
  Object.assign(world.context.state, stateFor(sites));
  const served = new Map<string, Counts[]>();
  const faulty = new Map<string, { errorRatio: number; fromAt: number }>();
  const sick = new Set<string>();
  const replicas = new Map<string, number>();
  const metricFaults: MetricFault[] = [];

  const slotsOf = (name: string, id: string): Counts[] => {
    const key = `${name}#${id}`;
    const found = served.get(key) ?? [];
    if (found.length === 0) served.set(key, found);
    return found;
  };

  function serve(toAt: number): void {
    for (const { endpoint, requestsPerSecond } of sites) {
      const { split, deployedModels } = findEndpoint(world.context, endpoint);
      for (const [id, percent] of Object.entries(split)) {
        if (percent === 0) continue;
        const deployed = deployedModels.find((candidate) => candidate.id === id);
        const fault = faulty.get(`${deployed?.model}@${deployed?.versionId}`);
        const slots = slotsOf(endpoint, id);
        for (let from = clock; from < toAt; ) {
          const index = Math.floor((from - beganAt) / periodMs);
          const to = Math.min(toAt, beganAt + (index + 1) * periodMs);
          const requests = (requestsPerSecond * percent * (to - from)) / 100_000;
          const isDown = deployed?.health !== 'healthy';
          const errorRatio = isDown ? 1 : fault !== undefined && from >= fault.fromAt ? fault.errorRatio : 0;
          const slot = (slots[index] ??= { requests: 0, errors: 0 });
          slot.requests += requests;
          slot.errors += requests * errorRatio;
          from = to;
        }
      }
    }
  }

  /** How much of a point Monitoring shows now, from 0 to 1. */
  function shown(endAt: number): number {
    let share = endAt + lagMs <= clock ? 1 : 0;
    for (const { kind, fromAt, toAt } of metricFaults) {
      if (endAt <= fromAt || endAt > toAt) continue;
      if (kind === 'gap') share = 0;
      if (kind === 'lag' && endAt + 4 * periodMs > clock) share = 0;
      if (kind === 'restated' && endAt + 3 * periodMs > clock) share *= 0.5;
    }
    return share;
  }

  function evidence({ endpoint, window, periodMs: askedMs, models: asked }: MetricsQuery): Evidence[] {
    const found: Evidence[] = [];
    const firstAt = Math.max(window.fromAt, beganAt);
    for (let fromAt = firstAt; fromAt < window.toAt; fromAt += askedMs) {
      const toAt = Math.min(window.toAt, fromAt + askedMs);
      const variants: Record<string, VariantCounts> = {};
      for (const { id } of asked) {
        const slot = slotsOf(endpoint, id)[(fromAt - beganAt) / periodMs];
        const share = slot === undefined ? 0 : shown(toAt);
        const requests = Math.floor((slot?.requests ?? 0) * share);
        const errors = Math.min(requests, Math.floor((slot?.errors ?? 0) * share));
        if (requests > 0) variants[id] = { requests, errors, latencyMs: { bounds: [20], counts: [requests, 0] } };
      }
      if (Object.keys(variants).length > 0) found.push({ window: { fromAt, toAt }, source: 'monitoring', variants });
    }
    return found;
  }

  return {
    world,
    sites,
    metricFaults,
    evidence,
    now: () => clock,
    advanceTo: (at) => {
      if (at <= clock) return;
      serve(at);
      clock = at;
      world.advance();
    },
    endpoint: (name) => findEndpoint(world.context, name),
    view: (name) => {
      const view = viewOf(world, name);
      for (const deployed of view.deployedModels) {
        const held = replicas.get(`${name}#${deployed.id}`) ?? 0;
        const { availableReplicas } = deployed;
        if (availableReplicas !== null && availableReplicas > 0) {
          deployed.availableReplicas = Math.max(availableReplicas, held);
        }
      }
      return view;
    },
    setSplit: (name, split, etag) => {
      const { displayName, description, labels } = findEndpoint(world.context, name);
      updateEndpoint(world.context, name, { displayName, description, labels, split }, ['split'], etag);
    },
    misbehave: (model, versionId, errorRatio, fromAt) => faulty.set(`${model}@${versionId}`, { errorRatio, fromAt }),
    sicken: (model, versionId) => sick.add(`${model}@${versionId}`),
    setHealth: (name, id, health) => world.reportContainer(name, id, health, ''),
    startContainer: (name, id) => {
      const deployed = findEndpoint(world.context, name).deployedModels.find((candidate) => candidate.id === id);
      if (deployed === undefined || sick.has(`${deployed.model}@${deployed.versionId}`)) return;
      world.reportContainer(name, id, 'healthy', '');
    },
    autoscale: (name, id, count) => replicas.set(`${name}#${id}`, count),
    truth: (name, id, fromAt, toAt) => {
      const slots = slotsOf(name, id);
      const sum: Counts = { requests: 0, errors: 0 };
      const first = Math.max(0, Math.ceil((fromAt - beganAt) / periodMs));
      for (let i = first; beganAt + (i + 1) * periodMs <= toAt; i += 1) {
        sum.requests += slots[i]?.requests ?? 0;
        sum.errors += slots[i]?.errors ?? 0;
      }
      return sum;
    },
  };
}

/** Made once, for it takes as long as a whole life. */
let template: WorldState | null = null;

function stateFor(sites: Site[]): WorldState {
  template ??= makeTemplate();
  const { endpoints, ...rest } = template;
  const state: WorldState = structuredClone({ ...rest, endpoints: {} });
  for (const { endpoint } of sites) {
    const found = endpoints[endpoint];
    if (found !== undefined) state.endpoints[endpoint] = structuredClone(found);
  }
  return state;
}

/** Endpoints by model and layout, three of each: what a life picks its own from. */
export const places: Omit<Site, 'requestsPerSecond'>[] = models.flatMap((model, m) =>
  (['one', 'two', 'none'] as const).flatMap((layout, l) =>
    [1, 2, 3].map((n) => ({ endpoint: `${parent}/endpoints/${m + 1}${l}${n}`, model, layout })),
  ),
);

function makeTemplate(): WorldState {
  let clock = beganAt - 10 * periodMs;
  const world = createWorld({
    now: () => clock,
    timings: { ...timingsFor(60), createMs: 0, uploadMs: 0, deployMs: 0 },
  });
  const pass = (): void => {
    clock += 1000;
    world.advance();
    for (const { endpoint, deployedModelId } of world.containerOrders())
      world.reportContainer(endpoint, deployedModelId, 'healthy', '');
    world.advance();
  };
  for (const model of models) {
    for (let version = 1; version <= versionsMax; version += 1) {
      const isFirst = version === 1;
      const modelId = model.split('/').at(-1) ?? '';
      uploadModel(world.context, parent, {
        ...upload,
        parentModel: isFirst ? '' : model,
        modelId: isFirst ? modelId : '',
      });
      pass();
    }
  }
  for (const { endpoint, model, layout } of places) {
    const id = endpoint.split('/').at(-1) ?? '';
    createEndpoint(world.context, parent, { displayName: id, description: '', labels: {} }, id);
    pass();
    const deploy = (deployedId: string, versionId: string, split: Split): void => {
      const order = { id: deployedId, model: `${model}@${versionId}`, displayName: 'first', ...flags };
      deployModel(world.context, endpoint, order, split);
      pass();
      pass();
    };
    if (layout !== 'none') deploy('1', '1', { '0': 100 });
    if (layout === 'two') deploy('2', String(versionsMax), { '0': 40, 1: 60 });
  }
  return { ...world.snapshot(), operations: {} };
}
