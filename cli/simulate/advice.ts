/**
 * What should its owner change? Sentences derived from the policy and from what its lives showed, with the numbers they rest
 * on. Pure: the same numbers, the same sentences.
 */
import { count, round } from '../../machines/analysis/sentences.ts';
import type { Policy } from '../../machines/policy/policy.ts';
import { formatDuration, formatPercent } from '../../machines/policy/units.ts';
import { roughly } from '../text.ts';
import type { FaultAnswer, PolicyAnswer } from './answer.ts';
import type { Scenario } from './faults.ts';

export interface Advice {
  /** Where in the policy's document. */
  path: string;
  text: string;
}

/** Another policy that healthy canaries were lived under, to see whether it is sooner done. */
export interface Trial {
  /** As a change of the policy: `a first step of 10%`. */
  change: string;
  path: string;
  answer: FaultAnswer;
}

/** Cloud Monitoring's points, and the tick that reads them. */
const periodSeconds = 60;
/** A local run's. */
const localPeriodSeconds = 1;
/** Of the step's hold, or of the first window where that is longer: beyond this, evidence is what a step waits for. */
const slowFactor = 1.5;
/** A change is worth a sentence when it saves so much of the time. */
const savedRatioMin = 0.15;
/** More paused lives than this are no accident. */
const oftenRatio = 0.1;

/**
 * How long after a step took effect its first window is read, at the soonest. Its first point is left out, as that one may
 * have begun earlier; the second must be over, and `metricLag` old.
 * @example metricLag 3m: 180 + 2 · 60 = 300
 */
export function firstWindowSeconds({ analysis }: Policy, pointSeconds = periodSeconds): number {
  return analysis.metricLagSeconds + 2 * pointSeconds;
}

/**
 * Canary requests that a step can have shown on average when `inconclusive.after` is over; 0 if no window is read by then.
 * @example 1 request/s at 5 %, after 2h, metricLag 3m: (7200 - 180 - 60) · 0.05 = 348
 */
export function requestsInPatience(
  { analysis }: Policy,
  percent: number,
  requestsPerSecond: number,
  pointSeconds = periodSeconds,
): number {
  const seconds = analysis.inconclusive.afterSeconds - analysis.metricLagSeconds - pointSeconds;
  return Math.max(0, seconds) * requestsPerSecond * (percent / 100);
}

/**
 * How long the points of the metrics are that a policy is written for. Google's are a minute, and show later than that: a
 * policy whose metrics show within a minute is for a local run.
 */
export function pointSecondsOf({ analysis }: Policy): number {
  return analysis.metricLagSeconds < periodSeconds ? localPeriodSeconds : periodSeconds;
}

/**
 * Where a policy cannot decide within its own deadlines. Without a rate, only what holds at any: each step reads windows of
 * whole points. With one, also a step whose `minRequests` do not come in time on average.
 * @param requestsPerSecond of the whole endpoint
 */
export function policyWarnings(
  policy: Policy,
  requestsPerSecond?: number,
  pointSeconds: number = periodSeconds,
): Advice[] {
  const late = (['noData', 'inconclusive'] as const).flatMap((wait) => lateWindow(policy, wait, pointSeconds));
  return requestsPerSecond === undefined || late.some(({ path }) => path.includes('.inconclusive.'))
    ? late
    : [...late, ...tooFewRequests(policy, requestsPerSecond, pointSeconds)];
}

function lateWindow(policy: Policy, wait: 'noData' | 'inconclusive', pointSeconds: number): Advice[] {
  const { afterSeconds, outcome } = policy.analysis[wait];
  const first = firstWindowSeconds(policy, pointSeconds);
  if (afterSeconds >= first) return [];
  const lag = formatDuration(policy.analysis.metricLagSeconds);
  const windows = `a step's first window is read ${formatDuration(first)} after it took effect (metricLag ${lag}, and ${formatDuration(2 * pointSeconds)} for whole points)`;
  const end = outcome === 'pause' ? 'pauses' : 'rolls back';
  const what =
    wait === 'noData'
      ? `every step ${end} before anything can be known`
      : `a step that its first window does not prove ${end}`;
  const text = `${windows}, but ${wait}.after is ${formatDuration(afterSeconds)}: ${what}. Wait for ${formatDuration(first)} or more.`;
  return [{ path: `spec.analysis.${wait}.after`, text }];
}

