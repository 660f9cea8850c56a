/** What is an owner told? Every problem, every warning and every explanation, word for word, as somebody has read them. */
import { expect, test } from 'vitest';
import { formatProblem, parsePolicy, type ParsedPolicy, parsePolicyValue } from '../../../machines/policy/document.ts';
import { explainPolicy } from '../../../machines/policy/explain.ts';
import type { Policy } from '../../../machines/policy/policy.ts';
import { parseFreezeWindow } from '../../../machines/policy/windows.ts';

const head = `apiVersion: rollouts/v1
kind: RolloutPolicy
metadata: { name: delays }
`;
const smallest = `${head}spec:
  match: { model: projects/p/locations/us-central1/models/m }
  endpoint: projects/p/locations/us-central1/endpoints/1
`;
const withLine = (line: string) => `${smallest}  ${line}\n`;
const checked = (...checks: string[]) => withLine(`analysis:\n    checks:\n      - ${checks.join('\n      - ')}`);
const ruled = (fields: string) => checked(`{ name: lost, ${fields} }`);

const rate = 'rate: { max: 10%, margin: 1% }';
const filter = `from: { filter: 'metric.type="a.b/c"' }`;
const job = 'projects/p/locations/us-central1/modelDeploymentMonitoringJobs/1';
const monitor = 'projects/p/locations/us-central1/modelMonitors/1';
const monthly = (text: string, times: number) => Array.from({ length: times }, () => `"${text}"`).join(', ');

