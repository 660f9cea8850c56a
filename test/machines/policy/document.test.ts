import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatProblem, type Problem, parsePolicy, parsePolicyValue } from '../../../machines/policy/document.ts';
import { type Policy, policySchema } from '../../../machines/policy/policy.ts';

const HEAD = 'apiVersion: rollouts/v1\nkind: RolloutPolicy\nmetadata: { name: delays }\n';
const SMALLEST = `${HEAD}spec:
  match: { model: projects/p/locations/us-central1/models/m }
  endpoint: projects/p/locations/us-central1/endpoints/1
`;
const FULL = `${SMALLEST}  strategy: canary
  steps: [ { percent: 5, hold: 10m }, { percent: 50, hold: 1h30m, approval: true }, { percent: 100, hold: 30m } ]
  analysis:
    metricLag: 1m
    falseRollbackRate: 2%
    minRequests: 100
    errorRate: { max: 4%, margin: 0.5%, dryRun: false }
    latency: { quantile: 99%, maxRatio: 1.5, dryRun: true }
    drift: { maxDistance: 0.2, dryRun: true }
    checks: [ { name: lost, rate: { max: 10%, margin: 1% }, from: { filter: 'metric.type="a.b/c"' }, dryRun: true } ]
    inconclusive: { after: 3h, then: rollBack }
    noData: { after: 20m, then: rollBack }
    incident: ignore
  exposure: { maxExcessErrors: 10 }
  deploy:
    machineType: g2-standard-8
    minReplicas: 2
    maxReplicas: 9
    accelerator: { type: NVIDIA_L4, count: 2 }
    autoscaling: [ { metric: aiplatform.googleapis.com/prediction/online/cpu/utilization, target: 60% } ]
    serviceAccount: serving@p.iam.gserviceaccount.com
    deadline: 20m
  keepStable: 2d
  keepFailedCanary: 15m
  onNewBlessing: queue
  freeze: [ "Fri 16:00 – Mon 08:00 Europe/Zurich" ]
`;

function policy(text: string): Policy {
  const parsed = parsePolicy(text);
  if (parsed.kind === 'invalid') throw new Error(parsed.problems.map((each) => formatProblem('test', each)).join('\n'));
  return parsed.policy;
}

function problems(text: string): Problem[] {
  const parsed = parsePolicy(text);
  return parsed.kind === 'invalid' ? parsed.problems : [];
}

/** The smallest policy with one more line in its spec: that is line 7. */
const withLine = (line: string) => `${SMALLEST}  ${line}\n`;

const match = (form: string) =>
  policy(SMALLEST.replace('{ model: projects/p/locations/us-central1/models/m }', form)).match;

