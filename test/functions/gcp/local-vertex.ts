/** A Vertex AI and a Monitoring to test the adapters against: the emulator's own services, on a clock that tests move. */
import { createFaults, type Faults } from '../../../emulator/faults.ts';
import { type GrpcService, serveGrpc } from '../../../emulator/grpc.ts';
import { metricService } from '../../../emulator/monitoring/metric-service.ts';
import { endpointService } from '../../../emulator/vertex/endpoint-service.ts';
import { modelService } from '../../../emulator/vertex/model-service.ts';
import { operationsService } from '../../../emulator/vertex/operations-service.ts';
import { createEndpoint } from '../../../emulator/world/endpoints.ts';
import { uploadModel } from '../../../emulator/world/models.ts';
import { createWorld, timingsFor, type World } from '../../../emulator/world/world.ts';
import { type Environment, parseEnvironment } from '../../../functions/engine/environment.ts';
import { type Clients, googleClients } from '../../../functions/gcp/clients.ts';

export const parent = 'projects/demo/locations/us-central1';
export const endpoint = `${parent}/endpoints/1`;
export const model = `${parent}/models/delays`;

/** On a full minute, as the samples of the metrics are. */
export const startAt = Date.parse('2026-01-01T00:00:00Z');

export interface LocalVertex {
  world: World;
  faults: Faults;
  environment: Environment;
  clients: Clients;
  /** Moves the clock, and the world with it. */
  advance(ms: number): void;
  close(): Promise<void>;
}

/** Starts a world in real time scale with the endpoint `1` and three versions of the model `delays`. */
export async function startLocalVertex(): Promise<LocalVertex> {
  let now = startAt;
  const world = createWorld({ now: () => now, timings: timingsFor(1) });
  const faults = createFaults(world.context.conditions, () => now);
  const audit = { aliasesMerged: () => {}, uploadStarted: () => {} };
  const services = [
    endpointService(world, faults.beforeCall),
    modelService(world, audit, faults.beforeCall),
    operationsService(world, faults.beforeCall),
    metricService(world, 2, faults.beforeCall),
  ];
  const { host, close } = await serve(services);
  const environment = parseEnvironment({
    GOOGLE_CLOUD_PROJECT: 'demo',
    ROLLOUT_LOCATION: 'us-central1',
    VERTEX_EMULATOR_HOST: host,
    MONITORING_EMULATOR_HOST: host,
  });
  const clients = googleClients(environment);

  function advance(ms: number): void {
    now += ms;
    world.advance();
  }

  createEndpoint(world.context, parent, { displayName: 'delays', description: '', labels: {} }, '1');
  for (let version = 1; version <= 3; version++) {
    uploadModel(world.context, parent, {
      parentModel: version === 1 ? '' : model,
      modelId: version === 1 ? 'delays' : '',
      aliases: version === 2 ? ['blessed'] : [],
      displayName: 'delays',
      description: '',
      versionDescription: '',
      labels: { team: 'flights' },
      containerSpec: {
        imageUri: 'delays',
        command: ['node'],
        args: [],
        env: [],
        ports: [],
        predictRoute: '',
        healthRoute: '',
        deploymentTimeoutSeconds: null,
      },
      artifactUri: '',
    });
    advance(60_000);
  }

  return {
    world,
    faults,
    environment,
    clients,
    advance,
    async close() {
      await clients.close();
      await close();
    },
  };
}

/** Serves on a free port; `host` is `host:port`. */
export async function serve(services: GrpcService[]): Promise<{ host: string; close: () => Promise<void> }> {
  const server = await serveGrpc(0, services);
  return { host: `127.0.0.1:${server.port}`, close: () => server.close() };
}
