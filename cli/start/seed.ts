/**
 * What must be there before a rollout can be? The project, as Terraform and a model's owner would have left it: topics
 * with their push subscriptions, jobs, the versions of the model, and an endpoint that serves the first of them.
 */
import { catalogue, type DelaysVersion } from '../../emulator/models/catalogue.ts';
import { topics } from '../../functions/engine/publish.ts';
import type { Clients } from '../../functions/gcp/clients.ts';
import type { Policy } from '../../machines/policy/policy.ts';
import { parseEndpointName, parseModelName } from '../../machines/rollout/resource-name.ts';
import { type FunctionName, host, type Places } from './places.ts';

/** Which topic each function is pushed; the subscription has the topic's name. */
const subscribed = [
  [topics.blessings, 'onBlessing'],
  [topics.ticks, 'onTick'],
  [topics.commands, 'onCommand'],
  [topics.incidents, 'onIncident'],
  [topics.evidence, 'onEvidence'],
] as const satisfies [string, FunctionName][];

const jobs = [
  { id: 'rollout-ticks', schedule: '* * * * *', kind: 'tick' },
  { id: 'rollout-reconcile', schedule: '*/10 * * * *', kind: 'reconcile' },
];

/** As in terraform/topics.tf. */
const DELIVERIES_MAX = 100;

/** Version 8 must manage a quarter of the traffic and not half of it; this lies between, clear of chance. */
const CAPACITY_RATIO = 0.42;

/** The model that a policy is for: the one it names, or `delays` beside its endpoint. */
export function modelOf({ match, endpoint }: Policy): string {
  return match.kind === 'model' ? match.model : endpoint.replace(/endpoints\/.*$/, 'models/delays');
}

/**
 * Makes everything in an empty project. When it returns, the endpoint serves version 1.
 * @param requestsPerSecond of all traffic, for the capacity of version 8
 */
export async function seed(clients: Clients, places: Places, policy: Policy, requestsPerSecond: number): Promise<void> {
  const versions = catalogue({ capacityRps: requestsPerSecond * CAPACITY_RATIO });
  await Promise.all([
    createTopics(clients, places).then(() => createJobs(clients, places)),
    createEndpoint(clients, policy.endpoint),
    uploadInOrder(clients, modelOf(policy), versions.slice(0, 1)),
  ]);
  await Promise.all([
    deployAsStable(clients, policy, `${modelOf(policy)}@1`),
    uploadInOrder(clients, modelOf(policy), versions.slice(1)),
  ]);
}

/** Points the subscriptions of an earlier run at the functions of this one. */
export async function pointSubscriptions(clients: Clients, places: Places): Promise<void> {
  const pubsub = await clients.pubsub();
  for (const [topic, name] of subscribed) {
    await pubsub.subscription(topic).modifyPushConfig({ pushEndpoint: pushEndpointOf(places, topic, name) });
  }
}

async function createTopics(clients: Clients, places: Places): Promise<void> {
  const pubsub = await clients.pubsub();
  await Promise.all(Object.values(topics).map((topic) => pubsub.createTopic(topic)));
  await Promise.all(
    subscribed.map(([topic, name]) =>
      pubsub.topic(topic).createSubscription(topic, {
        pushEndpoint: pushEndpointOf(places, topic, name),
        ackDeadlineSeconds: 60,
        retryPolicy: { minimumBackoff: { seconds: 10 }, maximumBackoff: { seconds: 600 } },
        deadLetterPolicy: {
          deadLetterTopic: `projects/${places.project}/topics/${topics.deadLetters}`,
          maxDeliveryAttempts: DELIVERIES_MAX,
        },
      }),
    ),
  );
}

/** functions-framework takes the name of the topic from the path. */
function pushEndpointOf({ functionPorts, project }: Places, topic: string, name: FunctionName): string {
  return `http://${host(functionPorts[name])}/projects/${project}/topics/${topic}`;
}

async function createJobs(clients: Clients, { project, location }: Places): Promise<void> {
  const scheduler = await clients.scheduler();
  const parent = `projects/${project}/locations/${location}`;
  const topicName = `projects/${project}/topics/${topics.ticks}`;
  await Promise.all(
    jobs.map(({ id, schedule, kind }) => {
      const pubsubTarget = { topicName, data: Buffer.from(JSON.stringify({ kind })) };
      return scheduler.createJob({
        parent,
        job: { name: `${parent}/jobs/${id}`, schedule, timeZone: 'UTC', pubsubTarget },
      });
    }),
  );
}

/** One after the other: their order gives the versions their numbers. */
async function uploadInOrder(clients: Clients, model: string, versions: DelaysVersion[]): Promise<void> {
  const client = await clients.models();
  const { parent, id } = partsOf(parseModelName(model));
  for (const { version, description, containerSpec, labels } of versions) {
    const [operation] = await client.uploadModel({
      parent,
      ...(version === '1' ? { modelId: id } : { parentModel: model }),
      model: { displayName: id, versionDescription: description, containerSpec, labels },
    });
    await operation.promise();
  }
}

async function createEndpoint(clients: Clients, endpoint: string): Promise<void> {
  const client = await clients.endpoints();
  const { parent, id } = partsOf(parseEndpointName(endpoint));
  const [operation] = await client.createEndpoint({ parent, endpointId: id, endpoint: { displayName: id } });
  await operation.promise();
}

async function deployAsStable(clients: Clients, { endpoint, deploy }: Policy, model: string): Promise<void> {
  const client = await clients.endpoints();
  const [operation] = await client.deployModel({
    endpoint,
    deployedModel: {
      model,
      displayName: 'stable',
      dedicatedResources: {
        machineSpec: { machineType: deploy.machineType },
        minReplicaCount: deploy.minReplicas,
        maxReplicaCount: deploy.maxReplicas,
      },
    },
    // `0` means the model that this call deploys.
    trafficSplit: { '0': 100 },
  });
  await operation.promise();
}

function partsOf(name: ReturnType<typeof parseModelName>): { parent: string; id: string } {
  if (name === null) throw new TypeError('a policy names its model and endpoint in full');
  return { parent: `projects/${name.project}/locations/${name.location}`, id: name.id };
}
