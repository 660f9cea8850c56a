/**
 * load → decide → commit → perform → publish. Everything that happens to an endpoint goes through here.
 * Commit before performing: if we crash between the two, the state still owes the effect, and the next tick does it.
 * One order may come before its commit: to lower the canary's share, when the store does not answer (see lower.ts).
 */
import { faultsIn } from '../../machines/rollout/changed.ts';
import { decide, type Decision, type RecordEvent } from '../../machines/rollout/decide.ts';
import { effectsOf } from '../../machines/rollout/effects.ts';
import { type EndpointRecord, isActiveRecord, recordSchema } from '../../machines/rollout/record.ts';
import { endpointKey } from '../../machines/rollout/resource-name.ts';
import type { StoredRollout } from '../../machines/rollout/snapshot.ts';
import { isPlatformError, PermanentError, TransientError } from './errors.ts';
import { limits } from './limits.ts';
import { log } from './log.ts';
import { goingBack, type Lower, orLower } from './lower.ts';
import { perform } from './perform.ts';
import type { ArchivedRollout, Ports } from './ports.ts';
import { sendOutbox } from './publish.ts';
import { type Loaded, loadRecord } from './records.ts';

export type Applied =
  | { kind: 'applied'; loaded: Loaded }
  | { kind: 'unchanged'; loaded: Loaded }
  | { kind: 'duplicate' };

/**
 * Decides events on the newest record and commits the result once. Events that change nothing write nothing.
 * @param marks ids that may act once, ever: if one was used before, nothing happens and the answer is `duplicate`
 * @param base the record as last committed, when the caller has it; else it is loaded. The events are about its rollout:
 *   should another one be active by now, they change nothing, and no mark is used
 */
export async function applyEvents(
  ports: Ports,
  endpoint: string,
  events: RecordEvent[],
  { marks = [], base }: { marks?: string[]; base?: Loaded } = {},
): Promise<Applied> {
  let loaded: Loaded | null = base ?? null;
  let lower: Lower | null = null;
  for (let attempt = 0; attempt < limits.commitAttemptsMax; attempt += 1) {
    loaded ??= await orLower(loadRecord(ports, endpoint), lower);
    // What was seen, done or said of one rollout says nothing of the one that came after it.
    const isAbout = base === undefined || loaded.record.active?.context.id === base.record.active?.context.id;
    const about = isAbout ? events : events.filter(isAboutEndpoint);
    if (about.length === 0) return { kind: 'unchanged', loaded };
    const decision = decideAll(loaded.record, about);
    if (decision.record === loaded.record && marks.length === 0) return { kind: 'unchanged', loaded };
    lower = goingBack(ports, decision.record.active);
    const result = await orLower(commit(ports, endpoint, loaded, decision, marks), lower);
    if (result.kind === 'committed') {
      for (const { rollout, data } of decision.journal) {
        log('INFO', `${data.from} → ${data.to}: ${data.text}`, { rollout, event: data.event.type });
      }
      return { kind: 'applied', loaded: { record: decision.record, revision: result.revision } };
    }
    if (result.kind === 'duplicate') return { kind: 'duplicate' };
    loaded = null;
  }
  throw new TransientError(
    'conflict',
    `${endpoint}: ${limits.commitAttemptsMax} commits in a row met somebody else's; the next tick goes on.`,
  );
}

/** Does what the record owes, tells what happened, and goes on until nothing is due now. Bounded. */
export async function drive(ports: Ports, endpoint: string, start: Loaded): Promise<Loaded> {
  let loaded = start;
  for (let round = 0; round < limits.effectRoundsMax; round += 1) {
    const { active } = loaded.record;
    const [effect] = active === null ? [] : effectsOf(active, ports.now());
    if (active === null || effect === undefined) break;
    const event = await perform(ports, active, effect);
    const applied = event === null ? null : await applyEvents(ports, endpoint, [event], { base: loaded });
    // Nothing to say, or an answer to a question that is not asked any more: somebody else moved the record on.
    loaded = applied?.kind === 'applied' ? applied.loaded : await loadRecord(ports, endpoint);
  }
  return publishAll(ports, endpoint, loaded);
}

/** Applies events and drives what follows from them. */
export async function handle(
  ports: Ports,
  endpoint: string,
  events: RecordEvent[],
  given: { marks?: string[]; base?: Loaded } = {},
): Promise<Applied> {
  const applied = await applyEvents(ports, endpoint, events, given);
  if (applied.kind === 'duplicate') return applied;
  return { ...applied, loaded: await drive(ports, endpoint, applied.loaded) };
}

/** What was committed is told even if telling fails now: it stays in the outbox, and the next tick sends it. */
async function publishAll(ports: Ports, endpoint: string, loaded: Loaded): Promise<Loaded> {
  if (loaded.record.outbox.length === 0) return loaded;
  try {
    const ids = await sendOutbox(ports.bus, loaded.record.outbox);
    const applied = await applyEvents(ports, endpoint, [{ type: 'notifications.sent', at: ports.now(), ids }], {
      base: loaded,
    });
    // v8 ignore next -- nothing is a duplicate without a mark, which the type does not know
    return applied.kind === 'duplicate' ? loaded : applied.loaded;
  } catch (error) {
    if (!isPlatformError(error)) throw error;
    log('WARNING', `Notifications of ${endpoint} wait for the next tick: ${error.message}`, { code: error.code });
    return loaded;
  }
}

/** True of what concerns the endpoint, whichever rollout is active there. */
function isAboutEndpoint({ type }: RecordEvent): boolean {
  return type === 'blessing.received' || type === 'notifications.sent' || type === 'clock.ticked';
}

function decideAll(record: EndpointRecord, events: RecordEvent[]): Decision {
  let decision: Decision = { record, journal: [], archive: [] };
  for (const event of events) {
    const next = decide(decision.record, event);
    decision = {
      record: next.record,
      journal: [...decision.journal, ...next.journal],
      archive: [...decision.archive, ...next.archive],
    };
  }
  return decision;
}

function commit(
  ports: Ports,
  endpoint: string,
  { record: before, revision: expected }: Loaded,
  { record, journal, archive }: Decision,
  marks: string[],
) {
  const key = endpointKey(endpoint);
  const faults = faultsIn(recordSchema, record, before);
  if (faults.length > 0) {
    throw new PermanentError(
      'internal',
      `${endpoint}: what was decided is no valid record (${faults.join(', ')}); nothing was committed.`,
    );
  }
  const latest = new Map(archive.map((rollout) => [rollout.context.id, archived(key, rollout)]));
  return ports.store.commit({
    key,
    expected,
    data: record,
    isActive: isActiveRecord(record),
    journal,
    marks,
    archive: [...latest.values()],
  });
}

function archived(key: string, rollout: StoredRollout): ArchivedRollout {
  return {
    id: rollout.context.id,
    key,
    startedAt: rollout.context.startedAt,
    endedAt: rollout.context.endedAt,
    data: rollout,
  };
}
