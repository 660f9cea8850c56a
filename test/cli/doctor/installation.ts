/**
 * An installation that is well, for a test to break: the emulator with topics, jobs, an endpoint that serves and has
 * requests, a store and a policy; and a stand-in for the APIs that only a project has.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { permissionsOf, uses } from '../../../cli/doctor/permissions.ts';
import type { Google } from '../../../cli/doctor/google.ts';
import { type FunctionName, functionNames } from '../../../cli/start/places.ts';
import { type RunningEmulator, startEmulator } from '../../../emulator/start.ts';
import { recordPrediction } from '../../../emulator/world/metrics.ts';
import { type Environment, parseEnvironment } from '../../../functions/engine/environment.ts';
import type { StorePort } from '../../../functions/engine/ports.ts';
import { topics } from '../../../functions/engine/publish.ts';
import { openSqliteStore } from '../../../functions/engine/sqlite-store.ts';
import { type Clients, googleClients } from '../../../functions/gcp/clients.ts';
import * as google from '../../emulator/google-clients.ts';

export const { parent, project } = google;
export const endpoint = `${parent}/endpoints/delays`;
export const deadLetterTopic = `projects/${project}/topics/${topics.deadLetters}`;
export const pushed = [topics.blessings, topics.ticks, topics.commands, topics.incidents, topics.evidence];

export const policyText = `
apiVersion: rollouts/v1
kind: RolloutPolicy
metadata: { name: delays }
spec:
  match: { model: ${parent}/models/delays }
  endpoint: ${endpoint}
  analysis: { metricLag: 3s }
`;

export interface Installation {
  emulator: RunningEmulator;
  environment: Environment;
  /** For the command line. */
  variables: Record<string, string>;
  clients: Clients;
  vertex: google.Clients;
  store: StorePort;
  /** Puts one more file into the folder of policies. Returns how to take it away. */
  addPolicy(text: string): () => void;
  /** Somebody asks the endpoint, and Monitoring shows it soon. */
  predict(): void;
  close(): Promise<void>;
}

export async function install(now: () => number): Promise<Installation> {
  const folder = mkdtempSync(join(tmpdir(), 'rollouts-doctor-'));
  const policies = join(folder, 'policies');
  mkdirSync(policies);
  const emulator = await startEmulator({ timeScale: 60, metricLagSeconds: 0, now });
  const variables = {
    ...emulator.environment,
    GOOGLE_CLOUD_PROJECT: project,
    ROLLOUT_LOCATION: 'us-central1',
    ROLLOUT_STORE: `sqlite:${join(folder, 'rollouts.sqlite')}`,
    ROLLOUT_POLICIES: policies,
  };
  const environment = parseEnvironment(variables);
  const clients = googleClients(environment);
  const vertex = google.googleClients(emulator);
  const store = openSqliteStore(join(folder, 'rollouts.sqlite'));
  writeFileSync(join(policies, 'delays.yaml'), policyText);

  const pubsub = await clients.pubsub();
  await Promise.all(Object.values(topics).map((topic) => pubsub.createTopic(topic)));
  await Promise.all(pushed.map((topic) => subscribe(clients, topic)));
  await createJob(clients, 'rollout-ticks', '* * * * *');
  await createJob(clients, 'rollout-reconcile', '*/10 * * * *');
  await (await clients.scheduler()).pauseJob({ name: `${parent}/jobs/rollout-ticks` });
  await google.createEndpoint(vertex, 'delays');
  await google.uploadVersion(vertex, 'delays');
  await google.deploy(vertex, endpoint, '1', 'delays', { '0': 100 });

  return {
    emulator,
    environment,
    variables,
    clients,
    vertex,
    store,
    addPolicy(text) {
      const file = join(policies, 'second.yaml');
      writeFileSync(file, text);
      return () => rmSync(file);
    },
    predict() {
      const [served] = Object.values(emulator.world.context.state.endpoints);
      if (served === undefined) throw new Error('expected an endpoint');
      const record = { endpoint: served, deployedModelId: '1', responseCode: 200, instances: 1, latencyMs: 5 };
      recordPrediction(emulator.world.context, record);
    },
    async close() {
      await Promise.all([clients.close(), vertex.close(), store.close()]);
      await emulator.close();
      rmSync(folder, { recursive: true });
    },
  };
}

export async function subscribe(clients: Clients, topic: string, options: object = {}): Promise<void> {
  const pubsub = await clients.pubsub();
  await pubsub.topic(topic).createSubscription(topic, {
    pushEndpoint: `https://${topic}.example.app/projects/${project}/topics/${topic}`,
    deadLetterPolicy: { deadLetterTopic: deadLetterTopic, maxDeliveryAttempts: 100 },
    ...options,
  });
}

export async function createJob(clients: Clients, id: string, schedule: string): Promise<void> {
  const scheduler = await clients.scheduler();
  const pubsubTarget = { topicName: `projects/${project}/topics/${topics.ticks}`, data: Buffer.from('{}') };
  await scheduler.createJob({ parent, job: { name: `${parent}/jobs/${id}`, schedule, timeZone: 'UTC', pubsubTarget } });
}

