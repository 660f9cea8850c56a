/** What is due for these rollouts? Looks at all of them together, then decides and performs for each. */
import { nth } from '../../machines/nth.ts';
import type { RecordEvent } from '../../machines/rollout/decide.ts';
import { mapLimited } from './concurrency.ts';
import { TransientError } from './errors.ts';
import { guarded } from './guarded.ts';
import { limits } from './limits.ts';
import { handle } from './loop.ts';
import { type Observing, observe } from './observe.ts';
import type { Ports, Stored } from './ports.ts';
import { type Loaded, readable } from './records.ts';

/** Of the records that this instance worked on. */
export interface TickSummary {
  active: number;
  failed: number;
}

/** Advances each of these active records by what is due now. One that fails does not stop the others. */
export async function advance(ports: Ports, stored: Stored[], observing: Observing): Promise<TickSummary> {
  const records = readable(stored);
  const events = await observe(
    ports,
    records.flatMap(({ record }) => record.active ?? []),
    observing,
  );
  const seen = new Map(
    records.filter(({ record }) => record.active !== null).map(({ record }, i) => [record.endpoint, nth(events, i)]),
  );
  const results = await mapLimited(records, limits.concurrencyMax, (loaded) => {
    const { endpoint } = loaded.record;
    return guarded(endpoint, () => advanceOne(ports, loaded, seen.get(endpoint) ?? []));
  });
  return { active: stored.length, failed: stored.length - results.filter((isDone) => isDone).length };
}

async function advanceOne(ports: Ports, base: Loaded, seen: RecordEvent[]): Promise<void> {
  const { endpoint } = base.record;
  const ticked = (): RecordEvent => ({ type: 'clock.ticked', at: ports.now() });
  try {
    await handle(ports, endpoint, [...seen, ticked()], { base });
  } catch (error) {
    // What it stumbled over may come again each minute. Without it time passes, so that the state's deadline is met.
    if (!(error instanceof TransientError) && seen.length > 0) await handle(ports, endpoint, [ticked()]);
    throw error;
  }
}
