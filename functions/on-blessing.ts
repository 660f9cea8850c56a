/** A model version was blessed: a message, an audit-log event, or an entry that the Logging sink passed on. */
import { bless, blessFromLog } from './engine/blessings.ts';
import { blessingMessageSchema, logEntrySchema } from './engine/messages.ts';
import { parsed, receive } from './decode.ts';
import { type Wiring, wired } from './wiring.ts';

export async function onBlessing(event: unknown, context: Wiring = wired()): Promise<void> {
  await receive(context.ports.bus, 'onBlessing', event, async ({ payload, messageId, isAuditLog }) => {
    if (isAuditLog) {
      const entry = parsed(logEntrySchema, payload);
      return entry.kind === 'ok' ? blessFromLog(context, entry.value) : entry;
    }
    const message = parsed(blessingMessageSchema, payload);
    return message.kind === 'ok' ? bless(context, message.value, messageId) : message;
  });
}
