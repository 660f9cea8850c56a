/** What is due? Looks at all active rollouts together, then decides and performs for each. */
import type { RecordEvent } from '../../machines/rollout/decide.ts';
import { answerSplit } from '../../machines/rollout/effects.ts';
import { type BlessingContext, findLostBlessing } from './blessings.ts';
import { mapLimited } from './concurrency.ts';
import { PermanentError, TransientError } from './errors.ts';
import { limits } from './limits.ts';
import { log } from './log.ts';
import { handle } from './loop.ts';
import { observe, type Observing } from './observe.ts';
import { observedModels } from './perform.ts';
import type { Ports, Stored } from './ports.ts';
import { sendAttention } from './publish.ts';
import { type Loaded, parseStored } from './records.ts';

export interface TickSummary {
  active: number;
  failed: number;
}

/** Advances every active rollout by what is due now. One that fails does not stop the others. */
export async function tick(ports: Ports, observing: Observing): Promise<TickSummary> {
  const records = parseAll(await ports.store.listActive());
  if (records.length === 0) {
    await pauseUnlessActive(ports);
    return { active: 0, failed: 0 };
  }
  const events = await observe(
    ports,
    records.flatMap(({ record }) => record.active ?? []),
    observing,
  );
  const seen = new Map(
    records.filter(({ record }) => record.active !== null).map(({ record }, i) => [record.endpoint, events[i] ?? []]),
  );
  const results = await mapLimited(records, limits.concurrencyMax, (loaded) => {
    const { record } = loaded;
    const all: RecordEvent[] = [...(seen.get(record.endpoint) ?? []), { type: 'clock.ticked', at: ports.now() }];
    return guarded(record.endpoint, () => handle(ports, record.endpoint, all, { base: loaded }));
  });
  return { active: records.length, failed: results.filter((isDone) => !isDone).length };
}

/**
 * Compares the world with the records, and repairs: a blessing no event told of, a tick job that is paused while
 * something is active, a split that somebody else changed, a deployment that nobody owns and that bills.
 */
export async function reconcile(context: BlessingContext, observing: Observing): Promise<TickSummary> {
  const { ports } = context;
  await guarded('lost blessings', async () => {
    const { policies } = await ports.policies.list();
    for (const policy of policies) await guarded(policy.name, () => findLostBlessing(context, policy));
  });
  for (const stored of await ports.store.listAll()) await guarded(stored.key, () => reconcileRecord(ports, stored));
  const summary = await tick(ports, observing);
  if (summary.active > 0 && (await ports.schedule.isPaused())) {
    log('WARNING', 'The tick job was paused while rollouts are active; resumed.');
    await ports.schedule.resume();
  }
  return summary;
}

async function reconcileRecord(ports: Ports, stored: Stored): Promise<void> {
  const { record } = parseStored(stored);
  const { active, endpoint } = record;
  const view = await ports.endpoints.read(endpoint);
  if (active !== null && active.context.effectAt !== null) {
    const models = view.deployedModels.map(({ id }) => ({ id, canServe: true }));
    const answer = answerSplit(active, { split: view.split, models });
    if (answer.kind === 'foreign') {
      const { generation } = active.context.traffic;
      const found = { found: answer.found, models: observedModels(view), generation };
      await handle(ports, endpoint, [{ type: 'traffic.foreign', at: ports.now(), ...found }]);
    }
  }
  for (const ended of record.history.filter(
    ({ state, rollout }) => state !== 'promoted' && rollout !== active?.context.id,
  )) {
    const orphan = view.deployedModels.find(({ displayName }) => displayName === ended.rollout);
    if (orphan === undefined || (view.split[orphan.id] ?? 0) > 0) continue;
    const text = `DeployedModel ${orphan.id} of rollout ${ended.rollout} (${ended.state}) was still deployed on ${endpoint}; it bills, and is removed.`;
    log('WARNING', text);
    await ports.endpoints.undeploy(endpoint, orphan.id);
    await sendAttention(ports.bus, { subject: ended.rollout, text, at: ports.now() });
  }
}

/** Pauses the tick job, then looks again: a blessing commits first and resumes after, so one of us sees the other. */
async function pauseUnlessActive(ports: Ports): Promise<void> {
  if (await ports.schedule.isPaused()) return;
  await ports.schedule.pause();
  if ((await ports.store.listActive()).length > 0) await ports.schedule.resume();
}

/** A record that cannot be read is reported, and does not stop the others. */
function parseAll(stored: Stored[]): Loaded[] {
  return stored.flatMap((one) => {
    try {
      return [parseStored(one)];
    } catch (error) {
      if (!(error instanceof PermanentError)) throw error;
      log('CRITICAL', error.message, { endpoint: one.key });
      return [];
    }
  });
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
