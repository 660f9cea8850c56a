/**
 * What does Vertex promise a custom container? Its environment, its routes, and the expansion of `$(NAME)`.
 * https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements
 */
import { partsOf } from './world/names.ts';
import type { ContainerOrder } from './world/world.ts';

export interface ContainerPlan {
  command: string;
  args: string[];
  env: Record<string, string>;
  predictRoute: string;
  healthRoute: string;
}

/** Of the emulator's own environment a container sees only what finding programs and temporary folders takes. */
const inherited = ['PATH', 'HOME', 'TMPDIR', 'LANG', 'TZ', 'SystemRoot'];

/** Returns how to run the container on a local port. The command `node` is the Node that runs the emulator. */
export function planContainer(order: ContainerOrder, port: number): ContainerPlan {
  const { project, location, id: endpointId } = partsOf(order.endpoint);
  const { spec, deployedModelId } = order;
  const route = `/v1/endpoints/${endpointId}/deployedModels/${deployedModelId}`;
  const predictRoute = spec.predictRoute || `${route}:predict`;
  const healthRoute = spec.healthRoute || route;
  const env: Record<string, string> = {
    AIP_ACCELERATOR_TYPE: '',
    AIP_DEPLOYED_MODEL_ID: deployedModelId,
    AIP_ENDPOINT_ID: endpointId,
    AIP_FRAMEWORK: 'CUSTOM_CONTAINER',
    AIP_HEALTH_ROUTE: healthRoute,
    AIP_HTTP_PORT: String(port),
    AIP_LOCATION: location,
    AIP_MACHINE_TYPE: order.machineType,
    AIP_MODE: 'PREDICTION',
    AIP_MODE_VERSION: '1.0.0',
    AIP_PREDICT_ROUTE: predictRoute,
    AIP_PROJECT_NUMBER: project,
    AIP_STORAGE_URI: order.artifactUri,
  };
  for (const { name, value } of spec.env) env[name] = expand(value, env);
  const [command = '', ...args] = [...spec.command, ...spec.args].map((part) => expand(part, env));
  const own = Object.fromEntries(
    inherited.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
  );
  return {
    command: command === 'node' ? process.execPath : command,
    args,
    env: { ...own, ...env },
    predictRoute,
    healthRoute,
  };
}

/** Replaces `$(NAME)`; leaves what has no value, and writes `$$(NAME)` as `$(NAME)`. */
export function expand(text: string, env: Record<string, string>): string {
  return text.replace(/(\$?)\$\(([A-Za-z_][A-Za-z0-9_]*)\)/g, (whole, escape: string, name: string) =>
    escape === '$' ? whole.slice(1) : (env[name] ?? whole),
  );
}
