/** How do the parts become one emulator? The composition root: for main.ts, and for tests in their own process. */
import type { RequestListener, Server } from 'node:http';
import { Agent } from 'undici';
import { bigqueryApi } from './bigquery/bigquery.ts';
import { createRequestLog } from './bigquery/request-log.ts';
import { createContainers } from './containers.ts';
import { createControlServer } from './control.ts';
import { createFaults } from './faults.ts';
import { type GrpcService, serveGrpc } from './grpc.ts';
import { metricService } from './monitoring/metric-service.ts';
import { prometheusApi } from './monitoring/prometheus.ts';
import { createPredictServer } from './predict.ts';
import { createProcessGuard, killLeftovers } from './process-guard.ts';
import { createPubSub } from './pubsub/pubsub.ts';
import { pubsubApi } from './pubsub/rest.ts';
import { createScheduler } from './scheduler/scheduler.ts';
import { readState, type SavedState, stateWriter } from './state-file.ts';
import { createAudit } from './vertex/audit.ts';
import { endpointService } from './vertex/endpoint-service.ts';
import { jobService } from './vertex/job-service.ts';
import { modelMonitoringService } from './vertex/model-monitoring-service.ts';
import { modelService } from './vertex/model-service.ts';
import { operationsService } from './vertex/operations-service.ts';
import type { Timings } from './world/timings.ts';
import { createWorld, timingsFor, type World } from './world/world.ts';

const bounds = {
  /** What happened in the last of these may be lost when the emulator is killed outright. */
  saveMs: 1_000,
  /** The longest sleep, so that a laptop that slept is noticed. */
  alarmMsMax: 60_000,
};

export const services = ['vertex', 'predict', 'monitoring', 'scheduler', 'pubsub', 'control'] as const;
export type Service = (typeof services)[number];

export interface EmulatorOptions {
  /** 0 or absent: any free port. */
  ports?: Partial<Record<Service, number>>;
  /** How many times as fast as Google things take their course, 1 to 36,000. Default 1. */
  timeScale?: number;
  /** Real seconds until a metric point is visible; default 180 / timeScale. */
  metricLagSeconds?: number;
  /** Keeps the state across restarts. */
  stateFile?: string;
  /** Single durations, over what the time scale gives. */
  timings?: Partial<Timings>;
  /** Uniform in [0, 1): picks the DeployedModel of each prediction. */
  random?: () => number;
  /** Milliseconds since the epoch. */
  now?: () => number;
  onContainerOutput?: (deployedModelId: string, text: string) => void;
}

export interface RunningEmulator {
  ports: Record<Service, number>;
  /** `host:port` of each service. */
  hosts: Record<Service, string>;
  /** The variables that point the system at this emulator. */
  environment: Record<string, string>;
  world: World;
  /** Saves the state, stops the containers, and resolves when nothing is left running. Idempotent. */
  close(): Promise<void>;
}

/** Starts everything; throws, with nothing left running, when a port is taken or the state file is unusable. */
export async function startEmulator(options: EmulatorOptions = {}): Promise<RunningEmulator> {
  const { timeScale = 1, now = Date.now, random = Math.random, stateFile } = options;
  await using stack = new AsyncDisposableStack();
  const timings = { ...timingsFor(timeScale), ...lagOf(options), ...options.timings };
  const saved = stateFile === undefined ? null : readState(stateFile);

  const world = createWorld({ now, timings, ...(saved === null ? {} : { state: saved.world }) });
  const faults = createFaults(world.context.conditions, now);
  const before = faults.beforeCall;
  const pubsub = createPubSub({ now, timeScale, before });
  stack.defer(() => pubsub.close());
  const scheduler = createScheduler({
    now,
    timeScale,
    publish: (topic, messages) => pubsub.publish(topic, messages),
    before,
  });
  stack.defer(() => scheduler.close());

  const agent = new Agent({ headersTimeout: timings.predictionMs, bodyTimeout: timings.predictionMs });
  stack.defer(() => agent.destroy());
  const guard = createProcessGuard();
  stack.defer(() => guard.close());
  const { onContainerOutput: onOutput } = options;
  const containers = createContainers({
    world,
    guard,
    agent,
    timeScale,
    ...(onOutput === undefined ? {} : { onOutput }),
  });
  stack.defer(() => containers.close());

  if (saved !== null) {
    pubsub.restore(saved.pubsub);
    scheduler.restore(saved.scheduler);
  }
  const requestLog = createRequestLog({ now });
  const ports = await listen(
    stack,
    options.ports ?? {},
    {
      vertex: [
        endpointService(world, before),
        modelService(world, createAudit(world, pubsub), before),
        operationsService(world, before),
        jobService(world, before),
        modelMonitoringService(world, before),
      ],
      monitoring: [metricService(world, timeScale, before)],
      scheduler: scheduler.services,
      pubsub: pubsub.services,
      predict: createPredictServer({
        world,
        containers,
        agent,
        random,
        before: faults.beforePrediction,
        requestLog,
        others: [bigqueryApi(world, requestLog, before), prometheusApi(world, before)],
      }),
      control: createControlServer(world, faults),
    },
    { pubsub: pubsubApi(pubsub, before) },
  );

  // The ports are ours, so no other emulator runs on this state: what its file names is left over.
  if (saved !== null) killLeftovers(saved.containers);
  stack.defer(keepTime(world, () => containers.reconcile()));
  if (stateFile !== undefined) {
    const current = (): SavedState => ({
      version: 1,
      world: world.context.state,
      pubsub: pubsub.snapshot(),
      scheduler: scheduler.snapshot(),
      containers: guard.running(),
    });
    stack.defer(keepState(stateFile, current));
  }

  const running = stack.move();
  const hosts = mapServices((service) => `127.0.0.1:${ports[service]}`);
  return {
    ports,
    hosts,
    environment: {
      VERTEX_EMULATOR_HOST: hosts.vertex,
      VERTEX_PREDICT_EMULATOR_HOST: hosts.predict,
      MONITORING_EMULATOR_HOST: hosts.monitoring,
      MONITORING_REST_EMULATOR_HOST: hosts.predict,
      BIGQUERY_EMULATOR_HOST: hosts.predict,
      SCHEDULER_EMULATOR_HOST: hosts.scheduler,
      PUBSUB_EMULATOR_HOST: hosts.pubsub,
    },
    world,
    close: () => running.disposeAsync(),
  };
}

