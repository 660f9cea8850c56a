/**
 * What may people write as a check of their own? A name, one rule, and one source whose numbers can answer it. What makes
 * no sense together is refused, with what to write instead.
 */
import { z } from 'zod';
import { closest } from './closest.ts';
import {
  asWritten,
  type Context,
  complain,
  flag,
  innerPercent,
  isMapping,
  list,
  mapping,
  named,
  number,
  percent,
  refuse,
  relay,
  scalar,
  shown,
  shownKeys,
} from './fields.ts';
import type { CheckPolicy, CheckRule } from './policy.ts';
import { requestLogTable, requestLogValue } from './request-log.ts';

/** More than anybody watches. Each is read on every tick, and every one that may roll back makes all slower to prove. */
const CHECKS_MAX = 20;
const QUERY_LENGTH_MAX = 4000;
/** Our own words in verdicts; and the last, which every object of JavaScript has. */
const TAKEN = ['latency', 'drift', 'requests', 'outage', 'sources', 'suspicion', 'constructor'];

type Source = CheckPolicy['from'];
type RuleName = CheckRule['kind'];
type SourceName = Source['kind'];

const ruleNames = ['rate', 'quantile', 'drift', 'limit'] as const;
const ruleExamples: Record<RuleName, string> = {
  rate: 'rate: { max: 10%, margin: 1% }',
  quantile: 'quantile: { quantile: 95%, maxRatio: 1.2 }',
  drift: 'drift: { maxDistance: 0.3 }',
  limit: 'limit: { max: 0.3 }',
};

/** The rules that a source can answer, the likeliest first, and why no others; metrics and queries answer any. */
const answers: Partial<Record<SourceName, { rules: readonly RuleName[]; why: string }>> = {
  reported: { rules: ['rate', 'quantile', 'drift'], why: 'reports add up, and have no latest value' },
  requestLog: { rules: ['drift', 'quantile'], why: 'the log has the values of single requests' },
  modelMonitoring: { rules: ['limit'], why: 'Model Monitoring has one latest number' },
};

const checkName = scalar(
  `a name of lower-case letters, digits and hyphens, at most 40, and none of ${TAKEN.slice(0, -1).join(', ')}`,
  (value) =>
    typeof value === 'string' && /^[a-z][a-z0-9-]{0,39}$/.test(value) && !TAKEN.includes(value) ? value : null,
  (value) => (typeof value === 'string' ? nameLike(value) : null),
);

