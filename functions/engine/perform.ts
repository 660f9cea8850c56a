/**
 * How is an order carried out? Each effect becomes calls on ports, and each result, good or bad, an event.
 * Nothing here decides what comes next.
 */
import { answerSplit, type Effect } from '../../machines/rollout/effects.ts';
import type { ObservedModel, RolloutEvent } from '../../machines/rollout/events.ts';
import { isSameModel } from '../../machines/rollout/resource-name.ts';
import { dutyOf, type StoredRollout } from '../../machines/rollout/snapshot.ts';
import { isSameSplit } from '../../machines/rollout/split.ts';
import { type ErrorCode, isPlatformError, PermanentError, TransientError } from './errors.ts';
import { limits } from './limits.ts';
import { goingBack, observedSplit, orLower, writeUnlessStale } from './lower.ts';
import type { EndpointView, Ports } from './ports.ts';
import { loadRecord } from './records.ts';

/** Performs one effect and returns what came of it; null when the record moved on and there is nothing to say. */
export async function perform(ports: Ports, rollout: StoredRollout, effect: Effect): Promise<RolloutEvent | null> {
  const { endpoint } = rollout.context;
  switch (effect.type) {
    case 'model.deploy':
      return attempt(ports, 'deploy.refused', () => deploy(ports, rollout));
    case 'traffic.apply':
      return attempt(ports, 'traffic.refused', () => settleTraffic(ports, rollout));
    case 'operation.cancel':
      return attempt(ports, 'removal.refused', async () => {
        await unlessGone(ports.endpoints.cancelOperation(effect.operation));
        return { type: 'operation.cancelled', at: ports.now(), operation: effect.operation };
      });
    case 'model.remove': {
      const { deployedModelId } = effect;
      return attempt(ports, 'removal.refused', () => remove(ports, endpoint, deployedModelId));
    }
    case 'replicas.resize': {
      const { deployedModelId, minReplicas } = effect;
      return attempt(ports, 'resize.refused', async () => {
        const { operation } = await ports.endpoints.resize(endpoint, deployedModelId, minReplicas);
        return { type: 'resize.started', at: ports.now(), deployedModelId, operation };
      });
    }
  }
}

export function observedModels(view: EndpointView): ObservedModel[] {
  return view.deployedModels.map(({ id, model, versionId, minReplicas, availableReplicas }) => ({
    id,
    model,
    versionId,
    minReplicas,
    availableReplicas,
  }));
}

/** Looks before ordering: if the reply to an earlier order was lost, the model may be there already. */
async function deploy(ports: Ports, { context }: StoredRollout): Promise<RolloutEvent> {
  const { endpoint, canaryId, model, versionId, policy } = context;
  const view = await ports.endpoints.read(endpoint);
  const found = view.deployedModels.find(({ id }) => id === canaryId);
  if (found !== undefined && isSameModel(found.model, model) && found.versionId === versionId) {
    return { type: 'deploy.found', at: ports.now() };
  }
  try {
    const order = { deployedModelId: canaryId, model, versionId, displayName: context.id, deploy: policy.deploy };
    const { operation } = await ports.endpoints.deploy(endpoint, order);
    return { type: 'deploy.started', at: ports.now(), operation };
  } catch (error) {
    if (!(error instanceof PermanentError && error.code === 'alreadyExists')) throw error;
    // The id is ours, so the order is ours too: an earlier one, or that of another instance at this very moment, of which
    // our record may know nothing yet.
    throw new TransientError('alreadyExists', `${error.message}: ordered already, waiting for it to appear`, {
      cause: error,
    });
  }
}

/** Vertex removes nothing that has traffic. Whether that is why it refused is for the endpoint to say, and not for a code. */
async function remove(ports: Ports, endpoint: string, deployedModelId: string): Promise<RolloutEvent> {
  try {
    const started = await unlessGone(ports.endpoints.undeploy(endpoint, deployedModelId));
    if (started === null) return { type: 'removal.found', at: ports.now(), deployedModelId };
    return { type: 'removal.started', at: ports.now(), deployedModelId, operation: started.operation };
  } catch (error) {
    if (!(error instanceof PermanentError)) throw error;
    const { split } = await ports.endpoints.read(endpoint);
    if ((split[deployedModelId] ?? 0) === 0) throw error;
    return { type: 'removal.serving', at: ports.now(), deployedModelId, found: split };
  }
}

