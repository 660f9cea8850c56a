import { storeContract } from '../functions/engine/store-contract.ts';
import { type MemoryStore, memoryStore } from './memory-store.ts';

const stores = new Map<string, MemoryStore>();

storeContract('Memory', (place) => {
  const store = stores.get(place) ?? memoryStore();
  stores.set(place, store);
  return Promise.resolve(store);
});
