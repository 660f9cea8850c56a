/** Cloud Monitoring opened an incident: roll back or pause, as the policy says. */
import { incident } from './engine/commands.ts';
import { incidentMessageSchema } from './engine/messages.ts';
import { parsed, receive } from './decode.ts';
import { type Wiring, wired } from './wiring.ts';

export async function onIncident(event: unknown, { ports }: Wiring = wired()): Promise<void> {
  await receive(ports.bus, 'onIncident', event, async ({ payload }) => {
    const message = parsed(incidentMessageSchema, payload);
    return message.kind === 'ok' ? incident(ports, message.value) : message;
  });
}