/** One metric type, because Cloud Monitoring lists the series of one at a time. */
const metricFilter = scalar(
  'a filter that names one metric, metric.type="…"',
  (value) => {
    if (typeof value !== 'string' || value.length > QUERY_LENGTH_MAX) return null;
    const isOne = value.match(/metric\.type/g)?.length === 1 && /metric\.type\s*=\s*"[^"]+"/.test(value);
    return isOne ? value : null;
  },
  (value) => (typeof value === 'string' && /^[\w.-]+(?:\/[\w.-]+)+$/.test(value) ? `'metric.type="${value}"'` : null),
);
const query = scalar(
  'PromQL whose results have the label deployed_model_id',
  (value) =>
    typeof value === 'string' && value.length <= QUERY_LENGTH_MAX && value.includes('deployed_model_id') ? value : null,
  (value) => (typeof value === 'string' && !value.includes('{') ? `sum by (deployed_model_id) (${value})` : null),
);
const table = scalar(
  'a BigQuery table, PROJECT.DATASET.TABLE',
  (value) => (typeof value === 'string' && requestLogTable.test(value) ? value : null),
  (value) => {
    // The forms of Vertex AI's endpoints, and of older SQL.
    const near = typeof value === 'string' ? value.replace(/^bq:\/\//, '').replace(':', '.') : '';
    return requestLogTable.test(near) ? near : null;
  },
);
const valuePath = scalar(
  'a path that begins with instances or predictions, such as instances.distance',
  (value) => (typeof value === 'string' && value.length <= 200 && requestLogValue.test(value) ? value : null),
  (value) => (typeof value === 'string' && requestLogValue.test(`instances.${value}`) ? `instances.${value}` : null),
);
const monitoring = named('projects/P/locations/L/modelDeploymentMonitoringJobs/J or …/modelMonitors/M', (text) =>
  /^projects\/[^/\s]+\/locations\/[a-z0-9-]+\/(?:modelDeploymentMonitoringJobs|modelMonitors)\/(?:[A-Za-z0-9-]|\{version\}){1,63}$/.test(
    text,
  ),
);
const feature = named('the name of a feature', (text) => text !== '' && text.length <= 200);
const bound = scalar(
  'a number',
  (value) => (typeof value === 'number' && Number.isFinite(value) ? value : null),
  (value) => (typeof value === 'string' && /^-?\d+(?:\.\d+)?$/.test(value) ? value : null),
);

/** Told apart by the key that names the source, so that each says which other keys it takes. */
const sources = {
  filter: mapping({ filter: metricFilter, of: metricFilter.nullable().default(null) }).transform(
    (written): Source => ({ kind: 'filter', ...written }),
  ),
  promql: mapping({ promql: query, of: query.nullable().default(null) }).transform(
    ({ promql, of }): Source => ({ kind: 'promql', query: promql, of }),
  ),
  requestLog: mapping({ requestLog: table, value: valuePath }).transform(
    ({ requestLog, value }): Source => ({ kind: 'requestLog', table: requestLog, value }),
  ),
  modelMonitoring: mapping({ modelMonitoring: monitoring, feature: feature.nullable().default(null) }).transform(
    (written): Source => ({ kind: 'modelMonitoring', resource: written.modelMonitoring, feature: written.feature }),
  ),
};
const sourceNames = ['filter', 'promql', 'requestLog', 'modelMonitoring'] as const;

const source = z.unknown().transform((value, context): Source => {
  if (value === 'reported') return { kind: 'reported' };
  const given = sourceNames.filter((each) => isMapping(value) && each in value);
  const [first] = given;
  if (first !== undefined && given.length === 1) return relay(sources[first], value, context);
  const got = given.length > 1 ? given.join(' and ') : shownKeys(value);
  const message = `expected reported, or a mapping with one of ${sourceNames.join(', ')}, got ${got}`;
  const near = typeof value === 'string' ? closest(value, ['reported']) : null;
  return refuse(context, { message, instead: given.length > 1 ? 'one check for each' : near });
});

const rules = {
  rate: mapping({ max: percent, margin: percent }).transform(
    ({ max, margin }): CheckRule => ({ kind: 'rate', maxRatio: max, marginRatio: margin }),
  ),
  quantile: mapping({ quantile: innerPercent.default(0.95), maxRatio: number(1, 1000).default(1.2) }).transform(
    ({ quantile, maxRatio }): CheckRule => ({ kind: 'quantile', quantileRatio: quantile, maxRatio }),
  ),
  drift: mapping({ maxDistance: number(0, 1).default(0.3) }).transform(
    ({ maxDistance }): CheckRule => ({ kind: 'drift', maxDistance }),
  ),
  limit: mapping({ max: bound }).transform(({ max }): CheckRule => ({ kind: 'limit', max })),
};

const check = asWritten(
  ruleFitsSource,
  mapping({
    name: checkName,
    rate: rules.rate.optional(),
    quantile: rules.quantile.optional(),
    drift: rules.drift.optional(),
    limit: rules.limit.optional(),
    from: source,
    dryRun: flag.default(false),
  }).transform(({ name, from, dryRun, rate, quantile, drift, limit }): CheckPolicy => {
    const rule = rate ?? quantile ?? drift ?? limit;
    // Without a rule there is no check, as ruleFitsSource says.
    return rule === undefined ? z.NEVER : { name, from, rule, dryRun };
  }),
);

/** The list `checks`; empty where it is absent. */
export const ownChecks = asWritten(checksStandApart, list(check)).default([]);

function checksStandApart(written: unknown, context: Context): void {
  if (!Array.isArray(written)) return;
  if (written.length > CHECKS_MAX)
    complain(context, { message: `expected at most ${CHECKS_MAX} checks, got ${written.length}` });
  const names = written.map((entry: unknown) => (isMapping(entry) ? entry['name'] : null));
  for (const [i, each] of names.entries()) {
    if (typeof each === 'string' && names.indexOf(each) < i)
      complain(context, { message: `expected a name of its own, got ${shown(each)} again`, path: [i, 'name'] });
  }
}

/** One rule, and one that the source's numbers can answer. Speaks even where a field is wrong in itself. */
function ruleFitsSource(written: unknown, context: Context): void {
  if (!isMapping(written)) return;
  const asked = ruleNames.filter((each) => each in written);
  if (asked.length !== 1) {
    const message = `expected one of ${ruleNames.join(', ')}, got ${asked.join(' and ') || 'none'}`;
    complain(context, { message, instead: asked.length === 0 ? ruleExamples.rate : 'one check for each' });
  }
  const { from } = written;
  const name = from === 'reported' ? from : sourceNames.find((each) => isMapping(from) && each in from);
  const able = name === undefined ? undefined : answers[name];
  for (const rule of asked) {
    if (able !== undefined && !able.rules.includes(rule)) {
      const message = `expected ${able.rules.join(' or ')} with ${name}, got ${rule}: ${able.why}`;
      const [likely = rule] = able.rules;
      complain(context, { message, instead: ruleExamples[likely], path: [rule] });
    }
  }
  if (isMapping(from) && 'of' in from && !asked.includes('rate') && asked.length > 0) {
    const message = `expected no "of" with ${asked.join(' and ')}: only a rate is so many of others`;
    complain(context, { message, instead: ruleExamples.rate, path: ['from', 'of'] });
  }
}

/** `Clicks lost` and `clicksLost` become `clicks-lost`, a name of ours `own-latency`. */
function nameLike(text: string): string | null {
  const words = text
    .replaceAll(/([a-z0-9])([A-Z])/g, '$1-$2')
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .filter((word) => word !== '');
  const joined = (TAKEN.includes(text) ? ['own', ...words] : words).join('-').replace(/^\d+-?/, '');
  return joined === '' ? null : joined.slice(0, 40);
}