/** As it is written under `spec`, where it stands alone. */
const lines = [
  'keepStabel: 1h',
  'deploy: { machine_type: n1-standard-4 }',
  'deploy: n1-standard-4',
  'onNewBlessing: Replace',
  'onNewBlessing: repalce',
  'onNewBlessing: 1',
  'keepStable: 3600',
  'keepStable: 0',
  'keepStable: 1.5',
  'keepStable: -1',
  'keepStable: 1 hour',
  'keepStable: 367d',
  'keepStable: 366d',
  'analysis: { errorRate: { max: 0.05 } }',
  'analysis: { errorRate: { max: 0, margin: 1 } }',
  'analysis: { errorRate: { max: -0.1, margin: 1.01 } }',
  'analysis: { errorRate: { max: 150% } }',
  'analysis: { errorRate: { dryRun: yes } }',
  'analysis: { falseRollbackRate: 100% }',
  'analysis: { falseRollbackRate: 0% }',
  'analysis: { falseRollbackRate: 0.01 }',
  'analysis: { falseRollbackRate: rarely }',
  'analysis: { falseRollbackRate: 0 }',
  'analysis: { falseRollbackRate: 1 }',
  'analysis: { latency: { maxRatio: 0.9 } }',
  'analysis: { latency: { maxRatio: 1 } }',
  'analysis: { latency: { maxRatio: 1000 } }',
  'analysis: { latency: { maxRatio: 1001 } }',
  'analysis: { latency: off }',
  'analysis: { latency: false, drift: off }',
  'analysis: { latency: 5 }',
  'analysis: { drift: { maxDistance: 1.1 } }',
  'analysis: { drift: { maxDistance: 1 } }',
  'analysis: { drift: { maxDistance: 0 } }',
  'analysis: { drift: { maxDistance: -1 } }',
  'analysis: { minRequests: 0 }',
  'analysis: { minRequests: "50" }',
  'analysis: { minRequests: "050" }',
  'analysis: { minRequests: 1.5 }',
  'analysis: { minRequests: 1000000000 }',
  'analysis: { minRequests: 1000000001 }',
  'analysis: { minRequests: "1000000001" }',
  'analysis: { incident: page }',
  'analysis: { noData: { then: rollback } }',
  'analysis: { noData: { after: 1w } }',
  'analysis: [ ]',
  'analysis: { checks: none }',
  'exposure: { maxExcessErrors: .inf }',
  'exposure: { maxExcessErrors: 1000000000 }',
  'exposure: { maxExcessErrors: 0 }',
  'exposure:',
  'freeze: { }',
  'freeze: [ 7 ]',
  'freeze: [ { from: Fri } ]',
  `freeze: [ ${monthly('Fri 16:00 – 17:00 UTC', 50)} ]`,
  `freeze: [ ${monthly('Fri 16:00 – 17:00 UTC', 51)} ]`,
  'freeze: [ "Mon 00:00 – Sun 24:00 UTC" ]',
  'freeze: [ "Mon 00:00 – Thu 12:00 UTC", "Thu 12:00 – Mon 00:00 UTC" ]',
  'freeze: [ "Mon 00:00 – Thu 12:00 UTC", "Thu 12:01 – Mon 00:00 UTC" ]',
  'steps: [ ]',
  'steps: { percent: 100 }',
  'steps: [ 100 ]',
  'steps: [ { percent: 100% } ]',
  'steps: [ { percent: 99.5 } ]',
  'steps: [ { percent: 100.4 } ]',
  'steps: [ { percent: 100.5 } ]',
  'steps: [ { percent: 0.5 }, { percent: 100 } ]',
  'steps: [ { percent: 0.4 }, { percent: 100 } ]',
  'steps: [ { percent: 0 }, { percent: 100 } ]',
  'steps: [ { percent: 101 } ]',
  'steps: [ { percent: ten }, { percent: 100 } ]',
  'steps: [ { hold: 5m }, { percent: 100 } ]',
  'steps: [ { percent: 5 }, { percent: 5 }, { percent: 100 } ]',
  'steps: [ { percent: 50 }, { percent: 25 }, { percent: 40 }, { percent: 100 } ]',
  'steps: [ { percent: 5 } ]',
  'steps: [ { percent: 5 }, { percent: 100, approval: true } ]',
  'steps: [ { percent: 5, approval: true }, { percent: 100, approval: false } ]',
  'deploy: { minReplicas: 3, maxReplicas: 2 }',
  'deploy: { minReplicas: 3, maxReplicas: 3 }',
  'deploy: { minReplicas: 5 }',
  'deploy: { minReplicas: 6 }',
  'deploy: { minReplicas: three, maxReplicas: 2 }',
  'deploy: { minReplicas: 3, maxReplicas: two }',
  'deploy: { serviceAccount: me }',
  'deploy: { serviceAccount: "a b@c.d" }',
  'deploy: { serviceAccount: "a@c.d e" }',
  'deploy: { serviceAccount: null, accelerator: null }',
  'deploy: { machineType: N1 }',
  'deploy: { machineType: "-n1" }',
  'deploy: { machineType: "n1 x" }',
  'deploy: { accelerator: { type: nvidia } }',
  'deploy: { accelerator: { type: "NVIDIA L4" } }',
  'deploy: { accelerator: { type: NVIDIA_L4 } }',
  'deploy: { accelerator: { type: NVIDIA_L4, count: 2 } }',
  'deploy: { autoscaling: [ { metric: cpu, target: 60% } ] }',
  'deploy: { autoscaling: [ { metric: "a.b/c d", target: 60% } ] }',
  'deploy: { autoscaling: [ { metric: "A.b/c", target: 60% } ] }',
  'deploy: { autoscaling: [ { metric: a.b/c, target: 60 } ] }',
  'deploy: { autoscaling: [ { metric: a.b/c, target: most } ] }',
  'deploy: { autoscaling: [ { metric: a.b/c, target: 0 }, { metric: a.b/d, target: 100 }, { metric: a.b/e, target: 101 } ] }',
  'deploy: { autoscaling: [ { metric: a.b/c, target: 0% }, { metric: a.b/d, target: 60.5% }, { metric: a.b/e } ] }',
  'deploy: { autoscaling: [ { metric: a.b/c, target: 100% }, { metric: a.b/d, target: 1% }, { metric: a.b/e, target: 57% } ] }',
  'deploy: { deadline: 1h, minReplicas: 2, maxReplicas: 2 }',
  'strategy: blueGreen',
  'strategy: shadow',
  'strategy: yolo',
  'strategy: null',
  'keepFailedCanary: 2h',
  `keepStabel: ${'x'.repeat(100)}`,
  `strategy: ${'x'.repeat(78)}`,
  `strategy: ${'x'.repeat(79)}`,
  'strategy: 2026-01-01',
  'steps: [ { percent: five }, { percent: 100 } ]',
  'steps: [ { percent: 5 }, { percent: none }, { percent: 3 }, { percent: 100 } ]',
  'strategy: true',
  'strategy: [ 1 ]',
  'strategy: { a: 1 }',
  // One too deep: what JavaScript would make of it is not what was meant.
  'keepStable: [ 5m ]',
  'keepStable: [ 5 ]',
  'analysis: { errorRate: { max: [ 5% ], margin: [ 0.5 ] } }',
  'analysis: { falseRollbackRate: [ 1% ] }',
  'analysis: { falseRollbackRate: [ 0.5 ] }',
  'analysis: { minRequests: [ "50" ] }',
  'analysis: { minRequests: "5000" }',
  'analysis: { latency: { maxRatio: [ 2 ] } }',
  'steps: [ { percent: [ 5 ] }, { percent: 100 } ]',
  'deploy: { autoscaling: [ { metric: a.b/c, target: [ 60% ] } ] }',
  'deploy: { machineType: [ n1 ] }',
  'deploy: { serviceAccount: serving@project.iam.gserviceaccount.com }',
  'onNewBlessing: [ queue ]',
];

