/**
 * Are the canary's values higher? Kayenta's judge: the Mann-Whitney test, with a tolerance around no difference. High when
 * the lower 98 % confidence limit of the shift exceeds a quarter of the Hodges-Lehmann estimate, as its classifier says.
 */
const tolerance = 0.25;
/** The 99 % quantile of the normal distribution: two-sided confidence of 98 %. */
const z = 2.3263478740408408;

/**
 * Says whether Kayenta classifies the experiment as High. The lower limit is where the standardised rank sum of the shifted
 * experiment falls to z, and it falls as the shift grows; so the limit exceeds a bound exactly if it is above z there.
 * @param experiment values of the canary; empty means no data, which is not High
 */
export function isHigh(experiment: readonly number[], control: readonly number[]): boolean {
  if (experiment.length === 0 || control.length === 0) return false;
  const bound = tolerance * Math.abs(hodgesLehmann(experiment, control));
  return standardised(experiment, control, bound) > z;
}

/** The median of all differences: the estimate of the shift. */
export function hodgesLehmann(experiment: readonly number[], control: readonly number[]): number {
  const differences = Float64Array.from(experiment.flatMap((a) => control.map((b) => a - b))).toSorted();
  const middle = differences.length / 2;
  return ((differences[Math.ceil(middle) - 1] ?? 0) + (differences[Math.floor(middle)] ?? 0)) / 2;
}

/**
 * The rank sum of the experiment less a shift, standardised with the corrections for ties and continuity that R's wilcox.test
 * makes. 0 where all values are the same.
 */
export function standardised(experiment: readonly number[], control: readonly number[], shift: number): number {
  const [m, n] = [experiment.length, control.length];
  const all = [
    ...experiment.map((value) => ({ value: value - shift, isExperiment: true })),
    ...control.map((value) => ({ value, isExperiment: false })),
  ].toSorted((a, b) => a.value - b.value);
  let [rankSum, ties] = [0, 0];
  for (let from = 0; from < all.length; ) {
    let to = from;
    while (to < all.length && all[to]?.value === all[from]?.value) to += 1;
    const tied = all.slice(from, to);
    rankSum += tied.filter(({ isExperiment }) => isExperiment).length * ((from + 1 + to) / 2);
    ties += tied.length ** 3 - tied.length;
    from = to;
  }
  const difference = rankSum - (m * (m + 1)) / 2 - (m * n) / 2;
  const variance = ((m * n) / 12) * (m + n + 1 - ties / ((m + n) * (m + n - 1)));
  return variance <= 0 ? 0 : (difference - Math.sign(difference) * 0.5) / Math.sqrt(variance);
}
