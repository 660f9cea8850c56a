/** What will this policy do? The policy in plain sentences, for the person who must answer for it. */
import type { AnalysisPolicy, CheckPolicy, CheckRule, Policy, Step } from './policy.ts';
import { formatDuration, formatPercent } from './units.ts';

/** One sentence a line: what it is for, how long it takes at least, what it asks, what stops it, what comes after. */
export function explainPolicy(policy: Policy): string[] {
  return [...course(policy), ...demands(policy), ...stops(policy), ...around(policy)];
}

/**
 * How long a rollout without a hitch takes at least, from the moment the canary is ready to the end of the last hold.
 * A step lasts its hold, or until evidence about it can show, whichever is longer.
 */
export function shortestSeconds({ steps, analysis }: Policy): number {
  return steps.reduce((sum, { holdSeconds }) => sum + Math.max(holdSeconds, analysis.metricLagSeconds), 0);
}

function course(policy: Policy): string[] {
  const approvals = policy.steps.filter((step) => step.approval).map((step) => `${step.percent}%`);
  const shortest = formatDuration(shortestSeconds(policy));
  const deadline = formatDuration(policy.deploy.deadlineSeconds);
  return [
    `Policy ${policy.name} takes every blessed version of ${subject(policy)} to 100% of ${policy.endpoint}.`,
    `The canary gets ${policy.steps.map(describeStep).join(', then ')}.`,
    `A healthy rollout takes at least ${shortest} once the canary is deployed; the deployment may take up to ${deadline}.`,
    ...(approvals.length === 0 ? [] : [`A person must approve before it goes on from ${approvals.join(', ')}.`]),
  ];
}

function demands({ analysis }: Policy): string[] {
  const { errorRate, latency, drift, minRequests, checks } = analysis;
  const asked = [
    {
      text: `errors at most ${formatPercent(errorRate.maxRatio)} of requests, and no more than ${points(errorRate.marginRatio)} above stable`,
      dryRun: errorRate.dryRun,
    },
    ...(latency === null ? [] : [{ text: `latency ${quantileText(latency)}`, dryRun: latency.dryRun }]),
    ...(drift === null ? [] : [{ text: `drift at most ${drift.maxDistance}`, dryRun: drift.dryRun }]),
  ];
  const acting = asked.filter(({ dryRun }) => !dryRun).map(({ text }) => text);
  const shown = asked.filter(({ dryRun }) => dryRun).map(({ text }) => text);
  return [
    `Each rise needs a healthy verdict on requests seen since the step took effect: ${[`at least ${minRequests} of the canary's`, ...acting].join(', ')}.`,
    ...shown.map((text) => `A dry run, ${dryRunText}: ${text}.`),
    ...(latency === null ? ['Latency is not judged.'] : []),
    ...checks.map((check) => ownCheck(check, analysis)),
    `Metrics are read up to ${formatDuration(analysis.metricLagSeconds)} ago, because the newest are not complete.`,
  ];
}

const dryRunText = 'judged and shown, and never acted on';

/** What is asked, of which numbers, and what comes of it. */
function ownCheck({ name, rule, from, dryRun }: CheckPolicy, { inconclusive }: AnalysisPolicy): string {
  const sentence = `The check ${name} asks for ${ruleText(rule, from)}, ${sourceText(from)}`;
  if (dryRun) return `${sentence}: a dry run, ${dryRunText}.`;
  if (rule.kind !== 'limit')
    return `${sentence}; until it is met no share rises, and a canary proven worse is rolled back.`;
  const end = `${formatDuration(inconclusive.afterSeconds)} of that (analysis.inconclusive) ${outcomes[inconclusive.outcome]}`;
  return `${sentence}. Above it, or unknown, the share holds: a limit never rolls back by itself, but ${end}.`;
}

function ruleText(rule: CheckRule, from: CheckPolicy['from']): string {
  switch (rule.kind) {
    case 'rate': {
      const of =
        from.kind === 'reported' ? 'trials' : 'of' in from && from.of !== null ? `what ${from.of} counts` : 'requests';
      return `at most ${formatPercent(rule.maxRatio)} of ${of}, and no more than ${points(rule.marginRatio)} above stable`;
    }
    case 'quantile':
      return `values ${quantileText(rule)}`;
    case 'drift':
      return `values at most ${rule.maxDistance} from stable's`;
    case 'limit':
      return `a latest value of at most ${rule.max}`;
  }
}

