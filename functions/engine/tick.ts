/** What is due? Looks at many active rollouts together, then decides and performs for each. */
import type { z } from 'zod';
import type { RecordEvent } from '../../machines/rollout/decide.ts';
import { type BlessingContext, findLostBlessing } from './blessings.ts';
import { mapLimited } from './concurrency.ts';
import { PermanentError, TransientError } from './errors.ts';
import { limits } from './limits.ts';
import { log } from './log.ts';
import { handle } from './loop.ts';
import { observe, type Observing } from './observe.ts';
import type { tickMessageSchema } from './messages.ts';
import type { BusPort, Ports, Stored } from './ports.ts';
import { topics } from './publish.ts';
import { type Loaded, parseStored, readable } from './records.ts';
import { repair } from './repairs.ts';

/** Of the records that this instance worked on. */
export interface TickSummary {
  active: number;
  failed: number;
}

/**
 * Advances every active rollout by what is due now. One that fails does not stop the others. What does not fit into one
 * page is passed on to other instances first, so that they work side by side, each on records of its own.
 * @param after only records after this key: those before it are somebody else's; null begins with the first
 */
export async function tick(ports: Ports, observing: Observing, after: string | null = null): Promise<TickSummary> {
  const summary: TickSummary = { active: 0, failed: 0 };
  for await (const page of pagesOf(ports, 'tick', after)) {
    const { active, failed } = await advance(ports, page, observing);
    summary.active += active;
    summary.failed += failed;
  }
  if (after === null && summary.active === 0) await pauseUnlessActive(ports);
  return summary;
}

async function advance(ports: Ports, stored: Stored[], observing: Observing): Promise<TickSummary> {
  const records = readable(stored);
  const events = await observe(
    ports,
    records.flatMap(({ record }) => record.active ?? []),
    observing,
  );
  const seen = new Map(
    records.filter(({ record }) => record.active !== null).map(({ record }, i) => [record.endpoint, events[i] ?? []]),
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

type Part = z.infer<typeof tickMessageSchema>;

/**
 * Pages of records, each alone in memory. What comes after a page is passed on before the page is given, and it is the
 * only one; only where the bus does not take the rest, that follows here. Keys ascend, so it ends.
 */
async function* pagesOf(ports: Ports, kind: Part['kind'], after: string | null): AsyncGenerator<Stored[]> {
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
    if (!(error instanceof TransientError || error instanceof PermanentError)) throw error;
    log('WARNING', `The ${part.kind} after ${part.after} could not be passed on, and goes on here: ${error.message}`);
    return false;
  }
}

/**
 * Compares the world with the records, and repairs: a blessing no event told of, a tick job that is paused while
 * something is active, and what is wrong with each endpoint.
 */
export async function reconcile(
  context: BlessingContext,
  observing: Observing,
  after: string | null = null,
): Promise<TickSummary> {
  const { ports } = context;
  const part: TickSummary = { active: 0, failed: 0 };
  if (after === null) await findLostBlessings(context);
  for await (const page of pagesOf(ports, 'reconcile', after)) {
    // One after the other: Vertex AI allows 600 such reads a minute, and nothing here is urgent.
    for (const stored of page)
      if (!(await guarded(stored.key, async () => repair(ports, parseStored(stored))))) part.failed += 1;
  }
  if (after !== null) return part;
  const summary = await tick(ports, observing);
  if (summary.active > 0 && (await ports.schedule.isPaused())) {
    log('WARNING', 'The tick job was paused while rollouts are active; resumed.');
    await ports.schedule.resume();
  }
  return { active: summary.active, failed: part.failed + summary.failed };
}

async function findLostBlessings(context: BlessingContext): Promise<void> {
  await guarded('lost blessings', async () => {
    const { policies } = await context.ports.policies.list();
    for (const policy of policies) await guarded(policy.name, () => findLostBlessing(context, policy));
  });
}

/** Pauses the tick job, then looks again: a blessing commits first and resumes after, so one of us sees the other. */
async function pauseUnlessActive(ports: Ports): Promise<void> {
  if (await ports.schedule.isPaused()) return;
  await ports.schedule.pause();
  if ((await ports.store.listActive({ after: null, limit: 1 })).length > 0) await ports.schedule.resume();
}

async function guarded(what: string, work: () => Promise<unknown>): Promise<boolean> {
  try {
    await work();
    return true;
  } catch (error) {
    // One that fails, even by a mistake of ours, must not stop the others.
    if (error instanceof TransientError) log('WARNING', `${what}: ${error.message}`, { code: error.code });
    else log('CRITICAL', `${what}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    return false;
  }
}