const ownChecks = [
  [`{ name: lost, ${filter} }`],
  [`{ name: lost, ${rate}, limit: { max: 1 }, ${filter} }`],
  [`{ name: lost, ${rate} }`],
  [`{ name: lost, ${rate}, from: Reported }`],
  [`{ name: lost, ${rate}, from: { } }`],
  [`{ name: lost, ${rate}, from: { a: 1, b: 2, c: 3, d: 4, e: 5, f: 6 } }`],
  [`{ name: lost, ${rate}, from: [ filter ] }`],
  [`{ name: lost, ${rate}, from: { filter: 'metric.type="a.b/c"', promql: 'x' } }`],
  [`{ name: lost, ${rate}, ${filter}, dryrun: true }`],
  [`{ name: lost, ${rate}, from: { filter: 'metric.type="a.b/c"', feature: x } }`],
  [`{ name: lost, ${rate}, from: { filter: a.b/c } }`],
  [`{ name: lost, ${rate}, from: { filter: 'resource.type="a" AND a.b/c' } }`],
  [`{ name: lost, ${rate}, from: { filter: 'metric.type="a.b/c" OR metric.type="a.b/d"' } }`],
  [`{ name: lost, ${rate}, from: { filter: 'metric.type' } }`],
  [`{ name: lost, ${rate}, from: { filter: 'metric.type=""' } }`],
  [`{ name: lost, ${rate}, from: { filter: 7 } }`],
  [`{ name: lost, ${rate}, from: { filter: 'metric.type = "a.b/c" ${'x'.repeat(3978)}' } }`],
  [`{ name: lost, ${rate}, from: { filter: 'metric.type = "a.b/c" ${'x'.repeat(3979)}' } }`],
  [`{ name: lost, ${rate}, from: { filter: 'metric.type="a.b/c"', of: a.b/d } }`],
  [`{ name: lost, ${rate}, from: { promql: sum(x) } }`],
  [`{ name: lost, ${rate}, from: { promql: 'x{a="b"}' } }`],
  [`{ name: lost, ${rate}, from: { promql: 7 } }`],
  [`{ name: lost, ${rate}, from: { promql: 'deployed_model_id ${'x'.repeat(3982)}' } }`],
  [`{ name: lost, ${rate}, from: { promql: 'deployed_model_id {${'x'.repeat(3982)}' } }`],
  [`{ name: lost, quantile: {}, from: { filter: 'metric.type="a.b/c"', of: 'metric.type="a.b/d"' } }`],
  [`{ name: lost, ${rate}, limit: { max: 1 }, from: { promql: x, of: y } }`],
  [`{ name: lost, from: { filter: 'metric.type="a.b/c"', of: 'metric.type="a.b/d"' } }`],
  [`{ name: lost, limit: { max: 5 }, from: reported }`],
  [`{ name: lost, ${rate}, from: { requestLog: p.d.t, value: instances } }`],
  [`{ name: lost, limit: { max: 1 }, from: { requestLog: p.d.t, value: instances } }`],
  [`{ name: lost, quantile: { quantile: 100%, maxRatio: 0.5 }, from: { requestLog: p.d.t, value: instances } }`],
  [`{ name: lost, quantile: { maxRatio: 1 }, from: { requestLog: p.d.t, value: predictions.0.score-a } }`],
  [`{ name: lost, ${rate}, from: { modelMonitoring: ${job} } }`],
  [`{ name: lost, drift: {}, from: { requestLog: p.d.t } }`],
  [`{ name: lost, drift: {}, from: { requestLog: p.d.t, value: distance } }`],
  [`{ name: lost, drift: {}, from: { requestLog: p.d.t, value: "a b" } }`],
  [`{ name: lost, drift: {}, from: { requestLog: p.d.t, value: 7 } }`],
  [`{ name: lost, drift: {}, from: { requestLog: p.d.t, value: "instances.a' OR 1" } }`],
  [`{ name: lost, drift: {}, from: { requestLog: p.d.t, value: instances.${'a.'.repeat(95)} } }`],
  [`{ name: lost, drift: {}, from: { requestLog: p.d.t, value: instances.${'a.'.repeat(94)}ab } }`],
  [`{ name: lost, drift: {}, from: { requestLog: p.d.t, value: instances.${'a.'.repeat(94)}abc } }`],
  [`{ name: lost, drift: {}, from: { requestLog: bq://p.d.t, value: instances } }`],
  [`{ name: lost, drift: {}, from: { requestLog: "p:d.t", value: instances } }`],
  [`{ name: lost, drift: {}, from: { requestLog: d.t, value: instances } }`],
  [`{ name: lost, drift: {}, from: { requestLog: 7, value: instances } }`],
  [`{ name: lost, drift: {}, from: { requestLog: "p.d.t\` --", value: instances } }`],
  [`{ name: lost, drift: {}, from: { requestLog: "example.com:p.d.t", value: instances.distance } }`],
  [`{ name: lost, drift: { maxDistance: 2 }, from: reported }`],
  [`{ name: lost, limit: { max: 1 }, from: { modelMonitoring: projects/p/monitors/1 } }`],
  [`{ name: lost, limit: { max: 1 }, from: { modelMonitoring: a/${job} } }`],
  [`{ name: lost, limit: { max: 1 }, from: { modelMonitoring: ${job}/b } }`],
  [`{ name: lost, limit: { max: 1 }, from: { modelMonitoring: ${job}, feature: "" } }`],
  [`{ name: lost, limit: { max: 1 }, from: { modelMonitoring: ${job}, feature: ${'x'.repeat(200)} } }`],
  [`{ name: lost, limit: { max: 1 }, from: { modelMonitoring: ${job}, feature: ${'x'.repeat(201)} } }`],
  [`{ name: lost, limit: { max: 1 }, from: { modelMonitoring: "${monitor}-{version}" } }`],
  [`{ name: lost, limit: {}, ${filter} }`],
  [`{ name: lost, limit: { max: .inf }, ${filter} }`],
  [`{ name: lost, limit: { max: "-1.25" }, ${filter} }`],
  [`{ name: lost, limit: { max: "1.25 GB" }, ${filter} }`],
  [`{ name: lost, limit: { max: about 1 }, ${filter} }`],
  [`{ name: "Clicks Lost", ${rate}, ${filter} }`],
  [`{ name: clicksLostAt3pm, ${rate}, ${filter} }`],
  [`{ name: 9lives, ${rate}, ${filter} }`],
  [`{ name: 9-lives, ${rate}, ${filter} }`],
  [`{ name: 7, ${rate}, ${filter} }`],
  [`{ name: "…", ${rate}, ${filter} }`],
  [`{ name: ${'x'.repeat(40)}, ${rate}, ${filter} }`],
  [`{ name: ${'x'.repeat(41)}, ${rate}, ${filter} }`],
  ...['latency', 'drift', 'requests', 'outage', 'sources', 'suspicion', 'constructor'].map((name) => [
    `{ name: ${name}, ${rate}, ${filter} }`,
  ]),
  [`{ name: lost, ${rate}, ${filter} }`, `{ name: found, ${rate}, ${filter} }`, `{ name: lost, ${rate}, ${filter} }`],
  [`{ name: 7, ${rate}, ${filter} }`, `{ name: 7, ${rate}, ${filter} }`],
  Array.from({ length: 20 }, (_, i) => `{ name: c${i}, ${rate}, ${filter} }`),
  Array.from({ length: 21 }, (_, i) => `{ name: c${i}, ${rate}, ${filter} }`),
  // One too deep, again.
  [`{ name: [ lost ], ${rate}, ${filter} }`],
  [`{ name: lost, ${rate}, from: { filter: [ 'metric.type="a.b/c"' ] } }`],
  [`{ name: lost, ${rate}, from: { filter: [ a.b/c ] } }`],
  [`{ name: lost, ${rate}, from: { filter: abc.def/ghi/jkl } }`],
  [`{ name: lost, ${rate}, from: { filter: 'a.b/c d' } }`],
  [`{ name: lost, ${rate}, from: { promql: [ deployed_model_id ] } }`],
  [`{ name: lost, ${rate}, from: { promql: [ x ] } }`],
  [`{ name: lost, drift: {}, from: { requestLog: p.d.t, value: [ instances ] } }`],
  [`{ name: lost, drift: {}, from: { requestLog: xbq://p.d.t, value: instances } }`],
  [`{ name: lost, limit: { max: [ 1 ] }, ${filter} }`],
  [`{ name: lost, limit: { max: [ "1" ] }, ${filter} }`],
  [`{ name: lost, limit: { max: "12" }, ${filter} }`],
  [
    `{ name: lost, limit: { max: 1 }, from: { modelMonitoring: ${job.replace('projects/p/', 'projects/project-1/')} } }`,
  ],
  [`{ name: lost, ${rate}, limit: { max: 1 }, from: { filter: 'metric.type="a.b/c"', of: 'metric.type="a.b/d"' } }`],
  [`{ name: "Clicks -- lost", ${rate}, ${filter} }`],
  [`{ name: 99-lives, ${rate}, ${filter} }`],
  ['x', `{ name: kept, limit: { max: 8 }, ${filter} }`],
];

