/** Policy files: pages that are nearly right, and texts that are none. parsePolicy never throws, and says where and why. */
import fc from 'fast-check';
import { formatProblem, parsePolicy } from '../../../machines/policy/document.ts';
import { policySchema } from '../../../machines/policy/policy.ts';
import { damaged, damagedJson, jsonOf } from '../arbitraries.ts';
import type { Door } from '../run.ts';
import { endpoint, model } from '../world.ts';

const page = `apiVersion: rollouts/v1
kind: RolloutPolicy
metadata: { name: delays }
spec:
  match: { model: ${model} }
  endpoint: ${endpoint}
  strategy: canary
  steps:
    - { percent: 5, hold: 10m }
    - { percent: 50, hold: 1h30m, approval: true }
    - { percent: 100, hold: 30m }
  analysis:
    metricLag: 3m
    falseRollbackRate: 1%
    errorRate: { max: 5%, margin: 0.5% }
    latency: { quantile: 95%, maxRatio: 1.2 }
    drift: { maxDistance: 0.3 }
    checks:
      - { name: complaints, rate: { max: 5%, margin: 1% }, from: reported }
      - { name: slow, quantile: { quantile: 95%, maxRatio: 1.3 }, from: { filter: 'metric.type="x"' } }
    inconclusive: { after: 2h, then: pause }
  exposure: { maxExcessErrors: 200 }
  deploy: { machineType: n1-standard-4, minReplicas: 1, maxReplicas: 5 }
  keepStable: 24h
  onNewBlessing: replace
  freeze: [ "Fri 16:00 – Mon 08:00 Europe/Zurich" ]
`;
const value = {
  apiVersion: 'rollouts/v1',
  kind: 'RolloutPolicy',
  metadata: { name: 'delays' },
  spec: {
    match: { labels: { team: 'rail' } },
    endpoint,
    steps: [{ percent: 5, hold: '10m' }, { percent: 100 }],
    analysis: {
      latency: 'off',
      checks: [
        { name: 'a', limit: { max: 1 }, from: { promql: 'sum by (deployed_model_id) (up)' } },
        { name: 'b', drift: { maxDistance: 0.3 }, from: { requestLog: 'project.dataset.table', value: 'predictions' } },
      ],
    },
    deploy: { accelerator: { type: 'NVIDIA_TESLA_T4', count: 1 }, autoscaling: [{ metric: 'a/b', target: '60%' }] },
    freeze: ['Sat 00:00 – Sun 24:00 UTC'],
  },
};

const tokens = [
  '&a ',
  '*a',
  '!!js/function ',
  '!<x> ',
  '<<: ',
  '? ',
  '- ',
  ': ',
  '| ',
  '>-\n',
  '---\n',
  '...\n',
  '%YAML 1.2\n',
  '\t',
  '#',
  '"',
  "'",
  '{',
  '}',
  '[',
  ']',
  '@',
  '`',
  '~',
  '\u{feff}',
  '\0',
  '\u{2028}',
  '.inf',
  '.nan',
  '0x1F',
  '0o17',
  '1_000',
  '1e999',
  '2026-01-05',
  'yes',
  '__proto__: 1\n',
];
const at = fc.nat({ max: 9999 });

/** Built to cost more than their length: nests, wide maps, many errors, anchors. */
const heavy = fc
  .tuple(
    fc.constantFrom(
      '[',
      '{',
      '{a: ',
      '- ',
      '? ',
      'a:\n ',
      '&a ',
      '*a ',
      '!!x ',
      '"',
      '- - ',
      '# ',
      '\n',
      ' ',
      'é',
      '|\n',
      '[]: ',
      '{a,',
      ',',
      'a: 1\n',
    ),
    fc.integer({ min: 1, max: 8000 }),
  )
  .map(([part, times]) => part.repeat(times));
const wide = fc
  .tuple(
    fc.integer({ min: 1, max: 2000 }),
    fc.constantFrom(
      (i: number) => `k${i}: ${i}\n`,
      (i: number) => `- &a${i} {x: *a${i - 1}}\n`,
      () => 'same: 1\n',
      (i: number) => `${' '.repeat(i % 200)}- a\n`,
    ),
  )
  .map(([lines, line]) => Array.from({ length: lines }, (_, i) => line(i)).join(''));

const texts = fc.oneof(
  {
    weight: 40,
    arbitrary: fc
      .array(fc.tuple(at, fc.nat({ max: 12 }), fc.constantFrom(...tokens, '')), { minLength: 1, maxLength: 4 })
      .map((edits) => edits.reduce(edited, page)),
  },
  { weight: 40, arbitrary: damagedJson(fc.constant(value)) },
  { weight: 30, arbitrary: damaged(fc.constant(value), 1).map(jsonOf) },
  { weight: 1, arbitrary: fc.tuple(heavy, at).map(([text, place]) => edited(page, [place, 0, text])) },
  { weight: 1, arbitrary: heavy },
  { weight: 1, arbitrary: wide },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 300 }) },
);

/** The parser of policies. */
export function policyDoor(): Door<string> {
  return {
    name: 'policy',
    inputs: texts,
    open: () =>
      Promise.resolve({ admit: (text) => Promise.resolve([verdictOn(text)]), close: () => Promise.resolve() }),
  };
}

function verdictOn(text: string): string {
  const parsed = parsePolicy(text);
  if (parsed.kind === 'ok') {
    policySchema.parse(parsed.policy);
    return 'ok';
  }
  if (parsed.problems.length === 0) throw new Error('Refused without a reason');
  for (const problem of parsed.problems) {
    const line = formatProblem('delays.yaml', problem);
    if (problem.message === '') throw new Error(`A problem without words: ${line}`);
    if (line.length > 4000) throw new Error(`A problem of ${line.length} characters: ${line.slice(0, 200)}`);
  }
  return 'refused';
}

function edited(text: string, [place, length, token]: [number, number, string]): string {
  const start = place % (text.length + 1);
  return text.slice(0, start) + token + text.slice(start + length);
}
