/** A person, an alert, the proxy or a client said something: which rollout does it mean, and what does it do to it? */
import { type Evidence, type EvidenceWindow, type Signals, UNATTRIBUTED } from '../../machines/analysis/evidence.ts';
import { blessingRefusal, type RecordEvent } from '../../machines/rollout/decide.ts';
import type { AnalysisPolicy } from '../../machines/policy/policy.ts';
import type { RolloutEvent } from '../../machines/rollout/events.ts';
import { isSameEndpoint } from '../../machines/rollout/resource-name.ts';
import { parseRollout, type StoredRollout } from '../../machines/rollout/snapshot.ts';
import { limits } from './limits.ts';
import { handle } from './loop.ts';
import type { CommandMessage, EvidenceMessage, IncidentMessage, Outcome } from './messages.ts';
import type { Ports } from './ports.ts';
import { loadRecord, parseStored } from './records.ts';
import { reportedChecks } from './reported.ts';

const operatorEvents = {
  pause: 'operator.paused',
  resume: 'operator.resumed',
  abort: 'operator.aborted',
  promote: 'operator.promoted',
  'promote-full': 'operator.promotedFully',
  approve: 'operator.approved',
} as const;

/** Carries out an operator's command, now and not at the next tick. `messageId` stands in for a missing command id. */
export async function command(ports: Ports, message: CommandMessage, messageId: string): Promise<Outcome> {
  const mark = `command ${message.commandId ?? messageId}`;
  // Asked first: what ended a rollout finds none when it is delivered again, and that is no mistake.
  if (await ports.store.isMarked(mark)) {
    // A retry may have failed after its commit, before this.
    if (message.command === 'retry') await ports.schedule.resume();
    return { kind: 'ignored', text: `${mark} was carried out before` };
  }
  const target = await targetOf(ports, message);
  if ('problem' in target) return { kind: 'rejected', text: target.problem };
  const by = message.by ?? 'operator';
  const reason = message.reason ?? 'no reason given';
  const name = message.command;
  if (name === 'retry') return retry(ports, target, by, mark);
  const { active } = (await loadRecord(ports, target.endpoint)).record;
  const asked = message.rollout ?? active?.context.id;
  if (active === null || active.context.id !== asked) {
    return {
      kind: 'rejected',
      text: `No rollout ${message.rollout ?? `on ${target.endpoint}`} is active; "${name}" has nothing to act on`,
    };
  }
  const event: RolloutEvent = { type: operatorEvents[name], at: ports.now(), by, reason };
  const applied = await handle(ports, target.endpoint, [event], { marks: [mark] });
  if (applied.kind === 'duplicate') return { kind: 'ignored', text: `${mark} was carried out before` };
  return { kind: 'done', text: `${name} of ${asked} by ${by}` };
}

/** An alert of Cloud Monitoring: rolls back or pauses what runs on its endpoint, as the policy says. Open ones only. */
export async function incident(ports: Ports, { incident: alert }: IncidentMessage): Promise<Outcome> {
  if (alert.state.toLowerCase() !== 'open')
    return { kind: 'ignored', text: `Incident ${alert.incident_id} is ${alert.state}` };
  const labels = alert.resource?.labels ?? {};
  const endpointId = labels['endpoint_id'];
  if (endpointId === undefined)
    return { kind: 'rejected', text: `Incident ${alert.incident_id} has no resource.labels.endpoint_id` };
  const told: string[] = [];
  for (const stored of await ports.store.listActive()) {
    // By key: a damaged record of another endpoint must not keep this alert from its own.
    const [location, id] = stored.key.split('~');
    if (id !== endpointId || (labels['location'] ?? location) !== location) continue;
    const { endpoint } = parseStored(stored).record;
    const summary = alert.summary ?? alert.policy_name ?? 'no summary';
    const event: RolloutEvent = { type: 'incident.opened', at: ports.now(), incident: alert.incident_id, summary };
    const applied = await handle(ports, endpoint, [event], { marks: [`incident ${alert.incident_id} ${stored.key}`] });
    told.push(`${endpoint}: ${applied.kind}`);
  }
  if (told.length === 0) return { kind: 'ignored', text: `No rollout is active on endpoint ${endpointId}` };
  return { kind: 'done', text: told.join('; ') };
}

/** What a proxy or a client counted. May lower the share within this call; never raises it. */
export async function evidence(ports: Ports, message: EvidenceMessage): Promise<Outcome> {
  const window = { fromAt: message.window.from, toAt: message.window.to };
  const at = ports.now();
  const problem = datingProblem(window, at);
  if (problem !== null) return { kind: 'rejected', text: problem };
  if (Object.keys(message.variants).every((id) => id === UNATTRIBUTED))
    return { kind: 'ignored', text: 'Nothing is attributed' };
  const { record } = await loadRecord(ports, message.endpoint);
  if (record.active === null) return { kind: 'ignored', text: `No rollout is active on ${message.endpoint}` };
  const { variants, notes } = askedFor(message.variants, record.active.context.policy.analysis);
  const event: RolloutEvent = {
    type: 'evidence.observed',
    at,
    evidence: { window, source: `proxy ${message.source}`, variants, ...(notes.length === 0 ? {} : { notes }) },
  };
  const applied = await handle(ports, record.endpoint, [event]);
  return {
    kind: applied.kind === 'applied' ? 'done' : 'ignored',
    text: [`Evidence of ${message.source}: ${applied.kind}`, ...notes].join('; '),
  };
}

