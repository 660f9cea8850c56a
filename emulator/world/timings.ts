/** How long do things take here? What Google takes, in real milliseconds after division by the time scale. */

export interface Timings {
  /** How many times as fast as Google's clock. */
  timeScale: number;
  createMs: number;
  /** From the call to the end of the operation, for a container that is healthy in time. */
  deployMs: number;
  /** After this long without a healthy container a deployment has failed. */
  deployDeadlineMs: number;
  /** A process takes real time to start, however fast the clock: no deployment fails earlier than this. */
  deployDeadlineMsMin: number;
  undeployMs: number;
  mutateMs: number;
  uploadMs: number;
  deleteMs: number;
  /** A prediction that takes longer fails; not divided by the time scale, since containers compute in real time. */
  predictionMs: number;
  /** Length of one metric point. */
  sampleMs: number;
  /** A point is visible this long after its end. */
  metricLagMs: number;
}

const deployDeadlineMsMin = 15_000;

/** Returns the durations of a world that is `timeScale` times as fast as Google's (1 to 36,000). */
export function timingsFor(timeScale: number): Timings {
  if (!(timeScale >= 1 && timeScale <= 36_000)) {
    throw new RangeError(`Expected a time scale from 1 to 36000, got ${timeScale}.`);
  }
  const scaled = (seconds: number): number => (seconds * 1000) / timeScale;
  return {
    timeScale,
    createMs: scaled(10),
    deployMs: scaled(300),
    deployDeadlineMs: Math.max(scaled(1800), deployDeadlineMsMin),
    deployDeadlineMsMin,
    undeployMs: scaled(60),
    mutateMs: scaled(120),
    uploadMs: scaled(20),
    deleteMs: scaled(10),
    predictionMs: 60_000,
    sampleMs: scaled(60),
    metricLagMs: scaled(180),
  };
}
