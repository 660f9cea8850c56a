/**
 * Who does what here? The composition root: environment → real clients → ports. Clients load when first used, so a
 * function pays only for what it calls.
 */
import type { BlessingContext } from './engine/blessings.ts';
import { type Environment, parseEnvironment } from './engine/environment.ts';
import type { Observing } from './engine/observe.ts';
import { policiesFromFolder } from './engine/policies-folder.ts';
import type { PoliciesPort, Ports, StorePort } from './engine/ports.ts';
import { openSqliteStore } from './engine/sqlite-store.ts';
import { pubsubBus } from './gcp/bus.ts';
import { type Clients, googleClients, type RecordClients, recordClients } from './gcp/clients.ts';
import { vertexEndpoints } from './gcp/endpoints.ts';
import { firestorePolicies } from './gcp/firestore-policies.ts';
import { firestoreStore } from './gcp/firestore-store.ts';
import { monitoringMetrics } from './gcp/metrics.ts';
import { modelMonitoringSignals } from './gcp/model-monitoring.ts';
import { filterSignals } from './gcp/monitoring-signals.ts';
import { vertexModels } from './gcp/models.ts';
import { promqlSignals } from './gcp/promql-signals.ts';
import { requestLogSignals } from './gcp/request-log.ts';
import { tickSchedule } from './gcp/schedule.ts';
import type { SignalReader } from './gcp/signals.ts';

export interface Wiring extends BlessingContext {
  environment: Environment;
  ports: Ports;
  observing: Observing;
}

/** What the dashboard and the proxy need of it: no Vertex AI, no Monitoring, no Scheduler. */
export interface RecordWiring {
  environment: Environment;
  ports: Pick<Ports, 'bus' | 'policies' | 'store' | 'now'>;
  observing: Observing;
}

let wiring: Wiring | null = null;

/** The wiring of this process, made on first use. Throws when the environment is not usable. */
export function wired(): Wiring {
  wiring ??= wire(parseEnvironment(process.env));
  return wiring;
}

/** As `wired`, for a function that rolls out nothing; its bundle then has no more clients than it needs. */
export function wiredRecords(): RecordWiring {
  const environment = parseEnvironment(process.env);
  return {
    environment,
    ports: recordPorts(environment, recordClients(environment)),
    observing: observingOf(environment),
  };
}

export function wire(environment: Environment): Wiring {
  const clients = googleClients(environment);
  const ports: Ports = {
    ...recordPorts(environment, clients),
    endpoints: vertexEndpoints(clients),
    models: vertexModels(clients),
    metrics: monitoringMetrics(clients, environment, signalReaders(clients)),
    schedule: tickSchedule(clients, environment),
  };
  return { environment, ports, observing: observingOf(environment), project: environment.project };
}

function recordPorts(environment: Environment, clients: RecordClients): RecordWiring['ports'] {
  return {
    bus: pubsubBus(clients),
    policies: policiesOf(environment, clients),
    store: storeOf(environment, clients),
    now: Date.now,
  };
}

/** Google samples once a minute; an emulator as often as its time scale says, and a second is often enough. */
function observingOf({ emulators }: Environment): Observing {
  return { periodMs: emulators.monitoring === null ? 60_000 : 1000 };
}

function signalReaders(clients: Clients): SignalReader[] {
  return [filterSignals(clients), promqlSignals(clients), requestLogSignals(clients), modelMonitoringSignals(clients)];
}

function policiesOf(environment: Environment, clients: RecordClients): PoliciesPort {
  return environment.policiesFolder === null
    ? firestorePolicies(clients)
    : policiesFromFolder(environment.policiesFolder);
}

function storeOf({ store }: Environment, clients: RecordClients): StorePort {
  return store.kind === 'sqlite' ? openSqliteStore(store.path) : firestoreStore(clients);
}
