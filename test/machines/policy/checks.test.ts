import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type ParsedPolicy, parsePolicy, parsePolicyValue, type Problem } from '../../../machines/policy/document.ts';
import type { CheckPolicy } from '../../../machines/policy/policy.ts';

const HEAD = `apiVersion: rollouts/v1
kind: RolloutPolicy
metadata: { name: delays }
spec:
  match: "*"
  endpoint: projects/p/locations/us-central1/endpoints/1
  analysis:
    checks:
`;
/** The first check is on line 9. */
const withChecks = (...checks: string[]): ParsedPolicy =>
  parsePolicy(HEAD + checks.map((each) => `      - ${each}\n`).join(''));

function check(written: string): CheckPolicy | undefined {
  const parsed = withChecks(written);
  if (parsed.kind === 'invalid') throw new Error(JSON.stringify(parsed.problems));
  return parsed.policy.analysis.checks[0];
}

function problems(...checks: string[]): Problem[] {
  const parsed = withChecks(...checks);
  return parsed.kind === 'invalid' ? parsed.problems : [];
}

const RATE = 'rate: { max: 10%, margin: 1% }';
const FILTER = `from: { filter: 'metric.type="a.b/c"' }`;
const PROMQL = 'sum by (deployed_model_id) (increase(a_b:c{endpoint_id="{endpoint}"}[{window}]))';
const JOB = 'projects/p/locations/us-central1/modelDeploymentMonitoringJobs/123';

describe('a check', () => {
  test.each([
    [RATE, { kind: 'rate', maxRatio: 0.1, marginRatio: 0.01 }],
    ['quantile: { quantile: 99%, maxRatio: 1.3 }', { kind: 'quantile', quantileRatio: 0.99, maxRatio: 1.3 }],
    ['quantile: {}', { kind: 'quantile', quantileRatio: 0.95, maxRatio: 1.2 }],
    ['drift: {}', { kind: 'drift', maxDistance: 0.3 }],
    ['limit: { max: 8000000000 }', { kind: 'limit', max: 8e9 }],
    ['limit: { max: -0.5 }', { kind: 'limit', max: -0.5 }],
  ])('asks for %s', (rule, parsed) => {
    expect(check(`{ name: lost, ${rule}, ${FILTER} }`)?.rule).toEqual(parsed);
  });

  test.each([
    [RATE, 'reported', { kind: 'reported' }],
    [
      RATE,
      `{ filter: 'metric.type = "a.b/c" AND metric.labels.x="1"', of: 'metric.type="a.b/d"' }`,
      { of: 'metric.type="a.b/d"' },
    ],
    [RATE, `{ filter: 'metric.type="a.b/c"' }`, { kind: 'filter', filter: 'metric.type="a.b/c"', of: null }],
    [RATE, `{ promql: '${PROMQL}', of: '${PROMQL}' }`, { kind: 'promql', query: PROMQL, of: PROMQL }],
    [
      'drift: {}',
      `{ requestLog: p-1.logs.t, value: instances.distance }`,
      { table: 'p-1.logs.t', value: 'instances.distance' },
    ],
    ['drift: {}', `{ requestLog: "example.com:p.d.t", value: predictions.0.score-a }`, { table: 'example.com:p.d.t' }],
    ['limit: { max: 1 }', `{ modelMonitoring: ${JOB}, feature: distance }`, { resource: JOB, feature: 'distance' }],
    ['limit: { max: 1 }', `{ modelMonitoring: projects/p/locations/l/modelMonitors/7 }`, { feature: null }],
  ])('with %s reads from %s', (rule, from, parsed) => {
    expect(check(`{ name: lost, ${rule}, from: ${from} }`)?.from).toMatchObject(parsed);
  });

  test('acts, unless it is a dry run', () => {
    expect(check(`{ name: lost, ${RATE}, ${FILTER} }`)?.dryRun).toBe(false);
    expect(check(`{ name: lost, ${RATE}, ${FILTER}, dryRun: true }`)?.dryRun).toBe(true);
  });
});

