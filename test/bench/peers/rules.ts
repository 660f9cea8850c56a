/**
 * How do others decide? Their rules as their documents and sources have them, and tuned as an expert might. All read the
 * same Monitoring data, a minute a point and three minutes late. A kindness to all: nothing counts as missing before the
 * first minute can be read at all, else several of them would roll back whatever they are given.
 */
import { isHigh } from './mann-whitney.ts';
import { canaryOf, type Decision, isAbove, type Look, type Minute, rollBack, type Rule, stay } from './rule.ts';

/** The share rises by time alone; its errors are looked at when the share has been held for a day. */
function schedule(ratioMax: number): Rule {
  const day = 24 * 60;
  const next = ladder([5, 10, 25, 50, 75, 100]);
  return {
    name: `schedule, 24 h, > ${ratioMax * 100} %`,
    firstPercent: 5,
    horizonMinutes: 7 * day,
    begin: () => (look) => {
      if (look.heldMinutes < day) return stay;
      if (isAbove(canaryOf(look.minutes.slice(-day)), ratioMax)) return rollBack('too many errors in the last day');
      return next(look.percent);
    },
  };
}

/**
 * Argo Rollouts: `setWeight` 5, 25, 50 with a `pause` of 20 min after each, and a background analysis each minute, with an
 * initial delay until there is data. The query is a rate over 5 min, as in the documents. Fails with more than
 * `failureLimit` measurements above the limit, in a row or not; five empty answers, 10 s apart, are an Error and abort too.
 */
function argo(kind: string, ratioMax: number, failureLimit: number): Rule {
  const next = ladder([5, 25, 50, 100]);
  return {
    name: `Argo ${kind} > ${ratioMax * 100} %, limit ${failureLimit}`,
    firstPercent: 5,
    begin: () => {
      let failed = 0;
      return (look) => {
        if (look.percent === 100) return { kind: 'complete' };
        if (look.minutes.length > 0) {
          const seen = canaryOf(look.minutes.slice(-5));
          if (seen === null) return rollBack('five consecutive errors: the query is empty');
          if (isAbove(seen, ratioMax)) failed += 1;
          if (failed > failureLimit) return rollBack(`${failed} measurements above the limit`);
        }
        return look.heldMinutes >= 20 ? next(look.percent) : stay;
      };
    },
  };
}

/**
 * Flagger: 10 % more each minute up to 50 %, then all. A failed check halts and is counted, and never forgotten; a missing
 * value is a failed check. Whether there were `threshold` of them is asked at the beginning of the next run.
 */
function flagger(kind: string, ratioMax: number, threshold: number): Rule {
  const next = ladder([10, 20, 30, 40, 50, 100]);
  return {
    name: `Flagger ${kind} > ${ratioMax * 100} %, threshold ${threshold}`,
    firstPercent: 10,
    begin: () => {
      let failed = 0;
      return (look) => {
        if (look.percent === 100) return { kind: 'complete' };
        if (failed >= threshold) return rollBack(`${failed} failed checks`);
        if (look.minutes.length === 0) return stay;
        const seen = canaryOf(look.minutes.slice(-1));
        if (seen !== null && !isAbove(seen, ratioMax)) return next(look.percent);
        failed += 1;
        return stay;
      };
    },
  };
}

/**
 * Kayenta: one share, judged `times` times over everything since the beginning, by the error ratio of each minute. One metric
 * scores 0 or 100, so that a single High fails the canary; no data scores 100.
 */
function kayenta(kind: string, percent: number, times: number, everyMinutes: number): Rule {
  return {
    name: `Kayenta ${kind} ${percent} %, ${times} × ${everyMinutes} min`,
    firstPercent: percent,
    begin: () => (look) => {
      if (look.percent === 100) return { kind: 'complete' };
      const { length } = look.minutes;
      if (length === 0 || length % everyMinutes !== 0) return stay;
      if (isHigh(ratios(look, 'canary'), ratios(look, 'stable'))) return rollBack('the error ratio is High');
      return length >= times * everyMinutes ? { kind: 'shift', percent: 100 } : stay;
    },
  };
}

/**
 * SageMaker's deployment guardrails: a canary of 10 % that bakes for 10 min, then all traffic, which bakes as long. Rolls
 * back when an alarm has two of its last three minutes above the limit; a missing minute is not.
 */
function sageMaker(ratioMax: number): Rule {
  return {
    name: `SageMaker > ${ratioMax * 100} %, 2 of 3`,
    firstPercent: 10,
    begin: () => (look) => {
      const above = look.minutes.slice(-3).filter((minute) => isAbove(canaryOf([minute]), ratioMax));
      if (above.length >= 2) return rollBack('the alarm went off');
      if (look.heldMinutes < 10) return stay;
      return look.percent === 100 ? { kind: 'complete' } : { kind: 'shift', percent: 100 };
    },
  };
}

/**
 * cloud-run-release-manager: looks each minute at the last `minutes`, the share before included. Fewer than 100 requests are
 * inconclusive; above the limit it rolls back; else it rises once the share was held as long.
 */
function releaseManager(kind: string, ratioMax: number, minutes: number): Rule {
  const next = ladder([5, 20, 50, 80, 100]);
  return {
    name: `Release Manager ${kind} > ${ratioMax * 100} %, ${minutes} min`,
    firstPercent: 5,
    begin: () => (look) => {
      const seen = canaryOf(look.minutes.slice(-minutes));
      if (seen === null || seen.trials < 100) return stay;
      if (isAbove(seen, ratioMax)) return rollBack('the error rate is above the limit');
      return look.heldMinutes >= minutes ? next(look.percent) : stay;
    },
  };
}

export const rules: readonly Rule[] = [
  schedule(0.05),
  argo('default', 0.05, 0),
  argo('tuned', 0.02, 3),
  flagger('default', 0.01, 5),
  flagger('tuned', 0.02, 3),
  kayenta('default', 5, 3, 60),
  kayenta('tuned', 25, 6, 10),
  sageMaker(0.05),
  releaseManager('default', 0.01, 30),
  releaseManager('tuned', 0.02, 10),
];

/** The next of the shares; after the last of them the rollout is complete. */
function ladder(percents: readonly number[]): (percent: number) => Decision {
  return (percent) => {
    const higher = percents.find((one) => one > percent);
    return higher === undefined ? { kind: 'complete' } : { kind: 'shift', percent: higher };
  };
}

function ratios({ minutes }: Look, variant: keyof Minute): number[] {
  return minutes.flatMap((minute) => {
    const count = minute?.[variant];
    return count === undefined || count.trials === 0 ? [] : [count.hits / count.trials];
  });
}
