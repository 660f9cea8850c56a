/**
 * What may people write in a policy? The written form: fields, defaults, and the rules between fields. Turns what YAML
 * decoded into a Policy. Every rule speaks, even where another has already failed.
 */
import { z } from 'zod';
import { parseEndpointName, parseModelName } from '../rollout/resource-name.ts';
import { ownChecks } from './checks.ts';
import {
  acceleratorType,
  type Context,
  choice,
  complain,
  count,
  duration,
  endpointName,
  flag,
  innerPercent,
  isMapping,
  list,
  machineType,
  mapping,
  metric,
  name,
  number,
  orOff,
  percent,
  refuse,
  serviceAccount,
  shown,
  shownKeys,
  stepPercent,
  targetPercent,
} from './fields.ts';
import type { FreezeWindow, Policy } from './policy.ts';
import { isAlwaysFrozen, parseFreezeWindow } from './windows.ts';

/** More than any owner writes; every tick looks at all of them. */
const FREEZE_WINDOWS_MAX = 50;

const strategy = z.unknown().transform((value, context): 'canary' => {
  if (value === 'canary') return value;
  const isPlanned = value === 'blueGreen' || value === 'shadow';
  return refuse(context, {
    message: isPlanned ? `${value} is not available in this version` : `expected canary, got ${shown(value)}`,
    instead: 'canary',
  });
});

const match = z.unknown().transform((value, context): Policy['match'] => {
  if (value === '*') return { kind: 'any' };
  const form = '{ model: projects/P/locations/L/models/M }, { labels: { key: value } } or "*"';
  if (!isMapping(value) || Object.keys(value).length !== 1 || !('model' in value || 'labels' in value)) {
    return refuse(context, { message: `expected one of ${form}, got ${shownKeys(value)}` });
  }
  return 'model' in value ? matchModel(value['model'], context) : matchLabels(value['labels'], context);
});

const step = mapping({ percent: stepPercent, hold: duration.default(600), approval: flag.default(false) });
const steps = list(step)
  .min(1, 'expected at least one step, got none')
  .superRefine(stepsAscendTo100, { when: () => true });

const boundedWait = (afterSeconds: number) =>
  // oxlint-disable-next-line unicorn/no-thenable -- the owner's word; a schema is never awaited
  mapping({ after: duration.default(afterSeconds), then: choice(['pause', 'rollBack']).default('pause') }).prefault({});

const dryRun = flag.default(false);

const analysis = mapping({
  metricLag: duration.default(180),
  falseRollbackRate: innerPercent.default(0.01),
  minRequests: count.default(50),
  errorRate: mapping({ max: percent.default(0.05), margin: percent.default(0.005), dryRun }).prefault({}),
  latency: orOff(
    mapping({ quantile: innerPercent.default(0.95), maxRatio: number(1, 1000).default(1.2), dryRun }),
  ).prefault({}),
  drift: orOff(mapping({ maxDistance: number(0, 1).default(0.3), dryRun })).default(null),
  checks: ownChecks,
  inconclusive: boundedWait(7200),
  noData: boundedWait(1800),
  incident: choice(['pause', 'rollBack', 'ignore']).default('pause'),
}).prefault({});

const deploy = mapping({
  machineType: machineType.default('n1-standard-4'),
  minReplicas: count.default(1),
  /** Absent: 5, or the minimum if that is more. */
  maxReplicas: count.optional(),
  accelerator: mapping({ type: acceleratorType, count: count.default(1) })
    .nullable()
    .default(null),
  autoscaling: list(mapping({ metric, target: targetPercent })).default([]),
  serviceAccount: serviceAccount.nullable().default(null),
  deadline: duration.default(2700),
})
  .superRefine(replicasAreOrdered, { when: () => true })
  .prefault({});

const freezeWindow = z.unknown().transform((value, context): FreezeWindow => {
  const parsed = parseFreezeWindow(typeof value === 'string' ? value : shown(value));
  return parsed.kind === 'ok' ? parsed.window : refuse(context, parsed);
});

const spec = mapping({
  match,
  endpoint: endpointName,
  strategy: strategy.default('canary'),
  steps: steps.default([
    { percent: 5, hold: 600, approval: false },
    { percent: 25, hold: 600, approval: false },
    { percent: 50, hold: 600, approval: false },
    { percent: 100, hold: 1800, approval: false },
  ]),
  analysis,
  exposure: mapping({ maxExcessErrors: number(0, 1_000_000_000).default(200) }).prefault({}),
  deploy,
  keepStable: duration.default(86_400),
  keepFailedCanary: duration.default(0),
  onNewBlessing: choice(['replace', 'queue']).default('replace'),
  freeze: list(freezeWindow)
    .max(FREEZE_WINDOWS_MAX, `expected at most ${FREEZE_WINDOWS_MAX} windows`)
    .refine(
      (windows) => !isAlwaysFrozen(windows),
      'together these windows cover the whole week: no share could ever rise',
    )
    .default([]),
}).superRefine(modelLivesWhereEndpointDoes, { when: () => true });

