/**
 * Who speaks to Google? The real clients, each loaded and opened when first used, once. A local run and the tests use the
 * same clients, pointed at an emulator by the environment.
 */
import type { EndpointServiceClient } from '@google-cloud/aiplatform/build/src/v1/endpoint_service_client.js';
import type { JobServiceClient } from '@google-cloud/aiplatform/build/src/v1/job_service_client.js';
import type { ModelServiceClient } from '@google-cloud/aiplatform/build/src/v1/model_service_client.js';
import type { ModelMonitoringServiceClient } from '@google-cloud/aiplatform/build/src/v1beta1/model_monitoring_service_client.js';
import type { Firestore } from '@google-cloud/firestore';
import type { MetricServiceClient } from '@google-cloud/monitoring/build/src/v3/metric_service_client.js';
import type { PubSub } from '@google-cloud/pubsub';
import type { CloudSchedulerClient } from '@google-cloud/scheduler/build/src/v1/cloud_scheduler_client.js';
import type { AuthClient } from 'google-auth-library';
import type { ClientOptions, LongrunningDescriptor } from 'google-gax';
import type { Environment } from '../engine/environment.ts';
import type { Rest } from './rest.ts';

export interface Clients {
  endpoints(): Promise<EndpointServiceClient>;
  models(): Promise<ModelServiceClient>;
  /** Model Monitoring v1. */
  jobs(): Promise<JobServiceClient>;
  /** Model Monitoring v2, which only v1beta1 has. */
  modelMonitoring(): Promise<ModelMonitoringServiceClient>;
  metrics(): Promise<MetricServiceClient>;
  /** Monitoring's HTTP API, for PromQL. */
  monitoringRest(): Promise<Rest>;
  /** BigQuery's HTTP API; `queries` is where the project asks. Its client dies of replies that are no BigQuery's. */
  bigqueryRest(): Promise<Rest & { queries: string }>;
  scheduler(): Promise<CloudSchedulerClient>;
  pubsub(): Promise<PubSub>;
  firestore(): Promise<Firestore>;
  /** Pub/Sub's HTTP API; `topics` names where all of the project's topics are. */
  pubsubRest(): Promise<Rest & { topics: string }>;
  /** Firestore's HTTP API; `documents` names where all of the database's documents are. */
  firestoreRest(): Promise<Rest & { documents: string }>;
  /** Closes those that were opened; after it, none may be used. */
  close(): Promise<void>;
}

/** For what reads policies and tells what it saw: nothing of theirs takes time to load. */
export type RestClients = Pick<Clients, 'pubsubRest' | 'firestoreRest' | 'close'>;

/** For what keeps records as well, and rolls out nothing. */
export type RecordClients = RestClients & Pick<Clients, 'firestore'>;

/**
 * Clients for one environment; a process keeps one of these. The modules are imported deep and late because the whole of
 * `@google-cloud/aiplatform` takes a second to load, and most functions need a part of it or nothing.
 */
export function googleClients(environment: Environment): Clients {
  const { project, location, emulators } = environment;
  // oxlint-disable-next-line typescript/unbound-method -- two functions, and no object that they belong to
  const { once, close } = lifetime();
  const vertex = () => gaxOptions(project, emulators.vertex, `${location}-aiplatform.googleapis.com`);

  return {
    endpoints: once(
      async () => {
        const module = await import('@google-cloud/aiplatform/build/src/v1/endpoint_service_client.js');
        const client = new module.EndpointServiceClient(await vertex());
        takeAnyOutcome(client.descriptors.longrunning);
        return client;
      },
      (client) => client.close(),
    ),
    models: once(
      async () => {
        const module = await import('@google-cloud/aiplatform/build/src/v1/model_service_client.js');
        return new module.ModelServiceClient(await vertex());
      },
      (client) => client.close(),
    ),
    jobs: once(
      async () => {
        const module = await import('@google-cloud/aiplatform/build/src/v1/job_service_client.js');
        return new module.JobServiceClient(await vertex());
      },
      (client) => client.close(),
    ),
    modelMonitoring: once(
      async () => {
        const module = await import('@google-cloud/aiplatform/build/src/v1beta1/model_monitoring_service_client.js');
        return new module.ModelMonitoringServiceClient(await vertex());
      },
      (client) => client.close(),
    ),
    monitoringRest: once(
      () => restOf('monitoring.googleapis.com', emulators.monitoringRest, 'monitoring.read'),
      () => Promise.resolve(),
    ),
    bigqueryRest: once(
      async () => ({
        ...(await restOf('bigquery.googleapis.com', emulators.bigquery, 'bigquery')),
        queries: `/bigquery/v2/projects/${project}/queries`,
      }),
      () => Promise.resolve(),
    ),
    metrics: once(
      async () => {
        const module = await import('@google-cloud/monitoring/build/src/v3/metric_service_client.js');
        return new module.MetricServiceClient(await gaxOptions(project, emulators.monitoring));
      },
      (client) => client.close(),
    ),
    scheduler: once(
      async () => {
        const module = await import('@google-cloud/scheduler/build/src/v1/cloud_scheduler_client.js');
        return new module.CloudSchedulerClient(await gaxOptions(project, emulators.scheduler));
      },
      (client) => client.close(),
    ),
    pubsub: once(
      async () => {
        const { PubSub } = await import('@google-cloud/pubsub');
        return new PubSub({
          projectId: project,
          ...(emulators.pubsub !== null && {
            apiEndpoint: emulators.pubsub,
            emulatorMode: true,
            authClient: await noAuth(),
          }),
        });
      },
      (client) => client.close(),
    ),
    ...recordClients(environment, { once, close }),
  };
}

