/**
 * What does the engine need from the world? Interfaces only. Every method has a deadline of its own, throws a
 * TransientError or a PermanentError and nothing else, and leaves nothing running when it returns.
 */
import type { Evidence, EvidenceWindow } from '../../machines/analysis/evidence.ts';
import type { CheckPolicy, DeployPolicy, Policy } from '../../machines/policy/policy.ts';
import type { Split } from '../../machines/rollout/split.ts';

export type { Split };

export interface DeployedModelView {
  id: string;
  /** Without a version suffix. */
  model: string;
  versionId: string;
  displayName: string;
  /** Null where the platform does not say (shared or automatic resources). */
  minReplicas: number | null;
  maxReplicas: number | null;
  /** Replicas ready to serve; null where the platform does not say. */
  availableReplicas: number | null;
}

export interface EndpointView {
  /** As the platform names it: the project may be its number. */
  name: string;
  split: Split;
  etag: string;
  deployedModels: DeployedModelView[];
}

export interface OperationView {
  name: string;
  done: boolean;
  /** What the platform says it is doing, such as `STARTING_MODEL_SERVER`; empty when it does not say. */
  stage: string;
  error: { code: string; message: string } | null;
}

export interface DeployOrder {
  /** Chosen by us: 1 to 10 digits, so that ordering twice is seen to be the same order. */
  deployedModelId: string;
  model: string;
  versionId: string;
  displayName: string;
  deploy: DeployPolicy;
}

export interface EndpointsPort {
  /** PermanentError `notFound` when there is no such endpoint. */
  read(endpoint: string): Promise<EndpointView>;
  /** Replaces the whole split if the etag is still current, else TransientError `conflict`. Returns what it wrote. */
  writeSplit(endpoint: string, split: Split, etag: string): Promise<EndpointView>;
  /** Starts a deployment at 0 %. PermanentError `alreadyExists` when the id is taken. */
  deploy(endpoint: string, order: DeployOrder): Promise<{ operation: string }>;
  /** Starts removing a DeployedModel that has no traffic. PermanentError `notFound` when it is not there. */
  undeploy(endpoint: string, deployedModelId: string): Promise<{ operation: string }>;
  /** Starts changing the least number of replicas of a DeployedModel. */
  resize(endpoint: string, deployedModelId: string, minReplicas: number): Promise<{ operation: string }>;
  readOperation(operation: string): Promise<OperationView>;
  cancelOperation(operation: string): Promise<void>;
}

export interface ModelVersionView {
  /** Without a version suffix. */
  model: string;
  versionId: string;
  aliases: string[];
  labels: Record<string, string>;
  /** When the version was created or last changed, in milliseconds since the epoch. */
  updatedAt: number;
}

export interface ModelsPort {
  /** One version; null when the model or the version does not exist. */
  readVersion(model: string, versionId: string): Promise<ModelVersionView | null>;
  /** The version that holds an alias now; null when none does. */
  readAlias(model: string, alias: string): Promise<ModelVersionView | null>;
}

export interface MetricsQuery {
  endpoint: string;
  window: EvidenceWindow;
  /** When the canary's share took effect; what a slow source says of an earlier time is not of this share. */
  sinceAt: number;
  /** The answer is cut into windows this long, from the window's beginning; the last may be shorter. */
  periodMs: number;
  /** Whose numbers are asked for: the canary, which is first, and stable. */
  models: { id: string; model: string; versionId: string }[];
  /** The owner's checks whose numbers this port reads; those that others report are left out. */
  checks: CheckPolicy[];
}

export interface MetricsPort {
  /**
   * For each query its windows, ascending; one without a single point is left out, and `variants` lacks those without one.
   * Queries with the same window and project share their calls. A check that cannot be read does not fail the rest: its
   * signal is absent, and the evidence's `notes` say why.
   */
  read(queries: MetricsQuery[]): Promise<Evidence[][]>;
}

export interface OutgoingMessage {
  data: Uint8Array;
  attributes: Record<string, string>;
}

export interface BusPort {
  /** Publishes all messages, in order, to a topic named without its project; resolves when the service has them. */
  publish(topic: string, messages: OutgoingMessage[]): Promise<void>;
}

export interface SchedulePort {
  /** Pausing what is paused and resuming what runs do nothing. */
  pause(): Promise<void>;
  resume(): Promise<void>;
  isPaused(): Promise<boolean>;
}

export interface PoliciesPort {
  /**
   * All valid policies; `problems` names each document that is not, with the reason. `documents` are all of
   * them by name: the policy, or null where it is not valid. Absent where policies come from no documents, as in a simulation:
   * then nothing can stand for one that is not valid.
   */
  list(): Promise<{ policies: Policy[]; problems: string[]; documents?: ReadonlyMap<string, Policy | null> }>;
}

/** A stored document and the revision that a commit must name to replace it. */
export interface Stored {
  /** From endpointKey(). */
  key: string;
  /** JSON as committed, and where somebody else changed it, whatever is there. Parsed by its owner, not by the store. */
  data: unknown;
  revision: string;
}

export interface JournalEntry {
  /** Rollout the entry is about. */
  rollout: string;
  /** When the event was, in milliseconds since the epoch; two instances' clocks may differ. */
  at: number;
  /** Rises with every commit of the endpoint: the order in which entries are listed. */
  sequence: number;
  /** JSON: the event, who, the verdict, the numbers, the effects. */
  data: unknown;
}

export interface ArchivedRollout {
  id: string;
  key: string;
  startedAt: number;
  /** Null while it is active: then the endpoint's record has the truth. */
  endedAt: number | null;
  /** JSON summary as committed. */
  data: unknown;
}

export interface Commit {
  key: string;
  /** The revision this change was decided on; null when there was no document. */
  expected: string | null;
  data: unknown;
  /** True while somebody must look at the record on a tick. */
  isActive: boolean;
  journal: JournalEntry[];
  /** Ids that may be used once, ever, such as event ids. */
  marks: string[];
  archive: ArchivedRollout[];
}

export type CommitResult =
  | { kind: 'committed'; revision: string }
  /** Somebody else committed first; load and decide again. */
  | { kind: 'conflict' }
  /** A mark was used before; nothing was written. */
  | { kind: 'duplicate'; mark: string };

/** A part of a list that is ordered by key. */
export interface Page {
  /** Only what comes after this key; null begins with the first. */
  after: string | null;
  limit: number;
}

export interface StorePort {
  load(key: string): Promise<Stored | null>;
  /** In the order of their keys. Without a page all of them, which may be more than fits into memory. */
  listActive(page?: Page): Promise<Stored[]>;
  /** All known records, active or not, in the order of their keys; used by reconcile. */
  listAll(page?: Page): Promise<Stored[]>;
  /** Atomic: all of the change, or nothing. */
  commit(change: Commit): Promise<CommitResult>;
  isMarked(mark: string): Promise<boolean>;
  readRollout(id: string): Promise<ArchivedRollout | null>;
  /** Newest first. */
  listRollouts(limit: number): Promise<ArchivedRollout[]>;
  /** In the order of their sequence. */
  listJournal(rollout: string, limit: number): Promise<JournalEntry[]>;
  close(): Promise<void>;
}

/** The function's own clock; an event's time is never used for decisions. */
export type Clock = () => number;

export interface Ports {
  endpoints: EndpointsPort;
  models: ModelsPort;
  metrics: MetricsPort;
  bus: BusPort;
  schedule: SchedulePort;
  policies: PoliciesPort;
  store: StorePort;
  now: Clock;
}
