/**
 * How does one running instance see the world? Its ports, with a numbered gate at every await: there it may fail, wait, be
 * overtaken, or die. A dead instance is one whose awaits never return, as after SIGKILL.
 */
import { deployModel, mutateDeployedModel, undeployModel } from '../../../emulator/world/deployments.ts';
import { findOperation } from '../../../emulator/world/operations.ts';
import { cancelOperation } from '../../../emulator/world/progress.ts';
import { WorldError } from '../../../emulator/world/world.ts';
import { TransientError } from '../../../functions/engine/errors.ts';
import type {
  Commit,
  EndpointView,
  MetricsQuery,
  OutgoingMessage,
  Ports,
  Split,
  Stored,
} from '../../../functions/engine/ports.ts';
import { translate } from '../../../functions/gcp/status.ts';
import type { Evidence } from '../../../machines/analysis/evidence.ts';
import type { Policy } from '../../../machines/policy/policy.ts';
import { endpointKey } from '../../../machines/rollout/resource-name.ts';
import type { MemoryStore } from '../memory-store.ts';
import { flags, operationOf, translated, versionOf } from '../vertex-views.ts';
import type { Agenda } from './agenda.ts';
import type { Chaos } from './chaos.ts';
import type { Cloud } from './cloud.ts';

/** One invocation of a function. */
export interface Instance {
  name: string;
  /** Its clock is so far ahead of the true one. */
  skewMs: number;
  /** Each await takes up to so long; 0 for an instance that nobody overtakes. */
  paceMs: number;
  isDead: boolean;
  /** When it is cut off: the function's timeout, or the end of its grace after SIGTERM. */
  endsAt: number;
  /** Told once when it dies. */
  onDeath: () => void;
  /** What it read of each endpoint last: the basis of what it does. */
  records: Map<string, unknown>;
  views: Map<string, EndpointView>;
}

/** A split that was written, and what its writer had read before: the record, and the endpoint. */
export interface Write {
  instance: string;
  endpoint: string;
  before: Split;
  after: Split;
  basis: unknown;
  view: EndpointView | null;
}

/** What the checkers are told. All of it is about the world and the store, and nothing about how a decision is made. */
export interface Witness {
  wantsSplit(who: string, split: Split): void;
  wroteSplit(write: Write): void;
  ordered(instance: Instance, what: 'deploy' | 'undeploy' | 'resize', endpoint: string, id: string): void;
  committed(change: Commit): void;
  published(topic: string, message: OutgoingMessage): void;
}

/** A mistake put into an instance's ports on purpose, to see that the checkers find it. */
export interface Planted {
  split?: (split: Split, before: Split) => Split;
  change?: (change: Commit) => Commit;
  /** Writes without an etag. */
  isBlind?: boolean;
  view?: (view: EndpointView) => EndpointView;
  evidence?: (evidence: Evidence[], query: MetricsQuery) => Evidence[];
}

export interface Backstage {
  cloud: Cloud;
  chaos: Chaos;
  agenda: Agenda;
  store: MemoryStore;
  policies: Policy[];
  witness: Witness;
  planted: Planted;
  schedule: { isPaused: boolean };
  /** Services that answer nothing now, by the first part of a call's name. */
  outages: Set<string>;
  /** Something happens at this very moment, while the instance waits at its gate. */
  disturb(): void;
  tell(line: () => string): void;
  awaits: number;
}

/** Google's deadline for a call, as functions/gcp sets it. */
const callDeadlineMs = 10_000;
const graceMs = 10_000;

