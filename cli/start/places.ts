/** Where is everything of a local run? Its files under .rollouts, its ports from one base on, and the variables that say so. */
import { createHash, randomUUID } from 'node:crypto';
import { join } from 'node:path';
import type { Service } from '../../emulator/start.ts';
import type { Policy } from '../../machines/policy/policy.ts';
import { parseEndpointName } from '../../machines/rollout/resource-name.ts';
import { CliError } from '../world.ts';

/** In the order of their ports, from the base on. */
export const emulatorServices = ['vertex', 'predict', 'monitoring', 'scheduler', 'pubsub', 'control'] as const;
/** In the order of their ports, from ten above the base on. */
export const functionNames = [
  'onBlessing',
  'onTick',
  'onCommand',
  'onIncident',
  'onEvidence',
  'predict',
  'dashboard',
] as const;

export type FunctionName = (typeof functionNames)[number];

export interface Places {
  files: {
    folder: string;
    logs: string;
    lock: string;
    /** What the command line reads: see cli/system.ts. */
    local: string;
    emulatorState: string;
    store: string;
    /** The folder of policies that the functions read. */
    policies: string;
  };
  emulatorPorts: Record<Service, number>;
  functionPorts: Record<FunctionName, number>;
  project: string;
  location: string;
  /** Of the prediction proxy; a new one for each run. */
  proxyKey: string;
  /** For the functions, and for whoever speaks to the emulator as they do. */
  env: Record<string, string>;
}

/**
 * The places of a run in a folder. Project and location are those of the policy's endpoint.
 * @param portBase the first of the ports, which are 17 in a row with gaps
 */
export function placesOf(currentFolder: string, portBase: number, policy: Policy): Places {
  const endpoint = parseEndpointName(policy.endpoint);
  if (endpoint === null) throw new CliError(`Expected projects/P/locations/L/endpoints/E, got ${policy.endpoint}`);
  const folder = join(currentFolder, '.rollouts');
  const files = {
    folder,
    logs: join(folder, 'logs'),
    lock: join(folder, 'lock.sqlite'),
    local: join(folder, 'local.json'),
    emulatorState: join(folder, 'emulator.json'),
    store: join(folder, 'rollouts.sqlite'),
    policies: join(folder, 'policies'),
  };
  const emulatorPorts = numbered(emulatorServices, portBase);
  const functionPorts = numbered(functionNames, portBase + 10);
  const { project, location } = endpoint;
  const proxyKey = randomUUID();
  const env = {
    GOOGLE_CLOUD_PROJECT: project,
    ROLLOUT_LOCATION: location,
    ROLLOUT_STORE: `sqlite:${files.store}`,
    ROLLOUT_POLICIES: files.policies,
    ROLLOUT_PROXY_KEYS: `local:${createHash('sha256').update(proxyKey).digest('hex')}`,
    PUBSUB_EMULATOR_HOST: host(emulatorPorts.pubsub),
    VERTEX_EMULATOR_HOST: host(emulatorPorts.vertex),
    VERTEX_PREDICT_EMULATOR_HOST: host(emulatorPorts.predict),
    MONITORING_EMULATOR_HOST: host(emulatorPorts.monitoring),
    MONITORING_REST_EMULATOR_HOST: host(emulatorPorts.predict),
    BIGQUERY_EMULATOR_HOST: host(emulatorPorts.predict),
    SCHEDULER_EMULATOR_HOST: host(emulatorPorts.scheduler),
  };
  return { files, emulatorPorts, functionPorts, project, location, proxyKey, env };
}

export function host(port: number): string {
  return `127.0.0.1:${port}`;
}

function numbered<Name extends string>(names: readonly Name[], from: number): Record<Name, number> {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- fromEntries forgets the names that its input had
  return Object.fromEntries(names.map((name, i) => [name, from + i])) as Record<Name, number>;
}
