/** A person, an alert, the proxy or a client said something: which rollout does it mean, and what does it do to it? */
import { type Evidence, type EvidenceWindow, type Signals, UNATTRIBUTED } from '../../machines/analysis/evidence.ts';
import { blessingRefusal, type RecordEvent } from '../../machines/rollout/decide.ts';
import type { AnalysisPolicy } from '../../machines/policy/policy.ts';
import type { RolloutEvent } from '../../machines/rollout/events.ts';
import { endpointKey, isSameEndpoint, parseEndpointName } from '../../machines/rollout/resource-name.ts';
import { parseRollout, type StoredRollout } from '../../machines/rollout/snapshot.ts';
import { limits } from './limits.ts';
import { handle } from './loop.ts';
import { lowerNamed, type Meant, orLower } from './lower.ts';
import type { CommandMessage, EvidenceMessage, IncidentMessage, Outcome } from './messages.ts';
import type { Ports, Stored, StorePort } from './ports.ts';
import { type Loaded, loadRecord, paged, parseStored, readable } from './records.ts';
import { reportedChecks } from './reported.ts';

const operatorEvents = {
  pause: 'operator.paused',
  resume: 'operator.resumed',
  abort: 'operator.aborted',
  promote: 'operator.promoted',
  'promote-full': 'operator.promotedFully',
  approve: 'operator.approved',
} as const;

/**
 * Carries out an operator's command, now and not at the next tick. `messageId` stands in for a missing command id. An abort
 * whose record cannot be read takes the named canary's share away, and throws what the store said: to be delivered again.
 */
export async function command(ports: Ports, message: CommandMessage, messageId: string): Promise<Outcome> {
  const mark = `command ${message.commandId ?? messageId}`;
  const outcome = await carryOut(ports, message, mark);
  // A copy may have acted meanwhile, and ended what this one looked for.
  if (outcome.kind !== 'rejected' || !(await ports.store.isMarked(mark))) return outcome;
  return carriedOut(mark);
}

async function carryOut(ports: Ports, message: CommandMessage, mark: string): Promise<Outcome> {
  const { command: name, endpoint, rollout } = message;
  const meant: Meant = { endpoint, rollout };
  const found = await orLower(findTarget(ports, name, meant, mark), name === 'abort' ? lowerNamed(ports, meant) : null);
  if ('kind' in found) return found;
  const by = message.by ?? 'operator';
  const reason = message.reason ?? 'no reason given';
  if (name === 'retry') return retry(ports, found, by, mark);
  const { active } = found.loaded.record;
  const asked = rollout ?? active?.context.id;
  if (active === null || active.context.id !== asked) return nothingToActOn(name, meant);
  const event: RolloutEvent = { type: operatorEvents[name], at: ports.now(), by, reason };
  const applied = await handle(ports, found.endpoint, [event], { marks: [mark], base: found.loaded });
  if (applied.kind === 'duplicate') return carriedOut(mark);
  // It ended in this very moment, and what came after it was not meant.
  if (applied.kind === 'unchanged') return nothingToActOn(name, meant);
  return { kind: 'done', text: `${name} of ${asked} by ${by}` };
}

/** An alert of Cloud Monitoring: rolls back or pauses what runs on its endpoint, as the policy says. Open ones only. */
export async function incident(ports: Ports, { incident: alert }: IncidentMessage): Promise<Outcome> {
  const { incident_id: id } = alert;
  if (alert.state.toLowerCase() !== 'open') return { kind: 'ignored', text: `Incident ${id} is ${alert.state}` };
  const { endpoint_id: endpointId, location } = alert.resource?.labels ?? {};
  if (endpointId === undefined) return { kind: 'rejected', text: `Incident ${id} has no resource.labels.endpoint_id` };
  const told: string[] = [];
  const meant = await endpointsCalled(ports.store, endpointId, location);
  for (const loaded of readable(meant)) {
    const { endpoint, active } = loaded.record;
    if (active === null) continue;
    const summary = alert.summary ?? alert.policy_name ?? 'no summary';
    const event: RolloutEvent = { type: 'incident.opened', at: ports.now(), incident: id, summary };
    const marks = [`incident ${id} ${endpointKey(endpoint)}`];
    const applied = await handle(ports, endpoint, [event], { marks, base: loaded });
    told.push(`${endpoint}: ${applied.kind}`);
  }
  // Where nothing could be told because a record is damaged, the alert is kept with that as its reason.
  if (told.length === 0) meant.forEach(parseStored);
  if (told.length === 0) return { kind: 'ignored', text: `No rollout is active on endpoint ${endpointId}` };
  return { kind: 'done', text: told.join('; ') };
}