describe('a policy', () => {
  test('with nothing but its name, model and endpoint has safe defaults', () => {
    expect(policy(SMALLEST)).toEqual({
      name: 'delays',
      match: { kind: 'model', model: 'projects/p/locations/us-central1/models/m' },
      endpoint: 'projects/p/locations/us-central1/endpoints/1',
      strategy: 'canary',
      steps: [
        { percent: 5, holdSeconds: 600, approval: false },
        { percent: 25, holdSeconds: 600, approval: false },
        { percent: 50, holdSeconds: 600, approval: false },
        { percent: 100, holdSeconds: 1800, approval: false },
      ],
      analysis: {
        metricLagSeconds: 180,
        falseRollbackRatio: 0.01,
        minRequests: 50,
        errorRate: { maxRatio: 0.05, marginRatio: 0.005, dryRun: false },
        latency: { quantileRatio: 0.95, maxRatio: 1.2, dryRun: false },
        drift: null,
        checks: [],
        inconclusive: { afterSeconds: 7200, outcome: 'pause' },
        noData: { afterSeconds: 1800, outcome: 'pause' },
        incident: 'pause',
      },
      exposure: { maxExcessErrors: 200 },
      deploy: {
        machineType: 'n1-standard-4',
        minReplicas: 1,
        maxReplicas: 5,
        accelerator: null,
        autoscaling: [],
        serviceAccount: null,
        deadlineSeconds: 2700,
      },
      keepStableSeconds: 86_400,
      keepFailedCanarySeconds: 0,
      onNewBlessing: 'replace',
      freeze: [],
    });
  });

  test('says every field in its own words', () => {
    const full = policy(FULL);
    expect(full).toMatchObject({
      steps: [
        { percent: 5, holdSeconds: 600 },
        { percent: 50, holdSeconds: 5400, approval: true },
        { percent: 100, holdSeconds: 1800 },
      ],
      analysis: {
        metricLagSeconds: 60,
        falseRollbackRatio: 0.02,
        minRequests: 100,
        errorRate: { maxRatio: 0.04, marginRatio: 0.005, dryRun: false },
        latency: { quantileRatio: 0.99, maxRatio: 1.5, dryRun: true },
        drift: { maxDistance: 0.2, dryRun: true },
        checks: [{ name: 'lost', dryRun: true }],
        inconclusive: { afterSeconds: 10_800, outcome: 'rollBack' },
        noData: { afterSeconds: 1200, outcome: 'rollBack' },
        incident: 'ignore',
      },
      deploy: {
        minReplicas: 2,
        maxReplicas: 9,
        accelerator: { type: 'NVIDIA_L4', count: 2 },
        autoscaling: [{ metric: 'aiplatform.googleapis.com/prediction/online/cpu/utilization', targetPercent: 60 }],
        serviceAccount: 'serving@p.iam.gserviceaccount.com',
      },
      keepStableSeconds: 172_800,
      keepFailedCanarySeconds: 900,
      onNewBlessing: 'queue',
      freeze: [{ text: 'Fri 16:00 – Mon 08:00 Europe/Zurich', timeZone: 'Europe/Zurich' }],
    });
    expect(policySchema.parse(full)).toEqual(full);
  });

  test('matches by labels, or anything', () => {
    expect(match('{ labels: { team: rail, stage: prod } }')).toEqual({
      kind: 'labels',
      labels: { team: 'rail', stage: 'prod' },
    });
    expect(match('"*"')).toEqual({ kind: 'any' });
    expect(match('{ model: "*" }')).toEqual({ kind: 'any' });
  });

  test('switches latency off, and drift on', () => {
    expect(policy(withLine('analysis: { latency: off }')).analysis.latency).toBeNull();
    expect(policy(withLine('analysis: { latency: null }')).analysis.latency).toBeNull();
    expect(policy(withLine('analysis: { drift: {} }')).analysis.drift).toEqual({ maxDistance: 0.3, dryRun: false });
  });

  test('that asks for many replicas gets a maximum to match', () => {
    expect(policy(withLine('deploy: { minReplicas: 8 }')).deploy).toMatchObject({ minReplicas: 8, maxReplicas: 8 });
  });

  test('that was decoded before is held to the same rules, without lines', () => {
    const value = { apiVersion: 'rollouts/v1', kind: 'RolloutPolicy', metadata: { name: 'x' }, spec: { match: '*' } };
    expect(parsePolicyValue(value)).toMatchObject({
      kind: 'invalid',
      problems: [{ path: 'spec.endpoint', line: null, column: null }],
    });
  });

  test('that cannot mean what it says is accepted with a warning', () => {
    expect(parsePolicy(withLine('keepStable: 0s'))).toMatchObject({
      kind: 'ok',
      warnings: [{ path: 'spec.keepStable', line: 7, column: 15, instead: '24h' }],
    });
  });

  test('is doubted as the caller asks, at the place in the text that the doubt is about', () => {
    const doubt = { path: 'spec.steps[1].percent', message: 'rather soon', instead: null };
    const parsed = parsePolicy(withLine('steps: [ { percent: 5 },\n    { percent: 100 } ]'), () => [doubt]);
    expect(parsed).toMatchObject({ kind: 'ok', warnings: [{ ...doubt, line: 8, column: 16 }] });
  });
});

