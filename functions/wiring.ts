/**
 * Who does what here? The composition root: environment → real clients → ports. Clients load when first used, so a
 * function pays only for what it calls.
 */
import type { BlessingContext } from './engine/blessings.ts';
import { type Environment, parseEnvironment } from './engine/environment.ts';
import type { Observing } from './engine/observe.ts';
import type { PoliciesPort, Ports, StorePort } from './engine/ports.ts';
import { openSqliteStore } from './engine/sqlite-store.ts';
import { pubsubBus, restBus } from './gcp/bus.ts';
import {
  type Clients,
  googleClients,
  type RecordClients,
  type RestClients,
  recordClients,
  restClients,
} from './gcp/clients.ts';
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

/** What a function needs of it that rolls out nothing. */
export interface PartialWiring<Name extends keyof Ports> {
  environment: Environment;
  ports: Pick<Ports, Name>;
  observing: Observing;
}

let wiring: Wiring | null = null;

/** The wiring of this process, made on first use. Throws when the environment is not usable. */
export function wired(): Wiring {
  wiring ??= wire(parseEnvironment(process.env));
  return wiring;
}

/** As `wired`, for what shows records. Its bundle has no client of Vertex AI, Monitoring and Scheduler. */
export function wiredDashboard(): PartialWiring<'bus' | 'store' | 'now'> {
  const environment = parseEnvironment(process.env);
  const clients = recordClients(environment);
  const ports = { bus: restBus(clients), store: storeOf(environment, clients), now: Date.now };
  return { environment, ports, observing: observingOf(environment) };
}

/** As `wired`, for what reads policies and tells what it saw. Its bundle has no client of Google's at all. */
export function wiredProxy(): PartialWiring<'bus' | 'policies' | 'now'> {
  const environment = parseEnvironment(process.env);
  const clients = restClients(environment);
  const ports = { bus: restBus(clients), policies: policiesOf(environment, clients), now: Date.now };
  return { environment, ports, observing: observingOf(environment) };
}

export function wire(environment: Environment): Wiring {
  const clients = googleClients(environment);
  const ports: Ports = {
    bus: pubsubBus(clients),
    policies: policiesOf(environment, clients),
    store: storeOf(environment, clients),
    now: Date.now,
    endpoints: vertexEndpoints(clients),
    models: vertexModels(clients),
    metrics: monitoringMetrics(clients, environment, signalReaders(clients)),
    schedule: tickSchedule(clients, environment),
  };
  return { environment, ports, observing: observingOf(environment), project: environment.project };
}

/** Google samples once a minute; an emulator as often as its time scale says, and a second is often enough. */
function observingOf({ emulators }: Environment): Observing {
  return { periodMs: emulators.monitoring === null ? 60_000 : 1000 };
}

function signalReaders(clients: Clients): SignalReader[] {
  return [filterSignals(clients), promqlSignals(clients), requestLogSignals(clients), modelMonitoringSignals(clients)];
}

function policiesOf({ policiesFolder }: Environment, clients: RestClients): PoliciesPort {
  if (policiesFolder === null) return firestorePolicies(clients);
  return {
    list: async () => (await import('./engine/policies-folder.ts')).policiesFromFolder(policiesFolder).list(),
  };
}

function storeOf({ store }: Environment, clients: RecordClients): StorePort {
  return store.kind === 'sqlite' ? openSqliteStore(store.path) : firestoreStore(clients);
}