const doubtful = [
  ruled(`${rate}, from: { promql: deployed_model_id, of: 'deployed_model_id{endpoint="{endpoint}"}[{window}]' }`),
  ruled(`drift: {}, from: { promql: 'x{deployed_model_id="",endpoint="{endpoint}"}[{window}]' }`),
  ruled(`quantile: {}, from: { promql: 'whole{deployed_model_id="",endpoint="{endpoint}"}[{window}]' }`),
  ruled(`quantile: {}, from: { promql: 'x{deployed_model_id="",le="",endpoint="{endpoint}"}[{window}]' }`),
  ruled(`limit: { max: 1 }, from: { promql: deployed_model_id }`),
  ruled(`limit: { max: 1 }, from: { modelMonitoring: ${monitor} }`),
  ruled(`limit: { max: 1 }, from: { modelMonitoring: ${monitor}23 }`),
  ruled(`limit: { max: 1 }, dryRun: true, from: { modelMonitoring: ${monitor} }`),
  withLine(
    `analysis: { inconclusive: { after: 3h }, checks: [ { name: a, limit: { max: 1 }, from: { modelMonitoring: ${job} } } ] }`,
  ),
  withLine(
    `analysis: { inconclusive: { after: 2h59m }, checks: [ { name: a, limit: { max: 1 }, from: { modelMonitoring: ${job} } } ] }`,
  ),
  withLine('analysis: { errorRate: { dryRun: true }, latency: { dryRun: true } }'),
  withLine('keepStable: 0s'),
];