describe('a problem', () => {
  test.each([
    ['an unknown key', 'keepStabel: 1h', 'spec.keepStabel', 'keepStable'],
    ['a key of another style', 'deploy: { machine_type: n1-standard-4 }', 'spec.deploy.machine_type', 'machineType'],
    ['a word of another style', 'onNewBlessing: Replace', 'spec.onNewBlessing', 'replace'],
    ['a bare number for a duration', 'keepStable: 3600', 'spec.keepStable', '3600s'],
    ['a bad duration', 'keepStable: 1 hour', 'spec.keepStable', null],
    ['a negative duration', 'keepStable: -5m', 'spec.keepStable', null],
    ['a ratio for a percent', 'analysis: { errorRate: { max: 0.05 } }', 'spec.analysis.errorRate.max', '5%'],
    ['a percent over 100', 'analysis: { errorRate: { max: 150% } }', 'spec.analysis.errorRate.max', null],
    ['a certain false rollback', 'analysis: { falseRollbackRate: 100% }', 'spec.analysis.falseRollbackRate', null],
    ['a latency ratio below 1', 'analysis: { latency: { maxRatio: 0.9 } }', 'spec.analysis.latency.maxRatio', null],
    ['an infinite number', 'exposure: { maxExcessErrors: .inf }', 'spec.exposure.maxExcessErrors', null],
    ['a key without a value', 'exposure:', 'spec.exposure', null],
    ['a list for a mapping', 'analysis: [ ]', 'spec.analysis', null],
    ['a mapping for a list', 'freeze: { }', 'spec.freeze', null],
    ['no step', 'steps: [ ]', 'spec.steps', null],
    ['a percent sign in a step', 'steps: [ { percent: 100% } ]', 'spec.steps[0].percent', '100'],
    ['a step of 0', 'steps: [ { percent: 0 }, { percent: 100 } ]', 'spec.steps[0].percent', null],
    ['a step over 100', 'steps: [ { percent: 150 } ]', 'spec.steps[0].percent', null],
    ['a step that is no whole number', 'steps: [ { percent: 12.5 }, { percent: 100 } ]', 'spec.steps[0].percent', '13'],
    ['a step without a percent', 'steps: [ { hold: 5m }, { percent: 100 } ]', 'spec.steps[0].percent', null],
    ['a repeated step', 'steps: [ { percent: 5 }, { percent: 5 }, { percent: 100 } ]', 'spec.steps[1].percent', null],
    [
      'a last step below 100',
      'steps: [ { percent: 5 } ]',
      'spec.steps[0].percent',
      'a last step { percent: 100, hold: 30m }',
    ],
    [
      'fewer replicas at most than at least',
      'deploy: { minReplicas: 3, maxReplicas: 2 }',
      'spec.deploy.maxReplicas',
      '3 or more',
    ],
    ['a bad e-mail address', 'deploy: { serviceAccount: me }', 'spec.deploy.serviceAccount', null],
    ['an unknown time zone', 'freeze: [ "Fri 16:00 – Mon 08:00 Europe/Zuerich" ]', 'spec.freeze[0]', 'Europe/Zurich'],
    ['a freeze that never ends', 'freeze: [ "Mon 00:00 – Sun 24:00 UTC" ]', 'spec.freeze', null],
    ['a strategy of a later version', 'strategy: blueGreen', 'spec.strategy', 'canary'],
    ['an unknown strategy', 'strategy: yolo', 'spec.strategy', 'canary'],
  ])('%s is named by path, line and remedy', (_, line, path, instead) => {
    const found = problems(withLine(line));
    expect(found.map((each) => ({ path: each.path, line: each.line, instead: each.instead }))).toEqual([
      { path, line: 7, instead },
    ]);
    expect(found[0]?.message).toMatch(/expected|not available|cover the whole week/);
  });

  test.each([
    ['apiVersion', SMALLEST.replace('rollouts/v1', 'rollouts/v2'), 'apiVersion', 'rollouts/v1'],
    ['kind', SMALLEST.replace('RolloutPolicy', 'Rollout'), 'kind', 'RolloutPolicy'],
    ['name', SMALLEST.replace('name: delays', 'name: Train Delays'), 'metadata.name', null],
    ['endpoint', SMALLEST.replace('endpoints/1', 'endpoint/1'), 'spec.endpoint', null],
    ['model', SMALLEST.replace('models/m', 'model/m'), 'spec.match.model', null],
    [
      'version in the model',
      SMALLEST.replace('models/m', 'models/m@7'),
      'spec.match.model',
      'projects/p/locations/us-central1/models/m',
    ],
    [
      'location of the model',
      SMALLEST.replace('us-central1/models', 'europe-west1/models'),
      'spec.match.model',
      'projects/p/locations/us-central1/models/m',
    ],
    ['label that is a number', SMALLEST.replace(/model: \S+/, 'labels: { a: 1 }'), 'spec.match.labels.a', '"1"'],
    ['missing match', SMALLEST.replace(/ {2}match.*\n/, ''), 'spec.match', null],
  ])('a bad %s is refused', (_, text, path, instead) => {
    expect(problems(text)).toMatchObject([{ path, instead }]);
  });

  test('never hides another: all of them come in one go, in the order of their lines', () => {
    const text = `${SMALLEST.replace('rollouts/v1', 'v1')}  steps:
    - { percent: 50, hold: 10 }
    - { percent: 25 }
    - { percent: 90, aproval: true }
  analysis: { noData: { then: rollback } }
  endpoint: projects/p/locations/us-central1/endpoints/1
  deploy: { minReplicas: 7, maxReplicas: 3, machineType: "" }
`;
    expect(problems(text).map(({ line, path }) => `${line} ${path}`)).toEqual([
      '1 apiVersion',
      '8 spec.steps[0].hold',
      '9 spec.steps[1].percent',
      '10 spec.steps[2].percent',
      '10 spec.steps[2].aproval',
      '11 spec.analysis.noData.then',
      '12 ',
      '13 spec.deploy.maxReplicas',
      '13 spec.deploy.machineType',
    ]);
  });

  test.each([
    ['broken YAML', 'spec: [ 1, 2'],
    ['an empty file', ''],
    ['a bare asterisk', SMALLEST.replace(/\{ model.*\}/, '*')],
    ['a second document', `${SMALLEST}---\n${SMALLEST}`],
    ['a key twice', `${SMALLEST}kind: RolloutPolicy\n`],
    ['a tab', `${SMALLEST}\tkeepStable: 1h\n`],
    ['a key that is a list', `${SMALLEST}? [ a ]\n: 1\n`],
    ['an alias', `${HEAD}a: &a { b: 1 }\nspec: *a\n`],
    ['a bomb of aliases', bomb()],
    ['brackets without end', '['.repeat(60_000)],
    ['more than 32 KiB', `${SMALLEST}# ${'x'.repeat(32 * 1024)}\n`],
  ])('%s is a problem, not a crash', (_, text) => {
    expect(problems(text).length).toBeGreaterThan(0);
  });

  test('is one line to read, with its place and what to write', () => {
    const [problem] = problems(withLine('keepStable: 3600'));
    if (problem === undefined) throw new Error('expected a problem');
    expect(formatProblem('delays.yaml', problem)).toBe(
      'delays.yaml:7:15 spec.keepStable: expected a duration such as 30s, 10m or 1h30m, got 3600; write: 3600s',
    );
  });
});

