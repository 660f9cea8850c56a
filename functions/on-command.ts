/** An operator said something: pause, resume, abort, promote, promote-full, approve or retry. */
import { command } from './engine/commands.ts';
import { commandMessageSchema } from './engine/messages.ts';
import { parsed, receive } from './decode.ts';
import { type Wiring, wired } from './wiring.ts';

export async function onCommand(event: unknown, { ports }: Wiring = wired()): Promise<void> {
  await receive(ports.bus, 'onCommand', event, async ({ payload, messageId }) => {
    const message = parsed(commandMessageSchema, payload);
    return message.kind === 'ok' ? command(ports, message.value, messageId) : message;
  });
}