function tooFewRequests(policy: Policy, requestsPerSecond: number, pointSeconds: number): Advice[] {
  const { minRequests, inconclusive, metricLagSeconds } = policy.analysis;
  const shownAt = (percent: number): number => requestsInPatience(policy, percent, requestsPerSecond, pointSeconds);
  const index = policy.steps.findIndex(({ percent }) => shownAt(percent) < minRequests);
  const step = policy.steps[index];
  if (step === undefined) return [];
  const shown = shownAt(step.percent);
  const enough = (100 * minRequests) / shownAt(100);
  const seconds = minRequests / (requestsPerSecond * (step.percent / 100)) + metricLagSeconds + pointSeconds;
  const after = formatDuration(Math.ceil(seconds / (10 * pointSeconds)) * 10 * pointSeconds);
  const instead = [
    ...(enough <= 100 ? [`begin at ${Math.ceil(enough)} %`] : []),
    ...(shown >= 1 ? [`ask for at most ${Math.floor(shown)}`] : []),
    `wait for ${after}`,
  ];
  const end = inconclusive.outcome === 'pause' ? 'pauses' : 'rolls back';
  const text = `at ${rateText(requestsPerSecond)} step ${index + 1} (${step.percent} %) shows about ${round(Math.floor(shown))} canary requests within inconclusive.after (${formatDuration(inconclusive.afterSeconds)}), and minRequests is ${minRequests}: the step ${end} before it can be decided. ${capital(instead.join(', or '))}.`;
  return [{ path: 'spec.analysis.minRequests', text }];
}

/** All that can be said: what holds before any life, then what the lives showed, the worst first. */
export function advise({ policy, answers }: PolicyAnswer, scenario: Scenario, trials: Trial[]): Advice[] {
  const healthy = answers.find(({ fault }) => fault === 'none');
  return [
    ...policyWarnings(policy, scenario.requestsPerSecond),
    ...(healthy === undefined
      ? []
      : [...falseAlarms(policy, healthy), ...waits(policy, healthy, scenario), ...remedies(policy, healthy, trials)]),
    ...answers.flatMap((answer) => missed(policy, answer)),
    ...leftToPeople(answers),
    ...harm(policy, answers, scenario),
  ];
}

/** Are healthy canaries held up: so many paused, or a step that lasts far longer than asked? Then changes are worth trying. */
export function isHeldUp(policy: Policy, healthy: FaultAnswer): boolean {
  return healthy.ends.paused + healthy.ends.waiting > oftenRatio * healthy.lives || slowStep(policy, healthy) !== null;
}

/** The changes that are worth trying where healthy canaries are held up; each one alone. */
export function changesToTry(policy: Policy): { change: string; path: string; policy: Policy }[] {
  const [first, second] = policy.steps;
  const { errorRate, minRequests } = policy.analysis;
  const percent = first === undefined ? 100 : first.percent * 2;
  const analysis = (changed: Partial<Policy['analysis']>): Policy => ({
    ...policy,
    analysis: { ...policy.analysis, ...changed },
  });
  const marginRatio = Math.min(1, Math.max(0.001, errorRate.marginRatio * 2));
  const fewer = Math.ceil(minRequests / 4);
  return [
    ...(first !== undefined && second !== undefined && percent < second.percent
      ? [
          {
            change: `a first step of ${percent} %`,
            path: 'spec.steps[0].percent',
            policy: { ...policy, steps: [{ ...first, percent }, ...policy.steps.slice(1)] },
          },
        ]
      : []),
    {
      change: `a margin of ${formatPercent(marginRatio)} (which lets through a canary that is so much worse)`,
      path: 'spec.analysis.errorRate.margin',
      policy: analysis({ errorRate: { ...errorRate, marginRatio } }),
    },
    ...(fewer < minRequests
      ? [
          {
            change: `minRequests of ${fewer}`,
            path: 'spec.analysis.minRequests',
            policy: analysis({ minRequests: fewer }),
          },
        ]
      : []),
  ];
}

function falseAlarms(policy: Policy, { wrong, lives }: FaultAnswer): Advice[] {
  const allowed = policy.analysis.falseRollbackRatio;
  const path = 'spec.analysis.falseRollbackRate';
  if (wrong === null || wrong.ratioAtMost <= allowed) return [];
  if (wrong.count > allowed * lives + 2 * Math.sqrt(allowed * lives)) {
    const text = `${wrong.count} of ${lives} healthy canaries were rolled back (${formatPercent(wrong.count / lives)}), where falseRollbackRate allows ${formatPercent(allowed)}.`;
    return [{ path, text }];
  }
  if (wrong.count > 0) return [];
  const needed = livesFor(allowed);
  const text = `no healthy canary of ${lives} was rolled back, which shows a rate of at most ${formatPercent(Number(wrong.ratioAtMost.toPrecision(2)))}; to show ${formatPercent(allowed)} takes --lives ${needed}.`;
  return [{ path, text }];
}

/**
 * Lives that must all go well to show, at 95 %, that a rate is at most so large: ln 0.05 / ln(1 - ratio).
 * @example 1 %: 299
 */
export function livesFor(ratio: number): number {
  return Math.ceil(Math.log(0.05) / Math.log1p(-ratio));
}