describe('whatever is written', () => {
  test('is parsed or explained, and never thrown at', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.string({ unit: yamlish, maxLength: 60 })), (text) => {
        expect(['ok', 'invalid']).toContain(parsePolicy(text).kind);
      }),
      { numRuns: 500 },
    );
  });

  test('is still parsed or explained after one cut in a good policy, and what is accepted is a Policy', () => {
    fc.assert(
      fc.property(fc.nat(FULL.length), fc.nat(40), fc.string({ unit: yamlish, maxLength: 5 }), (from, length, put) => {
        const parsed = parsePolicy(FULL.slice(0, from) + put + FULL.slice(from + length));
        const isAnswer =
          parsed.kind === 'ok' ? policySchema.safeParse(parsed.policy).success : parsed.problems.length > 0;
        expect(isAnswer).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  test('is decoded data of any shape, too', () => {
    fc.assert(
      fc.property(fc.anything({ withBigInt: true, withDate: true, withMap: true, withSparseArray: true }), (value) => {
        expect(
          parsePolicyValue({
            apiVersion: value,
            metadata: value,
            spec: { match: value, freeze: [value], steps: value, analysis: { checks: [value, { from: value }] } },
          }).kind,
        ).toBe('invalid');
      }),
      { numRuns: 300 },
    );
  });
});

const yamlish = fc.constantFrom(...'{}[]:,-?*&!|>%@#"\'\n\t ab1~.'.split(''), 'spec', 'steps', 'percent', '<<');

function bomb(): string {
  const rows = Array.from({ length: 20 }, (_, i) => `a${i + 1}: &a${i + 1} [ *a${i}, *a${i}, *a${i}, *a${i} ]`);
  return `${HEAD}a0: &a0 x\n${rows.join('\n')}\nspec: *a20\n`;
}