/** By key: of other endpoints, damaged ones too, nothing is read where the alert says where its own is. */
async function endpointsCalled(store: StorePort, id: string, location: string | undefined): Promise<Stored[]> {
  const found: Stored[] = [];
  if (location === undefined) {
    const active = paged((page) => store.listActive(page));
    for await (const stored of active) if (stored.key.split('~')[1] === id) found.push(stored);
  } else if (parseEndpointName(`projects/-/locations/${location}/endpoints/${id}`) !== null) {
    const stored = await store.load(`${location}~${id}`);
    if (stored !== null) found.push(stored);
  }
  return found;
}

/** What a proxy or a client counted. May lower the share within this call; never raises it. */
export async function evidence(ports: Ports, message: EvidenceMessage): Promise<Outcome> {
  const window = { fromAt: message.window.from, toAt: message.window.to };
  const at = ports.now();
  const problem = datingProblem(window, at);
  if (problem !== null) return { kind: 'rejected', text: problem };
  if (Object.keys(message.variants).every((id) => id === UNATTRIBUTED))
    return { kind: 'ignored', text: 'Nothing is attributed' };
  const loaded = await loadRecord(ports, message.endpoint);
  const { record } = loaded;
  if (record.active === null) return { kind: 'ignored', text: `No rollout is active on ${message.endpoint}` };
  const { variants, notes } = askedFor(message.variants, record.active.context.policy.analysis);
  const event: RolloutEvent = {
    type: 'evidence.observed',
    at,
    evidence: { window, source: `proxy ${message.source}`, variants, ...(notes.length === 0 ? {} : { notes }) },
  };
  const applied = await handle(ports, record.endpoint, [event], { base: loaded });
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
  loaded: Loaded;
}

/**
 * All that the store must be asked before a command can act; an outcome where it has nothing to act on. Adds the endpoint to
 * what is `meant` as soon as it is known.
 */
async function findTarget(
  ports: Ports,
  name: CommandMessage['command'],
  meant: Meant,
  mark: string,
): Promise<Target | Outcome> {
  // Asked first: what ended a rollout finds none when it is delivered again, and that is no mistake.
  if (await ports.store.isMarked(mark)) {
    // A retry may have failed after its commit, before this.
    if (name === 'retry') await ports.schedule.resume();
    return carriedOut(mark);
  }
  const { rollout, endpoint = '' } = meant;
  if (rollout === undefined) return { endpoint, named: null, loaded: await loadRecord(ports, endpoint) };
  const parsed = parseRollout((await ports.store.readRollout(rollout))?.data);
  if (!parsed.success) {
    return { kind: 'rejected', text: `There is no rollout ${rollout}; "rollouts list" shows those that are` };
  }
  const { context } = parsed.data;
  if (endpoint !== '' && !isSameEndpoint(endpoint, context.endpoint)) {
    return { kind: 'rejected', text: `Rollout ${rollout} is on ${context.endpoint}, not on ${endpoint}` };
  }
  if (context.endedAt !== null && name !== 'retry') return nothingToActOn(name, meant);
  meant.endpoint = context.endpoint;
  return { endpoint: context.endpoint, named: parsed.data, loaded: await loadRecord(ports, context.endpoint) };
}

function carriedOut(mark: string): Outcome {
  return { kind: 'ignored', text: `${mark} was carried out before` };
}

function nothingToActOn(name: string, { endpoint, rollout }: Meant): Outcome {
  return {
    kind: 'rejected',
    text: `No rollout ${rollout ?? `on ${endpoint}`} is active; "${name}" has nothing to act on`,
  };
}

/** Begins a final rollout anew, under the policy as it is now. */
async function retry(ports: Ports, { endpoint, named, loaded }: Target, by: string, mark: string): Promise<Outcome> {
  const { record } = loaded;
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
  const applied = await handle(ports, endpoint, [event], { marks: [mark], base: loaded });
  await ports.schedule.resume();
  return applied.kind === 'duplicate' ? carriedOut(mark) : { kind: 'done', text: `retry of ${id} by ${by}` };
}