function waits(policy: Policy, { ends, lives, stepMinutes, example }: FaultAnswer, scenario: Scenario): Advice[] {
  const held = ends.paused + ends.waiting;
  const at = `at ${rateText(scenario.requestsPerSecond)}`;
  if (held > oftenRatio * lives) {
    const index = stepMinutes.indexOf(null);
    const where = index === -1 ? '' : `, most of them at step ${index + 1} (${policy.steps[index]?.percent} %)`;
    const because = held > lives / 2 ? ` One of them: ${example}` : '';
    return [
      {
        path: index === -1 ? 'spec.analysis.inconclusive.after' : `spec.steps[${index}]`,
        text: `${at} ${held} of ${lives} healthy canaries were not promoted without a person${where}.${because}`,
      },
    ];
  }
  const slow = slowStep(policy, { stepMinutes });
  if (slow === null) return [];
  const { index, minutes } = slow;
  const step = policy.steps[index];
  const text = `${at} step ${index + 1} (${step?.percent} %) takes ${roughly(minutes * 60_000)} of evidence, though its hold is ${formatDuration(step?.holdSeconds ?? 0)}.`;
  return [{ path: `spec.steps[${index}]`, text }];
}

/** The step that waits longest for evidence, by the median; null if none waits much beyond its hold or first window. */
function slowStep(
  policy: Policy,
  { stepMinutes }: Pick<FaultAnswer, 'stepMinutes'>,
): { index: number; minutes: number } | null {
  const waiting = stepMinutes.flatMap((minutes, index) => {
    const least = Math.max(policy.steps[index]?.holdSeconds ?? 0, firstWindowSeconds(policy) + periodSeconds) / 60;
    return minutes !== null && minutes > slowFactor * least ? [{ index, minutes }] : [];
  });
  return waiting.toSorted((a, b) => b.minutes - a.minutes)[0] ?? null;
}

function remedies(policy: Policy, healthy: FaultAnswer, trials: Trial[]): Advice[] {
  if (!isHeldUp(policy, healthy)) return [];
  const now = healthy.minutesTo100.median;
  return trials.flatMap(({ change, path, answer }) => {
    const then = answer.minutesTo100.median;
    if (then === null || (now !== null && then > (1 - savedRatioMin) * now)) return [];
    const before = now === null ? 'never in half of them as it is' : `${roughly(now * 60_000)} as it is`;
    return [{ path, text: `with ${change}, 100 % came after ${roughly(then * 60_000)} in the median, ${before}.` }];
  });
}

function missed(policy: Policy, { kind, fault, text, ends, lives }: FaultAnswer): Advice[] {
  const margin = formatPercent(policy.analysis.errorRate.marginRatio);
  if (kind === 'allowed') {
    const why = `${fault} (${text}) is within the margin of ${margin} above stable: promoting it is what the policy asks for.`;
    return [{ path: 'spec.analysis.errorRate.margin', text: why }];
  }
  if (kind !== 'bad' || ends.proven + ends.waiting === 0) return [];
  const undecided = ends.waiting === 0 ? '' : `, and ${ends.waiting} not decided`;
  const why = `${ends.proven} of ${lives} canaries with ${fault} (${text}) were promoted and kept${undecided}.`;
  return [{ path: fault === 'slow' ? 'spec.analysis.latency' : 'spec.analysis.errorRate', text: why }];
}

/** Bad canaries that neither went on nor back. */
function leftToPeople(answers: FaultAnswer[]): Advice[] {
  const often = answers.filter(({ kind, ends, lives }) => kind === 'bad' && ends.paused > oftenRatio * lives);
  if (often.length === 0) return [];
  const each = often.map(({ fault, ends, lives }) => `${fault} ${ends.paused} of ${lives}`).join(', ');
  const text = `bad canaries were paused and not rolled back (${each}): they keep their share until a person decides, or evidence proves them worse.`;
  return [{ path: 'spec.analysis', text }];
}

/** More errors than the owner's budget in one life of ten: the share was too large for how late evidence comes. */
function harm(policy: Policy, answers: FaultAnswer[], scenario: Scenario): Advice[] {
  const budget = policy.exposure.maxExcessErrors;
  const beyond = answers.filter(({ kind, excessErrors }) => kind === 'bad' && excessErrors.ninety > budget);
  if (beyond.length === 0) return [];
  const each = beyond.map(({ fault, excessErrors, minutesToRollback }) => {
    const back = minutesToRollback.median;
    const after = back === null ? 'never rolled back' : `back after ${roughly(back * 60_000)}`;
    return `${fault} ${count(Math.round(excessErrors.ninety))} (${after})`;
  });
  const hint =
    scenario.source.proxySeconds === null
      ? ' A proxy rolls back by its own evidence, within seconds: compare with --source proxy.'
      : '';
  const text = `one life of ten has more errors beyond stable's (slow: slow answers) than maxExcessErrors (${count(budget)}), which holds for the next share and cannot undo what a share did before evidence came: ${each.join(', ')}.${hint}`;
  return [{ path: 'spec.exposure.maxExcessErrors', text }];
}

/** `20 requests/s` */
export function rateText(requestsPerSecond: number): string {
  return `${count(Number(requestsPerSecond.toPrecision(4)))} ${requestsPerSecond === 1 ? 'request' : 'requests'}/s`;
}

function capital(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}`;
}
