import { expect, test } from 'vitest';
import { parsePolicy } from '../../../machines/policy/document.ts';

const JOB = 'projects/p/locations/us-central1/modelDeploymentMonitoringJobs/1';

/** Path and remedy of each warning. */
function warnings(analysis: string, rest = ''): [string, string | null][] {
  const parsed = parsePolicy(`apiVersion: rollouts/v1
kind: RolloutPolicy
metadata: { name: delays }
spec:
  match: "*"
  endpoint: projects/p/locations/us-central1/endpoints/1
  analysis: { ${analysis} }
${rest}`);
  if (parsed.kind === 'invalid') throw new Error(JSON.stringify(parsed.problems));
  return parsed.warnings.map(({ path, instead }) => [path, instead]);
}

const promql = (rule: string, query: string, more = ''): string =>
  `checks: [ { name: a, ${rule}, from: { promql: '${query}'${more} } } ]`;

test('a policy of defaults is not doubted', () => {
  expect(warnings('')).toEqual([]);
});

test('stable without a way back is', () => {
  expect(warnings('', '  keepStable: 0s\n')).toEqual([['spec.keepStable', '24h']]);
});

test('dry runs alone are, and a limit beside them does not help; one acting test does', () => {
  const dry = 'errorRate: { dryRun: true }, latency: { dryRun: true }';
  const limit = `checks: [ { name: a, limit: { max: 1 }, from: { filter: 'metric.type="a.b/c"' } } ]`;
  const doubt = [['spec.analysis.errorRate.dryRun', 'false']];
  expect(warnings(dry)).toEqual(doubt);
  expect(warnings(`${dry}, ${limit}`)).toEqual(doubt);
  expect(warnings(`${dry}, drift: {}`)).toEqual([]);
  expect(warnings(`${dry}, checks: [ { name: a, drift: {}, from: reported } ]`)).toEqual([]);
  expect(warnings('errorRate: { dryRun: true }, latency: off')).toEqual(doubt);
});

test('PromQL that lacks what its rule needs is', () => {
  const path = 'spec.analysis.checks[0].from';
  const whole = 'x{deployed_model_id!="",endpoint_id="{endpoint}"}[{window}]';
  const rate = 'rate: { max: 1%, margin: 1% }';
  expect(warnings(promql(rate, whole))).toEqual([]);
  expect(warnings(promql(rate, whole, ", of: 'sum by (deployed_model_id) (x)'"))).toEqual([
    [`${path}.of`, 'endpoint_id="{endpoint}" among its labels'],
    [`${path}.of`, '[{window}] as its range'],
  ]);
  expect(warnings(promql('drift: {}', whole))).toEqual([[`${path}.promql`, 'by (deployed_model_id, le)']]);
  expect(warnings(promql('drift: {}', `sum by (deployed_model_id, le) (${whole})`))).toEqual([]);
  expect(warnings(promql('limit: { max: 1 }', 'x{deployed_model_id!="",endpoint_id="{endpoint}"}'))).toEqual([]);
});

test('patience shorter than Model Monitoring takes is, unless nobody waits for it', () => {
  const check = (more: string) =>
    `checks: [ { name: a, limit: { max: 1 }, from: { modelMonitoring: ${JOB} }${more} } ]`;
  expect(warnings(check(''))).toEqual([['spec.analysis.inconclusive.after', '6h, or dryRun: true for a']]);
  expect(warnings(`${check('')}, inconclusive: { after: 3h }`)).toEqual([]);
  expect(warnings(check(', dryRun: true'))).toEqual([]);
});

test('a monitor of one version is, for a policy is for all of them', () => {
  const monitor = JOB.replace('modelDeploymentMonitoringJobs', 'modelMonitors');
  const check = `checks: [ { name: a, limit: { max: 1 }, from: { modelMonitoring: ${monitor} } } ]`;
  expect(warnings(`${check}, inconclusive: { after: 6h }`)).toEqual([
    ['spec.analysis.checks[0].from.modelMonitoring', expect.stringContaining('modelMonitors/NAME-{version}')],
  ]);
  const forEach = check.replace(monitor, `"${monitor}-{version}"`);
  expect(warnings(`${forEach}, inconclusive: { after: 6h }`)).toEqual([]);
});