describe('a problem with a check', () => {
  test.each([
    ['no rule', FILTER, '', 'rate: { max: 10%, margin: 1% }'],
    ['two rules', `${RATE}, limit: { max: 1 }, ${FILTER}`, '', 'one check for each'],
    ['no source', RATE, '.from', null],
    ['a misspelled source', `${RATE}, from: Reported`, '.from', 'reported'],
    ['two sources', `${RATE}, from: { filter: 'metric.type="a.b/c"', promql: 'x' }`, '.from', 'one check for each'],
    ['an unknown key', `${RATE}, ${FILTER}, dryrun: true`, '.dryrun', 'dryRun'],
    ['a key of another source', `${RATE}, from: { filter: 'metric.type="a.b/c"', feature: x }`, '.from.feature', null],
    ['a rate without a margin', `rate: { max: 5% }, ${FILTER}`, '.rate.margin', null],
    ['a ratio for a percent', `rate: { max: 0.05, margin: 1% }, ${FILTER}`, '.rate.max', '5%'],
    ['a limit without a number', `limit: {}, ${FILTER}`, '.limit.max', null],
    ['an infinite limit', `limit: { max: .inf }, ${FILTER}`, '.limit.max', null],
    ['a metric for a filter', `${RATE}, from: { filter: a.b/c }`, '.from.filter', `'metric.type="a.b/c"'`],
    [
      'a filter of two metrics',
      `${RATE}, from: { filter: 'metric.type="a.b/c" OR metric.type="a.b/d"' }`,
      '.from.filter',
      null,
    ],
    [
      'PromQL without models',
      `${RATE}, from: { promql: sum(x) }`,
      '.from.promql',
      'sum by (deployed_model_id) (sum(x))',
    ],
    [
      'trials of a quantile',
      `quantile: {}, from: { filter: 'metric.type="a.b/c"', of: 'metric.type="a.b/d"' }`,
      '.from.of',
      'rate: { max: 10%, margin: 1% }',
    ],
    ['a reported limit', 'limit: { max: 5 }, from: reported', '.limit', 'rate: { max: 10%, margin: 1% }'],
    [
      'a rate of a log',
      `${RATE}, from: { requestLog: p.d.t, value: instances }`,
      '.rate',
      'drift: { maxDistance: 0.3 }',
    ],
    ['a rate of a monitor', `${RATE}, from: { modelMonitoring: ${JOB} }`, '.rate', 'limit: { max: 0.3 }'],
    ['a log without a value', 'drift: {}, from: { requestLog: p.d.t }', '.from.value', null],
    [
      'a value of neither side',
      'drift: {}, from: { requestLog: p.d.t, value: distance }',
      '.from.value',
      'instances.distance',
    ],
    ['a value that is SQL', `drift: {}, from: { requestLog: p.d.t, value: "instances.a' OR 1" }`, '.from.value', null],
    [
      "Vertex AI's form of a table",
      'drift: {}, from: { requestLog: bq://p.d.t, value: instances }',
      '.from.requestLog',
      'p.d.t',
    ],
    ['a table that is SQL', 'drift: {}, from: { requestLog: "p.d.t` --", value: instances }', '.from.requestLog', null],
    [
      'no monitor',
      'limit: { max: 1 }, from: { modelMonitoring: projects/p/monitors/1 }',
      '.from.modelMonitoring',
      null,
    ],
  ])('%s is named by path, line and remedy', (_, fields, path, instead) => {
    const found = problems(`{ name: good, ${RATE}, ${FILTER} }`, `{ name: lost, ${fields} }`);
    expect(found.map((each) => ({ path: each.path, line: each.line, instead: each.instead }))).toEqual([
      { path: `spec.analysis.checks[1]${path}`, line: 10, instead },
    ]);
    expect(found[0]?.message).toMatch(/^expected /);
  });

  test.each([
    ['Clicks Lost', 'clicks-lost'],
    ['clicksLost', 'clicks-lost'],
    ['9lives', 'lives'],
    ['x'.repeat(41), 'x'.repeat(40)],
    ['latency', 'own-latency'],
    ['errorRate', 'error-rate'],
    ['requests', 'own-requests'],
    ['constructor', 'own-constructor'],
    ['…', null],
  ])('a name like %s is refused', (name, instead) => {
    expect(problems(`{ name: "${name}", ${RATE}, ${FILTER} }`)).toMatchObject([
      { path: 'spec.analysis.checks[0].name', instead },
    ]);
  });

  test('a name that is there already is refused where it comes again', () => {
    const twice = `{ name: lost, ${RATE}, ${FILTER} }`;
    expect(problems(twice, `{ name: found, ${RATE}, ${FILTER} }`, twice)).toMatchObject([
      { path: 'spec.analysis.checks[2].name', line: 11 },
    ]);
  });

  test('the 21st check is one too many', () => {
    const checks = Array.from({ length: 21 }, (_, i) => `{ name: c${i}, ${RATE}, ${FILTER} }`);
    expect(withChecks(...checks.slice(1)).kind).toBe('ok');
    expect(problems(...checks)).toMatchObject([
      { path: 'spec.analysis.checks', message: expect.stringContaining('20') },
    ]);
  });

  test('never hides another', () => {
    const found = problems(
      '{ name: Lost, rate: { max: 0.1 }, from: { requestLog: p.d, valu: distance }, dry: 1 }',
      '{ name: kept, limit: {}, from: reported }',
      '{ name: kept, drift: { maxDistance: 2 }, from: none }',
      'x',
    );
    expect(found.map(({ line, path }) => `${line} ${path.replace('spec.analysis.checks', '')}`)).toEqual([
      '9 [0].name',
      '9 [0].rate',
      '9 [0].rate.margin',
      '9 [0].rate.max',
      '9 [0].from.value',
      '9 [0].from.requestLog',
      '9 [0].from.valu',
      '9 [0].dry',
      '10 [1].limit',
      '10 [1].limit.max',
      '11 [2].name',
      '11 [2].drift.maxDistance',
      '11 [2].from',
      '12 [3]',
    ]);
  });
});

test('whatever a check is, it is parsed or explained, and never thrown at', () => {
  const value = fc.anything({ withBigInt: true, withDate: true, withMap: true, withNullPrototype: true });
  const keys = ['name', 'rate', 'quantile', 'drift', 'limit', 'from', 'dryRun'];
  fc.assert(
    fc.property(fc.array(fc.dictionary(fc.constantFrom(...keys), value)), (checks) => {
      const spec = { match: '*', endpoint: 'projects/p/locations/us-central1/endpoints/1', analysis: { checks } };
      const whole = { apiVersion: 'rollouts/v1', kind: 'RolloutPolicy', metadata: { name: 'x' }, spec };
      expect(parsePolicyValue(whole).kind).toBe(checks.length === 0 ? 'ok' : 'invalid');
    }),
    { numRuns: 200 },
  );
});
