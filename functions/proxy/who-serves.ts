/**
 * Does one DeployedModel alone serve an endpoint now? Vertex draws it anew for each request, so only live answers can tell,
 * and what they told holds for a short lease. Anything else is no: a cache must not answer then.
 */

export interface WatchRules {
  /** How long after the beginning of a live request it still says who serves. */
  leaseMs: number;
  /** How long nobody else may have answered. */
  quietMs: number;
  /** How many live answers in a row must have named it: a canary at half the traffic names itself so often by no chance. */
  answersMin: number;
}

export interface Watch {
  /** Takes note of a live answer. @param deployedModelId null where the answer named nobody, which says nothing */
  saw(deployedModelId: string | null, startedAt: number, now: number): void;
  /**
   * Who alone serves, or null. If it gives an id, a live request that began within the lease was served by it; so a model
   * is named no longer than the lease after its share went to 0.
   */
  alone(now: number): string | null;
  /** True once in each half of a lease: that request goes live, so that the lease does not end while requests come. */
  isRenewalDue(now: number): boolean;
}

/** Makes the watch over one endpoint; it knows what it was told, and nothing of other instances. */
export function createWatch({ leaseMs, quietMs, answersMin }: WatchRules): Watch {
  let id: string | null = null;
  let answers = 0;
  let since = 0;
  let confirmedAt = Number.NEGATIVE_INFINITY;
  let triedAt = Number.NEGATIVE_INFINITY;

  return {
    saw(deployedModelId, startedAt, now) {
      if (deployedModelId === null) return;
      if (deployedModelId !== id || startedAt - confirmedAt > quietMs) {
        id = deployedModelId;
        answers = 0;
        since = now;
        confirmedAt = startedAt;
      }
      answers += 1;
      // Dated when it was asked: the draw came after that, however late the answer is.
      confirmedAt = Math.max(confirmedAt, startedAt);
    },

    alone(now) {
      const ageMs = now - confirmedAt;
      const isConfirmed = ageMs >= 0 && ageMs < leaseMs;
      return isConfirmed && answers >= answersMin && now - since >= quietMs ? id : null;
    },

    isRenewalDue(now) {
      if (now - Math.max(confirmedAt, triedAt) < leaseMs / 2) return false;
      triedAt = now;
      return true;
    },
  };
}
