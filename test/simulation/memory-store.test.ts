import { storeContract } from '../functions/engine/store-contract.ts';
import { type MemoryStore, memoryStore } from './memory-store.ts';

const stores = new Map<string, MemoryStore>();

function at(place: string): MemoryStore {
  const store = stores.get(place) ?? memoryStore();
  stores.set(place, store);
  return store;
}

storeContract(
  'Memory',
  (place) => Promise.resolve(at(place)),
  async (place, key, text) => {
    const store = at(place);
    const expected = store.read(key)?.revision ?? null;
    await store.commit({ key, expected, data: text, isActive: true, journal: [], marks: [], archive: [] });
  },
);
