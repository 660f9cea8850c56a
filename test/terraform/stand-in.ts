/**
 * How is Terraform run without Google? A provider that knows every resource's arguments as Google's does, and makes
 * things up where Google would make them. Terraform itself parses, evaluates, plans and applies.
 *
 * What it cannot find is what only Google knows: whether a value is accepted, and what the thing then does.
 */
import { join } from 'node:path';
import {
  type GrpcObject,
  loadPackageDefinition,
  Server,
  ServerCredentials,
  type ServiceDefinition,
} from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { decode, encode, unknown, type Value } from './msgpack.ts';
import { type Attribute, type Block, type ProviderSchema, readSchema } from './provider-schema.ts';

interface Dynamic {
  msgpack?: Buffer;
  json?: Buffer;
}
type Values = { [key: string]: Value };
type Handlers = Record<
  string,
  (request: { typeName: string; state: Dynamic; proposed: Dynamic; rawState: Dynamic; config: Dynamic }) => object
>;

export interface StandIn {
  /** With these in its environment Terraform takes the stand-in for hashicorp/google. */
  environment: Record<string, string>;
  close(): void;
}

/** Starts a stand-in on a free port of this machine. */
export async function startStandIn(): Promise<StandIn> {
  const schema = readSchema(join(import.meta.dirname, 'google-6.50.0.schema'));
  const server = new Server();
  server.addService(providerService(), implementation(handlersFor(schema)));
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) =>
    error === null ? resolve(port) : reject(error),
  );
  const address = { Network: 'tcp', String: `127.0.0.1:${await promise}` };
  const reattach = { Protocol: 'grpc', ProtocolVersion: 5, Pid: process.pid, Test: true, Addr: address };
  return {
    environment: { TF_REATTACH_PROVIDERS: JSON.stringify({ 'registry.terraform.io/hashicorp/google': reattach }) },
    close: () => server.forceShutdown(),
  };
}

function handlersFor(schema: ProviderSchema): Handlers {
  const schemas = {
    provider: { block: wireBlock(schema.provider) },
    resourceSchemas: mapValues(schema.resources, (block) => ({ block: wireBlock(block) })),
    dataSourceSchemas: mapValues(schema.data, (block) => ({ block: wireBlock(block) })),
  };
  return {
    getSchema: () => schemas,
    prepareProviderConfig: ({ config }) => ({ config }),
    validateResourceTypeConfig: () => ({}),
    validateDataSourceConfig: () => ({}),
    configure: () => ({}),
    stop: () => ({}),
    upgradeResourceState: ({ rawState }) => ({ state: { json: rawState.json } }),
    readResource: ({ state }) => ({ state }),
    // What Google sets is not known before it is made, so that nothing may depend on it too early.
    planResourceChange: ({ typeName, proposed }) => answer(schema.resources[typeName], proposed, () => unknown),
    applyResourceChange: ({ typeName, proposed }) => answer(schema.resources[typeName], proposed, makeUp(typeName)),
    readDataSource: ({ typeName, state }) => answer(schema.data[typeName], state, makeUp(typeName)),
  };
}

type Choose = (name: string, type: Attribute['type'], resource: Values) => Value;

function answer(block: Block | undefined, { msgpack }: Dynamic, choose: Choose): object {
  if (block === undefined || msgpack === undefined)
    throw new Error('Expected a resource of the schema, as MessagePack');
  const value = decode(msgpack);
  // Null is what is to be deleted.
  return { state: { msgpack: encode(isValues(value) ? filled(value, block, value, choose) : value) } };
}

/** With a value for all that Google sets and that has none yet. */
function filled(values: Values, { attributes, blocks }: Block, resource: Values, choose: Choose): Values {
  const own = attributes.map(({ name, type, isComputed }): [string, Value] => {
    const value = values[name] ?? null;
    return [name, isComputed && (value === null || value === unknown) ? choose(name, type, resource) : value];
  });
  const nested = blocks.map(({ name, block }): [string, Value] => {
    const value = values[name] ?? null;
    const each = Array.isArray(value) ? value : [];
    return [name, each.map((one) => (isValues(one) ? filled(one, block, resource, choose) : one))];
  });
  return Object.fromEntries([...own, ...nested]);
}

/** What Google would set, in its form where something else reads it. */
function makeUp(type: string): Choose {
  return (name, attributeType, resource) => {
    const text = (key: string) => (typeof resource[key] === 'string' ? resource[key] : '');
    const project = text('project');
    if (attributeType === 'number') return 6379;
    switch (`${type}.${name}`) {
      case 'google_project.number':
        return '123456789012';
      case 'google_service_account.email':
        return `${text('account_id')}@${project}.iam.gserviceaccount.com`;
      case 'google_service_account.name':
        return `projects/${project}/serviceAccounts/${text('account_id')}@${project}.iam.gserviceaccount.com`;
      case 'google_service_account.member':
        return `serviceAccount:${text('account_id')}@${project}.iam.gserviceaccount.com`;
      case 'google_pubsub_topic.id':
        return `projects/${project}/topics/${text('name')}`;
      case 'google_pubsub_subscription.id':
        return `projects/${project}/subscriptions/${text('name')}`;
      case 'google_project_iam_custom_role.name':
      case 'google_project_iam_custom_role.id':
        return `projects/${project}/roles/${text('role_id')}`;
      case 'google_kms_key_ring.id':
        return `projects/${project}/locations/${text('location')}/keyRings/${text('name')}`;
      case 'google_kms_crypto_key.id':
        return `${text('key_ring')}/cryptoKeys/${text('name')}`;
      case 'google_cloudfunctions2_function.uri':
        return `https://${text('name')}-abc123-uc.a.run.app`;
      default:
        return `${type}/${name}/${text('name') || text('account_id') || text('service')}`;
    }
  };
}

function isValues(value: Value): value is Values {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Terraform's name of each type, as JSON. */
const wireTypes = {
  string: '"string"',
  number: '"number"',
  bool: '"bool"',
  list: '["list","string"]',
  map: '["map","string"]',
};

const LIST = 2;

function wireBlock({ attributes, blocks }: Block): object {
  return {
    attributes: attributes.map(({ name, type, isRequired, isOptional, isComputed }) => ({
      name,
      type: Buffer.from(wireTypes[type]),
      required: isRequired,
      optional: isOptional,
      computed: isComputed,
    })),
    blockTypes: blocks.map(({ name, isRequired, isMany, block }) => ({
      typeName: name,
      block: wireBlock(block),
      nesting: LIST,
      minItems: isRequired ? 1 : 0,
      maxItems: isMany ? 0 : 1,
    })),
  };
}

function mapValues<T, U>(values: Record<string, T>, change: (value: T) => U): Record<string, U> {
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [key, change(value)]));
}

function providerService(): ServiceDefinition {
  const path = join(import.meta.dirname, 'provider.proto');
  const { tfplugin5 } = loadPackageDefinition(loadSync(path, { longs: Number }));
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- provider.proto is ours, and has this service
  return ((tfplugin5 as GrpcObject)['Provider'] as unknown as { service: ServiceDefinition }).service;
}

function implementation(handlers: Handlers) {
  return Object.fromEntries(
    Object.entries(handlers).map(([name, handle]) => [
      name,
      (call: { request: Parameters<typeof handle>[0] }, reply: (error: Error | null, answer?: object) => void) => {
        try {
          reply(null, handle(call.request));
        } catch (error) {
          reply(error instanceof Error ? error : new Error(String(error)));
        }
      },
    ]),
  );
}