/** What a project would say of itself, for a test to change. */
export interface ProjectDouble {
  disabled: string[];
  functions: Map<FunctionName, { state: string; version: string | null }>;
  /** Permissions that a function's role lacks. */
  lacking: Map<FunctionName, string[]>;
  roles: { role: string; members: string[] }[];
  publishers: Map<string, string[]>;
  /** Topics whose functions Pub/Sub may call. */
  invokable: Set<string>;
  backlogSeconds: number;
  waitingMessages: number;
  denied: string[];
  /** What Cloud Logging shows, by the function's service. */
  logged: { severity: string; service: string; message: string }[];
  google: Google;
}

const subscriptionOf: Partial<Record<FunctionName, string>> = {
  onBlessing: topics.blessings,
  onTick: topics.ticks,
  onCommand: topics.commands,
  onIncident: topics.incidents,
  onEvidence: topics.evidence,
};

export const accountOf = (name: FunctionName): string => `${name.toLowerCase()}@${project}.iam.gserviceaccount.com`;

/** A project that is as it should be, running this version. */
export function projectDouble(version: string): ProjectDouble {
  const double: ProjectDouble = {
    disabled: [],
    functions: new Map(functionNames.map((name) => [name, { state: 'ACTIVE', version: version.replaceAll('.', '-') }])),
    lacking: new Map(),
    roles: functionNames.map((name) => ({
      role: `projects/${project}/roles/rollouts.${name}`,
      members: [`serviceAccount:${accountOf(name)}`],
    })),
    publishers: new Map(
      Object.values(topics).map((topic) => [topic, functionNames.filter((name) => uses[name].topics.includes(topic))]),
    ),
    invokable: new Set(pushed),
    backlogSeconds: 0,
    waitingMessages: 0,
    denied: [],
    logged: [],
    google: (url, body) => Promise.resolve(answer(double, new URL(url), body)),
  };
  return double;
}

function answer(double: ProjectDouble, url: URL, body: object | undefined): unknown {
  const { host, pathname, searchParams } = url;
  const last = pathname.split('/').at(-1) ?? '';
  if (pathname.endsWith(':testIamPermissions')) {
    const asked =
      body !== undefined && 'permissions' in body && Array.isArray(body.permissions) ? body.permissions : [];
    return { permissions: asked.filter((permission) => !double.denied.includes(String(permission))) };
  }
  switch (host) {
    case 'serviceusage.googleapis.com':
      return {
        services: searchParams
          .getAll('names')
          .map((name) => ({ name, state: double.disabled.some((api) => name.endsWith(api)) ? 'DISABLED' : 'ENABLED' })),
      };
    case 'cloudfunctions.googleapis.com':
      return { functions: [...double.functions].map(([name, deployed]) => functionOf(name, deployed)) };
    case 'cloudresourcemanager.googleapis.com':
      return { bindings: double.roles };
    case 'iam.googleapis.com':
      return { includedPermissions: contentOf(double, last) };
    case 'pubsub.googleapis.com': {
      const names = double.publishers.get(last.replace(':getIamPolicy', '')) ?? [];
      const members = functionNames
        .filter((name) => names.includes(name))
        .map((name) => `serviceAccount:${accountOf(name)}`);
      return { bindings: [{ role: 'roles/pubsub.publisher', members }] };
    }
    case 'run.googleapis.com': {
      const isOpen = double.invokable.has(last.replace('service-', '').replace(':getIamPolicy', ''));
      const members = isOpen ? [`serviceAccount:rollouts-push@${project}.iam.gserviceaccount.com`] : [];
      return { bindings: [{ role: 'roles/run.invoker', members }] };
    }
    case 'logging.googleapis.com':
      return {
        entries: double.logged.map(({ severity, service, message }) => ({
          severity,
          resource: { labels: { service_name: service } },
          jsonPayload: { message },
        })),
      };
    case 'monitoring.googleapis.com': {
      const isAge = searchParams.get('filter')?.includes('oldest_unacked') === true;
      const value = { int64Value: String(isAge ? double.backlogSeconds : double.waitingMessages) };
      const labels = { subscription_id: isAge ? topics.commands : topics.deadLetters };
      return { timeSeries: [{ resource: { labels }, points: [{ value }] }] };
    }
    default:
      throw new Error(`Nobody was to ask ${url.href}`);
  }
}

function functionOf(name: FunctionName, { state, version }: { state: string; version: string | null }): object {
  const topic = subscriptionOf[name] ?? name;
  return {
    name: `${parent}/functions/service-${topic}`,
    state,
    labels: { app: 'vertex-rollouts', ...(version === null ? {} : { version }) },
    buildConfig: { entryPoint: name },
    serviceConfig: { uri: `https://${topic}.example.app`, serviceAccountEmail: accountOf(name) },
  };
}

function contentOf({ lacking }: ProjectDouble, role: string): string[] {
  const name = functionNames.find((each) => role.endsWith(`.${each}`));
  if (name === undefined) return [];
  return permissionsOf(name, []).filter((permission) => lacking.get(name)?.includes(permission) !== true);
}
