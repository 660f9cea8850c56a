/** What must hold of every installation, whatever its variables? Each law answers with the sentences of who breaks it. */
import { readFileSync } from 'node:fs';
import { parseEnvironment } from '../../functions/engine/environment.ts';
import { topics } from '../../functions/engine/publish.ts';
import { type Applied, registered, type Resource } from './installation.ts';

export type Law = (applied: Applied) => string[];

/** What environment.ts reads, and no deployed function has. */
const localOnly = /_EMULATOR_HOST$|^ROLLOUT_POLICIES$/;

export const laws: Record<string, Law> = {
  'nobody is let in unnamed, but by the proxy where it asks for it': ({ resources }) =>
    resources.flatMap((resource) => {
      const { member, role, name } = resource.values;
      const isStranger = /^all(Authenticated)?Users$/.test(String(member));
      const isProxy = name === 'rollouts-predict' && role === 'roles/run.invoker' && member === 'allUsers';
      return isStranger && !isProxy ? [`${addressOf(resource)} lets in ${String(member)}`] : [];
    }),

  'nobody has a basic role, or rules over anything': ({ resources }) =>
    resources.flatMap((resource) => {
      const { role } = resource.values;
      return typeof role === 'string' && /^roles\/(owner|editor|viewer)$|admin$/i.test(role)
        ? [`${addressOf(resource)} gives ${role}`]
        : [];
    }),

  'every subscription has a dead letter, but that of the dead letters': (applied) =>
    ofType(applied, 'google_pubsub_subscription').flatMap((subscription) => {
      const [policy] = blocks(subscription.values, 'dead_letter_policy');
      const isTheirs = String(subscription.values['topic']).endsWith(`/topics/${topics.deadLetters}`);
      if (isTheirs)
        return policy === undefined ? [] : [`${addressOf(subscription)} would send dead letters in a circle`];
      return String(policy?.['dead_letter_topic']).endsWith(`/topics/${topics.deadLetters}`)
        ? []
        : [`${addressOf(subscription)} has no dead letter`];
    }),

  'the functions are those of functions/index.ts': (applied) =>
    difference(
      ofType(applied, 'google_cloudfunctions2_function').map(
        ({ values }) => blocks(values, 'build_config')[0]?.['entry_point'],
      ),
      registered.map(({ name }) => name),
      'function',
    ),

  'what takes events has a subscription, and what takes requests has none': (applied) =>
    difference(
      ofType(applied, 'google_pubsub_subscription').flatMap(({ values }) =>
        blocks(values, 'push_config').map((push) => urlOf(push)),
      ),
      ofType(applied, 'google_cloudfunctions2_function')
        .filter(({ key }) => registered.some(({ name, kind }) => name === key && kind === 'cloudEvent'))
        .map(uriOf),
      'pushed URL',
    ),

  'the topics are those of functions/engine/publish.ts': (applied) =>
    difference(
      // That of releases is Cloud Build's alone.
      ofType(applied, 'google_pubsub_topic').flatMap(({ name, values }) => (name === 'releases' ? [] : values['name'])),
      Object.values(topics),
      'topic',
    ),

  'each function runs as itself': (applied) => {
    const accounts = ofType(applied, 'google_cloudfunctions2_function').map(
      ({ values }) => blocks(values, 'service_config')[0]?.['service_account_email'],
    );
    return accounts
      .filter((account, i) => accounts.indexOf(account) !== i)
      .map((account) => `${String(account)} is shared`);
  },

  'the variables of functions are those that environment.ts reads': (applied) => {
    const given = ofType(applied, 'google_cloudfunctions2_function').flatMap(({ values }) =>
      Object.keys(environmentOf(values)),
    );
    // Redis is an option.
    const wanted = readVariables().filter(
      (name) => !localOnly.test(name) && (name !== 'REDIS_URL' || given.includes(name)),
    );
    return difference([...new Set(given)], wanted, 'variable');
  },

  'every function starts with the variables it has': (applied) =>
    ofType(applied, 'google_cloudfunctions2_function').flatMap((resource) => {
      try {
        const { emulators, store } = parseEnvironment(environmentOf(resource.values));
        const isLocal = store.kind !== 'firestore' || Object.values(emulators).some((host) => host !== null);
        return isLocal ? [`${addressOf(resource)} is set up for a local run`] : [];
      } catch (error) {
        return [`${addressOf(resource)}: ${String(error)}`];
      }
    }),
};

export function ofType({ resources }: Applied, type: string): Resource[] {
  return resources.filter((resource) => resource.type === type);
}

/** Blocks of one name; none where there is none. */
export function blocks(values: Record<string, unknown>, name: string): Record<string, unknown>[] {
  const found = values[name];
  return Array.isArray(found)
    ? found.filter((one): one is Record<string, unknown> => typeof one === 'object' && one !== null)
    : [];
}

export function uriOf({ values }: Resource): string {
  return String(blocks(values, 'service_config')[0]?.['uri']);
}

function urlOf(push: Record<string, unknown>): string {
  return new URL(String(push['push_endpoint'])).origin;
}

/** Those in clear, and those from a secret with the value that Terraform gives it first. */
function environmentOf(values: Record<string, unknown>): Record<string, string> {
  const [config = {}] = blocks(values, 'service_config');
  const secrets = blocks(config, 'secret_environment_variables').map(({ key }): [string, string] => [
    String(key),
    `nobody:${'0'.repeat(64)}`,
  ]);
  return {
    ...Object.fromEntries(Object.entries(config['environment_variables'] ?? {}).map(([k, v]) => [k, String(v)])),
    ...Object.fromEntries(secrets),
  };
}

function readVariables(): string[] {
  const source = readFileSync('functions/engine/environment.ts', 'utf8');
  const schema = source.slice(source.indexOf('environmentSchema = '), source.indexOf('export interface Environment'));
  return [...schema.matchAll(/^ {2}([A-Z_]+):/gm)].map(([, name = '']) => name);
}

function difference(given: unknown[], wanted: unknown[], what: string): string[] {
  return [
    ...wanted.filter((one) => !given.includes(one)).map((one) => `${what} ${String(one)} is missing`),
    ...given.filter((one) => !wanted.includes(one)).map((one) => `${what} ${String(one)} is in nothing of the code`),
  ];
}

function addressOf({ type, name, key }: Resource): string {
  return `${type}.${name}${key === null ? '' : `["${key}"]`}`;
}