/** Those of googleClients that keep records and speak of them; a bundle with these alone has no client of Vertex AI. */
// oxlint-disable-next-line typescript/unbound-method -- functions, and no object that they belong to
export function recordClients(environment: Environment, { once, close } = lifetime()): RecordClients {
  const { project, emulators } = environment;
  return {
    firestore: once(
      async () => {
        const { Firestore } = await import('@google-cloud/firestore');
        return new Firestore({
          projectId: project,
          ...(emulators.firestore !== null && { host: emulators.firestore, ssl: false, authClient: await noAuth() }),
        });
      },
      (client) => client.terminate(),
    ),
    ...restClients(environment, { once, close }),
  };
}

/** Those of googleClients that are no client at all. */
// oxlint-disable-next-line typescript/unbound-method -- functions, and no object that they belong to
export function restClients({ project, emulators }: Environment, { once, close } = lifetime()): RestClients {
  return {
    pubsubRest: once(
      async () => ({
        ...(await restOf('pubsub.googleapis.com', emulators.pubsub, 'pubsub')),
        topics: `projects/${project}/topics`,
      }),
      () => Promise.resolve(),
    ),
    firestoreRest: once(
      async () => ({
        ...(await restOf('firestore.googleapis.com', emulators.firestore, 'datastore', emulatorOwner)),
        documents: `projects/${project}/databases/(default)/documents`,
      }),
      () => Promise.resolve(),
    ),
    close,
  };
}

interface Lifetime {
  /** Makes what opens a client when it is first asked for one, and later gives the same. */
  once<T>(open: () => Promise<T>, close: (client: T) => Promise<unknown>): () => Promise<T>;
  /** Closes those that were opened. */
  close(): Promise<void>;
}

function lifetime(): Lifetime {
  const closers: (() => Promise<unknown>)[] = [];
  return {
    once(open, close) {
      let client: ReturnType<typeof open> | null = null;
      return () => {
        if (client === null) {
          const opening = open();
          client = opening;
          const closer = async () => close(await opening);
          closers.push(closer);
          // Asked for again, it is tried again.
          opening.catch(() => {
            client = null;
            closers.splice(closers.indexOf(closer), 1);
          });
        }
        return client;
      };
    },
    async close() {
      await Promise.all(closers.splice(0).map((close) => close()));
    },
  };
}

/**
 * The client decodes what an operation came to, which nobody reads, inside a callback of gRPC's: bytes that are no such
 * message would end the process there. They are taken for a message without fields.
 */
function takeAnyOutcome(operations: Record<string, LongrunningDescriptor>): void {
  for (const operation of Object.values(operations)) {
    operation.responseDecoder = takingAnything(operation.responseDecoder);
    operation.metadataDecoder = takingAnything(operation.metadataDecoder);
  }
}

function takingAnything(decode: LongrunningDescriptor['responseDecoder']): LongrunningDescriptor['responseDecoder'] {
  return (bytes) => {
    try {
      return decode(bytes);
    } catch {
      return decode(new Uint8Array());
    }
  };
}

/** Without a host the real service is meant, at `apiEndpoint` where the service is regional. */
async function gaxOptions(project: string, emulator: string | null, apiEndpoint?: string): Promise<ClientOptions> {
  if (emulator === null) return { projectId: project, ...(apiEndpoint === undefined ? {} : { apiEndpoint }) };
  const { grpc } = await import('google-gax');
  const [host = '', port = ''] = emulator.split(':');
  return {
    projectId: project,
    apiEndpoint: host,
    port: Number(port),
    sslCreds: grpc.credentials.createInsecure(),
    authClient: await noAuth(),
  };
}

/** Whom Firestore's emulator asks for no rules, as its client says too. Not Node's Headers, which bring its fetch(). */
const emulatorOwner: Rest['auth'] = {
  getRequestHeaders: () => Promise.resolve([['authorization', 'Bearer owner']]),
};

async function restOf(
  host: string,
  emulator: string | null,
  scope: string,
  emulated: Rest['auth'] = null,
): Promise<Rest> {
  if (emulator !== null) return { baseUrl: `http://${emulator}`, auth: emulated };
  const { GoogleAuth } = await import('google-auth-library');
  const auth = new GoogleAuth({ scopes: `https://www.googleapis.com/auth/${scope}` });
  return { baseUrl: `https://${host}`, auth: await auth.getClient() };
}

/** For emulators. Without it a client asks the metadata server who it is, and waits a second where there is none. */
async function noAuth(): Promise<AuthClient> {
  const { PassThroughClient } = await import('google-auth-library');
  return new PassThroughClient();
}