/** Lets the world act when something is due, and its containers follow. Returns how to stop. */
function keepTime(world: World, reconcile: () => void): () => void {
  let timer: NodeJS.Timeout | undefined;
  function wake(): void {
    world.advance();
    sleep();
  }
  function sleep(): void {
    clearTimeout(timer);
    const dueAt = world.nextDueAt();
    const waitMs = dueAt === null ? bounds.alarmMsMax : Math.ceil(dueAt - world.context.now());
    timer = setTimeout(wake, Math.min(Math.max(waitMs, 1), bounds.alarmMsMax));
  }
  const unsubscribe = world.subscribe((event) => {
    if (event.kind !== 'changed') return;
    reconcile();
    sleep();
  });
  reconcile();
  wake();
  return () => {
    unsubscribe();
    clearTimeout(timer);
  };
}

/** Saves now, so that an unusable path is known at once, then at intervals. Returns how to stop, saving a last time. */
function keepState(path: string, current: () => SavedState): () => void {
  const write = stateWriter(path);
  write(current());
  const timer = setInterval(() => write(current()), bounds.saveMs);
  return () => {
    clearInterval(timer);
    write(current());
  };
}

async function listen(
  stack: AsyncDisposableStack,
  wanted: Partial<Record<Service, number>>,
  parts: Record<Service, GrpcService[] | Server>,
  rest: Partial<Record<Service, RequestListener>>,
): Promise<Record<Service, number>> {
  const ports = mapServices(() => 0);
  for (const service of services) {
    const part = parts[service];
    const port = wanted[service] ?? 0;
    const server = Array.isArray(part) ? await serveGrpc(port, part, rest[service]) : await serveHttp(part, port);
    stack.defer(() => server.close());
    ports[service] = server.port;
  }
  return ports;
}

function serveHttp(server: Server, port: number): Promise<{ port: number; close(): Promise<void> }> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const advice = error.code === 'EADDRINUSE' ? 'it is taken; stop what holds it, or choose another' : error.message;
      reject(new Error(`Cannot serve HTTP on 127.0.0.1:${port}: ${advice}.`, { cause: error }));
    });
    server.listen(port, '127.0.0.1', () => {
      const address = server.address();
      resolve({
        port: typeof address === 'object' && address !== null ? address.port : port,
        close: () =>
          new Promise((closed) => {
            server.close(() => closed());
            server.closeAllConnections();
          }),
      });
    });
  });
}

function lagOf({ metricLagSeconds }: EmulatorOptions): Partial<Timings> {
  return metricLagSeconds === undefined ? {} : { metricLagMs: metricLagSeconds * 1000 };
}

function mapServices<T>(valueOf: (service: Service) => T): Record<Service, T> {
  return {
    vertex: valueOf('vertex'),
    predict: valueOf('predict'),
    monitoring: valueOf('monitoring'),
    scheduler: valueOf('scheduler'),
    pubsub: valueOf('pubsub'),
    control: valueOf('control'),
  };
}
