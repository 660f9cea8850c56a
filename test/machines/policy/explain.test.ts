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

test('an explanation says each check of the owner in a sentence, and what comes of it', () => {
  const text = explainPolicy(
    policy(
      '"*"',
      `  analysis:
    inconclusive: { after: 6h, then: rollBack }
    checks:
      - { name: lost, rate: { max: 10%, margin: 1% }, from: { filter: 'metric.type="a.b/c"' } }
      - { name: kept, rate: { max: 10%, margin: 1% }, from: { promql: deployed_model_id, of: deployed_model_id * 2 } }
      - { name: tokens, quantile: {}, from: reported }
      - { name: distance, drift: {}, from: { requestLog: p.d.t, value: instances.distance }, dryRun: true }
      - { name: memory, limit: { max: 8 }, from: { modelMonitoring: projects/p/locations/l/modelMonitors/1 } }
`,
    ),
  );
  const acts = 'until it is met no share rises, and a canary proven worse is rolled back.';
  expect(text.filter((sentence) => sentence.startsWith('The check '))).toEqual([
    `The check lost asks for at most 10% of requests, and no more than 1 percentage points above stable, by Cloud Monitoring's metric.type="a.b/c"; ${acts}`,
    `The check kept asks for at most 10% of what deployed_model_id * 2 counts, and no more than 1 percentage points above stable, by PromQL deployed_model_id; ${acts}`,
    `The check tokens asks for values at the 95% quantile at most 1.2 times stable's, as evidence messages report; ${acts}`,
    "The check distance asks for values at most 0.3 from stable's, by instances.distance in the request log p.d.t: a dry run, judged and shown, and never acted on.",
    'The check memory asks for a latest value of at most 8, by the worst feature of projects/p/locations/l/modelMonitors/1. Above it, or unknown, the share holds: a limit never rolls back by itself, but 6h of that (analysis.inconclusive) rolls back.',
  ]);
});

test('an explanation leaves dry runs out of what a rise needs', () => {
  const text = explainPolicy(policy('"*"', '  analysis: { errorRate: { dryRun: true }, drift: { dryRun: true } }\n'));
  const [needs = ''] = text.filter((sentence) => sentence.startsWith('Each rise needs'));
  expect(needs).toContain('latency at the 95% quantile');
  expect(needs).not.toMatch(/errors|drift/);
  expect(text).toContain('A dry run, judged and shown, and never acted on: drift at most 0.3.');
  expect(text.join('\n')).toContain('never acted on: errors at most 5% of requests');
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
  expect(matches({ ...any, endpoint: 'nowhere' }, { model: 'delays', labels: {} })).toBe(false);
  expect(matches({ ...any, endpoint: 'nowhere' }, { model, labels: {} })).toBe(false);
});
