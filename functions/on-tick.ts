/** A minute has passed, or it is time to compare the world with the records. */
import { tickMessageSchema } from './engine/messages.ts';
import { reconcile, tick } from './engine/tick.ts';
import { parsed, receive } from './decode.ts';
import { wired } from './wiring.ts';

export async function onTick(event: unknown): Promise<void> {
  const context = wired();
  await receive(context.ports.bus, 'onTick', event, async ({ payload }) => {
    const message = parsed(tickMessageSchema, payload);
    if (message.kind !== 'ok') return message;
    const { kind } = message.value;
    const { active, failed } =
      kind === 'tick' ? await tick(context.ports, context.observing) : await reconcile(context, context.observing);
    return { kind: 'done', text: `${kind}: ${active} active, ${failed} failed` };
  });
}