/** Why a window cannot be from now, as this clock has it; null when it can. */
function datingProblem({ toAt }: EvidenceWindow, now: number): string | null {
  const { evidenceAgeMaxMs, evidenceAheadMaxMs } = limits;
  if (toAt >= now - evidenceAgeMaxMs && toAt <= now + evidenceAheadMaxMs) return null;
  const [hours, minutes] = [evidenceAgeMaxMs / 3_600_000, evidenceAheadMaxMs / 60_000];
  return (
    `window.to: ${new Date(toAt).toISOString()} is not from now, ${new Date(now).toISOString()}; evidence is at most ` +
    `${hours} h old and ${minutes} min ahead: set the clock of its source, or report sooner`
  );
}

/**
 * The counts, without the signals that the rollout's policy does not have reported: names that nobody reads would pile up in
 * the record, and of what is measured elsewhere a reporter has no say. The notes name what was left out.
 */
function askedFor(
  told: EvidenceMessage['variants'],
  policy: AnalysisPolicy,
): { variants: Evidence['variants']; notes: string[] } {
  const reported = reportedChecks(policy);
  const refused = new Set<string>();
  const variants: Evidence['variants'] = {};
  for (const [id, { predictions, signals, ...counts }] of Object.entries(told)) {
    const asked: Signals = {};
    for (const [name, signal] of Object.entries(signals ?? {})) {
      const kind = reported.get(name);
      if (kind !== undefined && kind in signal) asked[name] = signal;
      else refused.add(name);
    }
    variants[id] = {
      ...counts,
      ...(predictions === undefined ? {} : { predictions }),
      ...(Object.keys(asked).length === 0 ? {} : { signals: asked }),
    };
  }
  if (refused.size === 0) return { variants, notes: [] };
  const names = [...refused].slice(0, 10).join(', ');
  return { variants, notes: [`Not counted, for the policy has no such check that is reported: ${names}`] };
}

interface Target {
  endpoint: string;
  /** The archived rollout that was named, if one was. */
  named: StoredRollout | null;
}

async function targetOf(ports: Ports, { endpoint, rollout }: CommandMessage): Promise<Target | { problem: string }> {
  if (rollout === undefined) return { endpoint: endpoint ?? '', named: null };
  const archived = await ports.store.readRollout(rollout);
  const parsed = parseRollout(archived?.data);
  if (!parsed.success) return { problem: `There is no rollout ${rollout}; "rollouts list" shows those that are` };
  const { context } = parsed.data;
  if (endpoint !== undefined && !isSameEndpoint(endpoint, context.endpoint)) {
    return { problem: `Rollout ${rollout} is on ${context.endpoint}, not on ${endpoint}` };
  }
  return { endpoint: context.endpoint, named: parsed.data };
}

/** Begins a final rollout anew, under the policy as it is now. */
async function retry(ports: Ports, { endpoint, named }: Target, by: string, mark: string): Promise<Outcome> {
  const { record } = await loadRecord(ports, endpoint);
  const id = named?.context.id ?? record.history[0]?.rollout;
  if (id === undefined)
    return { kind: 'rejected', text: `No rollout has ended on ${endpoint}; there is nothing to retry` };
  if (record.active?.context.id === id)
    return { kind: 'rejected', text: `Rollout ${id} is active; only one that has ended can be retried` };
  const parsed = parseRollout((await ports.store.readRollout(id))?.data);
  if (!parsed.success) return { kind: 'rejected', text: `The archive of rollout ${id} cannot be read` };
  const { model, versionId, policy: before } = parsed.data.context;
  const policy = (await ports.policies.list()).policies.find((candidate) => candidate.name === before.name);
  if (policy === undefined) return { kind: 'rejected', text: `Policy ${before.name} does not exist any more` };
  const blessing = { eventId: mark, model, versionId, blessedAt: ports.now(), by };
  const refusal = blessingRefusal(record, blessing, true);
  if (refusal !== null) return { kind: 'rejected', text: refusal };
  const event: RecordEvent = { type: 'blessing.received', at: ports.now(), blessing, policy, isRetry: true };
  const applied = await handle(ports, endpoint, [event], { marks: [mark] });
  await ports.schedule.resume();
  return applied.kind === 'duplicate'
    ? { kind: 'ignored', text: `${mark} was carried out before` }
    : { kind: 'done', text: `retry of ${id} by ${by}` };
}
