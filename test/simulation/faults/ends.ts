/** Did everything end rightly? What must be true of the world and the records once nothing is under way any more. */
import { type Checkers, type Law, type Seen, skewMsMax } from './checkers.ts';
import type { Cloud, Site } from './cloud.ts';
import type { Plan } from './plan.ts';
import type { Letter } from './post.ts';

export interface Ended {
  cloud: Cloud;
  seen: Checkers;
  sites: Site[];
  bad: Plan['bad'];
  blessed: Letter[];
  commanded: Letter[];
  /** A person was told of something that was left behind. */
  hasAttention: boolean;
}

type Violate = (law: Law, text: string) => void;

export function checkEnds(ended: Ended, violate: Violate): void {
  for (const site of ended.sites) checkSite(site, ended, violate);
  for (const [id, rollout] of ended.seen.rollouts) {
    checkCause(id, rollout, ended, violate);
  }
  checkNothingLost(ended, violate);
}

function checkSite({ endpoint, layout }: Site, { cloud, seen, hasAttention }: Ended, violate: Violate): void {
  const { split, deployedModels } = cloud.endpoint(endpoint);
  const name = endpoint.split('/').at(-1);
  const history = seen.records.get(endpoint)?.history ?? [];
  const promoted = history.find(({ state }) => state === 'promoted');
  const shares = Object.values(split).filter((percent) => percent > 0);
  const sum = shares.reduce((a, b) => a + b, 0);
  if (sum !== 100 && !(sum === 0 && layout === 'none')) violate(1, `${name} ends with ${JSON.stringify(split)}`);
  for (const rollout of seen.rollouts.values()) {
    const isLost = rollout.endpoint === endpoint && rollout.place !== 'promoted' && (split[rollout.canaryId] ?? 0) > 0;
    if (isLost && !seen.meddledWith(endpoint))
      violate(4, `${name} ends with ${split[rollout.canaryId]} % on ${rollout.canaryId}, which is ${rollout.place}`);
  }
  // A model that had no replica when the traffic came back got none of it.
  if (seen.meddledWith(endpoint) || seen.ailing.has(endpoint)) return;
  const serving = deployedModels.filter(({ id }) => (split[id] ?? 0) > 0).map(({ versionId }) => versionId);
  if (promoted !== undefined && serving.join() !== promoted.versionId)
    violate(4, `${name} serves ${serving.join()}, though ${promoted.versionId} was promoted last`);
  if (promoted === undefined && layout === 'one' && split['1'] !== 100)
    violate(4, `${name} ends with ${JSON.stringify(split)}, though nothing was promoted`);
  if (promoted === undefined && layout === 'two' && (split['1'] !== 60 || split['2'] !== 40))
    violate(4, `${name} ends with ${JSON.stringify(split)}, though nothing was promoted`);
  const idle = deployedModels.find(({ id }) => (split[id] ?? 0) === 0);
  if (idle !== undefined && !hasAttention)
    violate(
      'liveness',
      `${name}: ${idle.id} (${idle.displayName}, ${idle.phase}) serves nothing, bills, and nobody was told`,
    );
}

/** Each end has a cause that the world and the journal know. */
function checkCause(id: string, rollout: Seen, { bad, seen }: Ended, violate: Violate): void {
  const has = (...types: string[]): boolean => rollout.events.some(({ type }) => types.includes(type));
  const isBad = bad.some(({ model, versionId }) => model === rollout.model && versionId === rollout.versionId);
  const isBadThroughout = bad.some(
    ({ model, versionId, fromAt }) => model === rollout.model && versionId === rollout.versionId && fromAt === 0,
  );
  const byPerson = has('operator.promoted', 'operator.promotedFully');
  // As bad as what it replaces is as good.
  const isStableBad = rollout.rollout?.context.stableModels.some((stable) =>
    bad.some(({ model, versionId }) => model === stable.model && versionId === stable.versionId),
  );
  const ending = rollout.rollout?.context.ending ?? null;
  switch (rollout.place) {
    case 'promoted': {
      const wasProven = rollout.events.some(({ type }) => type === 'evidence.observed');
      if (isBadThroughout && rollout.hasStable && !byPerson && wasProven && isStableBad !== true)
        violate(2, `${id} was promoted, though it answers most requests with errors`);
      return;
    }
    case 'rolledBack': {
      const isByEvidence = ending?.verdict?.kind === 'unhealthy';
      if (isByEvidence && !isBad && !seen.meddledWith(rollout.endpoint) && !seen.ailing.has(rollout.endpoint))
        violate(3, `${id} was rolled back on evidence, though it is good: ${ending?.reason}`);
      return;
    }
    case 'aborted':
      if (!has('operator.aborted')) violate(13, `${id} was aborted by nobody`);
      return;
    case 'superseded':
      if (!has('blessing.newer', 'blessing.received')) violate(13, `${id} was superseded by nothing`);
      return;
    case 'failed':
      return;
    default:
      violate('liveness', `${id} ends in ${rollout.place}`);
  }
}

/** Law 8: what was acknowledged as done was done. */
function checkNothingLost({ blessed, commanded, seen, sites }: Ended, violate: Violate): void {
  const said = new Set<string>();
  const begun: { endpoint: string; versionId: string; blessedAt: number }[] = [];
  for (const { events, endpoint } of seen.rollouts.values()) {
    for (const event of events) {
      if ('reason' in event) said.add(event.reason);
      if (event.type === 'rollout.started') begun.push({ endpoint, ...event.blessing });
    }
  }
  for (const { body, outcome } of commanded) {
    const isDone = outcome?.kind === 'done' && body['command'] !== 'retry';
    if (isDone && !said.has(String(body['reason'])))
      violate(8, `${String(body['reason'])} was done, and no journal knows it`);
  }
  for (const { body, outcome, isDone: isAcknowledged } of blessed) {
    if (!isAcknowledged) violate(8, `${String(body['eventId'])} was never acknowledged`);
    for (const { endpoint } of sites) {
      const isAccepted =
        outcome?.kind === 'done' && outcome.text.includes(`policy-${endpoint.split('/').at(-1)}: accepted`);
      const versionId = String(body['versionId']);
      const blessedAt = Date.parse(String(body['blessedAt']));
      // It began; or another message asked for the same version, or a newer one took its place.
      const isDone = begun.some(
        (one) => one.endpoint === endpoint && (one.versionId === versionId || one.blessedAt >= blessedAt - skewMsMax),
      );
      if (isAccepted && !isDone)
        violate(8, `${String(body['eventId'])} was accepted on ${endpoint}, and neither it nor a newer one began`);
    }
  }
  for (const { endpoint } of sites) checkNewest(endpoint, seen, violate);
}

/** Law 9: rollouts of one endpoint begin in the order in which their versions were blessed. */
function checkNewest(endpoint: string, seen: Checkers, violate: Violate): void {
  let newestAt = 0;
  for (const [id, rollout] of seen.rollouts) {
    if (rollout.endpoint !== endpoint) continue;
    const [first] = rollout.events;
    const blessedAt = first !== undefined && 'blessing' in first ? first.blessing.blessedAt : 0;
    if (blessedAt < newestAt) violate(9, `${id} began after a rollout of a version that was blessed later`);
    newestAt = Math.max(newestAt, blessedAt);
  }
}
