/** Does what is deployed do what the sources do? The same story, told to the bundles, each in a process of its own. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type EventDoor, wholePath } from '../functions/whole-path.ts';
import { type Process, startProcess, unpack } from './process.ts';

const doors: EventDoor[] = ['onBlessing', 'onTick', 'onCommand', 'onIncident', 'onEvidence'];

wholePath(async (environment) => {
  const folder = await mkdtemp(join(tmpdir(), 'bundles-'));
  const processes = new Map<string, Process>();
  for (const name of doors)
    processes.set(name, await startProcess(await unpack(join(folder, name), name), environment));
  return {
    urlOf: (door) => processes.get(door)?.url ?? '',
    async close() {
      for (const one of processes.values()) await one.close();
      await rm(folder, { recursive: true });
    },
  };
});