const whole = [
  smallest.replace('rollouts/v1', 'rollouts/v2'),
  smallest.replace('RolloutPolicy', 'Rollout'),
  smallest.replace('name: delays', 'name: Train Delays'),
  smallest.replace('name: delays', `name: ${'x'.repeat(63)}`),
  smallest.replace('name: delays', `name: ${'x'.repeat(64)}`),
  smallest.replace('name: delays', 'name: x-'),
  smallest.replace('endpoints/1', 'endpoint/1'),
  smallest.replace('models/m', 'model/m'),
  smallest.replace('models/m', 'models/m@7'),
  smallest.replace('us-central1/models', 'europe-west1/models'),
  smallest.replace(/model: \S+/, 'model: 7'),
  smallest.replace(/model: \S+/, 'model: "*"'),
  smallest.replace(/\{ model: \S+ \}/, '"*"'),
  smallest.replace(/\{ model: \S+ \}/, '{ }'),
  smallest.replace(/\{ model: \S+ \}/, '{ models: x }'),
  smallest.replace(/\{ model: \S+ \}/, '{ model: "*", labels: { a: b } }'),
  smallest.replace(/\{ model: \S+ \}/, '[ ]'),
  smallest.replace(/model: \S+/, 'labels: { a: 1, b: true, c: null, d: e }'),
  smallest.replace(/model: \S+/, 'labels: { }'),
  smallest.replace(/model: \S+/, 'labels: rail'),
  smallest.replace(/model: \S+/, 'labels: { team: rail, stage: prod }'),
  smallest.replace(/ {2}match.*\n/, ''),
  head,
  '',
  'spec: [ 1, 2',
  '- a\n- b\n',
  smallest.replace(/\{ model.*\}/, '*'),
  `${smallest}---\n${smallest}`,
  `${smallest}kind: RolloutPolicy\n`,
  `${smallest}\tkeepStable: 1h\n`,
  `${smallest}? [ a ]\n: 1\n`,
  `${smallest}  keepStable: !odd 0s\n`,
  `${head}a: &a { b: 1 }\nspec: *a\n`,
  `${smallest}kind: RolloutPolicy\n  keepStable: &a 1h\n  keepFailedCanary: *a\n`,
  `${smallest}  keepStable: 1h\n  keepStable: 2\n`,
  `${smallest}# ${'é'.repeat(33_000)}\n`,
  `${smallest}  a: 1\n${Array.from({ length: 120 }, (_, i) => `  b${i}: 1\n`).join('')}`,
];

