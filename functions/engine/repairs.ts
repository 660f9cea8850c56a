/**
 * What is wrong with one endpoint that no event tells of? A split that somebody else changed, a deployment that nobody owns
 * and that bills, a rollout that waits for a person who forgot it.
 */
import { answerSplit } from '../../machines/rollout/effects.ts';
import type { StoredRollout } from '../../machines/rollout/snapshot.ts';
import { waitForPerson } from '../../machines/rollout/waiting.ts';
import { PermanentError } from './errors.ts';
import { limits } from './limits.ts';
import { log } from './log.ts';
import { handle } from './loop.ts';
import { observedModels } from './perform.ts';
import type { EndpointView, Ports } from './ports.ts';
import { sendAttention } from './publish.ts';
import type { Loaded } from './records.ts';

/** Compares one record with the world, and repairs or tells what differs. */
export async function repair(ports: Ports, loaded: Loaded): Promise<void> {
  const { active, endpoint } = loaded.record;
  if (active !== null) await remind(ports, active);
  const lately = ports.now() - limits.leftoversMs;
  const ended = loaded.record.history.filter(({ endedAt }) => endedAt >= lately);
  const mayBeForeign = active !== null && active.context.effectAt !== null;
  if (!mayBeForeign && ended.length === 0) return;
  const view = await readUnlessGone(ports, endpoint, active);
  if (view === null) return;
  if (mayBeForeign) await findForeign(ports, loaded, active, view);
  for (const { rollout, state, endedAt } of ended) {
    const left = leftBy(rollout, view, active);
    if (left === null) continue;
    if (state === 'promoted') await tellOfLeftover(ports, { rollout, endedAt, endpoint, left, active });
    else await removeOrphan(ports, { rollout, state, endpoint, left });
  }
}

/** Where the endpoint is gone and nothing is rolled out on it, nothing of ours is left there. */
async function readUnlessGone(
  ports: Ports,
  endpoint: string,
  active: StoredRollout | null,
): Promise<EndpointView | null> {
  try {
    return await ports.endpoints.read(endpoint);
  } catch (error) {
    if (active === null && error instanceof PermanentError && error.code === 'notFound') return null;
    throw error;
  }
}

async function findForeign(ports: Ports, base: Loaded, active: StoredRollout, view: EndpointView): Promise<void> {
  const models = view.deployedModels.map(({ id }) => ({ id, canServe: true }));
  const answer = answerSplit(active, { split: view.split, models });
  if (answer.kind !== 'foreign') return;
  const { generation } = active.context.traffic;
  const found = { found: answer.found, models: observedModels(view), generation };
  const event = { type: 'traffic.foreign' as const, at: ports.now(), ...found };
  await handle(ports, active.context.endpoint, [event], { base });
}

/** The DeployedModel that an ended rollout left without traffic; what a later rollout found serving is its stable. */
function leftBy(rollout: string, { deployedModels, split }: EndpointView, active: StoredRollout | null): string | null {
  const id = deployedModels.find(({ displayName }) => displayName === rollout)?.id;
  if (id === undefined || (split[id] ?? 0) > 0 || rollout === active?.context.id) return null;
  return active?.context.stableModels.some((stable) => stable.id === id) === true ? null : id;
}

async function removeOrphan(
  ports: Ports,
  { rollout, state, endpoint, left }: { rollout: string; state: string; endpoint: string; left: string },
): Promise<void> {
  const text = `DeployedModel ${left} of rollout ${rollout} (${state}) was still deployed on ${endpoint}; it bills, and is removed.`;
  log('WARNING', text);
  await ports.endpoints.undeploy(endpoint, left);
  await sendAttention(ports.bus, { subject: rollout, text, at: ports.now() });
}

interface Leftover {
  rollout: string;
  endedAt: number;
  endpoint: string;
  left: string;
  active: StoredRollout | null;
}

/** It served once, and whoever took its traffic may want to give it back: not ours to remove. */
async function tellOfLeftover(ports: Ports, { rollout, endedAt, endpoint, left, active }: Leftover): Promise<void> {
  if (active !== null) return;
  const text = `DeployedModel ${left} of rollout ${rollout} (promoted) has no traffic on ${endpoint}, and bills; undeploy it if nobody needs it.`;
  log('WARNING', text);
  if (isDaily(endedAt, ports.now())) await sendAttention(ports.bus, { subject: rollout, text, at: ports.now() });
}

async function remind(ports: Ports, active: StoredRollout): Promise<void> {
  const wait = waitForPerson(active);
  if (wait === null) return;
  const { id, endpoint } = active.context;
  const text = `Rollout ${id} on ${endpoint} needs a person: it ${wait.text}`;
  log('WARNING', text, { rollout: id });
  if (isDaily(wait.sinceAt, ports.now())) await sendAttention(ports.bus, { subject: id, text, at: ports.now() });
}

/** True of one reconcile a day, from a day after it began: who was told at once, and did nothing, is told again. */
function isDaily(sinceAt: number, now: number): boolean {
  const days = (at: number): number => Math.floor((at - sinceAt) / limits.remindMs);
  return days(now) > Math.max(0, days(now - limits.reconcileMs));
}