/** The whole document. Parses `unknown` to a Policy; each issue carries what to write instead in `params.instead`. */
export const documentSchema = mapping({
  apiVersion: choice(['rollouts/v1']),
  kind: choice(['RolloutPolicy']),
  metadata: mapping({ name }),
  spec,
}).transform(({ metadata, spec: written }): Policy => {
  const { deploy: machine, analysis: asked } = written;
  const { errorRate, latency } = asked;
  return {
    name: metadata.name,
    match: written.match,
    endpoint: written.endpoint,
    strategy: written.strategy,
    steps: written.steps.map(({ hold, ...rest }) => ({ ...rest, holdSeconds: hold })),
    analysis: {
      metricLagSeconds: asked.metricLag,
      falseRollbackRatio: asked.falseRollbackRate,
      minRequests: asked.minRequests,
      errorRate: { maxRatio: errorRate.max, marginRatio: errorRate.margin, dryRun: errorRate.dryRun },
      latency: latency && { quantileRatio: latency.quantile, maxRatio: latency.maxRatio, dryRun: latency.dryRun },
      drift: asked.drift,
      checks: asked.checks,
      inconclusive: { afterSeconds: asked.inconclusive.after, outcome: asked.inconclusive.then },
      noData: { afterSeconds: asked.noData.after, outcome: asked.noData.then },
      incident: asked.incident,
    },
    exposure: written.exposure,
    deploy: {
      machineType: machine.machineType,
      minReplicas: machine.minReplicas,
      maxReplicas: machine.maxReplicas ?? Math.max(5, machine.minReplicas),
      accelerator: machine.accelerator,
      autoscaling: machine.autoscaling.map((rule) => ({ metric: rule.metric, targetPercent: rule.target })),
      serviceAccount: machine.serviceAccount,
      deadlineSeconds: machine.deadline,
    },
    keepStableSeconds: written.keepStable,
    keepFailedCanarySeconds: written.keepFailedCanary,
    onNewBlessing: written.onNewBlessing,
    freeze: written.freeze,
  };
});

function stepsAscendTo100(written: unknown, context: Context): void {
  if (!Array.isArray(written) || written.length === 0) return;
  const percents = written.map((entry: unknown) => (isMapping(entry) ? entry['percent'] : null));
  let highest = 0;
  for (const [i, value] of percents.entries()) {
    if (typeof value !== 'number') continue;
    if (value === highest)
      complain(context, { message: `expected more than the step before, got ${value} again`, path: [i, 'percent'] });
    if (value < highest)
      complain(context, {
        message: `expected more than the step before (${highest}), got ${value}`,
        path: [i, 'percent'],
      });
    highest = Math.max(highest, value);
  }
  const last = percents.at(-1);
  if (typeof last === 'number' && last !== 100) {
    const message = `expected the last step to be 100, got ${last}`;
    complain(context, {
      message,
      instead: 'a last step { percent: 100, hold: 30m }',
      path: [percents.length - 1, 'percent'],
    });
  }
  const lastStep: unknown = written.at(-1);
  if (isMapping(lastStep) && lastStep['approval'] === true) {
    const message = 'the last step is not left, so an approval there would wait for nothing';
    complain(context, {
      message,
      instead: 'approval: true on the step before',
      path: [percents.length - 1, 'approval'],
    });
  }
}

function replicasAreOrdered(written: unknown, context: Context): void {
  if (!isMapping(written)) return;
  const { minReplicas: min, maxReplicas: max } = written;
  if (typeof min !== 'number' || typeof max !== 'number' || min <= max) return;
  const message = `expected at least minReplicas (${min}), got ${max}`;
  complain(context, { message, instead: `${min} or more`, path: ['maxReplicas'] });
}

function modelLivesWhereEndpointDoes(written: unknown, context: Context): void {
  if (!isMapping(written) || !isMapping(written['match'])) return;
  const { endpoint, match: rule } = written;
  if (typeof endpoint !== 'string' || typeof rule['model'] !== 'string') return;
  const home = parseEndpointName(endpoint)?.location;
  const location = parseModelName(rule['model'])?.location;
  if (home === undefined || location === undefined || home === location) return;
  const message = `expected a model in ${home}, where the endpoint is, got one in ${location}; Vertex AI serves a model only in its own location`;
  complain(context, {
    message,
    instead: rule['model'].replace(`/locations/${location}/`, `/locations/${home}/`),
    path: ['match', 'model'],
  });
}

function matchModel(value: unknown, context: Context): Policy['match'] {
  if (value === '*') return { kind: 'any' };
  const parsed = typeof value === 'string' ? parseModelName(value) : null;
  if (typeof value !== 'string' || parsed === null) {
    const message = `expected a model, projects/P/locations/L/models/M, got ${shown(value)}`;
    return refuse(context, { message, path: ['model'] });
  }
  const [model = '', version] = value.split('@');
  if (version === undefined) return { kind: 'model', model };
  const message = `expected a model without a version, got ${shown(value)}; a policy is for every version`;
  return refuse(context, { message, instead: model, path: ['model'] });
}

function matchLabels(value: unknown, context: Context): Policy['match'] {
  const path = ['labels'];
  const entries = isMapping(value) ? Object.entries(value) : [];
  if (entries.length === 0)
    return refuse(context, { message: `expected labels such as { team: rail }, got ${shown(value)}`, path });
  const labels: [string, string][] = [];
  for (const [key, label] of entries) {
    if (typeof label === 'string') labels.push([key, label]);
    else {
      const instead = typeof label === 'number' || typeof label === 'boolean' ? `"${label}"` : null;
      complain(context, { message: `expected text, got ${shown(label)}`, instead, path: [...path, key] });
    }
  }
  return { kind: 'labels', labels: Object.fromEntries(labels) };
}
