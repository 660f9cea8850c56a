/** Does a simulation answer what the real machine would do, in every form, the same each time? */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { quantile } from '../../cli/simulate/answer.ts';
import { faultOf, type Scenario } from '../../cli/simulate/faults.ts';
import { sources, studyPolicy } from '../../cli/simulate/lives.ts';
import { startPerson } from './system-double.ts';

const answerSchema = z.object({
  scenario: z.object({ requestsPerSecond: z.number(), errorRatio: z.number(), source: z.string() }),
  policies: z
    .array(
      z.object({
        label: z.string(),
        answers: z.array(
          z.object({
            fault: z.string(),
            kind: z.string(),
            lives: z.number(),
            ends: z.record(z.string(), z.number()),
            wrong: z.object({ count: z.number(), ratioAtMost: z.number() }).nullable(),
            minutesTo100: z.object({ median: z.number().nullable(), ninety: z.number().nullable() }),
            minutesToRollback: z.object({ median: z.number().nullable() }),
            excessErrors: z.object({ mean: z.number() }),
            stepMinutes: z.array(z.number().nullable()),
            shares: z.array(z.object({ second: z.number(), low: z.number(), median: z.number(), high: z.number() })),
          }),
        ),
        notSimulated: z.array(z.object({ fault: z.string(), why: z.string() })),
        advice: z.array(z.object({ path: z.string(), text: z.string() })),
      }),
    )
    .min(1),
});

const policyText = (name: string, first = 10, extra = ''): string => `
apiVersion: rollouts/v1
kind: RolloutPolicy
metadata: { name: ${name} }
spec:
  match: { model: projects/demo/locations/us-central1/models/delays }
  endpoint: projects/demo/locations/us-central1/endpoints/456
  steps: [ { percent: ${first}, hold: 5m, approval: true }, { percent: 50, hold: 5m }, { percent: 100, hold: 5m } ]
  analysis: { metricLag: 3m, minRequests: 50${extra} }
  deploy: { minReplicas: 3 }
  freeze: [ "Mon 00:00 – Sun 23:00 UTC" ]
  keepStable: 10m
`;

let person: Awaited<ReturnType<typeof startPerson>>;
beforeEach(async () => {
  person = await startPerson();
  await writeFile(join(person.folder, 'policy.yaml'), policyText('delays'));
});
afterEach(() => person.close());

const simulate = (...flags: string[]) =>
  person.run(['simulate', 'policy.yaml', '--lives', '4', '--rate', '200', ...flags]);
async function answer(...flags: string[]) {
  const run = await simulate('--json', ...flags);
  if (run.out === '') throw new Error(run.err);
  expect(run.code).toBe(0);
  const { policies, scenario } = answerSchema.parse(JSON.parse(run.out));
  const [first] = policies;
  if (first === undefined) throw new Error('expected a policy');
  const one = first.answers[0];
  return { scenario, policies, first, one };
}

describe('what a life shows', () => {
  test('a healthy canary reaches 100 %, step by step, and no step is shorter than its hold', async () => {
    const { one } = await answer('--fault', 'none');
    expect(one).toMatchObject({ kind: 'healthy', lives: 4, ends: { proven: 4 }, wrong: { count: 0 } });
    expect(one?.wrong?.ratioAtMost).toBeCloseTo(1 - 0.05 ** (1 / 4));
    expect(one?.stepMinutes.every((minutes) => minutes !== null && minutes >= 5)).toBe(true);
    expect(new Set(one?.shares.map(({ median }) => median))).toEqual(new Set([10, 50, 100]));
    expect(one?.shares.every(({ low, median, high }) => low <= median && median <= high)).toBe(true);
    expect(one?.excessErrors.mean).toBe(0);
  });

  test('a canary that fails every request is rolled back at its first share, by a proxy sooner and with less harm', async () => {
    const late = (await answer('--fault', 'crash')).one;
    const soon = (await answer('--fault', 'crash', '--source', 'proxy')).one;
    for (const each of [late, soon]) expect(each).toMatchObject({ kind: 'bad', ends: { rolledBack: 4 } });
    expect(late?.shares.every(({ high }) => high <= 10)).toBe(true);
    expect(late?.shares.at(-1)?.high).toBe(0);
    expect(soon?.minutesToRollback.median).toBeLessThan(late?.minutesToRollback.median ?? 0);
    expect(soon?.excessErrors.mean).toBeLessThan(late?.excessErrors.mean ?? 0);
  });

  test('a fault that begins late, with the load, or in latency alone is found', async () => {
    for (const fault of ['onset', 'load', 'slow']) {
      const { one } = await answer('--fault', fault, '--lives', '2');
      expect(one).toMatchObject({ fault, ends: { rolledBack: 2 } });
      expect(one?.excessErrors.mean).toBeGreaterThan(0);
    }
  });

  test('twice as many errors within the margin are no fault, and said to be none', async () => {
    const { one, first } = await answer('--fault', '2x', '--error-rate', '0.1%', '--lives', '2');
    expect(one).toMatchObject({ kind: 'allowed', wrong: null });
    expect(first.advice.at(-1)?.text).toContain('promoting it is what the policy asks for');
  });

  test('drift is not pretended', async () => {
    const { first } = await answer('--fault', 'drift');
    expect(first.answers).toEqual([]);
    expect(first.notSimulated).toEqual([{ fault: 'drift', why: expect.stringContaining('without predictions') }]);
    expect((await simulate('--fault', 'drift')).out).toContain('drift: not simulated');
  });

  test('a policy that does not judge latency, or at a quantile that lives do not know, has no slow lives', () => {
    const scenario: Scenario = { requestsPerSecond: 20, shape: 'steady', errorRatio: 0, source: sources.monitoring };
    const policy = studyPolicy(sources.monitoring);
    const kindAt = (quantileRatio: number | null) => {
      const latency = quantileRatio === null ? null : { quantileRatio, maxRatio: 1.2, dryRun: false };
      return faultOf('slow', { ...policy, analysis: { ...policy.analysis, latency } }, scenario).kind;
    };
    expect([null, 0.99, 0.95].map(kindAt)).toEqual(['notSimulated', 'notSimulated', 'bad']);
  });
});

