/** Every bound of the running system, with its reason. The machine's own bounds are in machines/rollout/limits.ts. */

export const limits = {
  /** A unary Google call answers within a second; ten are a fault, and the tick has 60 in all. */
  callDeadlineMs: 10_000,
  /** Reading metrics of many endpoints takes longer than one resource. */
  metricsDeadlineMs: 30_000,
  /** Conflicts heal by loading again; more than this many in a row is a livelock, left to the next tick. */
  commitAttemptsMax: 8,
  /** The split is read, written and confirmed at most this often per invocation. */
  settleAttemptsMax: 5,
  /** Rounds of effect → result → effect in one invocation; a rollout needs at most three in a row. */
  effectRoundsMax: 10,
  /** Records worked on at once by one instance. */
  concurrencyMax: 16,
  /** Pub/Sub caps a message at 10 MB, Eventarc at 512 KB; nothing of ours needs a tenth of it. */
  messageBytesMax: 256 * 1024,
  /** Endpoint ids in one Monitoring filter; keeps the filter far below its length limit. */
  endpointsPerQueryMax: 100,
  /** Rollouts and journal entries in one answer of the dashboard. */
  listMax: 200,
  journalMax: 2000,
} as const;
