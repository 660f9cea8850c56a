/**
 * What is being looked at? One installation: its environment, Google's clients for it, and what several checks read, read once.
 * Nothing here writes.
 */
import { existsSync } from 'node:fs';
import type { Environment } from '../../functions/engine/environment.ts';
import { PermanentError } from '../../functions/engine/errors.ts';
import { policiesFromFolder } from '../../functions/engine/policies-folder.ts';
import type { EndpointsPort, EndpointView, ModelsPort, PoliciesPort, StorePort } from '../../functions/engine/ports.ts';
import { paged, parseStored } from '../../functions/engine/records.ts';
import { openSqliteStore } from '../../functions/engine/sqlite-store.ts';
import type { Clients } from '../../functions/gcp/clients.ts';
import { vertexEndpoints } from '../../functions/gcp/endpoints.ts';
import { firestorePolicies } from '../../functions/gcp/firestore-policies.ts';
import { firestoreStore } from '../../functions/gcp/firestore-store.ts';
import { vertexModels } from '../../functions/gcp/models.ts';
import type { EndpointRecord } from '../../machines/rollout/record.ts';
import type { Google } from './google.ts';

/** Records that are looked at: fifty pages. */
const PAGES_MAX = 50;

export interface Records {
  readable: EndpointRecord[];
  /** Why each of the others is not. */
  damaged: { key: string; message: string }[];
  /** How many a tick looks at. */
  active: number;
}

type Policies = Awaited<ReturnType<PoliciesPort['list']>>;

export interface Site {
  environment: Environment;
  clients: Clients;
  /** Google's APIs that only a project has; null for a local run. */
  google: Google | null;
  /** Of this command line, such as 1.2.0. */
  version: string;
  /** Milliseconds since the epoch. */
  now: () => number;
  models: ModelsPort;
  policies(): Promise<Policies>;
  records(): Promise<Records>;
  /** By its full name. */
  endpoint(name: string): Promise<EndpointView>;
}

export type SiteOptions = Pick<Site, 'environment' | 'clients' | 'google' | 'version' | 'now'>;

/** Opens nothing: what a check asks for is read when it asks, and then kept. */
export function siteOf(options: SiteOptions): Site {
  const { environment, clients } = options;
  const endpoints: EndpointsPort = vertexEndpoints(clients);
  const policies =
    environment.policiesFolder === null ? firestorePolicies(clients) : policiesFromFolder(environment.policiesFolder);
  const views = new Map<string, Promise<EndpointView>>();
  return {
    ...options,
    models: vertexModels(clients),
    policies: once(() => policies.list()),
    records: once(() => readRecords(environment, clients)),
    endpoint(name) {
      const view = views.get(name) ?? endpoints.read(name);
      views.set(name, view);
      return view;
    },
  };
}

async function readRecords(environment: Environment, clients: Clients): Promise<Records> {
  const store = openStore(environment, clients);
  try {
    const records: Records = { readable: [], damaged: [], active: 0 };
    for await (const stored of paged((page) => store.listAll(page), PAGES_MAX)) {
      try {
        records.readable.push(parseStored(stored).record);
      } catch (error) {
        if (!(error instanceof PermanentError)) throw error;
        records.damaged.push({ key: stored.key, message: error.message });
      }
    }
    for await (const _ of paged((page) => store.listActive(page), PAGES_MAX)) records.active += 1;
    return records;
  } finally {
    await store.close();
  }
}

function openStore({ store }: Environment, clients: Clients): StorePort {
  if (store.kind === 'firestore') return firestoreStore(clients);
  // Opening would make one.
  if (!existsSync(store.path)) throw new PermanentError('notFound', `there is no file ${store.path}`);
  return openSqliteStore(store.path);
}

function once<T>(read: () => Promise<T>): () => Promise<T> {
  let reading: Promise<T> | null = null;
  return () => (reading ??= read());
}
