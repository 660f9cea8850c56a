/**
 * What if the store does not answer while the canary must lose its share? Then the share goes down first, and that is
 * recorded after. Nothing here raises the share of anything unproven, or ends a rollout: what the store said is thrown
 * on, so that the same is decided again until it is recorded.
 */
import { answerSplit, type ObservedSplit } from '../../machines/rollout/effects.ts';
import { stableOf } from '../../machines/rollout/moment.ts';
import { isSameModel } from '../../machines/rollout/resource-name.ts';
import { dutyOf, type StoredRollout } from '../../machines/rollout/snapshot.ts';
import { assertSplit, isEmptySplit, withoutCanary } from '../../machines/rollout/split.ts';
import { isPlatformError, PermanentError, TransientError } from './errors.ts';
import { limits } from './limits.ts';
import { log } from './log.ts';
import type { DeployedModelView, EndpointView, Ports, Split } from './ports.ts';

/** Takes a share away without the record; throws when it cannot, or must not. */
export type Lower = () => Promise<void>;

/**
 * Waits for the store, and answers and throws what it does. Should it fail, or be slower than a bad version can wait for,
 * lowers the share meanwhile: a call to Firestore that is down fails only at its deadline.
 */
export async function orLower<T>(asked: Promise<T>, lower: Lower | null): Promise<T> {
  if (lower === null) return asked;
  const late = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => late.resolve(true), limits.storePatienceMs);
  const mustLower = await Promise.race([asked.then(() => false, isPlatformError), late.promise]);
  clearTimeout(timer);
  if (mustLower) await tryTo(lower);
  return asked;
}

/** What a rollout that goes back is owed even before that is recorded; null for any other. */
export function goingBack(ports: Ports, rollout: StoredRollout | null): Lower | null {
  if (rollout === null || dutyOf(rollout) !== 'restore') return null;
  const { id, endpoint, canaryId } = rollout.context;
  return () =>
    takeShare(ports, endpoint, id, (view) => {
      // Without its share there is nothing to take, and the split may be that of a rollout that came after.
      if ((view.split[canaryId] ?? 0) === 0) return null;
      // Who had the traffic is being removed: the canary was proven meanwhile, and what was decided here is old.
      const isThere = (stableId: string) => view.deployedModels.some((model) => model.id === stableId);
      if (Object.entries(stableOf(rollout.context)).some(([stableId, percent]) => percent > 0 && !isThere(stableId)))
        return null;
      const answer = answerSplit(rollout, observedSplit(view));
      if (answer.kind === 'unready') throw new TransientError('failedPrecondition', answer.message);
      // The first deployment on an endpoint: nobody else would serve, and by now it may have been promoted.
      return answer.kind === 'write' && !isEmptySplit(answer.split) ? answer.split : null;
    });
}

/** Whom a person meant. Who finds out more of it while the store is asked adds to it. */
export interface Meant {
  endpoint: string | undefined;
  rollout: string | undefined;
}

/** Takes the share of the rollout that a person named, when there is no record to say more. Denies when in doubt. */
export function lowerNamed(ports: Ports, meant: Meant): Lower {
  return async () => {
    const { endpoint, rollout } = meant;
    if (endpoint === undefined) throw refused(`which endpoint rollout ${rollout} is on; ${nameBoth}`);
    await takeShare(ports, endpoint, rollout ?? endpoint, (view) => withoutNamed(view, rollout));
  };
}

export function observedSplit({ split, deployedModels }: EndpointView): ObservedSplit {
  return { split, models: deployedModels.map((model) => ({ id: model.id, canServe: canServe(model) })) };
}

/** Writes the split; null when the endpoint has changed since it was read. */
export async function writeUnlessStale(
  ports: Ports,
  endpoint: string,
  split: Split,
  etag: string,
): Promise<EndpointView | null> {
  try {
    return await ports.endpoints.writeSplit(endpoint, assertSplit(split), etag);
  } catch (error) {
    if (error instanceof TransientError && error.code === 'conflict') return null;
    throw error;
  }
}

const nameBoth = 'publish the abort again with both "rollout" and "endpoint"';

/**
 * The split without the named canary's share. The canary cannot be told from the split: stable was a canary once, and
 * carries the name of its rollout too. To take stable's share would give it to an unproven canary, so the others must be
 * older versions of the same model.
 */
function withoutNamed({ split, deployedModels }: EndpointView, rollout: string | undefined): Split | null {
  const serving = deployedModels.filter(({ id }) => (split[id] ?? 0) > 0);
  const named = serving.map(({ id, displayName }) => `${displayName} (${split[id]} %)`).join(', ');
  if (rollout === undefined) throw refused(`which model is the canary, of ${named || 'none'}; ${nameBoth}`);
  const canary = serving.find(({ displayName }) => displayName === rollout);
  if (canary === undefined) return null;
  const others = serving.filter(({ id }) => id !== canary.id);
  const doubtful = others.find((other) => !isOlder(other, canary));
  if (doubtful !== undefined) throw refused(`whether ${rollout} is the canary, or ${doubtful.displayName}`);
  const able = Object.entries(split).filter(([id]) => others.some((other) => other.id === id && canServe(other)));
  if (able.length === 0) throw refused(`what could take the traffic of ${rollout}: of ${named} nothing else can`);
  return withoutCanary(Object.fromEntries(able), canary.id);
}

function isOlder(other: DeployedModelView, canary: DeployedModelView): boolean {
  return isSameModel(other.model, canary.model) && Number(other.versionId) < Number(canary.versionId);
}

function canServe({ availableReplicas }: DeployedModelView): boolean {
  return availableReplicas === null || availableReplicas > 0;
}

/** Reads, and writes with the etag what is wanted of what was read; null is nothing. */
async function takeShare(
  ports: Ports,
  endpoint: string,
  what: string,
  wanted: (view: EndpointView) => Split | null,
): Promise<void> {
  for (let round = 0; round < limits.settleAttemptsMax; round += 1) {
    const view = await ports.endpoints.read(endpoint);
    const split = wanted(view);
    if (split === null) return;
    if ((await writeUnlessStale(ports, endpoint, split, view.etag)) === null) continue;
    const change = `${JSON.stringify(view.split)} → ${JSON.stringify(split)}`;
    log('WARNING', `${what} lost its share on ${endpoint} before the store could record it: ${change}`);
    return;
  }
  throw new TransientError('conflict', `${endpoint}: the split changed ${limits.settleAttemptsMax} times meanwhile`);
}

/** What the store said matters more to the caller, and leads to another try; this one is told to a person. */
async function tryTo(lowering: Lower): Promise<void> {
  try {
    await lowering();
  } catch (error) {
    if (!isPlatformError(error)) throw error;
    log('ERROR', `A canary that must lose its share may have it still: ${error.message}`, { code: error.code });
  }
}

function refused(unknown: string): PermanentError {
  return new PermanentError('failedPrecondition', `without the record it is not known ${unknown}`);
}
