/** How does a person's word reach the controller? Commands and blessings, published to the system's topics. */
import { parseEnvironment } from '../functions/engine/environment.ts';
import { isPlatformError } from '../functions/engine/errors.ts';
import { blessingMessageSchema, commandMessageSchema, type commandNames } from '../functions/engine/messages.ts';
import { pubsubBus } from '../functions/gcp/bus.ts';
import { googleClients } from '../functions/gcp/clients.ts';
import { parseEndpointName, parseModelName } from '../machines/rollout/resource-name.ts';
import type { System } from './system.ts';
import { CliError, exitCodes } from './world.ts';

/** What the controller understands, by topic; what it would not is not sent. */
const schemas = { 'rollout-commands': commandMessageSchema, 'model-blessings': blessingMessageSchema } as const;

export type Topic = keyof typeof schemas;
export type Command = (typeof commandNames)[number];

/** Publishes one message and waits until Pub/Sub has it. Throws a CliError within the call's deadline. */
export async function send(system: System, topic: Topic, message: Record<string, string>): Promise<void> {
  const [issue] = schemas[topic].safeParse(message).error?.issues ?? [];
  if (issue !== undefined)
    throw usage(`Expected a message that the controller understands, got ${issue.path.join('.')}: ${issue.message}`);
  const project = projectOf(system);
  // A topic has no region: any will do where none is given.
  const { PUBSUB_EMULATOR_HOST, ROLLOUT_LOCATION = 'global' } = system.env;
  const clients = googleClients(
    parseEnvironment({ GOOGLE_CLOUD_PROJECT: project, ROLLOUT_LOCATION, PUBSUB_EMULATOR_HOST }),
  );
  try {
    const data = new TextEncoder().encode(JSON.stringify(message));
    await pubsubBus(clients).publish(topic, [{ data, attributes: {} }]);
  } catch (error) {
    if (!isPlatformError(error)) throw error;
    const where = PUBSUB_EMULATOR_HOST === undefined ? `project ${project}` : `${project} on ${PUBSUB_EMULATOR_HOST}`;
    // A late answer says nothing about the message: a second promote could take a second step.
    const fate =
      error.code === 'deadlineExceeded' ? 'It may have arrived: look before sending again' : 'Nothing was sent';
    throw new CliError(
      `Expected to publish to ${topic} in ${where}, got ${error.code}: ${error.message}. ${fate}; is the system there? ${system.advice}`,
    );
  } finally {
    await clients.close();
  }
}

/** What a command acts on: a rollout by its id, or an endpoint by its full name. */
export function targetOf(text: string): { rollout: string } | { endpoint: string } {
  if (!text.startsWith('projects/')) return { rollout: text };
  if (parseEndpointName(text) !== null) return { endpoint: text };
  throw usage(`Expected a rollout's id or projects/P/locations/L/endpoints/E, got "${text}"`);
}

/** The model version that is meant by `delays@3`, or by `projects/P/locations/L/models/delays@3`. */
export function versionOf(system: System, text: string): { model: string; versionId: string } {
  const [, name = '', versionId = ''] = /^([^@]+)@(\d+)$/.exec(text) ?? [];
  if (versionId === '') throw usage(`Expected a model and the number of its version, such as delays@3, got "${text}"`);
  const model = qualified(system, 'models', name);
  if (parseModelName(model) === null)
    throw usage(`Expected a model such as delays@3 or projects/P/locations/L/models/delays@3, got "${text}"`);
  return { model, versionId };
}

/** The endpoint that is meant by its id, or by its full name. */
export function endpointOf(system: System, text: string): string {
  const endpoint = qualified(system, 'endpoints', text);
  if (parseEndpointName(endpoint) !== null) return endpoint;
  throw usage(`Expected an endpoint's id or projects/P/locations/L/endpoints/E, got "${text}"`);
}

function qualified(system: System, collection: 'models' | 'endpoints', name: string): string {
  if (name.includes('/')) return name;
  const location = system.env['ROLLOUT_LOCATION'];
  if (location === undefined)
    throw usage(
      `Expected ROLLOUT_LOCATION, to know where "${name}" is; set it, or write the full name projects/P/locations/L/${collection}/${name}`,
    );
  return `projects/${projectOf(system)}/locations/${location}/${collection}/${name}`;
}

function projectOf({ env, advice }: System): string {
  const project = env['GOOGLE_CLOUD_PROJECT'];
  if (project === undefined) throw new CliError(`Expected GOOGLE_CLOUD_PROJECT, got nothing: ${advice}`);
  return project;
}

function usage(message: string): CliError {
  return new CliError(message, { exitCode: exitCodes.usage });
}
