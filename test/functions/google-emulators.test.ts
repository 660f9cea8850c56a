/** Does the whole path hold on what Google ships, with the functions as they stand here? */
import { serve } from './doors/doors-world.ts';
import { captureLog } from '../log.ts';
import { type EventDoor, wholePath } from './whole-path.ts';

captureLog();

wholePath(async (environment) => {
  Object.assign(process.env, environment);
  await import('../../functions/index.ts');
  const servers = new Map<EventDoor, Awaited<ReturnType<typeof serve>>>();
  for (const name of ['onBlessing', 'onTick', 'onCommand', 'onIncident', 'onEvidence'] as const)
    servers.set(name, await serve(name));
  return {
    urlOf: (door) => servers.get(door)?.url ?? '',
    close: async () => void (await Promise.all([...servers.values()].map((server) => server.close()))),
  };
});
