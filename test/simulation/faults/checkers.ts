/**
 * Do the thirteen laws of the design hold, whatever happens? One checker per law, apart from the code they check: they see
 * what is written to the endpoints, what is committed to the store, and the true world, and not how a decision is made.
 */
import type { Commit, EndpointView, Split } from '../../../functions/engine/ports.ts';
import type { JournalData, JournalDraft } from '../../../machines/rollout/decide.ts';
import { placeOf } from '../../../machines/rollout/describe.ts';
import type { EndpointRecord } from '../../../machines/rollout/record.ts';
import type { StoredRollout } from '../../../machines/rollout/snapshot.ts';
import { beganAt, type Cloud, periodMs } from './cloud.ts';
import type { Instance, Write } from './instances.ts';

export type Law = 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 | 11 | 12 | 13 | 'freeze' | 'approval' | 'liveness' | 'bug';

export interface Checkers {
  wantsSplit(who: string, split: Split): void;
  wroteSplit(write: Write): void;
  ordered(instance: Instance, what: 'deploy' | 'undeploy' | 'resize', endpoint: string, id: string): void;
  committed(change: Commit): void;
  /** Somebody else changed an endpoint. */
  meddled(endpoint: string, split: Split): void;
  meddledWith(endpoint: string): boolean;
  /** A proxy reported what it counted. */
  reported(endpoint: string, variants: Record<string, { requests: number }>): void;
  /** Endpoints of which a model lost its replicas for a while. */
  ailing: Set<string>;
  /** Rollouts that were begun, with the record's last word on each. */
  rollouts: Map<string, Seen>;
  /** By endpoint, as committed last. */
  records: Map<string, EndpointRecord>;
}

export interface Seen {
  endpoint: string;
  canaryId: string;
  versionId: string;
  model: string;
  eventId: string;
  hasStable: boolean;
  /** The journal's events, in the order of their commits. */
  events: JournalData['event'][];
  place: string;
  isSettled: boolean;
  wasSuperfluous: boolean;
  wasMeddledWith: boolean;
  rollout: StoredRollout | null;
}

/** Clocks of instances are at most so far from the true one. */
export const skewMsMax = 5000;

