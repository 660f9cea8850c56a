/**
 * One instance of onTick, as a process of its own, so that its CPU and memory are nobody else's: the engine, the real
 * Monitoring client and a store in a file. What it passes on comes back to it, as to the only instance there is.
 */
import { z } from 'zod';
import { parseEnvironment } from '../../../functions/engine/environment.ts';
import { tickMessageSchema } from '../../../functions/engine/messages.ts';
import type { Commit, Ports, Stored, StorePort } from '../../../functions/engine/ports.ts';
import { topics } from '../../../functions/engine/publish.ts';
import { tick } from '../../../functions/engine/tick.ts';
import { wire } from '../../../functions/wiring.ts';

/** What one tick took, all its parts together. */
export interface Taken {
  active: number;
  failed: number;
  messages: number;
  /** Documents, as Firestore bills them: a list that is empty is one read. */
  reads: number;
  writes: number;
  cpuMs: number;
  wallMs: number;
  /** Of the process, since it started. */
  peakMb: number;
}

const orderSchema = z.object({ at: z.number() });
const observing = { periodMs: 60_000 };
const wiring = wire(parseEnvironment(process.env));

let now = 0;
let reads = 0;
let writes = 0;
const parts: string[] = [];

const ports: Ports = {
  ...wiring.ports,
  now: () => now,
  store: counted(wiring.ports.store),
  schedule: {
    pause: () => Promise.resolve(),
    resume: () => Promise.resolve(),
    isPaused: () => Promise.resolve(true),
  },
  bus: {
    publish(topic, messages) {
      if (topic === topics.ticks) parts.push(...messages.map(({ data }) => Buffer.from(data).toString()));
      return Promise.resolve();
    },
  },
};

process.on('message', (order) => {
  now = orderSchema.parse(order).at;
  void tickOnce().then((taken) => process.send?.(taken));
});
process.send?.('ready');

async function tickOnce(): Promise<Taken> {
  [reads, writes] = [0, 0];
  const [cpu, startedAt] = [process.cpuUsage(), performance.now()];
  const taken = { active: 0, failed: 0, messages: 0 };
  parts.push('{"kind":"tick"}');
  for (let part = parts.shift(); part !== undefined; part = parts.shift()) {
    const { after } = tickMessageSchema.parse(JSON.parse(part));
    const { active, failed } = await tick(ports, observing, after);
    taken.messages += 1;
    taken.active += active;
    taken.failed += failed;
  }
  const { user, system } = process.cpuUsage(cpu);
  const peakMb = process.resourceUsage().maxRSS / 1024;
  const [cpuMs, wallMs] = [(user + system) / 1000, performance.now() - startedAt];
  return { ...taken, reads, writes, cpuMs, wallMs, peakMb };
}

function counted(store: StorePort): StorePort {
  const read = <T extends Stored[] | Stored | null>(found: T): T => {
    reads += Array.isArray(found) ? Math.max(1, found.length) : 1;
    return found;
  };
  return {
    ...store,
    load: async (key) => read(await store.load(key)),
    listActive: async (page) => read(await store.listActive(page)),
    commit(change: Commit) {
      writes += 1 + change.journal.length + change.marks.length + change.archive.length;
      return store.commit(change);
    },
  };
}
