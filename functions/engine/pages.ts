/** Which records are there to work on? Pages of them, of which an instance keeps the first and passes on the rest. */
import type { z } from 'zod';
import { isPlatformError } from './errors.ts';
import { limits } from './limits.ts';
import { log } from './log.ts';
import type { tickMessageSchema } from './messages.ts';
import type { BusPort, Ports, Stored } from './ports.ts';
import { topics } from './publish.ts';

type Part = z.infer<typeof tickMessageSchema>;

/**
 * Pages of records, each alone in memory. What comes after a page is passed on before the page is given, and it is the
 * only one; only where the bus does not take the rest, that follows here. Keys ascend, so it ends.
 */
export async function* pagesOf(
  ports: Pick<Ports, 'store' | 'bus'>,
  kind: Part['kind'],
  after: string | null,
): AsyncGenerator<Stored[]> {
  const { store, bus } = ports;
  const limit = limits.recordsPerTick;
  for (let from = after; ; ) {
    const asked = { after: from, limit };
    const page = await (kind === 'tick' ? store.listActive(asked) : store.listAll(asked));
    const last = page.length < limit ? undefined : page.at(-1);
    const isOver = last === undefined || (await passOn(bus, { kind, after: last.key }));
    yield page;
    if (isOver) return;
    from = last.key;
  }
}

async function passOn(bus: BusPort, part: Part): Promise<boolean> {
  try {
    await bus.publish(topics.ticks, [{ data: Buffer.from(JSON.stringify(part)), attributes: {} }]);
    return true;
  } catch (error) {
    if (!isPlatformError(error)) throw error;
    log('WARNING', `The ${part.kind} after ${part.after} could not be passed on, and goes on here: ${error.message}`);
    return false;
  }
}
