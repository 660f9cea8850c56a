/** Which functions are there, and how do they run in a simulated life? The real doors, with ports given instead of wired. */
import { parseEnvironment } from '../../../functions/engine/environment.ts';
import type { Ports } from '../../../functions/engine/ports.ts';
import { onBlessing } from '../../../functions/on-blessing.ts';
import { onCommand } from '../../../functions/on-command.ts';
import { onEvidence } from '../../../functions/on-evidence.ts';
import { onIncident } from '../../../functions/on-incident.ts';
import { advancing } from '../../../functions/engine/tick.ts';
import { onTick, reconciling } from '../../../functions/on-tick.ts';
import { periodMs, project } from './cloud.ts';

// In virtual time nothing may take as long as it takes to load.
await Promise.all([advancing(), reconciling()]);

const doors = { onBlessing, onTick, onCommand, onIncident, onEvidence };

export type Door = keyof typeof doors;

const environment = parseEnvironment({
  GOOGLE_CLOUD_PROJECT: project,
  ROLLOUT_LOCATION: 'us-central1',
  ROLLOUT_STORE: 'firestore',
});

/** Hands an event to a function, as the functions framework does. */
export function enter(door: Door, ports: Ports, event: unknown): Promise<void> {
  return doors[door](event, { ports, project, environment, observing: { periodMs } });
}
