/** Which traffic splits does Vertex accept, and where does a request go? */
import { WorldError } from './errors.ts';
import type { Split } from './state.ts';

/**
 * Throws INVALID_ARGUMENT unless the split is empty, or names only known DeployedModels with whole percentages that sum
 * to 100.
 */
export function checkSplit(split: Split, knownIds: readonly string[]): void {
  const entries = Object.entries(split);
  if (entries.length === 0) return;
  for (const [id, percent] of entries) {
    if (!knownIds.includes(id)) {
      const known = knownIds.length === 0 ? 'the endpoint has none' : `the endpoint has ${knownIds.join(', ')}`;
      throw new WorldError('INVALID_ARGUMENT', `traffic_split names the unknown DeployedModel "${id}"; ${known}.`);
    }
    if (!Number.isInteger(percent) || percent < 0 || percent > 100) {
      throw new WorldError(
        'INVALID_ARGUMENT',
        `traffic_split["${id}"] is ${percent}; expected a whole number from 0 to 100.`,
      );
    }
  }
  const sum = entries.reduce((total, [, percent]) => total + percent, 0);
  if (sum !== 100) {
    throw new WorldError('INVALID_ARGUMENT', `traffic_split sums to ${sum}; expected 100, or an empty map.`);
  }
}

/**
 * Returns the DeployedModel that serves a request; null when the split is empty.
 * @param unit uniform in [0, 1)
 */
export function pickDeployedModel(split: Split, unit: number): string | null {
  let remaining = unit * 100;
  let last: string | null = null;
  for (const [id, percent] of Object.entries(split)) {
    if (percent === 0) continue;
    if (remaining < percent) return id;
    remaining -= percent;
    last = id;
  }
  return last;
}
