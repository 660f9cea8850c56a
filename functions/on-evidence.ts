/** A proxy counted answers: decide now, without waiting for a tick. */
import { evidence } from './engine/commands.ts';
import { evidenceMessageSchema } from './engine/messages.ts';
import { parsed, receive } from './decode.ts';
import { type Wiring, wired } from './wiring.ts';

export async function onEvidence(event: unknown, { ports }: Wiring = wired()): Promise<void> {
  await receive(ports.bus, 'onEvidence', event, async ({ payload }) => {
    const message = parsed(evidenceMessageSchema, payload);
    return message.kind === 'ok' ? evidence(ports, message.value) : message;
  });
}
