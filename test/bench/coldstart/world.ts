/** Where does a new process find itself? Everything it may ask is there, warm and idle, and nothing is rolled out. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { startEmulator } from '../../../emulator/start.ts';
import { parseEnvironment } from '../../../functions/engine/environment.ts';
import { topics } from '../../../functions/engine/publish.ts';
import { googleClients } from '../../../functions/gcp/clients.ts';
import { policiesCollection } from '../../../functions/gcp/firestore-policies.ts';
import { findJar, firestore, start } from '../../google-emulators.ts';
import type { FirstRequest } from './process.ts';
import { portOf } from '../../port.ts';

const project = 'demo-project';
const parent = `projects/${project}/locations/us-central1`;
const endpoint = `${parent}/endpoints/1`;
const model = `${parent}/models/unmatched`;
const key = 'a-key';
const now = Date.now();

/** What each function is first asked, while nothing is rolled out, and by which words of its log it has understood. */
export const firstRequests: Record<string, FirstRequest> = {
  hello: { path: '/', method: 'GET', headers: {}, body: null, status: 200, says: '' },
  onBlessing: pushed({ model, versionId: '1' }, 'No policy matches'),
  onTick: pushed({ kind: 'tick' }, '0 active, 0 failed'),
  onCommand: pushed({ command: 'pause', endpoint }, 'has nothing to act on'),
  onIncident: pushed(
    { incident: { incident_id: '1', state: 'open', resource: { labels: { endpoint_id: '1' } } }, version: '1.2' },
    'No rollout is active',
  ),
  onEvidence: pushed(
    {
      endpoint,
      window: { from: new Date(now - 10_000), to: new Date(now) },
      source: 'client',
      variants: { 1: { requests: 1, errors: 0, latencyMs: { bounds: [100], counts: [1, 0] } } },
    },
    'No rollout is active',
  ),
  predict: {
    path: `/v1/${endpoint}:predict`,
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-goog-api-key': key },
    body: '{"instances":[1]}',
    status: 200,
    says: '',
  },
  dashboard: { path: '/api/rollouts', method: 'GET', headers: {}, body: null, status: 200, says: '' },
};

/** As Pub/Sub pushes it. */
function pushed(message: object, says: string): FirstRequest {
  const data = Buffer.from(JSON.stringify(message)).toString('base64');
  return {
    path: `/projects/${project}/topics/any`,
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ message: { data, messageId: '1' }, subscription: 's' }),
    status: 204,
    says,
  };
}

/** Google's Firestore emulator, for a world. */
export async function openFirestore(stack: AsyncDisposableStack): Promise<string> {
  const jar = findJar(firestore);
  if (jar === null) throw new Error(`Expected Java and \`gcloud components install ${firestore.component}\``);
  const google = await start(firestore, jar);
  stack.defer(() => google.stop());
  return google.host;
}

/** Starts all but Firestore's emulator; the environment is that of a deployed function. */
export async function openWorld(
  stack: AsyncDisposableStack,
  firestoreHost: string,
): Promise<{ environment: Record<string, string> }> {
  const emulator = await startEmulator({ timeScale: 3600 });
  stack.defer(() => emulator.close());
  const environment = {
    ...emulator.environment,
    GOOGLE_CLOUD_PROJECT: project,
    ROLLOUT_LOCATION: 'us-central1',
    ROLLOUT_PROXY_KEYS: `bench:${createHash('sha256').update(key).digest('hex')}`,
    FIRESTORE_EMULATOR_HOST: firestoreHost,
    VERTEX_PREDICT_EMULATOR_HOST: await openUpstream(stack),
  };
  const clients = googleClients(parseEnvironment(environment));
  const [pubsub, scheduler, store, models] = await Promise.all([
    clients.pubsub(),
    clients.scheduler(),
    clients.firestore(),
    clients.models(),
  ]);
  await Promise.all(Object.values(topics).map((topic) => pubsub.createTopic(topic)));
  const pubsubTarget = { topicName: `projects/${project}/topics/${topics.ticks}`, data: Buffer.from('{}') };
  const job = { name: `${parent}/jobs/rollout-ticks`, schedule: '* * * * *', timeZone: 'UTC', pubsubTarget };
  await scheduler.createJob({ parent, job });
  await scheduler.pauseJob({ name: job.name });
  const containerSpec = { imageUri: 'gcr.io/test/none', command: ['true'] };
  const [upload] = await models.uploadModel({
    parent,
    modelId: 'unmatched',
    model: { displayName: 'm', containerSpec },
  });
  await upload.promise();
  await store.collection(policiesCollection).doc('delays').set({ yaml: policy });
  await clients.close();
  return { environment };
}

const policy = `
apiVersion: rollouts/v1
kind: RolloutPolicy
metadata: { name: delays }
spec:
  match: { model: ${parent}/models/1 }
  endpoint: ${endpoint}
`;

/** In the place of a model: it answers at once. */
async function openUpstream(stack: AsyncDisposableStack): Promise<string> {
  const server = createServer((request, response) => {
    request.resume().once('end', () => {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end('{"predictions":[1],"deployedModelId":"1"}');
    });
  }).listen(0, '127.0.0.1');
  stack.defer(() => {
    server.close();
    server.closeAllConnections();
  });
  await once(server, 'listening');
  const port = portOf(server);
  return `127.0.0.1:${port}`;
}
