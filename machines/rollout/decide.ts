/**
 * What becomes of an endpoint's record when something happens? Pure: the same record and event, the same decision.
 * Never reads the clock; every event brings its own moment.
 */
import { addCounts, type Evidence, noCounts } from '../analysis/evidence.ts';
import { sourceOf } from '../analysis/tally.ts';
import type { Policy } from '../policy/policy.ts';
import { announce, type Notification } from './announce.ts';
import type { Blessing } from './context.ts';
import { placeOf, stateOf } from './describe.ts';
import { effectsOf } from './effects.ts';
import type { RolloutEvent } from './events.ts';
import { machineLimits } from './limits.ts';
import { stableOf } from './moment.ts';
import type { EndpointRecord } from './record.ts';
import { isSameModel } from './resource-name.ts';
import { startRollout, stepRollout, type StoredRollout } from './snapshot.ts';

/** What can happen to a record: its rollout's events, and those that begin, queue and clean up. */
export type RecordEvent =
  | RolloutEvent
  /** `isRetry`: a person wants it although the version had its rollout. */
  | { type: 'blessing.received'; at: number; blessing: Blessing; policy: Policy; isRetry: boolean }
  | { type: 'notifications.sent'; at: number; ids: string[] };

export interface JournalDraft {
  rollout: string;
  at: number;
  sequence: number;
  data: JournalData;
}

/** Enough to explain the transition from the journal alone (law 13). */
export interface JournalData {
  event: RecordEvent | { type: 'rollout.started'; at: number; blessing: Blessing; policy: Policy };
  by: string | null;
  from: string;
  to: string;
  text: string;
  split: Record<string, number>;
  verdicts: StoredRollout['context']['verdicts'];
  effects: string[];
}

export interface Decision {
  record: EndpointRecord;
  journal: JournalDraft[];
  /** Rollouts that began or ended with this decision. */
  archive: StoredRollout[];
}

/** Applies one event. When nothing changed, `record` is the very same object and there is nothing to commit. */
export function decide(record: EndpointRecord, event: RecordEvent): Decision {
  switch (event.type) {
    case 'notifications.sent': {
      const outbox = record.outbox.filter(({ id }) => !event.ids.includes(id));
      return unchanged(outbox.length === record.outbox.length ? record : { ...record, outbox });
    }
    case 'blessing.received':
      return receive(record, event);
    default:
      return settle(stepActive(record, event), event.at);
  }
}

/** Why a blessing is not followed, as a sentence; null when it is. */
export function blessingRefusal(record: EndpointRecord, blessing: Blessing, isRetry: boolean): string | null {
  const { active, queued, history } = record;
  const version = `version ${blessing.versionId} of ${blessing.model}`;
  const isSame = (other: { model: string; versionId: string }): boolean =>
    isSameModel(other.model, blessing.model) && other.versionId === blessing.versionId;
  if (active !== null && isSame(active.context)) return `${version} is being rolled out already (${active.context.id})`;
  if (queued !== null && isSame(queued.blessing)) return `${version} waits for its rollout already`;
  const newest = Math.max(
    record.newestBlessedAt,
    active?.context.blessing.blessedAt ?? 0,
    queued?.blessing.blessedAt ?? 0,
  );
  if (blessing.blessedAt < newest) return `${version} was blessed before one that was rolled out since`;
  const had = isRetry ? undefined : history.find((ended) => isSame(ended) && blessing.blessedAt <= ended.endedAt);
  return had === undefined
    ? null
    : `${version} had its rollout (${had.rollout}, ${had.state}); retry it, or bless it anew`;
}

type Received = Extract<RecordEvent, { type: 'blessing.received' }>;

