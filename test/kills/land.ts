/**
 * Where do the rollouts live? Our Vertex AI, Monitoring, Scheduler and Pub/Sub in this process, with several endpoints, steady
 * traffic on each, and a proxy that reports it. It watches every split that is ever written, and knows which versions are bad.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type RunningEmulator, startEmulator } from '../../emulator/start.ts';
import { deployModel } from '../../emulator/world/deployments.ts';
import { createEndpoint, findEndpoint, route } from '../../emulator/world/endpoints.ts';
import { recordPrediction } from '../../emulator/world/metrics.ts';
import { uploadModel } from '../../emulator/world/models.ts';
import { modelName } from '../../emulator/world/names.ts';
import type { World } from '../../emulator/world/world.ts';
import { parseEnvironment } from '../../functions/engine/environment.ts';
import { topics } from '../../functions/engine/publish.ts';
import { type Clients, googleClients } from '../../functions/gcp/clients.ts';

/** A tick each half second, a reconcile job each five. */
const TIME_SCALE = 120;
const timings = {
  createMs: 0,
  uploadMs: 0,
  deployMs: 600,
  undeployMs: 300,
  mutateMs: 300,
  sampleMs: 250,
  metricLagMs: 250,
};
const TRAFFIC_MS = 100;
const REQUESTS_PER_ROUND = 20;
const ROUNDS_PER_REPORT = 10;

/** The first step of every policy here. */
export const FIRST_PERCENT = 20;

/** Where the records are kept: the variables that say so. */
export type StoreVariables = Record<string, string>;

/** An endpoint, its model, and the names of its two policies: one that goes on by itself, one that waits for its operator. */
export interface Estate {
  name: string;
  endpoint: string;
  model: string;
  swift: string;
  held: string;
}

export interface Land {
  project: string;
  environment: Record<string, string>;
  clients: Clients;
  estates: Estate[];
  /** Registers a version and returns its id. A bad one fails half of its requests; of the others none fails ever. */
  upload(estate: Estate, isGood: boolean): string;
  /** From now on this version must have no traffic. */
  isOver(estate: Estate, versionId: string): void;
  /** What serves the endpoint, and each one's share. */
  serving(estate: Estate): { versionId: string; percent: number }[];
  /** What no split may ever be, and was. */
  broken: string[];
  close(): Promise<void>;
}

export async function openLand(
  project: string,
  count: number,
  store: (folder: string) => StoreVariables,
): Promise<Land> {
  const emulator = await startEmulator({ timeScale: TIME_SCALE, timings });
  const { world } = emulator;
  const folder = mkdtempSync(join(tmpdir(), 'kills-'));
  const estates = Array.from({ length: count }, (_, i) => estateOf(project, `delays-${i + 1}`));
  const environment = environmentOf(emulator, project, folder, store(folder));
  for (const estate of estates) writePolicies(environment['ROLLOUT_POLICIES'] ?? '', estate);
  const clients = googleClients(parseEnvironment(environment));
  const bad = new Set<string>();
  const over = new Set<string>();
  const broken: string[] = [];

  function versionsOf(estate: Estate) {
    const { split, deployedModels } = findEndpoint(world.context, estate.endpoint);
    return deployedModels.map(({ id, versionId }) => ({ id, versionId, percent: split[id] ?? 0 }));
  }

  function look(): void {
    for (const estate of estates) {
      for (const { versionId, percent } of versionsOf(estate)) {
        const version = `${estate.name}@${versionId}`;
        if (bad.has(version) && percent > FIRST_PERCENT) broken.push(`${version} is bad, and has ${percent} %`);
        if (over.has(version) && percent > 0) broken.push(`the rollout of ${version} is over, and it has ${percent} %`);
      }
    }
  }

  function upload(estate: Estate, isGood: boolean): string {
    const name = modelName(world.context, estate.model).model;
    const isFirst = world.context.state.models[name] === undefined;
    const parents = isFirst ? { parentModel: '', modelId: estate.name } : { parentModel: estate.model, modelId: '' };
    uploadModel(world.context, `projects/${project}/locations/us-central1`, { ...plain, ...parents });
    world.advance();
    const versionId = world.context.state.models[name]?.versions.at(-1)?.versionId ?? '';
    if (!isGood) bad.add(`${estate.name}@${versionId}`);
    return versionId;
  }

  for (const estate of estates) {
    const parent = `projects/${project}/locations/us-central1`;
    createEndpoint(world.context, parent, { displayName: estate.name, description: '', labels: {} }, estate.name);
    upload(estate, true);
    const order = { id: '1', model: `${estate.model}@1`, displayName: 'first', ...flags };
    deployModel(world.context, estate.endpoint, order, { '0': 100 });
  }
  const unsubscribe = world.subscribe(look);
  const isBad = (estate: Estate, versionId: string) => bad.has(`${estate.name}@${versionId}`);
  const stopTraffic = startTraffic(world, clients, estates, isBad);

  return {
    project,
    environment,
    clients,
    estates,
    upload,
    isOver: (estate, versionId) => void over.add(`${estate.name}@${versionId}`),
    serving: (estate) => versionsOf(estate).map(({ versionId, percent }) => ({ versionId, percent })),
    broken,
    async close() {
      await stopTraffic();
      unsubscribe();
      await clients.close();
      await emulator.close();
      rmSync(folder, { recursive: true });
    },
  };
}

