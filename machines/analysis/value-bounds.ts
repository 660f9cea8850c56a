/** Into which bins do values fall? One fixed set for every model and source, so that windows and instances' histograms add. */

/** 1, 2 and 5 in every decade from a thousandth to a million: for delays, prices and log-odds, in any unit. */
const ladder = [-3, -2, -1, 0, 1, 2, 3, 4, 5]
  .flatMap((exponent) => [1, 2, 5].map((digit) => Number(`${digit}e${exponent}`)))
  .concat(1e6);

/** Even steps, because a probability can drift anywhere between 0 and 1. */
const twentieths = Array.from({ length: 21 }, (_, i) => i / 20);

/** The ladder's fine end once more below 1: the probability that a rare event does not happen is as fine as that it does. */
const nearOne = [0.98, 0.99, 0.995, 0.998, 0.999];

/** Upper bounds of the bins, ascending. 0 is one of them, so that false and true lie in bins of their own. */
export const valueBounds: readonly number[] = [
  ...new Set([...ladder.map((bound) => -bound), ...twentieths, ...nearOne, ...ladder]),
].toSorted((a, b) => a - b);