/**
 * Makes the split what the record wants: read → load what is desired → write with the etag → settle only if it is still
 * desired. The last step is the record's: `traffic.applied` names the generation that was written, and a record that has
 * moved on does not take it, so the caller finds the new desire still owed. Any other order loses against an abort, a
 * crash or a second instance. The write goes out even if the split looks right: it makes a slower writer's etag stale.
 */
async function settleTraffic(ports: Ports, started: StoredRollout): Promise<RolloutEvent | null> {
  const { endpoint, ending } = started.context;
  const againUntil = ports.now() + limits.callDeadlineMs;
  for (let round = 1; round <= limits.settleAttemptsMax; round += 1) {
    try {
      const settled = await settleOnce(ports, started);
      if (settled !== 'again') return settled;
    } catch (error) {
      // The way up can wait for the next tick. The way back is not left to it for one lost reply.
      const isWorthAnother = ending !== null && round < limits.settleAttemptsMax && ports.now() < againUntil;
      if (!(isWorthAnother && error instanceof TransientError && lostReplies.has(error.code))) throw error;
    }
  }
  throw new TransientError(
    'conflict',
    `the split of ${endpoint} changed ${limits.settleAttemptsMax} times while it was being written`,
  );
}

const lostReplies: ReadonlySet<ErrorCode> = new Set(['unavailable', 'deadlineExceeded', 'internal', 'cancelled']);

async function settleOnce(ports: Ports, started: StoredRollout): Promise<RolloutEvent | null | 'again'> {
  const { endpoint, id } = started.context;
  const view = await ports.endpoints.read(endpoint);
  const wanted = (await orLower(loadRecord(ports, endpoint), goingBack(ports, started))).record.active;
  if (wanted?.context.id !== id) return null;
  const { generation } = wanted.context.traffic;
  // Generations only rise. A record from before the one that owed this is a stale read, and its desire is long past.
  if (generation < started.context.traffic.generation) return 'again';
  // Another instance has settled it, perhaps in proportions that somebody else had made, or has seen that somebody else
  // changed it: nothing is owed any more.
  const duty = dutyOf(wanted);
  if (duty !== 'restore' && !(duty === 'shift' && wanted.context.foreign === null)) return null;
  const answer = answerSplit(wanted, observedSplit(view));
  if (answer.kind === 'unready') throw new TransientError('failedPrecondition', answer.message);
  if (answer.kind === 'foreign') {
    // The endpoint was read before the record, so this may be our own split of a moment ago. Only a second look tells.
    const again = await ports.endpoints.read(endpoint);
    if (again.etag !== view.etag) return 'again';
    const models = observedModels(view);
    return { type: 'traffic.foreign', at: ports.now(), found: answer.found, models, generation };
  }
  const { split } = answer;
  const written = await writeUnlessStale(ports, endpoint, split, view.etag);
  if (written === null) return 'again';
  // The reply is the endpoint as it is now. One that says something else is not believed without another look.
  const isThere = isSameSplit(written.split, split) || isSameSplit((await ports.endpoints.read(endpoint)).split, split);
  return isThere ? { type: 'traffic.applied', at: ports.now(), split, generation } : 'again';
}

type RefusedType = Extract<RolloutEvent, { isRetryable: boolean }>['type'];

/** Turns what the platform refused into an event; what is our own mistake goes on upwards. */
async function attempt(
  ports: Ports,
  refused: RefusedType,
  work: () => Promise<RolloutEvent | null>,
): Promise<RolloutEvent | null> {
  try {
    return await work();
  } catch (error) {
    if (!isPlatformError(error)) throw error;
    return {
      type: refused,
      at: ports.now(),
      code: error.code,
      message: error.message,
      isRetryable: error instanceof TransientError,
    };
  }
}

async function unlessGone<T>(call: Promise<T>): Promise<T | null> {
  try {
    return await call;
  } catch (error) {
    if (error instanceof PermanentError && error.code === 'notFound') return null;
    throw error;
  }
}