function receive(record: EndpointRecord, event: Received): Decision {
  const { blessing, policy, at, isRetry } = event;
  if (blessingRefusal(record, blessing, isRetry) !== null) return unchanged(record);
  const { active, queued } = record;
  if (active === null) return begin({ ...record, queued: null }, blessing, policy, at);
  let waiting: EndpointRecord = { ...record, queued: { blessing, policy, queuedAt: at } };
  if (queued !== null) {
    const reason = `Version ${blessing.versionId} was blessed while version ${queued.blessing.versionId} waited.`;
    waiting = tell(waiting, 'superseded', queued.blessing, queued.policy, reason, at);
  }
  const text = `Version ${blessing.versionId} waits for ${active.context.id} (${policy.onNewBlessing}).`;
  waiting = tell(waiting, 'queued', blessing, policy, text, at);
  const noted = journalled(waiting, active, active, event, text);
  return followedBy(
    noted,
    settle(stepActive(noted.record, { type: 'blessing.newer', at, versionId: blessing.versionId }), at),
  );
}

/** Lets the active rollout take the event. A tick also reminds it of a blessing that waits. */
function stepActive(record: EndpointRecord, event: RolloutEvent): Decision {
  if (record.active === null) return unchanged(record);
  const decision = takeEvent(record, record.active, event);
  const { active, queued } = decision.record;
  if (event.type !== 'clock.ticked' || active === null || queued === null) return decision;
  const reminder: RolloutEvent = { type: 'blessing.newer', at: event.at, versionId: queued.blessing.versionId };
  return followedBy(decision, takeEvent(decision.record, active, reminder));
}

function takeEvent(record: EndpointRecord, before: StoredRollout, event: RolloutEvent): Decision {
  const after = stepRollout(before, event);
  if (after === before) return isWorthTelling(event) ? journalled(record, before, before, event) : unchanged(record);
  return journalled(told({ ...record, active: after }, announce(before, after, event)), before, after, event);
}

/** Archives a rollout that ended, and begins the one that waits. */
function settle(decision: Decision, at: number): Decision {
  const { record } = decision;
  const ended = record.active;
  if (ended === null || ended.context.endedAt === null) {
    if (ended !== null || record.queued === null) return decision;
    const { blessing, policy } = record.queued;
    return followedBy(decision, begin({ ...record, queued: null }, blessing, policy, at));
  }
  const { id, model, versionId, endedAt } = ended.context;
  const entry = { rollout: id, model, versionId, state: stateOf(ended), endedAt };
  const history = [entry, ...record.history].slice(0, machineLimits.historyMax);
  const archived = { ...decision, record: { ...record, active: null, history }, archive: [...decision.archive, ended] };
  return settle(archived, at);
}

function begin(record: EndpointRecord, blessing: Blessing, policy: Policy, at: number): Decision {
  const id = `${policy.name}-${blessing.versionId}-${digest(`${record.endpoint} ${blessing.eventId}`).toString(36)}`;
  const canaryId = String(1_000_000_000 + (digest(`${id} canary`) % 9_000_000_000));
  const active = startRollout({ id, endpoint: record.endpoint, canaryId, blessing, policy, at });
  const newestBlessedAt = Math.max(record.newestBlessedAt, blessing.blessedAt);
  const begun = announce(null, active, { type: 'clock.ticked', at }).map((one) => ({ ...one, by: blessing.by }));
  const next = told({ ...record, active, newestBlessedAt }, begun);
  const decision = journalled(next, null, active, { type: 'rollout.started', at, blessing, policy });
  return { ...decision, archive: [active] };
}

function journalled(
  record: EndpointRecord,
  before: StoredRollout | null,
  after: StoredRollout,
  event: JournalData['event'],
  text: string | null = null,
): Decision {
  const { context } = after;
  const isIgnored = before === after;
  const data: JournalData = {
    event: event.type === 'past.observed' ? { ...event, windows: summedUp(event.windows) } : event,
    by: 'by' in event ? event.by : 'blessing' in event ? event.blessing.by : null,
    from: before === null ? '' : placeOf(before),
    to: placeOf(after),
    text:
      text ?? (isIgnored ? `Ignored: ${event.type} means nothing in ${placeOf(after)}.` : whatHappened(after, event)),
    split: context.traffic.confirmed ?? stableOf(context),
    verdicts: context.verdicts,
    effects: effectsOf(after, event.at).map((effect) => effect.type),
  };
  const entry = { rollout: context.id, at: event.at, sequence: record.sequence, data };
  return { record: { ...record, sequence: record.sequence + 1 }, journal: [entry], archive: [] };
}

