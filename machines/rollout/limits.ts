/** The machine's bounds, each with its reason. */

export const machineLimits = {
  /** Eventless arrows taken in a row; the chart needs four at most, a cycle would hang for ever. */
  iterationsMax: 50,
  /** Tries of one effect: the first follows at once, later ones wait twice as long each, up to the maximum. */
  retrySecondsMin: 1,
  retrySecondsMax: 60,
  /** A share that could not be raised for this long is not worth waiting for: roll back. */
  shiftSecondsMax: 30 * 60,
  /** So often may a canary fail alone at 100 % and not beside stable; the first may be an outage that just ended. */
  suspicionsMax: 2,
  /** Reading the endpoint and the model to begin with; longer than any outage that heals by itself. */
  prepareSecondsMax: 60 * 60,
  /** A deployment has a deadline of its own; what else an operation does takes minutes. */
  operationSecondsMax: 2 * 60 * 60,
  /** Undeploying what serves nothing; after so many refusals a person is told, and the rollout ends without it. */
  removeAttemptsMax: 10,
  /** After so many refusals in a row to restore the traffic, a person is told; trying goes on. */
  attentionAttempts: 5,
  /** Splits that we wrote or may have written since the last confirmed one. Each costs a decision; two are usual. */
  attemptedMax: 8,
  /** Windows remembered per source: at one in five seconds, what comes within some minutes is still counted once. */
  windowsMax: 32,
  /** And of all proxies together, which then share it evenly: they must fit into one document. */
  windowsInAllMax: 2048,
  /** Periods read at once: three hours of minutes. What is older, after a long silence or before the first share, is let go. */
  periodsMax: 180,
  /** Instances of the proxy that are remembered at once, in one step. */
  sourcesMax: 256,
  /** Ended rollouts remembered per endpoint, so that a version is not started again by a late copy of its blessing. */
  historyMax: 50,
  /** Notifications that wait for the bus; beyond it the oldest go, which the journal still tells. */
  outboxMax: 50,
} as const;