function sourceText(from: CheckPolicy['from']): string {
  switch (from.kind) {
    case 'filter':
      return `by Cloud Monitoring's ${from.filter}`;
    case 'promql':
      return `by PromQL ${from.query}`;
    case 'reported':
      return 'as evidence messages report';
    case 'requestLog':
      return `by ${from.value} in the request log ${from.table}`;
    case 'modelMonitoring':
      return `by ${from.feature === null ? 'the worst feature' : `the feature ${from.feature}`} of ${from.resource}`;
  }
}

function quantileText({ quantileRatio, maxRatio }: { quantileRatio: number; maxRatio: number }): string {
  return `at the ${formatPercent(quantileRatio)} quantile at most ${maxRatio} times stable's`;
}

function stops({ analysis, exposure }: Policy): string[] {
  const { noData, inconclusive, incident } = analysis;
  const incidents = { pause: 'pauses the rollout', rollBack: 'rolls back', ignore: 'changes nothing' } as const;
  return [
    'An unhealthy verdict rolls back at once: all traffic returns to what served before.',
    `A canary that is no worse than stable is rolled back by chance in at most ${formatPercent(analysis.falseRollbackRatio)} of rollouts.`,
    `Its share rises only when what the next one serves before anybody could act brings at most ${exposure.maxExcessErrors} errors more than stable would.`,
    `No request at all for ${formatDuration(noData.afterSeconds)} ${outcomes[noData.outcome]}; no data is never healthy.`,
    `Evidence that stays undecided for ${formatDuration(inconclusive.afterSeconds)} ${outcomes[inconclusive.outcome]}.`,
    `An open incident of Cloud Monitoring on the endpoint ${incidents[incident]}.`,
  ];
}

function around(policy: Policy): string[] {
  const { freeze, keepStableSeconds, keepFailedCanarySeconds, onNewBlessing } = policy;
  const windows = freeze.map((window) => window.text).join('; ');
  return [
    ...(freeze.length === 0
      ? []
      : [`No share rises during ${windows}; rolling back and aborting are always possible.`]),
    `A newer blessing ${onNewBlessing === 'replace' ? 'takes the canary off and starts in its place' : 'waits until this rollout is over'}.`,
    keepStableSeconds === 0
      ? 'After the last hold the old version is undeployed at once.'
      : `After the last hold the old version stays deployed for ${formatDuration(keepStableSeconds)}.`,
    keepFailedCanarySeconds === 0
      ? 'A canary that was rolled back is undeployed at once.'
      : `A canary that was rolled back stays deployed, without traffic, for ${formatDuration(keepFailedCanarySeconds)}.`,
    `The canary runs on ${machines(policy)}.`,
  ];
}

const outcomes = { pause: 'pauses the rollout', rollBack: 'rolls back' } as const;

function subject({ match }: Policy): string {
  if (match.kind === 'model') return match.model;
  if (match.kind === 'any') return 'any model in the same location';
  const labels = Object.entries(match.labels).map(([key, value]) => `${key}=${value}`);
  return `any model in the same location that is labelled ${labels.join(', ')}`;
}

function describeStep({ percent, holdSeconds }: Step): string {
  return `${percent}% for at least ${formatDuration(holdSeconds)}`;
}

function points(ratio: number): string {
  return `${formatPercent(ratio).slice(0, -1)} percentage points`;
}

function machines({ deploy }: Policy): string {
  const { minReplicas: min, maxReplicas: max, accelerator, autoscaling, machineType } = deploy;
  const replicas = min === max ? `${min}` : `${min} to ${max}`;
  const extra = accelerator === null ? '' : `, each with ${accelerator.count} ${accelerator.type}`;
  const scaling = autoscaling.map(({ metric, targetPercent }) => `${metric} at ${targetPercent}%`).join(', ');
  return `${replicas} × ${machineType}${extra}${scaling === '' ? '' : `, scaled by ${scaling}`}`;
}