const windows = [
  'Fri 16:00 – Mon 08:00 Europe/Zurich',
  '  fri 16:00-20:00   UTC ',
  'Mon 00:00 – Sun 24:00 UTC',
  'Mon 00:00 – Mon 24:00 UTC',
  'Sun 24:00 – Mon 08:00 UTC',
  'Sun 23:59 – Sun 24:00 UTC',
  'Fri 16:00',
  'before Fri 16:00 – 17:00 UTC',
  'Fri 16:00 – 17:00 UTC after',
  'Fri 16:000 – 17:00 UTC',
  'Fryday 16:00 – 17:00 UTC',
  'Fri 16:00 – Mun 17:00 UTC',
  'Fri 16:00 – 17:00 Europe/Zuerich',
  'Fri 16:00 – 17:00 Mars/Olympus',
  'Fri 24:01 – Sat 17:00 UTC',
  'Fri 25:00 – Sat 17:00 UTC',
  'Fri 23:60 – Sat 17:00 UTC',
  'Fri 16:00 – Sat 24:01 UTC',
  'Fri 16:00 – 16:00 UTC',
  'Sun 24:00 – Mon 00:00 UTC',
  'Fri 22:00 – 06:00 UTC',
  'Sun 22:00 – 06:00 UTC',
  'Mon 00:00 – 00:00 UTC',
  'Tue 00:00 – Tue 24:00 UTC',
  'Tue 00:00 – 00:00 UTC',
  'Sun 00:00 – Sun 24:00 UTC',
];

function toldOf(parsed: ParsedPolicy): string[] {
  const told = (parsed.kind === 'ok' ? parsed.warnings : parsed.problems).map((each) => formatProblem('a.yaml', each));
  const few = told.length <= 30 ? told : [...told.slice(0, 2), `… ${told.length} in all`, ...told.slice(-1)];
  return [parsed.kind, ...few].map((line) => clipped(line));
}

function clipped(line: string): string {
  return line.replaceAll(/(.)\1{9,}/gs, (run, char: string) => `${char}(${run.length})`);
}

const shownAs = (title: string, told: readonly string[]) => `${title}\n${told.map((each) => `    ${each}\n`).join('')}`;
const titleOf = (text: string) =>
  clipped(text.replace(smallest, '').replace(head, 'HEAD ').trim()).slice(0, 300).replaceAll('\n', '⏎');