describe('what is printed', () => {
  test('the same seed gives the same answer, another seed another', async () => {
    const [a, b] = [await simulate('--fault', '2x'), await simulate('--fault', '2x')];
    expect(a).toEqual(b);
    expect((await simulate('--fault', '2x', '--seed', '2')).out).not.toBe(a.out);
  });

  test('two policies stand side by side, on the same seeds', async () => {
    await writeFile(join(person.folder, 'other.yaml'), policyText('careful', 1));
    const { policies } = await answer('--fault', 'crash', '--versus', 'other.yaml');
    const [delays, careful] = policies.map(({ answers }) => answers[0]?.excessErrors.mean ?? 0);
    expect(careful).toBeLessThan(delays ?? 0);
    const { out } = await simulate('--fault', 'crash', '--versus', 'other.yaml');
    expect(out).toContain('A delays   B careful');
    expect(out).toContain('Advice for careful');
  });

  test('policies of one name are told apart by their files, and the same policy answers alike', async () => {
    await writeFile(join(person.folder, 'same.yaml'), policyText('delays'));
    const { policies } = await answer('--fault', 'crash', '--versus', 'same.yaml');
    expect(policies.map(({ label }) => label)).toEqual(['policy.yaml', 'same.yaml']);
    expect(policies[0]?.answers).toEqual(policies[1]?.answers);
  });

  test('no line is wider than the terminal, and colour is left out where it is not wanted', async () => {
    const run = (env: Record<string, string>, columns: number) =>
      person.run(['simulate', 'policy.yaml', '--fault', 'crash', '--lives', '2'], env, { columns });
    const { out } = await run({ NO_COLOR: '1' }, 72);
    expect(Math.max(...out.split('\n').map((line) => line.length))).toBeLessThanOrEqual(72);
    expect(out).not.toContain('\u001b');
    expect((await run({}, 100)).out).toContain('\u001b[');
  });

  test('the drawing and the page are the same each time, load nothing and hold no markup of a name', async () => {
    await writeFile(join(person.folder, 'a<b>&.yaml'), policyText('delays'));
    const draw = async (name: string) => {
      const flags = ['--fault', 'crash', '--lives', '2', '--versus', 'a<b>&.yaml'];
      await simulate(...flags, '--svg', `${name}.svg`, '--html', `${name}.html`);
      return Promise.all(['svg', 'html'].map((kind) => readFile(join(person.folder, `${name}.${kind}`), 'utf8')));
    };
    const [one, two] = [await draw('one'), await draw('two')];
    expect(one).toEqual(two);
    const [svg = '', html = ''] = one;
    expect(html).toContain(svg);
    for (const text of one) {
      expect(text).toContain('a&lt;b&gt;&amp;.yaml');
      expect(text).not.toContain('a<b>');
      expect(text).not.toMatch(/NaN|undefined|Infinity|<script| src=| href=/);
    }
  });

  test('traffic of a day begins each life at another hour', () => {
    const scenario: Scenario = { requestsPerSecond: 20, shape: 'daily', errorRatio: 0, source: sources.monitoring };
    const fault = faultOf('none', studyPolicy(sources.monitoring), scenario);
    if (fault.kind === 'notSimulated') throw new Error(fault.text);
    const factors = [0, 1, 2, 3].map((life) => fault.cellOf(life, 4).traffic.shape(0));
    expect(factors.map((factor) => Number(factor.toFixed(3)))).toEqual([1, 1.8, 1, 0.2]);
  });
});

describe('wrong usage', () => {
  test.each([
    [['--rate', '0'], '--rate'],
    [['--rate', '1e9'], '--rate'],
    [['--error-rate', '60%'], '--error-rate'],
    [['--fault', 'fire'], 'none, 2x, crash, slow, onset, load, drift, all'],
    [['--lives', '0'], '--lives'],
    [['--source', 'guess'], 'monitoring, proxy'],
    [['--versus', 'none.yaml'], 'Expected a policy file'],
  ])('%j is refused with what was expected', async (flags, message) => {
    const { code, err, out } = await simulate(...flags);
    expect({ code, out }).toEqual({ code: 2, out: '' });
    expect(err).toContain(message);
  });

  test('an invalid policy is refused with its problems and their lines', async () => {
    await writeFile(join(person.folder, 'policy.yaml'), policyText('delays', 70));
    const { code, err } = await simulate();
    expect(code).toBe(2);
    expect(err).toContain('policy.yaml:8:');
  });
});

test('a quantile is a value that was seen', () => {
  expect(quantile([10, 1, 2, 3, 4, 5, 6, 7, 8, 9], 0.9)).toBe(9);
  expect(quantile([3], 0.1)).toBe(3);
  expect(quantile([], 0.5)).toBe(0);
});