/** The past is hours of minutes, of which the journal keeps the sum. */
function summedUp(windows: Evidence[]): Evidence[] {
  return windows.reduce<Evidence[]>(([sum], next) => [sum === undefined ? next : joined(sum, next)], []);
}

function joined(sum: Evidence, { window, variants }: Evidence): Evidence {
  const added = { ...sum.variants };
  for (const [id, counts] of Object.entries(variants)) added[id] = addCounts(added[id] ?? noCounts, counts);
  return { ...sum, window: { fromAt: sum.window.fromAt, toAt: window.toAt }, variants: added };
}

/** Why it is where it is; for evidence that moved nothing, what it says. */
function whatHappened({ context }: StoredRollout, event: JournalData['event']): string {
  if (event.type === 'past.observed')
    return `Stable's past is known from ${event.windows.length} windows; this is their sum.`;
  const reason = context.ending?.reason ?? context.reason;
  if (event.type !== 'evidence.observed') return reason;
  const verdict = context.verdicts[sourceOf(event.evidence)];
  if (verdict === null || verdict.kind === 'unhealthy') return reason;
  const texts = verdict.reasons.filter(({ kind }) => kind === verdict.kind).map(({ text }) => text);
  return [`${verdict.kind}:`, ...texts, ...(event.evidence.notes ?? [])].join(' ');
}

/** Looking and polling that changed nothing is not worth a write; what a person or an alert said always is. */
function isWorthTelling(event: RolloutEvent): boolean {
  return event.type.startsWith('operator.') || event.type === 'incident.opened';
}

function tell(
  record: EndpointRecord,
  what: 'queued' | 'superseded',
  blessing: Blessing,
  policy: Policy,
  reason: string,
  at: number,
): EndpointRecord {
  const notification: Notification = {
    what,
    rollout: `${policy.name}-${blessing.versionId}`,
    endpoint: record.endpoint,
    model: blessing.model,
    versionId: blessing.versionId,
    state: what,
    percent: 0,
    reason,
    by: blessing.by,
    verdict: null,
    at,
  };
  return told(record, [notification]);
}

/** Numbers what is to be told. It waits in the outbox, of which the oldest go beyond its bound. */
function told(record: EndpointRecord, notifications: Notification[]): EndpointRecord {
  const numbered = notifications.map((one, i) => ({ id: `${one.rollout}/${record.sequence + i}`, ...one }));
  return {
    ...record,
    sequence: record.sequence + numbered.length,
    outbox: [...record.outbox, ...numbered].slice(-machineLimits.outboxMax),
  };
}

function unchanged(record: EndpointRecord): Decision {
  return { record, journal: [], archive: [] };
}

function followedBy(first: Decision, second: Decision): Decision {
  return {
    record: second.record,
    journal: [...first.journal, ...second.journal],
    archive: [...first.archive, ...second.archive],
  };
}

/** FNV-1a over UTF-16 units, twice with different seeds: 53 bits, the same on every machine. For names, not for secrets. */
function digest(text: string): number {
  let high = 0x811c9dc5;
  let low = 0x9e3779b9;
  for (let i = 0; i < text.length; i += 1) {
    high = Math.imul(high ^ text.charCodeAt(i), 0x01000193);
    low = Math.imul(low ^ text.charCodeAt(i), 0x85ebca6b);
  }
  return (high >>> 0) * 0x200000 + ((low >>> 0) & 0x1fffff);
}
