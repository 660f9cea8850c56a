/** What did no event tell of? Every ten minutes the world is compared with the records. */
import type { TickSummary } from './advance.ts';
import { type BlessingContext, findLostBlessing } from './blessings.ts';
import { guarded } from './guarded.ts';
import { log } from './log.ts';
import type { Observing } from './observe.ts';
import { pagesOf } from './pages.ts';
import type { Ports } from './ports.ts';
import { parseStored } from './records.ts';
import { repair } from './repairs.ts';
import { tick } from './tick.ts';

/**
 * Compares the world with the records, and repairs: a blessing no event told of, a tick job that is paused while
 * something is active, and what is wrong with each endpoint. Puts the tick job to rest while nothing is.
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
  await pauseOrResume(ports, summary.active > 0);
  return { active: summary.active, failed: part.failed + summary.failed };
}

async function findLostBlessings(context: BlessingContext): Promise<void> {
  await guarded('lost blessings', async () => {
    const { policies } = await context.ports.policies.list();
    for (const policy of policies) await guarded(policy.name, () => findLostBlessing(context, policy));
  });
}

/** After a pause it looks again: a blessing commits first and resumes after, so one of us sees the other. */
async function pauseOrResume({ schedule, store }: Ports, isActive: boolean): Promise<void> {
  const isPaused = await schedule.isPaused();
  if (isActive === !isPaused) return;
  if (isActive) {
    log('WARNING', 'The tick job was paused while rollouts are active; resumed.');
    await schedule.resume();
    return;
  }
  await schedule.pause();
  if ((await store.listActive({ after: null, limit: 1 })).length > 0) await schedule.resume();
}