test('what is wrong or doubtful is said in these words', async () => {
  const texts = [...lines.map(withLine), ...ownChecks.map((checks) => checked(...checks)), ...doubtful, ...whole];
  const told = texts.map((text) => shownAs(titleOf(text), toldOf(parsePolicy(text))));
  const decoded: unknown[] = [
    null,
    [],
    { spec: 7 },
    {
      apiVersion: 'rollouts/v1',
      kind: 'RolloutPolicy',
      metadata: { name: 'x' },
      spec: { match: new Date(0), endpoint: 7n, strategy: () => 1 },
    },
  ];
  const spec = { match: '*', endpoint: 'projects/p/locations/us-central1/endpoints/1', keepStable: '0s' };
  decoded.push({ apiVersion: 'rollouts/v1', kind: 'RolloutPolicy', metadata: { name: 'x' }, spec });
  const values = decoded.map((value, i) => shownAs(`decoded ${i}`, toldOf(parsePolicyValue(value))));
  await expect([...told, ...values].join('')).toMatchFileSnapshot('problems.golden');
});

test('what is no freeze window is said in these words, and what is one is read so', async () => {
  const told = windows.map((text) => {
    const parsed = parseFreezeWindow(text);
    if (parsed.kind === 'invalid') return shownAs(text, [`${parsed.message}; write: ${parsed.instead}`]);
    const { fromMinuteOfWeek, toMinuteOfWeek, timeZone } = parsed.window;
    return shownAs(text, [`${fromMinuteOfWeek} to ${toMinuteOfWeek} ${timeZone}`]);
  });
  await expect(told.join('')).toMatchFileSnapshot('windows.golden');
});

const explained = [
  '',
  `steps: [ { percent: 10, hold: 1m, approval: true }, { percent: 50, approval: true }, { percent: 100, hold: 30m } ]
  analysis:
    metricLag: 90s
    minRequests: 7
    falseRollbackRate: 0.25%
    errorRate: { max: 4%, margin: 0.5% }
    latency: { quantile: 99%, maxRatio: 1.5 }
    drift: { maxDistance: 0.2 }
    incident: rollBack
    noData: { after: 20m, then: rollBack }
    inconclusive: { after: 6h, then: rollBack }
    checks:
      - { name: lost, rate: { max: 10%, margin: 1% }, from: { filter: 'metric.type="a.b/c"' } }
      - { name: refused, rate: { max: 10%, margin: 1% }, from: reported }
      - { name: kept, rate: { max: 10%, margin: 1% }, from: { promql: deployed_model_id, of: deployed_model_id * 2 } }
      - { name: tokens, quantile: {}, from: reported }
      - { name: distance, drift: {}, from: { requestLog: p.d.t, value: instances.distance }, dryRun: true }
      - { name: memory, limit: { max: 8 }, from: { modelMonitoring: ${job} } }
      - { name: speed, limit: { max: 9 }, from: { modelMonitoring: ${job}, feature: speed } }
  freeze: [ "Fri 16:00 – Mon 08:00 Europe/Zurich", "Tue 12:00 – 13:00 UTC" ]
  onNewBlessing: queue
  keepStable: 0s
  keepFailedCanary: 15m
  exposure: { maxExcessErrors: 12 }
  deploy:
    machineType: g2-standard-4
    minReplicas: 2
    maxReplicas: 2
    deadline: 1h
    accelerator: { type: NVIDIA_L4, count: 2 }
    autoscaling: [ { metric: a.b/c, target: 60% }, { metric: a.b/d, target: 70% } ]`,
  'analysis: { latency: off, incident: ignore, errorRate: { dryRun: true }, drift: { dryRun: true } }',
  'analysis: { latency: { dryRun: true } }',
];

test('a policy is explained in these words', async () => {
  const forms = ['{ labels: { team: rail, stage: prod } }', '"*"'].map((form) =>
    smallest.replace(/\{ model: \S+ \}/, form),
  );
  const told = [...explained.map(withLine), ...forms].map((text) =>
    shownAs(titleOf(text), explainPolicy(policyOf(text))),
  );
  await expect(told.join('')).toMatchFileSnapshot('explained.golden');
});

test('a policy is parsed to these values', async () => {
  const parsed = explained.slice(0, 2).map((text) => policyOf(withLine(text)));
  await expect(`${JSON.stringify(parsed, null, 1)}\n`).toMatchFileSnapshot('parsed.golden');
});

function policyOf(text: string): Policy {
  const parsed = parsePolicy(text);
  if (parsed.kind === 'invalid') throw new Error(JSON.stringify(parsed.problems));
  return parsed.policy;
}
