import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseEnvironment } from '../../../functions/engine/environment.ts';
import { type Clients, googleClients } from '../../../functions/gcp/clients.ts';
import { firestorePolicies } from '../../../functions/gcp/firestore-policies.ts';
import { withFirestoreEmulator } from '../../emulators.ts';

const delays = `
apiVersion: rollouts/v1
kind: RolloutPolicy
metadata: { name: delays }
spec:
  match: { model: projects/p/locations/us-central1/models/m }
  endpoint: projects/p/locations/us-central1/endpoints/1
`;

withFirestoreEmulator('policies in Firestore', (emulator) => {
  let clients: Clients;

  beforeAll(() => {
    clients = googleClients(
      parseEnvironment({
        GOOGLE_CLOUD_PROJECT: 'policies',
        ROLLOUT_LOCATION: 'us-central1',
        FIRESTORE_EMULATOR_HOST: emulator.host,
      }),
    );
  });

  afterAll(() => clients.close());

  test('valid documents are policies; of the others each is named with its problem', async () => {
    const policies = firestorePolicies(clients);
    expect(await policies.list()).toEqual({ policies: [], problems: [], documents: new Map() });

    const collection = (await clients.firestore()).collection('rollout-policies');
    await collection.doc('delays').set({ yaml: delays });
    await collection.doc('misspelt').set({ yaml: delays.replace('endpoint:', 'endpiont:') });
    await collection.doc('without').set({ text: delays });

    const listed = await policies.list();
    expect(listed.policies.map((policy) => policy.name)).toEqual(['delays']);
    expect([...(listed.documents ?? [])]).toEqual([
      ['delays', listed.policies[0]],
      ['misspelt', null],
      ['without', null],
    ]);
    expect(listed.problems).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/misspelt.*:\d+:\d+.*endpiont/s),
        expect.stringMatching(/^rollout-policies\/without: expected .* "yaml"/),
      ]),
    );
  });
});
