/**
 * Who gets how much? Arithmetic of traffic splits: integers that sum to 100, or none at all.
 * Shares of several stable models keep their proportions by largest remainder, ties by id.
 */

/** Percent by DeployedModel id. An empty object is an endpoint that takes no traffic. */
export type Split = Record<string, number>;

/**
 * The split that gives the canary `percent` and the rest to stable in its own proportions.
 * With no stable at all, 0 % is the empty split and anything else is 100 % for the canary.
 */
export function splitWithCanary(stable: Split, canaryId: string, percent: number): Split {
  const { [canaryId]: _canary, ...rest } = stable;
  if (isEmptySplit(rest)) return percent === 0 ? {} : { [canaryId]: 100 };
  const shares = apportion(rest, 100 - percent);
  return percent === 0 ? shares : { ...shares, [canaryId]: percent };
}

/** Takes only the canary's share away: what is left keeps its proportions and sums to 100, or is empty. */
export function withoutCanary(split: Split, canaryId: string): Split {
  const { [canaryId]: _canary, ...rest } = split;
  return apportion(rest, 100);
}

/** True when both give every DeployedModel the same share; an absent share is 0. */
export function isSameSplit(a: Split, b: Split): boolean {
  return [...Object.keys(a), ...Object.keys(b)].every((id) => (a[id] ?? 0) === (b[id] ?? 0));
}

export function isEmptySplit(split: Split): boolean {
  return Object.values(split).every((percent) => percent === 0);
}

/** Law 1. Throws a RangeError that shows the split when the shares are no integers that sum to 100. */
export function assertSplit(split: Split): Split {
  const shares = Object.values(split);
  const sum = shares.reduce((total, share) => total + share, 0);
  const isWhole = shares.every((share) => Number.isInteger(share) && share >= 0 && share <= 100);
  if (!isWhole || (shares.length > 0 && sum !== 100)) {
    throw new RangeError(`shares must be integers that sum to 100, or none; got ${JSON.stringify(split)}`);
  }
  return split;
}

/** Divides `total` in the proportions of `weights`; zero shares are left out, so that equal splits look equal. */
function apportion(weights: Split, total: number): Split {
  const sum = Object.values(weights).reduce((a, b) => a + b, 0);
  if (sum === 0) return {};
  const exact = Object.entries(weights).map(([id, weight]) => ({ id, share: (weight * total) / sum }));
  const floors = exact.map(({ id, share }) => ({ id, share: Math.floor(share), remainder: share - Math.floor(share) }));
  const missing = total - floors.reduce((a, { share }) => a + share, 0);
  const byRemainder = floors.toSorted((a, b) => b.remainder - a.remainder || (a.id < b.id ? -1 : 1));
  const raised = new Set(byRemainder.slice(0, missing).map(({ id }) => id));
  return Object.fromEntries(
    floors
      .map(({ id, share }): [string, number] => [id, share + (raised.has(id) ? 1 : 0)])
      .filter(([, share]) => share > 0),
  );
}
