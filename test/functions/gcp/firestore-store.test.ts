import { Firestore, type WriteBatch } from '@google-cloud/firestore';
import { PassThroughClient } from 'google-auth-library';
import { afterAll, expect, test, vi } from 'vitest';
import { parseEnvironment } from '../../../functions/engine/environment.ts';
import { type Clients, googleClients } from '../../../functions/gcp/clients.ts';
import { firestoreStore } from '../../../functions/gcp/firestore-store.ts';
import { withFirestoreEmulator } from '../../emulators.ts';
import { storeContract } from '../engine/store-contract.ts';

withFirestoreEmulator('the Firestore store', (emulator) => {
  const opened = new Map<string, Clients>();

  /** The emulator keeps each project apart, so a project is a place. */
  function clientsOf(place: string): Clients {
    const clients =
      opened.get(place) ??
      googleClients(
        parseEnvironment({
          GOOGLE_CLOUD_PROJECT: place,
          ROLLOUT_LOCATION: 'us-central1',
          FIRESTORE_EMULATOR_HOST: emulator.host,
        }),
      );
    opened.set(place, clients);
    return clients;
  }

  afterAll(() => Promise.all([...opened.values()].map((clients) => clients.close())));

  storeContract(
    'Firestore',
    (place) => Promise.resolve(firestoreStore(clientsOf(place))),
    async (place, key, text) => {
      const firestore = await clientsOf(place).firestore();
      await firestore.collection('rollout-endpoints').doc(key).update({ data: text });
    },
  );

  test('documents that are none of ours hide no others, and are reported', async () => {
    const place = 'strangers';
    const firestore = await clientsOf(place).firestore();
    const store = firestoreStore(clientsOf(place));
    const journal = [{ rollout: 'r1', at: 1, sequence: 0, data: 'known' }];
    const archive = [{ id: 'r1', key: 'l~1', startedAt: 1, endedAt: null, data: 'known' }];
    const change = { key: 'l~1', expected: null, data: 'known', isActive: true, journal, marks: [], archive };
    await store.commit(change);
    await firestore.collection('rollout-endpoints').doc('l~0').set({ isActive: true });
    await firestore.collection('rollout-endpoints').doc('l~2').set({ isActive: true, data: 7 });
    await firestore.collection('rollouts').doc('100%').set({ startedAt: 'yesterday' });
    await firestore.collection('rollouts').doc('r1').collection('journal').doc('note').set({ text: 'a note' });

    const lines = vi.spyOn(process.stdout, 'write').mockReturnValue(true);
    const active = await store.listActive();
    const rollouts = await store.listRollouts(10);
    const entries = await store.listJournal('r1', 10);
    const said = lines.mock.calls.map(([line]) => String(line)).filter((line) => line.includes('"CRITICAL"'));
    lines.mockRestore();

    expect(active.map(({ data }) => data)).toEqual([undefined, 'known', { integerValue: '7' }]);
    expect(rollouts).toEqual(archive);
    expect(entries).toEqual(journal);
    expect(said).toEqual([
      expect.stringContaining('rollouts/100%: the reply is not'),
      expect.stringContaining('rollouts/r1/journal/note: the reply is not'),
    ]);
  });

  test('a commit that was made, but whose answer was lost, is made once and seen as made', async () => {
    const place = 'lost-answer';
    const again = new SendsTwice({
      projectId: place,
      host: emulator.host,
      ssl: false,
      authClient: new PassThroughClient(),
    });
    const store = firestoreStore({ ...clientsOf(place), firestore: () => Promise.resolve(again) });
    const journal = [{ rollout: 'r1', at: 1, sequence: 0, data: 'once' }];
    const change = { key: 'l~1', isActive: true, journal, marks: ['event-1'], archive: [] };

    const first = await store.commit({ ...change, expected: null, data: 1 });
    if (first.kind !== 'committed') throw new Error(`expected a commit, got ${first.kind}`);
    expect(await store.load('l~1')).toEqual({ key: 'l~1', data: 1, revision: first.revision });

    const second = await store.commit({
      ...change,
      expected: first.revision,
      data: 2,
      journal: [],
      marks: ['event-2'],
    });
    expect(second.kind).toBe('committed');
    expect(await store.listJournal('r1', 10)).toEqual(journal);
    await again.terminate();
  });
});

/** Firestore's client as it is when an answer is lost on the way: it sends the commit again, and is refused. */
class SendsTwice extends Firestore {
  override batch(): WriteBatch {
    const [lost, sentAgain] = [super.batch(), super.batch()];
    return new Proxy(sentAgain, {
      get(target, name) {
        if (name === 'commit') return () => lost.commit().then(() => target.commit());
        return (...parameters: unknown[]) => {
          for (const batch of [lost, target]) {
            const method: unknown = Reflect.get(batch, name);
            if (typeof method === 'function') Reflect.apply(method, batch, parameters);
          }
        };
      },
    });
  }
}
