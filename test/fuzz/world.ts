/**
 * What stands behind a door while it is fuzzed? The real engine over the real SQLite store in memory, and one endpoint whose
 * DeployedModels, metrics and topics are plain values, so that a world is made anew in a millisecond.
 */
import type { Evidence } from '../../machines/analysis/evidence.ts';
import { parsePolicy } from '../../machines/policy/document.ts';
import type { Policy } from '../../machines/policy/policy.ts';
import { type EndpointRecord, isActiveRecord, parseRecord } from '../../machines/rollout/record.ts';
import { endpointKey, isSameModel, parseEndpointName } from '../../machines/rollout/resource-name.ts';
import { assertSplit, type Split } from '../../machines/rollout/split.ts';
import { parseEnvironment } from '../../functions/engine/environment.ts';
import { PermanentError, TransientError } from '../../functions/engine/errors.ts';
import { handle } from '../../functions/engine/loop.ts';
import type {
  DeployedModelView,
  EndpointView,
  MetricsQuery,
  OutgoingMessage,
  Ports,
  StorePort,
} from '../../functions/engine/ports.ts';
import { openSqliteStore } from '../../functions/engine/sqlite-store.ts';
import { bless } from '../../functions/engine/blessings.ts';
import { tick } from '../../functions/engine/tick.ts';
import type { Wiring } from '../../functions/wiring.ts';

export const parent = 'projects/demo/locations/us-central1';
export const endpoint = `${parent}/endpoints/1`;
export const model = `${parent}/models/delays`;
export const startAt = Date.parse('2026-01-05T12:00:00Z');

export interface Published {
  topic: string;
  message: OutgoingMessage;
}

export interface FuzzWorld {
  wiring: Wiring;
  store: StorePort;
  endpoints: Map<string, EndpointView>;
  published: Published[];
  /** Lines that were logged, decoded. */
  logged: Record<string, unknown>[];
  pass(seconds: number): void;
  /** Everything that a message could have changed: records and splits, as text. */
  state(): Promise<string>;
  close(): Promise<void>;
}

/** Records as they were found at some moment, and what the endpoints had then. */
export interface Scene {
  at: number;
  records: EndpointRecord[];
  endpoints: EndpointView[];
  /** Ended rollouts, as the archive has them. */
  archive: { id: string; key: string; startedAt: number; endedAt: number | null; data: unknown }[];
}

const parsedPolicies = new Map<string, Policy>();

/** Parsed once, for worlds are many. */
export function policyFor(name: string, of: string): Policy {
  const key = `${name} ${of}`;
  const known = parsedPolicies.get(key);
  if (known !== undefined) return known;
  const parsed = parsePolicy(`
apiVersion: rollouts/v1
kind: RolloutPolicy
metadata: { name: ${name} }
spec:
  match: { model: ${model} }
  endpoint: ${of}
  steps: [ { percent: 10, hold: 1m }, { percent: 50, hold: 1m, approval: true }, { percent: 100, hold: 1m } ]
  analysis:
    metricLag: 1s
    drift: { maxDistance: 0.3 }
    checks:
      - { name: complaints, rate: { max: 5%, margin: 1% }, from: reported }
      - { name: tokens, quantile: { quantile: 95%, maxRatio: 1.3 }, from: reported }
    incident: rollBack
`);
  if (parsed.kind === 'invalid') throw new Error(parsed.problems.map(({ message }) => message).join('\n'));
  parsedPolicies.set(key, parsed.policy);
  return parsed.policy;
}

const environment = parseEnvironment({ GOOGLE_CLOUD_PROJECT: 'demo', ROLLOUT_LOCATION: 'us-central1' });
const first: DeployedModelView = deployedModel('1', '1', 'first');

export async function openWorld(
  scene: Scene = { at: startAt, records: [], endpoints: [], archive: [] },
  store: StorePort = openSqliteStore(':memory:'),
): Promise<FuzzWorld> {
  let clock = scene.at;
  const endpoints = new Map(
    structuredClone(scene.endpoints.length > 0 ? scene.endpoints : [served(endpoint)]).map((view) => [view.name, view]),
  );
  const policies = [...endpoints.keys()].map((name, i) => policyFor(`delays-${i + 1}`, name));
  const published: Published[] = [];
  const logged: Record<string, unknown>[] = [];

  function find(name: string): EndpointView {
    const found = endpoints.get(name);
    if (found === undefined) throw new PermanentError('notFound', `There is no endpoint ${name}`);
    return found;
  }

  const ports: Ports = {
    now: () => clock,
    store,
    endpoints: {
      read: (name) => call(() => find(name)),
      writeSplit: (name, split, etag) =>
        call(() => {
          const view = find(name);
          if (view.etag !== etag) throw new TransientError('conflict', 'The etag is stale');
          view.split = { ...assertSplit(split) };
          view.etag = String(Number(etag) + 1);
          return view;
        }),
      deploy: (name, order) =>
        call(() => {
          const view = find(name);
          const { deployedModelId: id, versionId, displayName } = order;
          if (view.deployedModels.some((deployed) => deployed.id === id))
            throw new PermanentError('alreadyExists', 'The id is taken');
          view.deployedModels.push(deployedModel(id, versionId, displayName));
          return { operation: `${name}/operations/1` };
        }),
      undeploy: (name, id) =>
        call(() => {
          const view = find(name);
          if (!view.deployedModels.some((deployed) => deployed.id === id)) throw new PermanentError('notFound', 'Gone');
          view.deployedModels = view.deployedModels.filter((deployed) => deployed.id !== id);
          return { operation: `${name}/operations/2` };
        }),
      resize: (name) => call(() => ({ operation: `${find(name).name}/operations/3` })),
      readOperation: (name) => call(() => ({ name, done: true, stage: '', error: null })),
      cancelOperation: () => Promise.resolve(),
    },
    models: {
      readVersion: (name, versionId) => call(() => versionOf(name, versionId)),
      readAlias: (name, alias) => call(() => (alias === 'blessed' ? versionOf(name, '2') : null)),
    },
    metrics: { read: (queries) => call(() => queries.map((query) => [evidenceFor(query)])) },
    bus: {
      publish: (topic, messages) => call(() => void published.push(...messages.map((message) => ({ topic, message })))),
    },
    schedule: { pause: () => Promise.resolve(), resume: () => Promise.resolve(), isPaused: () => call(() => false) },
    policies: { list: () => call(() => ({ policies, problems: [] })) },
  };
  for (const record of scene.records) {
    const key = endpointKey(record.endpoint);
    const archive = scene.archive.filter((rollout) => rollout.key === key);
    const isActive = isActiveRecord(record);
    await store.commit({ key, expected: null, data: record, isActive, journal: [], marks: [], archive });
  }
  return {
    wiring: { environment, ports, observing: { periodMs: 1000 }, project: 'demo' },
    store,
    endpoints,
    published,
    logged,
    pass: (seconds) => void (clock += seconds * 1000),
    state: async () => JSON.stringify([await store.listAll(), [...endpoints.values()]]),
    close: () => store.close(),
  };
}