export function checkers(cloud: Cloud, violate: (law: Law, text: string) => void): Checkers {
  const rollouts = new Map<string, Seen>();
  const records = new Map<string, EndpointRecord>();
  const said = new Set<string>();
  const begun = new Set<string>();
  /** What somebody else wrote and nobody has written over since. */
  const foreign = new Map<string, Split>();
  const everMeddled = new Set<string>();
  const meddledAt = new Map<string, number>();
  const ailing = new Set<string>();
  const reports = new Map<string, number>();
  const shareSince = new Map<string, number>();

  function must(law: Law, claim: boolean, text: () => string): void {
    if (!claim) violate(law, text());
  }

  function wantsSplit(who: string, split: Split): void {
    const shares = Object.values(split);
    const isWhole = shares.every((share) => Number.isInteger(share) && share >= 0);
    const sum = shares.reduce((a, b) => a + b, 0);
    must(1, isWhole && (sum === 100 || shares.length === 0), () => `${who} wants ${JSON.stringify(split)}`);
  }

  function wroteSplit({ instance, endpoint, before, after, basis, view }: Write): void {
    const who = `${instance} on ${endpoint.split('/').at(-1)}`;
    const shares = Object.values(after);
    const isEmptied = shares.length === 0 && Object.values(before).some((one) => one > 0);
    const known = recordOf(basis)?.active ?? null;
    const now = records.get(endpoint)?.active ?? null;
    const canaryId = (now ?? known)?.context.canaryId ?? '';
    const share = (split: Split): number => split[canaryId] ?? 0;
    const hadOthers = Object.keys(before).some((id) => id !== canaryId && (before[id] ?? 0) > 0);
    must(11, !(isEmptied && hadOthers), () => `${who} left nobody to serve: ${JSON.stringify(before)} became {}`);
    const isLowering = share(after) === 0 && share(before) > 0;
    const isOfActive = now !== null && (known?.context.id === now.context.id || isLowering);
    must(10, isOfActive || isSame(before, after), () => {
      return `${who} wrote ${JSON.stringify(after)} for ${known?.context.id ?? 'nobody'} while ${now?.context.id ?? 'nobody'} is active`;
    });
    if (known !== null && !isLowering) {
      const { context } = known;
      const step = context.policy.steps[context.stepIndex]?.percent ?? 0;
      const isFirst = Object.keys(context.stable ?? {}).length === 0;
      must(2, isFirst || share(after) <= step, () => `${who} gave the canary ${share(after)} % in a step of ${step} %`);
      must(4, context.ending === null || share(after) === 0, () => `${who} gave it ${share(after)} % on the way back`);
      const least = context.traffic.confirmed?.[canaryId] ?? 0;
      const isPaused = known.value.pause === 'paused' && context.foreign === null;
      must(5, !isPaused || share(after) <= least, () => `${who} raised a paused rollout to ${share(after)} %`);
    }
    for (const seen of rollouts.values()) {
      if (seen.endpoint !== endpoint || !seen.isSettled || isPromoted(seen) || everMeddled.has(endpoint)) continue;
      const [was, is] = [before[seen.canaryId] ?? 0, after[seen.canaryId] ?? 0];
      must(4, is <= was, () => `${who} gave ${is} % to ${seen.canaryId}, whose rollback had settled`);
    }
    const unproven = [...rollouts.values()].filter((seen) => {
      return seen.endpoint === endpoint && !isPromoted(seen) && (after[seen.canaryId] ?? 0) > 0;
    });
    must(
      9,
      unproven.length <= 1 || everMeddled.has(endpoint),
      () => `${unproven.length} canaries have traffic: ${JSON.stringify(after)}`,
    );
    checkForeign(who, endpoint, before, after, known, canaryId, isLowering);
    checkReady(`${who}, going ${known?.context.ending == null ? 'up' : 'back'},`, before, after, view);
    if (share(after) > share(before)) shareSince.set(`${endpoint}#${canaryId}`, cloud.now());
    foreign.delete(endpoint);
  }

  function checkForeign(
    who: string,
    endpoint: string,
    before: Split,
    after: Split,
    known: StoredRollout | null,
    canary: string,
    isLowering: boolean,
  ): void {
    const found = foreign.get(endpoint);
    // Since then it may have been undeployed, which changed the split again.
    if (found === undefined || !isSame(found, before) || known === null || isSame(found, after)) return;
    const { context } = known;
    const mine = [
      context.traffic.confirmed ?? context.stable ?? {},
      context.traffic.desired,
      ...context.traffic.attempted,
    ];
    // Going forward, what looks like our own split cannot be told from it.
    if (context.ending === null && !isLowering && mine.some((split) => isSame(split, found))) return;
    must(
      11,
      context.ending !== null || isLowering,
      () => `${who} wrote ${JSON.stringify(after)} over ${JSON.stringify(found)}, which is somebody else's`,
    );
    const rest = 100 - (found[canary] ?? 0);
    const ready = (id: string): boolean =>
      (cloud.view(endpoint).deployedModels.find((m) => m.id === id)?.availableReplicas ?? 0) > 0;
    const others = Object.entries(found).filter(([id, percent]) => id !== canary && percent > 0);
    if (rest === 0 || !others.every(([id]) => ready(id))) return;
    const isInProportion = others.every(([id, percent]) => Math.abs((after[id] ?? 0) - (percent * 100) / rest) <= 1);
    must(
      11,
      isInProportion,
      () => `${who} made ${JSON.stringify(after)} of ${JSON.stringify(found)}: not in proportion`,
    );
  }

  function checkReady(who: string, before: Split, after: Split, view: EndpointView | null): void {
    for (const [id, percent] of Object.entries(after)) {
      if (percent <= (before[id] ?? 0) || (before[id] ?? 0) > 0) continue;
      const replicas = view?.deployedModels.find((model) => model.id === id)?.availableReplicas ?? 0;
      must(12, replicas > 0, () => `${who} gave ${percent} % to ${id}, which has no ready replica`);
    }
  }

  function ordered(instance: Instance, what: 'deploy' | 'undeploy' | 'resize', endpoint: string, id: string): void {
    const { active = null, queued = null } = records.get(endpoint) ?? {};
    if (what === 'deploy') {
      const others = [...rollouts.values()].filter((seen) => {
        return seen.endpoint === endpoint && seen.canaryId !== id && !isPromoted(seen);
      });
      const serving = others.filter((seen) => (cloud.endpoint(endpoint).split[seen.canaryId] ?? 0) > 0);
      const isFree = serving.length === 0 || everMeddled.has(endpoint);
      must(9, isFree, () => `${instance.name} deployed ${id} while ${serving[0]?.canaryId} has traffic`);
      return;
    }
    if (what !== 'undeploy' || active === null || !active.context.stableModels.some((model) => model.id === id)) return;
    const { promotedAt, policy } = active.context;
    const keptUntil = promotedAt === null ? Number.POSITIVE_INFINITY : promotedAt + policy.keepStableSeconds * 1000;
    // A newer blessing ends the window: what it replaces is then the version that was just proven.
    const mayGo = (promotedAt !== null && queued !== null) || cloud.now() + skewMsMax >= keptUntil;
    must(12, mayGo, () => `${instance.name} undeployed stable ${id} before its rollback window was over`);
  }

  function committed({ key, data, journal }: Commit): void {
    const after = recordOf(data);
    if (after === null) return;
    const before = records.get(after.endpoint) ?? null;
    records.set(after.endpoint, after);
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- our own commits are the only writers of the journal
    const entries = journal as JournalDraft[];
    for (const entry of entries) noteEntry(entry, after.endpoint);
    const { active } = after;
    const was = before?.active ?? null;
    const ended =
      was !== null && was.context.id !== active?.context.id
        ? after.history.find((one) => one.rollout === was.context.id)
        : null;
    if (was !== null && was.context.id !== active?.context.id) {
      const seen = rollouts.get(was.context.id);
      must(
        13,
        ended !== undefined && ended !== null && ended.state === seen?.place,
        () => `${key}: ${was.context.id} ended as ${ended?.state}, its journal says ${seen?.place}`,
      );
      if (seen !== undefined) seen.isSettled = true;
      const left = cloud.endpoint(after.endpoint).split[was.context.canaryId] ?? 0;
      const isLeft =
        left > 0 && ended?.state !== 'promoted' && (meddledAt.get(after.endpoint) ?? 0) < (was.context.ending?.at ?? 0);
      must(11, !isLeft, () => `${key}: ${was.context.id} is over, and ${left} % of the traffic still go to its canary`);
    }
    if (active === null) return;
    const { context } = active;
    const seen = rollouts.get(context.id);
    must(
      13,
      seen !== undefined && seen.place === placeOf(active),
      () => `${key}: ${context.id} is in ${placeOf(active)}, its journal says ${seen?.place}`,
    );
    if (seen === undefined) return;
    seen.rollout = active;
    seen.canaryId = context.canaryId;
    seen.hasStable = Object.keys(context.stable ?? {}).length > 0;
    const previous = was?.context.id === context.id ? was : null;
    if (previous !== null) checkRise(key, previous, active, entries);
    checkVerdict(key, previous, active);
    checkCounted(key, active);
    checkSettled(key, active, entries, seen);
    for (const { data: entry, rollout } of entries) {
      if (entry.event.type !== 'operator.aborted' || rollout !== context.id) continue;
      const isTaken = context.ending !== null || context.retiringAt !== null;
      must(6, isTaken, () => `${key}: an abort was not taken in ${entry.from}`);
    }
  }

  function noteEntry({ rollout, sequence, data }: JournalDraft, endpoint: string): void {
    const { event, from, to, text } = data;
    if (event.type === 'rollout.started') {
      const { blessing } = event;
      const once = `${endpoint} ${blessing.eventId}`;
      must(7, !begun.has(once), () => `blessing ${blessing.eventId} began a second rollout on ${endpoint}`);
      begun.add(once);
      const { model, versionId, eventId } = blessing;
      rollouts.set(rollout, {
        endpoint,
        canaryId: '',
        versionId,
        model,
        eventId,
        hasStable: true,
        events: [],
        place: '',
        isSettled: false,
        wasSuperfluous: false,
        wasMeddledWith: false,
        rollout: null,
      });
    }
    const seen = rollouts.get(rollout);
    must(
      13,
      seen?.place === from,
      () =>
        `${rollout}: entry ${sequence} (${event.type}) begins in "${from}", the one before it ended in "${seen?.place}"`,
    );
    must(13, text !== '', () => `${rollout}: entry ${sequence} (${event.type}) says nothing`);
    if (seen === undefined) return;
    const once = onceKey(rollout, event);
    if (once !== null) {
      const isIgnored = from === to && text.startsWith('Ignored');
      must(7, isIgnored || !said.has(once), () => `${rollout}: ${once} acted twice`);
      if (!isIgnored) said.add(once);
    }
    seen.place = to;
    seen.events.push(event);
  }

  /** Law 2, 5 and what a policy asks for: a desired share rises for a reason. */
  function checkRise(key: string, was: StoredRollout, is: StoredRollout, entries: JournalDraft[]): void {
    const { context } = is;
    const { canaryId, policy } = context;
    const [from, to] = [was.context.traffic.desired[canaryId] ?? 0, context.traffic.desired[canaryId] ?? 0];
    if (to <= from) return;
    const byPerson = entries.some(
      ({ data }) => data.event.type === 'operator.promoted' || data.event.type === 'operator.promotedFully',
    );
    if (byPerson) return;
    const raised = entries.find(({ data }) => data.to.includes('moving') && !data.from.includes('moving'));
    const minute = ((raised?.at ?? cloud.now()) - beganAt) / 60_000;
    const frozen = policy.freeze.find((window) => minute >= window.fromMinuteOfWeek && minute < window.toMinuteOfWeek);
    must('freeze', frozen === undefined, () => `${key}: raised to ${to} % in ${frozen?.text}`);
    const isResumed = entries.some(({ data }) => data.event.type === 'operator.resumed');
    must(5, was.value.pause !== 'paused' || isResumed, () => `${key}: raised from ${from} % to ${to} % while paused`);
    if (was.context.stepIndex < 0 || isResumed) return;
    const approved = entries.some(({ data }) => data.event.type === 'operator.approved') || was.context.isApproved;
    const step = policy.steps[was.context.stepIndex];
    must('approval', step?.approval !== true || approved, () => `${key}: left a step that nobody approved`);
    const verdict = context.verdicts.monitoring;
    must(
      2,
      verdict?.kind === 'healthy',
      () => `${key}: raised from ${from} % to ${to} % on ${verdict?.kind ?? 'no verdict'}`,
    );
    const tookEffectAt = shareSince.get(`${context.endpoint}#${canaryId}`) ?? 0;
    const isAfter = verdict !== null && verdict.fromAt >= tookEffectAt - skewMsMax;
    must(
      2,
      isAfter || everMeddled.has(context.endpoint),
      () => `${key}: raised on evidence from before the step took effect`,
    );
    const isPast =
      verdict !== null && verdict.toAt <= cloud.now() + skewMsMax - policy.analysis.metricLagSeconds * 1000;
    must(2, isPast, () => `${key}: raised on evidence that could not be complete yet`);
  }

  /** Law 3: a healthy verdict rests on requests that the canary really answered, and answered well. */
  function checkVerdict(key: string, was: StoredRollout | null, { context }: StoredRollout): void {
    const verdict = context.verdicts.monitoring;
    const old = was?.context.verdicts.monitoring ?? null;
    if (verdict?.kind !== 'healthy' || (old?.at === verdict.at && old.toAt === verdict.toAt)) return;
    const { requests } = cloud.truth(context.endpoint, context.canaryId, verdict.fromAt, verdict.toAt);
    must(3, requests + 1 >= context.policy.analysis.minRequests, () => `${key}: healthy by ${requests} requests`);
    // An outage that is over is not held against it.
    const periods = 5;
    const fromAt = Math.max(verdict.fromAt, verdict.toAt - periods * periodMs);
    const lately = cloud.truth(context.endpoint, context.canaryId, fromAt, verdict.toAt);
    // Monitoring shows whole errors only, in each period.
    const isWell = lately.errors <= lately.requests / 2 + periods;
    // What Monitoring keeps back, nobody can judge.
    const isSeen = cloud.metricFaults.every((fault) => fault.toAt < fromAt || fault.fromAt > verdict.toAt);
    must(3, isWell || !isSeen, () => `${key}: healthy with ${lately.errors} errors in ${lately.requests} requests`);
  }

  /** Law 7: of what was seen, nothing is counted twice. */
  function checkCounted(key: string, { context }: StoredRollout): void {
    const { tally, endpoint, canaryId, startedAt } = context;
    const counted = tally.monitoring.rollout.canary.requests;
    const { requests } = cloud.truth(endpoint, canaryId, startedAt - skewMsMax, cloud.now());
    must(7, counted <= requests + 1, () => `${key}: ${counted} requests were counted, ${requests} were made`);
    const told = reports.get(`${endpoint}#${canaryId}`) ?? 0;
    const heard = tally.proxy.rollout.canary.requests;
    must(7, heard <= told, () => `${key}: ${heard} reported requests were counted, ${told} were reported`);
  }

  /** Law 4: the way back has settled only when the endpoint says so. */
  function checkSettled(key: string, { context }: StoredRollout, entries: JournalDraft[], seen: Seen): void {
    if (context.ending === null || !entries.some(({ data }) => data.event.type === 'traffic.applied')) return;
    seen.isSettled = true;
    const { split } = cloud.endpoint(context.endpoint);
    const isForeign = foreign.has(context.endpoint);
    must(
      4,
      isForeign || (split[context.canaryId] ?? 0) === 0,
      () => `${key}: settled, but the split is ${JSON.stringify(split)}`,
    );
    if (everMeddled.has(context.endpoint) || ailing.has(context.endpoint)) return;
    const models = cloud.view(context.endpoint).deployedModels;
    const isWhole = Object.keys(context.stable ?? {}).every(
      (id) => (models.find((one) => one.id === id)?.availableReplicas ?? 0) > 0,
    );
    must(
      4,
      !isWhole || isSame(split, context.stable ?? {}),
      () => `${key}: settled on ${JSON.stringify(split)}, stable was ${JSON.stringify(context.stable)}`,
    );
  }

  return {
    rollouts,
    records,
    wantsSplit,
    wroteSplit,
    ordered,
    committed,
    meddled: (endpoint, split) => {
      foreign.set(endpoint, split);
      everMeddled.add(endpoint);
      meddledAt.set(endpoint, cloud.now());
      for (const seen of rollouts.values())
        if (seen.endpoint === endpoint && !seen.isSettled) seen.wasMeddledWith = true;
    },
    ailing,
    reported: (endpoint, variants) => {
      for (const [id, { requests }] of Object.entries(variants))
        reports.set(`${endpoint}#${id}`, (reports.get(`${endpoint}#${id}`) ?? 0) + requests);
    },
    meddledWith: (endpoint) => everMeddled.has(endpoint),
  };
}

export function isPromoted({ place, rollout }: Seen): boolean {
  return (
    place === 'promoted' || (rollout !== null && rollout.context.promotedAt !== null && rollout.context.ending === null)
  );
}

function isSame(a: Split, b: Split): boolean {
  return [...Object.keys(a), ...Object.keys(b)].every((id) => (a[id] ?? 0) === (b[id] ?? 0));
}

/** What may act once: a person's command, an alert. Evidence is counted by checkCounted. */
function onceKey(rollout: string, event: JournalData['event']): string | null {
  if ('reason' in event && 'by' in event) return `${event.type} ${event.reason}`;
  if (event.type === 'incident.opened') return `${rollout} ${event.incident}`;
  return null;
}

function recordOf(data: unknown): EndpointRecord | null {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- our own commits are the only writers of the records
  return data === null || data === undefined ? null : (data as EndpointRecord);
}
