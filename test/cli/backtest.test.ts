/** Does a backtest tell what the rule would have done, and how? */
import { readFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { flightLines } from './backtest/flights.ts';
import { budgets, judgePairs, pairTable } from './backtest/pairs.ts';
import { csvOf, distribution, int64, minute, policyText, timeSeries } from './backtest/series.ts';
import { type Run, startPerson } from './system-double.ts';

const verdictSchema = z.object({
  at: z.number(),
  stepIndex: z.number(),
  percent: z.number(),
  kind: z.string(),
  reasons: z.array(z.string()).min(1),
  canary: z.object({ requests: z.number(), errors: z.number() }),
  stable: z.object({ requests: z.number(), errors: z.number() }),
});
const answerSchema = z.object({
  shares: z.string(),
  data: z.object({ windowMs: z.number(), windows: z.number(), notes: z.array(z.object({ text: z.string() })) }),
  lives: z.object({
    count: z.number(),
    proofs: z.number(),
    proofsAtMostRatio: z.number(),
    outcomes: z.record(z.string(), z.number()),
  }),
  life: z.object({
    outcome: z.string(),
    at: z.number(),
    startedAt: z.number(),
    percent: z.number(),
    reason: z.string(),
    passedOver: z.number(),
    verdicts: z.array(verdictSchema),
    changes: z.array(z.object({ percent: z.number(), state: z.string(), at: z.number() })),
    played: z.array(
      z.object({ canary: z.object({ requests: z.number() }), stable: z.object({ requests: z.number() }) }),
    ),
  }),
});

let person: Awaited<ReturnType<typeof startPerson>>;
beforeEach(async () => {
  person = await startPerson();
  await put('policy.yaml', policyText());
});
afterEach(() => person.close());

const put = (file: string, text: string) => writeFile(join(person.folder, file), text);
const backtest = (file: string, ...flags: string[]): Promise<Run> =>
  person.run(['backtest', 'policy.yaml', '--data', file, ...flags]);
async function answer(file: string, ...flags: string[]) {
  const run = await backtest(file, '--json', ...flags);
  if (run.out === '') throw new Error(run.err);
  return { code: run.code, ...answerSchema.parse(JSON.parse(run.out)) };
}

const good = { requests: 600, errorRatio: 0.01 };
const bad = { requests: 600, errorRatio: 0.2 };

describe('both variants recorded', () => {
  test('a canary that is worse is rolled back at the first step, with the numbers', async () => {
    await put('a.csv', csvOf({ stable: good, canary: bad }, 90));
    const { code, life, shares } = await answer('a.csv');
    expect({ code, shares, outcome: life.outcome }).toEqual({ code: 3, shares: 'recorded', outcome: 'rolledBack' });
    const last = life.verdicts.at(-1);
    expect(last).toMatchObject({ kind: 'unhealthy', stepIndex: 0, at: life.at });
    expect(life.reason).toContain(last?.reasons[0]);
    expect(life.changes.at(-1)?.percent).toBe(0);
  });

  test('a canary that is as good is promoted, and no step is shorter than its hold', async () => {
    await put('a.csv', csvOf({ stable: good, canary: good }, 120));
    const { code, life } = await answer('a.csv');
    expect({ code, outcome: life.outcome }).toEqual({ code: 0, outcome: 'promoted' });
    const steps = life.changes.filter(({ percent }) => percent > 0).map(({ at }) => at);
    expect(steps.slice(1).every((at, i) => at - (steps[i] ?? at) >= 600_000)).toBe(true);
    expect(life.at - life.startedAt).toBeGreaterThanOrEqual(30 * 60_000);
  });

  test('a window is judged when Monitoring would have shown it, and only if it began after the step took effect', async () => {
    await put('a.csv', csvOf({ stable: good, canary: good }, 60));
    const { life } = await answer('a.csv');
    // The first window ends after one minute, and shows three minutes later.
    expect(life.verdicts[0]?.at).toBe(Date.parse(minute(4)));
    const second = life.verdicts.find(({ stepIndex }) => stepIndex === 1);
    const stepAt = life.changes[1]?.at ?? 0;
    expect(second?.at).toBeGreaterThan(stepAt + 180_000);
    expect(second?.canary.requests).toBe(600);
    expect(life.passedOver).toBeGreaterThanOrEqual(3);
  });

  test('says that the shares were not ours, and judges each step at the recorded one', async () => {
    await put('a.csv', csvOf({ stable: { ...good, requests: 300 }, canary: { ...good, requests: 100 } }, 60));
    const { out } = await backtest('a.csv');
    expect(out.replaceAll(/\s+/g, ' ')).toContain('The shares were not ours: the canary got 25% of these requests');
    const { life } = await answer('a.csv');
    expect(life.changes[0]?.percent).toBe(25);
    expect(life.verdicts.flatMap(({ reasons }) => reasons).join(' ')).not.toContain('the split is not in effect');
  });

  test('thinned to the policy, the canary has the share of each step, and no request changes sides', async () => {
    await put('a.csv', csvOf({ stable: good, canary: good }, 90));
    const { life, lives, shares } = await answer('a.csv', '--split', 'policy', '--lives', '3');
    expect({ shares, count: lives.count }).toEqual({ shares: 'thinned', count: 3 });
    const atTen = life.verdicts.findLast(({ stepIndex }) => stepIndex === 0);
    const share = (atTen?.canary.requests ?? 0) / ((atTen?.canary.requests ?? 0) + (atTen?.stable.requests ?? 0));
    expect(share).toBeGreaterThan(0.085);
    expect(share).toBeLessThan(0.115);
    expect(life.played.every(({ canary, stable }) => canary.requests <= 600 && stable.requests <= 600)).toBe(true);
    expect(life.played.filter(({ stable }) => stable.requests === 0).length).toBeGreaterThan(0);
  });

  test('a recorded rollout whose share moved is thinned window by window; as it stands, the rule sees the mismatch', async () => {
    const early = csvOf({ stable: { ...good, requests: 1900 }, canary: { ...good, requests: 200 } }, 30).trimEnd();
    const late = csvOf({ stable: { ...good, requests: 1000 }, canary: { ...good, requests: 1000 } }, 120).trimEnd();
    await put('a.csv', [early, ...late.split('\n').slice(1 + 2 * 30)].join('\n'));
    const stands = await answer('a.csv');
    expect(stands.life.verdicts.flatMap(({ reasons }) => reasons).join(' ')).toContain('the split is not in effect');
    const thinned = await answer('a.csv', '--split', 'policy', '--lives', '1');
    expect(thinned.life.verdicts.flatMap(({ reasons }) => reasons).join(' ')).not.toContain(
      'the split is not in effect',
    );
    expect(thinned.life.outcome).toBe('promoted');
  });

  test('a service that is down for an hour is paused for want of data, which is never healthy', async () => {
    const rows = csvOf({ stable: good, canary: good }, 100).split('\n');
    await put('a.csv', [...rows.slice(0, 15), ...rows.slice(140)].join('\n'));
    const { code, life, data } = await answer('a.csv');
    expect({ code, outcome: life.outcome }).toEqual({ code: 4, outcome: 'paused' });
    expect(life.reason).toContain('noData');
    expect(data.notes.map(({ text }) => text).join()).toContain('nothing was recorded for 1h');
  });

  test('a recording that ends early decides nothing', async () => {
    await put('a.csv', csvOf({ stable: good, canary: good }, 8));
    const { code, life } = await answer('a.csv');
    expect({ code, outcome: life.outcome }).toEqual({ code: 4, outcome: 'undecided' });
  });

  test('a step that asks for approval is approved, and the replay says so', async () => {
    await put('policy.yaml', policyText().replace('50, hold: 10m', '50, hold: 10m, approval: true'));
    await put('a.csv', csvOf({ stable: good, canary: good }, 120));
    const run = await backtest('a.csv');
    expect(run).toMatchObject({ code: 0, out: expect.stringContaining('A person is asked to approve') });
  });

  test('latencies are judged from the columns le_…', async () => {
    const rows = Array.from({ length: 60 }, (_, i) => [
      `${minute(i)},stable,200,0,190,200,200`,
      `${minute(i)},canary,200,0,20,60,200`,
    ]).flat();
    await put('a.csv', `timestamp,version,requests,errors,le_50,le_100,le_1000\n${rows.join('\n')}`);
    const { code, life } = await answer('a.csv');
    expect(code).toBe(3);
    expect(life.reason).toContain('quantile');
  });
});

describe('stable alone', () => {
  test('is divided at random, so that every rollback is a false alarm; the bound is Clopper and Pearson’s', async () => {
    await put('a.csv', csvOf({ v1: good }, 60));
    const { code, lives, shares, life } = await answer('a.csv', '--lives', '60');
    expect({ code, shares, count: lives.count, proofs: lives.proofs }).toEqual({
      code: 0,
      shares: 'divided',
      count: 60,
      proofs: 0,
    });
    expect(lives.proofsAtMostRatio).toBeCloseTo(1 - 0.05 ** (1 / 60), 6);
    expect(life.played.every(({ canary, stable }) => canary.requests + stable.requests === 600)).toBe(true);
  });

  test('the same seed gives the same lives, another gives others', async () => {
    await put('a.csv', csvOf({ v1: good }, 40));
    const runs = await Promise.all(
      ['1', '1', '2'].map((seed) => backtest('a.csv', '--json', '--lives', '2', '--seed', seed)),
    );
    expect(runs[0]?.out).toBe(runs[1]?.out);
    expect(runs[0]?.out).not.toBe(runs[2]?.out);
  });

  test('a share can be kept throughout, so that the whole recording is judged', async () => {
    await put('a.csv', csvOf({ v1: good }, 100));
    const { life } = await answer('a.csv', '--split', '20', '--lives', '2');
    expect(new Set(life.verdicts.map(({ percent }) => percent))).toEqual(new Set([20]));
    expect(life.verdicts).toHaveLength(100);
  });

  test('is told by --stable where more was recorded, and the rest is left out aloud', async () => {
    await put('a.csv', csvOf({ v1: good, v2: bad }, 30));
    expect((await backtest('a.csv')).err).toContain('give --canary ID and --stable ID');
    const { out } = await backtest('a.csv', '--stable', 'v1', '--lives', '2');
    expect(out).toContain('Left out: v2 (18,000 requests)');
    expect((await backtest('a.csv', '--stable', 'v3')).err).toContain('got "v3"; recorded: v1');
  });
});

describe('formats', () => {
  test('an export of Cloud Monitoring, page by page, with latencies', async () => {
    const many = <T>(value: T): T[] => Array.from({ length: 60 }, () => value);
    const seriesFor = (id: string, errors: number, slow: number) => [
      timeSeries('response_count', { id, code: '200' }, many(int64(100 - errors))),
      timeSeries('response_count', { id, code: '503' }, many(int64(errors))),
      timeSeries('response_count', { id, code: '404' }, many(int64(5))),
      timeSeries('prediction_latencies', { id }, many(distribution([80 - slow, 20, slow]))),
    ];
    await put(
      'a.json',
      JSON.stringify([
        { timeSeries: seriesFor('11', 1, 0), nextPageToken: 'x' },
        { timeSeries: seriesFor('22', 30, 0) },
      ]),
    );
    const { life, data } = await answer('a.json', '--canary', '22', '--stable', '11');
    expect({ outcome: life.outcome, windowMs: data.windowMs, windows: data.windows }).toEqual({
      outcome: 'rolledBack',
      windowMs: 60_000,
      windows: 60,
    });
    // A 404 is the caller's mistake: a request, and no error.
    expect(life.verdicts[0]).toMatchObject({
      canary: { requests: 105, errors: 30 },
      stable: { requests: 105, errors: 1 },
    });
  });

  test('requests one by one fall into windows that end where they say', async () => {
    const at = (i: number, ms: number) => new Date(Date.parse(minute(i)) + ms).toISOString();
    const line = (timestamp: string, status = 200) =>
      JSON.stringify({ timestamp, deployedModelId: '7', status, latencyMs: 12.5, prediction: 0.3 });
    await put('a.jsonl', [line(at(0, 1)), line(at(1, 0)), line(at(1, 1), 503), line(at(2, 0), 404)].join('\n'));
    const { life, data } = await answer('a.jsonl', '--split', '50', '--lives', '1');
    expect(data.windows).toBe(2);
    expect(life.played.map(({ canary, stable }) => canary.requests + stable.requests)).toEqual([2, 2]);
  });

  test('two hundred thousand requests are streamed', { timeout: 60_000 }, async () => {
    const lines = Array.from({ length: 100 }, (_, i) =>
      `{"timestamp":"${minute(i)}","variant":"v1","status":200,"latencyMs":12}\n`.repeat(2000),
    );
    await put('big.jsonl', lines.join(''));
    const { data, life } = await answer('big.jsonl', '--lives', '1');
    expect(data.windows).toBe(100);
    expect(life.played.reduce((sum, { canary, stable }) => sum + canary.requests + stable.requests, 0)).toBeGreaterThan(
      60_000,
    );
  });
});

describe('what is shown', () => {
  test('verdict by verdict, the middle of like ones folded unless every one is asked for', async () => {
    await put('a.csv', csvOf({ stable: good, canary: good }, 60));
    const folded = await backtest('a.csv');
    const every = await backtest('a.csv', '--every');
    const { life } = await answer('a.csv');
    expect(folded.out).toMatch(/… \d+ more like these/);
    expect(every.out.match(/ step \d  (healthy|inconclusive|unhealthy) /g)).toHaveLength(life.verdicts.length);
    expect(folded.out).toContain(`${minute(4).replace('.000Z', 'Z')}   50 %  step 1`);
    expect(folded.out.trimEnd().split('\n').at(-2)).toMatch(/^(Promoted|Not decided) after /);
  });

  test('a drawing that is the same each time, and well-formed', async () => {
    await put('policy.yaml', policyText().replace('name: delays', 'name: a-1'));
    await put('a.csv', csvOf({ stable: good, canary: bad }, 60));
    await backtest('a.csv', '--svg', 'a.svg');
    await backtest('a.csv', '--svg', 'b.svg');
    const drawing = await readFile(join(person.folder, 'a.svg'), 'utf8');
    expect(await readFile(join(person.folder, 'b.svg'), 'utf8')).toBe(drawing);
    expect(drawing).toContain('a-1: rolled back after');
    expect(drawing).not.toMatch(/NaN|Infinity|undefined/);
    const tags = [...drawing.matchAll(/<(\/?)(\w+)[^>]*?(\/?)>/g)].filter(([, , , selfClosed]) => selfClosed === '');
    expect(tags.filter(([, close]) => close === '')).toHaveLength(tags.filter(([, close]) => close === '/').length);
    expect((await backtest('a.csv', '--svg', 'no/such/folder.svg')).err).toContain('Could not write the drawing');
  });
});

describe('wrong usage', () => {
  test.each([
    [['--seed', 'x'], 'for --seed, got "x"'],
    [['--lives', '0'], 'from 1 to 10000 for --lives'],
    [['--split', '0'], 'from 1 to 99 for --split'],
    [['--window', '0s'], 'from 1s up for --window'],
    [['--format', 'xml'], 'got "xml"'],
    [['--canary', 'stable', '--stable', 'stable'], 'got "stable" for both'],
  ])('%j is refused', async (flags, message) => {
    await put('a.csv', csvOf({ stable: good, canary: good }, 5));
    expect(await backtest('a.csv', ...flags)).toMatchObject({ code: 2, err: expect.stringContaining(message) });
  });

  test('a file that is not there, and a policy that is none, say so', async () => {
    expect(await backtest('none.csv')).toMatchObject({ code: 2, err: expect.stringContaining('none.csv') });
    await put('policy.yaml', 'kind: x');
    await put('a.csv', csvOf({ stable: good }, 5));
    expect(await backtest('a.csv')).toMatchObject({ code: 2, err: expect.stringContaining('policy.yaml') });
  });
});

describe('20,000 real flights', () => {
  const page = readFileSync('docs/backtest.md', 'utf8');
  const policy = new URL('backtest/flights.yaml', import.meta.url).pathname;

  test('divided at random, they give no more false alarms than the policy allows, as the page says', async () => {
    await put('flights.jsonl', flightLines().join('\n'));
    const flags = ['--window', '1d', '--stable', 'others', '--lives', '200'];
    const { out } = await person.run(['backtest', policy, '--data', 'flights.jsonl', ...flags]);
    const said = out.slice(out.lastIndexOf('200 lives')).trim();
    expect(Number(/(\d+) false alarms/.exec(said)?.[1])).toBeLessThanOrEqual(6);
    expect(page).toContain(said);
  });

  test.each(budgets)(
    'of real airports none is rolled back for being as good; the page has the table for a budget of %f',
    async (budget) => {
      const groups = await judgePairs(budget);
      expect(groups.map(({ rolledBack }) => rolledBack)[0]).toBe(0);
      expect(page).toContain(pairTable(groups));
    },
  );
});