export type Moment = 'deploying' | 'watching' | 'rollingBack' | 'ended';

/** A world in which version 2 is at its first step on each of these endpoints; version 3 had its rollout before. */
export async function sceneWith(names: string[], until: Moment = 'watching'): Promise<Scene> {
  const world = await openWorld({ at: startAt, records: [], endpoints: names.map(served), archive: [] });
  const { ports, observing } = world.wiring;
  const log = silenced();
  try {
    for (const name of names) {
      await bless(world.wiring, { model, versionId: '3', endpoint: name }, `old ${name}`);
      await handle(ports, name, [{ type: 'operator.aborted', at: ports.now(), by: 'ana', reason: 'not this one' }]);
      for (let i = 0; i < 5; i += 1) await ticked();
      await bless(world.wiring, { model, versionId: '2', endpoint: name }, `new ${name}`);
    }
    for (let i = 0; i < (until === 'deploying' ? 1 : 6); i += 1) await ticked();
    if (until === 'rollingBack' || until === 'ended') {
      for (const name of names)
        await handle(ports, name, [{ type: 'operator.aborted', at: ports.now(), by: 'ana', reason: 'why not' }]);
    }
    if (until === 'ended') for (let i = 0; i < 6; i += 1) await ticked();
    const records = (await world.store.listAll())
      .map(({ data }) => parseRecord(data).data)
      .filter((record) => record !== undefined);
    const archive = await world.store.listRollouts(100);
    return { at: ports.now(), records, endpoints: [...world.endpoints.values()], archive };
  } finally {
    log();
    await world.close();
  }

  async function ticked(): Promise<void> {
    world.pass(1);
    await tick(ports, observing);
  }
}

/** Takes what is written to standard output and error while a door works; call the answer to give both back. */
export function captured(into: Record<string, unknown>[]): () => void {
  const streams = [process.stdout, process.stderr].map((stream) => ({ stream, write: stream.write.bind(stream) }));
  for (const { stream } of streams) {
    stream.write = (chunk: string | Uint8Array): boolean => {
      for (const line of String(chunk).split('\n')) if (line !== '') into.push(logLine(line));
      return true;
    };
  }
  return () => {
    for (const { stream, write } of streams) stream.write = write;
  };
}

function silenced(): () => void {
  return captured([]);
}

function logLine(line: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null ? { ...value } : { message: line };
  } catch {
    return { message: line };
  }
}

function served(name: string): EndpointView {
  return { name, split: { 1: 100 } satisfies Split, etag: '1', deployedModels: [first] };
}

function deployedModel(id: string, versionId: string, displayName: string): DeployedModelView {
  return { id, model, versionId, displayName, minReplicas: 1, maxReplicas: 1, availableReplicas: 1 };
}

function versionOf(name: string, versionId: string) {
  const isKnown = isSameModel(name, model) && ['1', '2', '3'].includes(versionId);
  return isKnown ? { model, versionId, aliases: [], labels: {}, updatedAt: startAt - 1000 } : null;
}

/** The newest period, as Monitoring's adapter would give it; it refuses a bad name as that does. */
function evidenceFor({
  endpoint: asked,
  window: { toAt },
  periodMs,
  models: [canary, stable],
}: MetricsQuery): Evidence {
  if (parseEndpointName(asked) === null) throw new PermanentError('invalidArgument', `"${asked}" is no endpoint`);
  const variants = { [canary?.id ?? '']: healthy, [stable?.id ?? '']: healthy };
  return { window: { fromAt: toAt - periodMs, toAt }, source: 'monitoring', variants };
}

/** As a call out: what comes back is a copy, and what is thrown a rejection. */
function call<T>(work: () => T): Promise<T> {
  return new Promise((resolve) => resolve(structuredClone(work())));
}

const healthy = { requests: 100, errors: 0, latencyMs: { bounds: [10, 20], counts: [50, 50, 0] } };
