import { expect, test } from 'vitest';
import { parsePolicy } from '../../../machines/policy/document.ts';
import { explainPolicy, shortestSeconds } from '../../../machines/policy/explain.ts';
import { matches } from '../../../machines/policy/match.ts';
import type { Policy } from '../../../machines/policy/policy.ts';

function policy(match: string, rest = ''): Policy {
  const parsed = parsePolicy(`apiVersion: rollouts/v1
kind: RolloutPolicy
metadata: { name: delays }
spec:
  match: ${match}
  endpoint: projects/p/locations/us-central1/endpoints/1
${rest}`);
  if (parsed.kind === 'invalid') throw new Error(JSON.stringify(parsed.problems));
  return parsed.policy;
}

const model = 'projects/p/locations/us-central1/models/delays';

test('an explanation says how long it takes, what it asks, what stops it and what no data does', () => {
  const text = explainPolicy(
    policy(
      `{ model: ${model} }`,
      `  steps: [ { percent: 10, hold: 1m, approval: true }, { percent: 100, hold: 30m } ]
  analysis: { noData: { after: 20m, then: rollBack } }
  freeze: [ "Fri 16:00 – Mon 08:00 Europe/Zurich" ]
`,
    ),
  ).join('\n');
  expect(text).toContain('The canary gets 10% for at least 1m, then 100% for at least 30m.');
  // The first step waits for its evidence: three minutes of metric lag, not one of hold.
  expect(text).toContain('at least 33m once the canary is deployed; the deployment may take up to 45m');
  expect(text).toContain('A person must approve before it goes on from 10%');
  expect(text).toContain('errors at most 5% of requests, and no more than 0.5 percentage points above stable');
  expect(text).toContain('No request at all for 20m rolls back; no data is never healthy.');
  expect(text).toContain('No share rises during Fri 16:00 – Mon 08:00 Europe/Zurich');
});

test('an explanation leaves out what the policy does not ask for', () => {
  const text = explainPolicy(policy('"*"', '  analysis: { latency: off }\n')).join('\n');
  expect(text).toContain('Latency is not judged.');
  expect(text).not.toMatch(/drift|approve|No share rises/);
});

test('a step lasts its hold or the metric lag, whichever is longer', () => {
  const quick = policy('"*"', '  steps: [ { percent: 100, hold: 0s } ]\n  analysis: { metricLag: 90s }\n');
  expect(shortestSeconds(quick)).toBe(90);
});

test('a policy speaks for its model, whether the project is written as its id or its number', () => {
  const byName = policy(`{ model: ${model} }`);
  expect(matches(byName, { model, labels: {} })).toBe(true);
  expect(matches(byName, { model: `${model.replace('/p/', '/123/')}@7`, labels: {} })).toBe(true);
  expect(matches(byName, { model: `${model}2`, labels: {} })).toBe(false);
});

test('a policy by labels asks for every one of them', () => {
  const byLabels = policy('{ labels: { team: rail, stage: prod } }');
  expect(matches(byLabels, { model, labels: { team: 'rail', stage: 'prod', more: 'x' } })).toBe(true);
  expect(matches(byLabels, { model, labels: { team: 'rail' } })).toBe(false);
});

test('no policy speaks for a model in another location, or for what is no model', () => {
  const any = policy('"*"');
  expect(matches(any, { model, labels: {} })).toBe(true);
  expect(matches(any, { model: model.replace('us-central1', 'europe-west1'), labels: {} })).toBe(false);
  expect(matches(any, { model: 'delays', labels: {} })).toBe(false);
});
