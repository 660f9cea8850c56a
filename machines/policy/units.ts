/** How do people write time and shares? Durations such as `1h30m` and percents such as `0.5%`, both ways. */

const DURATION = /^(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?$/;
const PERCENT = /^(\d+(?:\.\d+)?)\s?%$/;
const UNITS = [
  { name: 'd', ms: 86_400_000 },
  { name: 'h', ms: 3_600_000 },
  { name: 'm', ms: 60_000 },
  { name: 's', ms: 1000 },
  { name: 'ms', ms: 1 },
] as const;

/** A year: longer than any rollout, and far below where sums of milliseconds lose precision. */
const DURATION_SECONDS_MAX = 366 * 86_400;

/** Parses `500ms`, `5s`, `10m`, `2h`, `1d`, `1h30m` (largest unit first) to seconds; null when the text is none, or over a year. */
export function parseDurationSeconds(text: string): number | null {
  const found = DURATION.exec(text);
  if (text === '' || found === null) return null;
  const totalMs = UNITS.reduce((sum, { ms }, i) => sum + ms * Number(found[i + 1] ?? 0), 0);
  return totalMs / 1000 <= DURATION_SECONDS_MAX ? totalMs / 1000 : null;
}

/** Writes seconds as parseDurationSeconds reads them, exact to the millisecond: 5400 is `1h30m`, 0 is `0s`. */
export function formatDuration(seconds: number): string {
  let restMs = Math.round(seconds * 1000);
  const parts = UNITS.map(({ name, ms }) => {
    const amount = Math.floor(restMs / ms);
    restMs -= amount * ms;
    return amount === 0 ? '' : `${amount}${name}`;
  });
  return parts.join('') || '0s';
}

/** Parses `5%` or `0.5%` to a ratio in 0..1; null when the text is none, or above 100 %. */
export function parsePercentRatio(text: string): number | null {
  const percent = Number(PERCENT.exec(text)?.[1] ?? Number.NaN);
  return percent <= 100 ? percent / 100 : null;
}

/** Writes a ratio as a percent of at most four significant digits: 0.005 is `0.5%`. */
export function formatPercent(ratio: number): string {
  return `${Number((ratio * 100).toPrecision(4))}%`;
}