export function portsOf(stage: Backstage, instance: Instance): Ports {
  const { cloud, chaos, agenda, store, policies, witness, planted, schedule } = stage;
  const { world } = cloud;

  /** Never returns, and is forgotten with everything that waits for it. */
  function dead(): Promise<never> {
    return new Promise(() => {});
  }

  function die(): Promise<never> {
    if (!instance.isDead) {
      instance.isDead = true;
      stage.tell(() => `${instance.name} is gone`);
      instance.onDeath();
    }
    return dead();
  }

  function park(waitMs: number): Promise<void> {
    const at = cloud.now() + waitMs;
    if (at > instance.endsAt) {
      return new Promise(() => agenda.add(Math.max(cloud.now(), instance.endsAt), () => void die()));
    }
    return new Promise((resolve) =>
      agenda.add(at, () => {
        if (!instance.isDead) resolve();
      }),
    );
  }

  async function call<T>(name: string, work: (isStale: boolean) => T): Promise<T> {
    if (instance.isDead) return dead();
    stage.awaits += 1;
    stage.tell(() => `  #${stage.awaits} ${instance.name} ${name}`);
    let isStale = false;
    if (stage.outages.has(name.split('.')[0] ?? '')) throw translate(name, { code: 14, message: 'an outage' });
    switch (chaos.atAwait(name, 'before')) {
      case 'crash':
        return die();
      case 'refused':
        throw refusal(name);
      case 'slowCall':
        await park(chaos.between(0, 30_000));
        break;
      case 'doneAfterDeadline':
        agenda.add(cloud.now() + chaos.between(callDeadlineMs, 4 * callDeadlineMs), () => void attempt(name, work));
        await park(callDeadlineMs);
        throw translate(name, { code: 4, message: 'no answer in time' });
      case 'raced':
        stage.disturb();
        await park(chaos.between(0, 3000));
        break;
      case 'sigterm':
        instance.endsAt = Math.min(instance.endsAt, cloud.now() + graceMs);
        instance.paceMs = Math.max(instance.paceMs, 3000);
        break;
      case 'staleRead':
        isStale = true;
        break;
      case 'storeConflict':
        throw new TransientError('conflict', `${name}: contention`);
      default:
    }
    if (instance.paceMs > 0) await park(chaos.random() * instance.paceMs);
    const answer = attempt(name, () => work(isStale));
    stage.awaits += 1;
    switch (chaos.atAwait(name, 'after')) {
      case 'crash':
        return die();
      case 'replyLost':
        throw refusal(name);
      case 'slowCall':
        await park(chaos.between(0, 30_000));
        break;
      case 'raced':
        stage.disturb();
        await park(chaos.between(0, 3000));
        break;
      case 'sigterm':
        instance.endsAt = Math.min(instance.endsAt, cloud.now() + graceMs);
        break;
      default:
    }
    if (instance.paceMs > 0) await park(chaos.random() * instance.paceMs);
    if (answer.kind === 'failed') throw answer.error;
    return answer.value;
  }

  function refusal(name: string): Error {
    const code = chaos.code(name);
    stage.tell(() => `    answers with status ${code}`);
    return translate(name, { code, message: `status ${code}, as injected` });
  }

  /** Does the work; an error of the world is an answer, and one of our own is told as it is. */
  function attempt<T>(
    name: string,
    work: (isStale: boolean) => T,
  ): { kind: 'done'; value: T } | { kind: 'failed'; error: unknown } {
    try {
      return { kind: 'done', value: work(false) };
    } catch (error) {
      return { kind: 'failed', error: error instanceof WorldError ? translated(name, error) : error };
    }
  }

  function remember(stored: Stored | null): void {
    if (stored !== null) instance.records.set(stored.key, stored.data);
  }

  return {
    now: () => Math.round(cloud.now() + instance.skewMs),
    endpoints: {
      read: (name) =>
        call('endpoints.read', () => {
          const view = cloud.view(name);
          instance.views.set(endpointKey(name), view);
          return planted.view?.(view) ?? view;
        }),
      writeSplit: (name, split, etag) => {
        const basis = instance.records.get(endpointKey(name)) ?? null;
        const view = instance.views.get(endpointKey(name)) ?? null;
        return call('endpoints.writeSplit', () => {
          const before = { ...cloud.endpoint(name).split };
          const after = planted.split?.(split, before) ?? split;
          witness.wantsSplit(instance.name, after);
          cloud.setSplit(name, after, planted.isBlind === true ? '' : etag);
          stage.tell(() => `    the split is ${JSON.stringify(after)}, was ${JSON.stringify(before)}`);
          witness.wroteSplit({ instance: instance.name, endpoint: name, before, after, basis, view });
          return cloud.view(name);
        });
      },
      deploy: (name, order) =>
        call('endpoints.deploy', () => {
          const { deployedModelId: id, model, versionId, displayName } = order;
          const given = { id, model: `${model}@${versionId}`, displayName, ...flags };
          const operation = deployModel(world.context, name, given, {}).name;
          cloud.startContainer(name, id);
          witness.ordered(instance, 'deploy', name, id);
          return { operation };
        }),
      undeploy: (name, id) =>
        call('endpoints.undeploy', () => {
          const operation = undeployModel(world.context, name, id, {}).name;
          witness.ordered(instance, 'undeploy', name, id);
          return { operation };
        }),
      resize: (name, id, minReplicas) =>
        call('endpoints.resize', () => {
          const change = { minReplicaCount: minReplicas, maxReplicaCount: 5 };
          const operation = mutateDeployedModel(world.context, name, id, change).name;
          witness.ordered(instance, 'resize', name, id);
          return { operation };
        }),
      readOperation: (name) => call('operations.read', () => operationOf(findOperation(world.context, name))),
      cancelOperation: (name) => call('operations.cancel', () => cancelOperation(world.context, name)),
    },
    models: {
      readVersion: (name, versionId) => call('models.readVersion', () => versionOf(world, `${name}@${versionId}`)),
      readAlias: (name, alias) => call('models.readAlias', () => versionOf(world, `${name}@${alias}`)),
    },
    metrics: {
      read: (queries) =>
        call('metrics.read', () =>
          queries.map((query) => {
            const evidence = cloud.evidence(query);
            return planted.evidence?.(evidence, query) ?? evidence;
          }),
        ),
    },
    bus: {
      publish: (topic, messages) =>
        call('bus.publish', () => {
          for (const message of messages) witness.published(topic, message);
        }),
    },
    schedule: {
      pause: () => call('schedule.pause', () => void (schedule.isPaused = true)),
      resume: () => call('schedule.resume', () => void (schedule.isPaused = false)),
      isPaused: () => call('schedule.isPaused', () => schedule.isPaused),
    },
    policies: { list: () => call('policies.list', () => ({ policies, problems: [] })) },
    store: {
      ...store,
      load: (key) =>
        call('store.load', (isStale) => {
          const stored = isStale ? store.loadBefore(key) : store.read(key);
          remember(stored);
          return stored;
        }),
      commit: (change) =>
        call('store.commit', () => {
          const given = planted.change?.(change) ?? change;
          const result = store.apply(given);
          if (result.kind === 'committed') {
            instance.records.set(change.key, change.data);
            witness.committed(given);
          }
          return result;
        }),
      listActive: (page) =>
        call('store.listActive', (isStale) => {
          const found = store.list(true, page, isStale);
          for (const stored of found) remember(stored);
          return found;
        }),
      listAll: (page) =>
        call('store.listAll', (isStale) => {
          const found = store.list(false, page, isStale);
          for (const stored of found) remember(stored);
          return found;
        }),
      isMarked: async (mark) => call('store.isMarked', () => mark).then((given) => store.isMarked(given)),
      readRollout: async (id) => call('store.readRollout', () => id).then((given) => store.readRollout(given)),
    },
  };
}