const plain = {
  aliases: [],
  displayName: 'delays',
  description: '',
  versionDescription: '',
  labels: {},
  containerSpec: {
    imageUri: 'delays',
    // A small server that is healthy at once. Predictions are counted without asking it.
    command: ['node'],
    args: [fileURLToPath(new URL('../emulator/echo-container.ts', import.meta.url))],
    env: [],
    ports: [],
    predictRoute: '/predict',
    healthRoute: '/health',
    deploymentTimeoutSeconds: null,
  },
  artifactUri: '',
};

const flags = {
  resources: {
    kind: 'dedicated' as const,
    machineType: 'n1-standard-2',
    acceleratorType: '',
    acceleratorCount: 0,
    minReplicaCount: 1,
    maxReplicaCount: 1,
    requiredReplicaCount: 0,
    autoscalingMetricSpecs: [],
    spot: false,
  },
  serviceAccount: '',
  disableContainerLogging: false,
  enableAccessLogging: false,
};

function estateOf(project: string, name: string): Estate {
  const parent = `projects/${project}/locations/us-central1`;
  const [endpoint, model] = [`${parent}/endpoints/${name}`, `${parent}/models/${name}`];
  return { name, endpoint, model, swift: `${name}-swift`, held: `${name}-held` };
}

function environmentOf(emulator: RunningEmulator, project: string, folder: string, store: StoreVariables) {
  const policies = join(folder, 'policies');
  mkdirSync(policies);
  return {
    ...emulator.environment,
    GOOGLE_CLOUD_PROJECT: project,
    ROLLOUT_LOCATION: 'us-central1',
    ROLLOUT_POLICIES: policies,
    // So that a process that takes the place of a killed one is there sooner.
    NODE_COMPILE_CACHE: join(folder, 'compiled'),
    ...store,
  };
}

function writePolicies(folder: string, { endpoint, model, swift, held }: Estate): void {
  for (const [name, hold] of [
    [swift, '500ms'],
    [held, '1h'],
  ] as const) {
    writeFileSync(
      join(folder, `${name}.yaml`),
      `
apiVersion: rollouts/v1
kind: RolloutPolicy
metadata: { name: ${name} }
spec:
  match: { model: ${model} }
  endpoint: ${endpoint}
  steps: [ { percent: ${FIRST_PERCENT}, hold: ${hold} }, { percent: 100, hold: ${hold} } ]
  analysis:
    metricLag: 500ms
    minRequests: 20
    errorRate: { max: 10%, margin: 5% }
    latency: off
    inconclusive: { after: 1h }
    noData: { after: 1h }
  exposure: { maxExcessErrors: 100000 }
  keepStable: 0s
`,
    );
  }
}

/** Requests spread over the split evenly, by the golden ratio. Returns how to stop, and wait for the last report. */
function startTraffic(
  world: World,
  clients: Clients,
  estates: Estate[],
  isBad: (estate: Estate, versionId: string) => boolean,
): () => Promise<void> {
  let turn = 0;
  let round = 0;
  let fromAt = Date.now();
  let counted = new Map<Estate, Record<string, { requests: number; errors: number }>>();
  const underWay = new Set<Promise<void>>();

  function serve(estate: Estate): void {
    turn += 1;
    const endpoint = findEndpoint(world.context, estate.endpoint);
    // Until the first deployment is done, nothing serves.
    if (Object.keys(endpoint.split).length === 0) return;
    const { id } = route(world.context, estate.endpoint, (turn * 0.618_033_988_749_895) % 1);
    const versionId = endpoint.deployedModels.find((deployed) => deployed.id === id)?.versionId ?? '';
    const isError = isBad(estate, versionId) && (turn * 0.754_877_666) % 1 < 0.5;
    const responseCode = isError ? 500 : 200;
    recordPrediction(world.context, { endpoint, deployedModelId: id, responseCode, instances: 1, latencyMs: 10 });
    const counts = counted.get(estate) ?? {};
    const { requests, errors } = counts[id] ?? { requests: 0, errors: 0 };
    counted.set(estate, { ...counts, [id]: { requests: requests + 1, errors: errors + (isError ? 1 : 0) } });
  }

  function report(): void {
    const toAt = Date.now();
    const window = { from: new Date(fromAt).toISOString(), to: new Date(toAt).toISOString() };
    for (const [estate, counts] of counted) {
      const variants = Object.fromEntries(
        Object.entries(counts).map(([id, { requests, errors }]) => [
          id,
          { requests, errors, latencyMs: { bounds: [20], counts: [requests, 0] } },
        ]),
      );
      const sending = send(clients, topics.evidence, { endpoint: estate.endpoint, window, source: 'front', variants });
      underWay.add(sending);
      void sending.then(() => underWay.delete(sending));
    }
    counted = new Map();
    fromAt = toAt;
  }

  const timer = setInterval(() => {
    for (const estate of estates) for (let i = 0; i < REQUESTS_PER_ROUND; i += 1) serve(estate);
    round += 1;
    if (round % ROUNDS_PER_REPORT === 0) report();
  }, TRAFFIC_MS);
  return async () => {
    clearInterval(timer);
    await Promise.all(underWay);
  };
}

/** Publishes a message to a topic. */
export async function send(clients: Clients, topic: string, message: object): Promise<void> {
  await (await clients.pubsub()).topic(topic, { batching: { maxMessages: 1 } }).publishMessage({ json: message });
}
