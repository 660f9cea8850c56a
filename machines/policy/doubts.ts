/** What is allowed in a policy, and probably not meant? What holds at any traffic; nothing here is an error. */
import type { CheckPolicy, CheckRule, Policy } from './policy.ts';
import { formatDuration } from './units.ts';

export interface Doubt {
  /** Where in the document: `spec.steps[2].percent`. */
  path: string;
  message: string;
  /** What to write instead; null when that is the owner's to say. */
  instead: string | null;
}

/** Model Monitoring compares an hour with the hour before, so that its first number takes two, and its run some more. */
const monitoringSeconds = 3 * 3600;

/** All that can be doubted without knowing the traffic. */
export function doubtsOf(policy: Policy): Doubt[] {
  return [
    ...policy.analysis.checks.flatMap((check, i) => {
      const path = `spec.analysis.checks[${i}].from`;
      return [...halfAsked(check, path), ...oneVersion(check, path)];
    }),
    ...tooEarly(policy),
    ...nothingActs(policy),
    ...noWayBack(policy),
  ];
}

/** A query without its placeholders counts other endpoints' requests, or another time's; without `le` there are no values. */
function halfAsked({ from, rule }: CheckPolicy, path: string): Doubt[] {
  if (from.kind !== 'promql') return [];
  const wanted = queryParts.filter(({ rules }) => rules.includes(rule.kind));
  const missingIn = (key: string, query: string): Doubt[] =>
    wanted
      .filter(({ part }) => !part.test(query))
      .map(({ message, instead }) => ({ path: `${path}.${key}`, message, instead }));
  return [...missingIn('promql', from.query), ...(from.of === null ? [] : missingIn('of', from.of))];
}

const queryParts: { part: RegExp; rules: CheckRule['kind'][]; message: string; instead: string }[] = [
  {
    part: /\{endpoint\}/,
    rules: ['rate', 'quantile', 'drift', 'limit'],
    message: 'without {endpoint} the query asks about every endpoint, and their models may have the same ids',
    instead: 'endpoint_id="{endpoint}" among its labels',
  },
  {
    part: /\{window\}/,
    rules: ['rate', 'quantile', 'drift'],
    message: 'without {window} the query counts over another time than the one that is judged',
    instead: '[{window}] as its range',
  },
  {
    part: /\ble\b/,
    rules: ['quantile', 'drift'],
    message: 'without le the query has no buckets, by which values are compared',
    instead: 'by (deployed_model_id, le)',
  },
];

/** A model monitor is for one version, and a policy for all that come. */
function oneVersion({ from, dryRun }: CheckPolicy, path: string): Doubt[] {
  if (from.kind !== 'modelMonitoring' || dryRun || !/\/modelMonitors\/[^{]*$/.test(from.resource)) return [];
  const message = 'a model monitor watches one version of a model: no share of any other version would rise';
  const instead = 'a monitor for each version, projects/P/locations/L/modelMonitors/NAME-{version}';
  return [{ path: `${path}.modelMonitoring`, message, instead }];
}

/** Without its number a check does not let the share rise, and Model Monitoring is slow to give one. */
function tooEarly({ analysis: { checks, inconclusive } }: Policy): Doubt[] {
  const slow = checks.find(({ from, dryRun }) => from.kind === 'modelMonitoring' && !dryRun);
  if (slow === undefined || inconclusive.afterSeconds >= monitoringSeconds) return [];
  const after = formatDuration(inconclusive.afterSeconds);
  const message = `${after} may be over before Model Monitoring has a first number of the canary for ${slow.name}, as it looks once an hour: the first step would end here`;
  return [{ path: 'spec.analysis.inconclusive.after', message, instead: `6h, or dryRun: true for ${slow.name}` }];
}

function nothingActs({ analysis: { errorRate, latency, drift, checks } }: Policy): Doubt[] {
  const tests = [errorRate, latency, drift, ...checks.filter(({ rule }) => rule.kind !== 'limit')];
  if (tests.some((test) => test !== null && !test.dryRun)) return [];
  const message =
    'every check that could roll back is a dry run: whatever the canary does, only a person or an incident takes it back';
  return [{ path: 'spec.analysis.errorRate.dryRun', message, instead: 'false' }];
}

function noWayBack({ keepStableSeconds }: Policy): Doubt[] {
  if (keepStableSeconds > 0) return [];
  const message = 'stable is undeployed as soon as the last hold is over: no rollback is possible afterwards';
  return [{ path: 'spec.keepStable', message, instead: '24h' }];
}
