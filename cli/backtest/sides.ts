/**
 * Who is the canary, who is stable, and who gets which of the recorded requests? Where one variant was recorded it is
 * divided at random; where both were, they stand as recorded or are thinned to the shares that the policy would give.
 */
import type { Random } from '../../emulator/models/random.ts';
import { type Histogram, noCounts, UNATTRIBUTED, type VariantCounts } from '../../machines/analysis/evidence.ts';
import { CliError, exitCodes } from '../world.ts';
import { drawBinomial } from '../chance.ts';
import { type Recording, totalsOf } from './recording.ts';

/** The counts of one window by role. */
export interface Sides {
  canary: VariantCounts;
  stable: VariantCounts;
}

export interface SidedWindow extends Sides {
  fromAt: number;
  toAt: number;
}

export interface Trial {
  /** Null where only stable was recorded: its requests are then divided. */
  canaryId: string | null;
  stableId: string;
  windows: SidedWindow[];
  /** Canary's part of all recorded requests; null where only stable was recorded. */
  recordedRatio: number | null;
  /** Variants that were recorded and are neither. */
  leftOut: string[];
}

/** What the person said: ids of variants, where the file has more than it says by itself. */
export interface Roles {
  canary?: string;
  stable?: string;
}

/** Finds the roles. One variant is stable; of several, the names `canary` and `stable` speak for themselves. */
export function findRoles({ windows }: Recording, { canary, stable }: Roles): Trial {
  const recorded = totalsOf(windows).filter(({ requests, id }) => requests > 0 && id !== UNATTRIBUTED);
  const ids = recorded.map(({ id }) => id);
  const seen = recorded.map(({ id, requests }) => `${id} (${requests.toLocaleString('en')} requests)`).join(', ');
  const known = (role: string, id: string): string => {
    if (ids.includes(id)) return id;
    throw usage(`Expected --${role} to be a variant that was recorded, got "${id}"; recorded: ${seen || 'none'}`);
  };
  const given = { canary: canary && known('canary', canary), stable: stable && known('stable', stable) };
  if (given.canary !== undefined && given.canary === given.stable) {
    throw usage(`Expected two variants, got "${given.canary}" for both --canary and --stable`);
  }
  const other = (id: string): string | undefined => (ids.length === 2 ? ids.find((each) => each !== id) : undefined);
  const isNamed = ids.includes('canary') && ids.includes('stable');
  const canaryId = given.canary ?? (given.stable === undefined && isNamed ? 'canary' : undefined) ?? null;
  const stableId =
    given.stable ??
    (canaryId === null
      ? ids.length === 1
        ? ids[0]
        : undefined
      : (other(canaryId) ?? (isNamed ? 'stable' : undefined)));
  if (stableId === undefined) {
    throw usage(
      `Expected to be told who is who, got variants ${seen || 'without requests'}; give --canary ID and --stable ID, or --stable ID alone to divide its requests at random`,
    );
  }
  const sided = windows.map(({ fromAt, toAt, variants }) => ({
    fromAt,
    toAt,
    canary: (canaryId === null ? undefined : variants[canaryId]) ?? noCounts,
    stable: variants[stableId] ?? noCounts,
  }));
  const requestsOf = (id: string | null) => recorded.find((total) => total.id === id)?.requests ?? 0;
  const recordedRatio = canaryId === null ? null : requestsOf(canaryId) / (requestsOf(canaryId) + requestsOf(stableId));
  const leftOut = totalsOf(windows)
    .filter(({ id, requests }) => requests > 0 && id !== canaryId && id !== stableId)
    .map(({ id, requests }) => `${id} (${requests.toLocaleString('en')} requests)`);
  return { canaryId, stableId, windows: sided, recordedRatio, leftOut };
}

/** Gives the canary each of stable's requests with the chance of its share, as a traffic split does. */
export function divide(random: Random, { stable }: Sides, percent: number): Sides {
  const canary = thin(random, stable, percent / 100);
  return { canary, stable: minus(stable, canary) };
}

/**
 * Leaves requests of one side out at random until the canary has its share of what remains; nobody's request changes
 * sides. `recorded` is the canary's part of the requests around the window: that of a single one may be chance.
 */
export function thinTo(random: Random, sides: Sides, recorded: number, percent: number): Sides {
  if (percent >= 100) return { ...sides, stable: noCounts };
  if (recorded <= 0 || recorded >= 1) return sides;
  const wanted = percent / (100 - percent);
  const factor = (wanted * (1 - recorded)) / recorded;
  return factor < 1
    ? { ...sides, canary: thin(random, sides.canary, factor) }
    : { ...sides, stable: thin(random, sides.stable, 1 / factor) };
}

/** Errors and successes apart, bucket by bucket: which of them were the same requests was not recorded. */
function thin(random: Random, counts: VariantCounts, ratio: number): VariantCounts {
  const some = ({ bounds, counts: all }: Histogram): Histogram => ({
    bounds,
    counts: all.map((count) => drawBinomial(random, count, ratio)),
  });
  const errors = drawBinomial(random, counts.errors, ratio);
  return {
    requests: errors + drawBinomial(random, counts.requests - counts.errors, ratio),
    errors,
    latencyMs: some(counts.latencyMs),
    ...(counts.predictions && { predictions: some(counts.predictions) }),
  };
}

function minus(all: VariantCounts, part: VariantCounts): VariantCounts {
  return {
    requests: all.requests - part.requests,
    errors: all.errors - part.errors,
    latencyMs: rest(all.latencyMs, part.latencyMs),
    ...(all.predictions && { predictions: rest(all.predictions, part.predictions) }),
  };
}

function rest({ bounds, counts }: Histogram, part: Histogram | undefined): Histogram {
  return { bounds, counts: counts.map((count, i) => count - (part?.counts[i] ?? 0)) };
}

function usage(message: string): CliError {
  return new CliError(message, { exitCode: exitCodes.usage });
}
