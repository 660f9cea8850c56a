/** What would the endpoint have served? Draws a cell's traffic slot by slot, for whatever share a rule gives the canary. */
import { type Random, seededRandom } from '../../emulator/models/random.ts';
import type { VariantCounts } from '../../machines/analysis/evidence.ts';
import type { Cell, Place } from './cells.ts';
import { drawBinomial, drawPoisson } from '../chance.ts';

/** Chance is drawn for so many seconds at once; what a rule reads is made of whole slots. */
export const slotSeconds = 5;

export interface Slot extends Record<'canary' | 'stable', VariantCounts> {
  /** The same requests, as a proxy counts them. */
  byProxy: Record<'canary' | 'stable', VariantCounts>;
  /** Errors, or slow answers, that stable would not have had, on average. */
  excess: number;
}

export interface World {
  /** Serves the slot that begins at this place. Called once per slot, in order of time. */
  serve(place: Place): Slot;
}

const usualSlowRatio = 0.02;

export function beginWorld(cell: Cell, seed: number): World {
  const random = seededRandom(seed);
  // Neighbouring seeds of the generator begin alike.
  for (let i = 0; i < 8; i += 1) random();
  const errorsAt = cell.errors(random);
  const slowAt = cell.slow?.(random) ?? (() => ({ stable: usualSlowRatio, canary: usualSlowRatio }));
  return {
    serve: (place) => {
      const [errors, slow] = [errorsAt(place), slowAt(place)];
      const mean = cell.traffic.requestsPerSecond * cell.traffic.shape(place.second) * slotSeconds;
      const share = place.percent / 100;
      const [canary, stable] = [drawPoisson(random, mean * share), drawPoisson(random, mean * (1 - share))];
      const failed = failures(random, cell, { canary, stable }, errors, share);
      const fault = cell.fault === 'slow' ? slow : errors;
      const drawn = {
        canary: draw(random, cell, { requests: canary, errors: failed.canary, slowRatio: slow.canary }),
        stable: draw(random, cell, { requests: stable, errors: failed.stable, slowRatio: slow.stable }),
      };
      return {
        canary: countsOf(drawn.canary, false),
        stable: countsOf(drawn.stable, false),
        byProxy: { canary: countsOf(drawn.canary, true), stable: countsOf(drawn.stable, true) },
        excess: canary * Math.max(0, fault.canary - fault.stable),
      };
    },
  };
}

interface Pair {
  canary: number;
  stable: number;
}

function failures(random: Random, { retries }: Cell, requests: Pair, ratios: Pair, share: number): Pair {
  const each = 1 + (retries?.count ?? 0);
  const first = {
    canary: drawBinomial(random, requests.canary, ratios.canary / each),
    stable: drawBinomial(random, requests.stable, ratios.stable / each),
  };
  if (retries === undefined) return first;
  const again = (first.canary + first.stable) * retries.count;
  const more = retries.kind === 'spread' ? drawBinomial(random, again, share) : first.canary * retries.count;
  return {
    canary: Math.min(requests.canary, first.canary + more),
    stable: Math.min(requests.stable, first.stable + again - more),
  };
}

interface Drawn {
  requests: number;
  errors: number;
  slow: number;
  /** How many of the slow ones are errors, for that. */
  slowErrors: number;
}

function draw(
  random: Random,
  { areErrorsSlow = false }: Cell,
  { requests, errors, slowRatio }: { requests: number; errors: number; slowRatio: number },
): Drawn {
  const slowErrors = areErrorsSlow ? errors : 0;
  return { requests, errors, slow: slowErrors + drawBinomial(random, requests - slowErrors, slowRatio), slowErrors };
}

/** A proxy takes no latency of what failed: those of `slowErrors` are left out. Of the others' it makes no difference. */
function countsOf({ requests, errors, slow, slowErrors }: Drawn, isProxy: boolean): VariantCounts {
  const counts = [requests - slow, 0, isProxy ? slow - slowErrors : slow, 0];
  return { requests, errors, latencyMs: { bounds: [100, 200, 400], counts } };
}
