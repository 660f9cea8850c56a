/** A minute has passed, or it is time to compare the world with the records; or an instance passes on the rest of either. */
import { late } from './engine/late.ts';
import { tickMessageSchema } from './engine/messages.ts';
import { tick } from './engine/tick.ts';
import { parsed, receive } from './decode.ts';
import { type Wiring, wired } from './wiring.ts';

export const reconciling = late(() => import('./engine/reconcile.ts'));

export async function onTick(event: unknown, context: Wiring = wired()): Promise<void> {
  await receive(context.ports.bus, 'onTick', event, async ({ payload }) => {
    const message = parsed(tickMessageSchema, payload);
    if (message.kind !== 'ok') return message;
    const { kind, after = null } = message.value;
    const { active, failed } =
      kind === 'tick'
        ? await tick(context.ports, context.observing, after)
        : await (await reconciling()).reconcile(context, context.observing, after);
    const where = after === null ? '' : ` after ${after}`;
    return { kind: 'done', text: `${kind}${where}: ${active} active, ${failed} failed` };
  });
}
