/** The status page and its API, wired to this process's store and bus. */
import { topics } from './engine/publish.ts';
import { listRollouts, readJournal, readRollout } from './engine/rollouts.ts';
import { createDashboard } from './dashboard.ts';
import { wiredDashboard } from './wiring.ts';

const { ports } = wiredDashboard();

export const dashboard = createDashboard({
  listRollouts: () => listRollouts(ports.store),
  readRollout: (id) => readRollout(ports.store, id),
  readJournal: (id) => readJournal(ports.store, id),
  sendCommand: (command) =>
    ports.bus.publish(topics.commands, [
      { data: Buffer.from(JSON.stringify(command)), attributes: { command: command.command } },
    ]),
  now: ports.now,
});
