/** Do the outcomes that clients report reach the evidence, and nothing else of what they send? Over real HTTP. */
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { limits } from '../../functions/engine/limits.ts';
import { evidenceMessageSchema } from '../../functions/engine/messages.ts';
import type { PoliciesPort } from '../../functions/engine/ports.ts';
import { addCounts, noCounts, type VariantCounts, variantCountsSchema } from '../../machines/analysis/evidence.ts';
import { valueBounds } from '../../machines/analysis/value-bounds.ts';
import type { CheckPolicy, CheckRule } from '../../machines/policy/policy.ts';
import { delays, endpoint, longPath, onlyEndpoints, startWorld, type World } from './proxy/proxy-world.ts';

const reported = (name: string, rule: CheckRule): CheckPolicy => ({
  name,
  rule,
  from: { kind: 'reported' },
  dryRun: false,
});
const checks: CheckPolicy[] = [
  reported('complaints', { kind: 'rate', maxRatio: 0.1, marginRatio: 0.01 }),
  reported('basket', { kind: 'drift', maxDistance: 0.3 }),
  reported('minutes-late', { kind: 'quantile', quantileRatio: 0.95, maxRatio: 1.2 }),
  reported('skew', { kind: 'limit', max: 0.3 }),
  {
    ...reported('cpu', { kind: 'rate', maxRatio: 0.1, marginRatio: 0.01 }),
    from: { kind: 'filter', filter: 'metric.type="cpu"', of: null },
  },
];
const policies: PoliciesPort = {
  list: () => Promise.resolve({ policies: [{ ...delays, analysis: { ...delays.analysis, checks } }], problems: [] }),
};

const startReporting = (overrides: Parameters<typeof startWorld>[1] = {}) =>
  startWorld(undefined, { policies, ...overrides });

const report = (world: World, body: unknown, path = `${longPath}:report`) =>
  world.post(path, { body: typeof body === 'string' ? body : JSON.stringify(body) });

const errorSchema = z.object({ error: z.object({ code: z.int(), message: z.string(), status: z.string() }) });

async function refusalOf(answer: Response): Promise<[code: number, message: string]> {
  const { error } = errorSchema.parse(await answer.json());
  expect(error.code).toBe(answer.status);
  return [error.code, error.message];
}

/** All that was published, added up; each message must be one that the controller takes. */
async function countsOf(world: World): Promise<Record<string, VariantCounts>> {
  await world.handler.flush();
  const total: Record<string, VariantCounts> = {};
  for (const message of world.published) {
    expect(message.endpoint).toBe(endpoint);
    for (const [id, counts] of Object.entries(evidenceMessageSchema.parse(message).variants)) {
      total[id] = addCounts(total[id] ?? noCounts, variantCountsSchema.parse(counts));
    }
  }
  return total;
}

/** The upper bounds of the bins that hold anything, with how much. */
function binsOf(counts: VariantCounts | undefined, name: string): [number | undefined, number][] {
  const signal = counts?.signals?.[name];
  if (signal === undefined || !('bounds' in signal)) return [];
  expect(signal.bounds).toEqual(valueBounds);
  return signal.counts.flatMap((count, i): [number | undefined, number][] =>
    count > 0 ? [[signal.bounds[i], count]] : [],
  );
}

describe('a report', () => {
  it.for([longPath, '/v1/projects/12345/locations/us-central1/endpoints/456', '/v1/endpoints/delays'])(
    'is counted by the name in the answer that it is about: %s',
    async (path) => {
      await using world = await startReporting();
      const predicted = await world.post(`${path}:predict`);
      const deployedModelId = predicted.headers.get('x-vertex-ai-deployed-model-id');
      expect(await predicted.json()).toMatchObject({ deployedModelId });
      const answer = await report(world, { deployedModelId, outcomes: { complaints: true } }, `${path}:report`);
      expect([answer.status, await answer.text()]).toEqual([200, '{}']);
      expect(answer.headers.get('content-type')).toMatch(/^application\/json/);
      expect(await countsOf(world)).toMatchObject({
        7: { requests: 1, signals: { complaints: { hits: 1, trials: 1 } } },
      });
      expect(world.received).toHaveLength(1);
    },
  );

  it('tells of hits by true, of trials by false, and of values by numbers', async () => {
    await using world = await startReporting();
    for (const complaints of [true, false, false]) {
      await (await report(world, { deployedModelId: '8', outcomes: { complaints } })).text();
    }
    await (await report(world, { deployedModelId: '8', outcomes: { basket: 0.52, 'minutes-late': 37 } })).text();
    await (await report(world, { deployedModelId: '8', outcomes: { basket: -0, 'minutes-late': 1e300 } })).text();
    const { 8: counts } = await countsOf(world);
    expect(counts).toMatchObject({ requests: 0, errors: 0, signals: { complaints: { hits: 1, trials: 3 } } });
    expect(binsOf(counts, 'basket')).toEqual([
      [0, 1],
      [0.55, 1],
    ]);
    expect(binsOf(counts, 'minutes-late')).toEqual([
      [50, 1],
      [undefined, 1],
    ]);
  });

  it('may be one of many, of several DeployedModels', async () => {
    await using world = await startReporting();
    const reports = Array.from({ length: limits.reportsMax }, (_, i) => ({
      deployedModelId: i % 2 === 0 ? '7' : '1234567890',
      outcomes: { complaints: i < 10 },
    }));
    expect((await report(world, { reports })).status).toBe(200);
    expect(await countsOf(world)).toMatchObject({
      7: { signals: { complaints: { hits: 5, trials: 50 } } },
      1234567890: { signals: { complaints: { hits: 5, trials: 50 } } },
    });
  });

  it('is published at once when nothing else was, and then with the predictions', async () => {
    await using world = await startReporting();
    await (await report(world, { deployedModelId: '7', outcomes: { complaints: false } })).text();
    expect(world.published).toHaveLength(1);
    await (await world.post(`${longPath}:predict`)).text();
    await (await report(world, { deployedModelId: '7', outcomes: { complaints: true } })).text();
    await world.handler.flush();
    expect(world.published.map(({ variants }) => variants['7'])).toMatchObject([
      { requests: 0, signals: { complaints: { hits: 0, trials: 1 } } },
      { requests: 1, signals: { complaints: { hits: 1, trials: 1 } } },
    ]);
  });
});

describe('a report is refused, and nothing of it counted,', () => {
  const good = { deployedModelId: '7', outcomes: { complaints: true } };

  it.for<[why: string, body: unknown, reason: RegExp]>([
    [
      'of no check',
      { ...good, outcomes: { complaint: true } },
      /outcomes\.complaint: .*delays.*complaints, basket, minutes-late$/,
    ],
    ['of a check that others measure', { ...good, outcomes: { cpu: true } }, /outcomes\.cpu: .* no such check/],
    ['of a limit, which has no counts', { ...good, outcomes: { skew: 0.1 } }, /outcomes\.skew: .* no such check/],
    ['of a name that objects have', '{"deployedModelId":"7","outcomes":{"constructor":true}}', /no such check/],
    ['with a number for a rate', { ...good, outcomes: { complaints: 1 } }, /complaints: .* expected true or false/],
    ['with a truth for a value', { ...good, outcomes: { basket: true } }, /basket: .* expected a number, got true/],
    ['with words', { ...good, outcomes: { complaints: 'yes' } }, /expected true, false or a number/],
    ['with no number', { ...good, outcomes: { basket: null } }, /expected true, false or a number/],
    [
      'with more than a number',
      '{"deployedModelId":"7","outcomes":{"basket":1e999}}',
      /expected true, false or a number/,
    ],
    ['without outcomes', { ...good, outcomes: {} }, /expected at least one check/],
    ['of nobody', { outcomes: good.outcomes }, /deployedModelId: /],
    [
      'of what is no DeployedModel',
      { ...good, deployedModelId: 'unattributed' },
      /deployedModelId: expected the digits/,
    ],
    ['with an unknown key', { ...good, when: 'today' }, /Unrecognized key: "when"/],
    ['when a list is empty', { reports: [] }, /reports: /],
    [
      'when a list is too long',
      { reports: Array.from({ length: limits.reportsMax + 1 }, () => good) },
      /reports: .*100/,
    ],
    ['when one of many is bad', { reports: [good, { ...good, outcomes: { basket: false } }] }, /outcomes\.basket/],
    ['when it is a list by itself', [good], /expected object/],
    ['when it is no JSON', '{"deployedModelId":', /not JSON/],
    ['when it is empty', '', /not JSON/],
  ])('%s', async ([, body, reason]) => {
    await using world = await startReporting();
    const [code, message] = await refusalOf(await report(world, body));
    expect([code, message]).toEqual([400, expect.stringMatching(reason)]);
    expect(message).toMatch(/^Nothing was counted: /);
    expect(await countsOf(world)).toEqual({});
  });

  it('where the policy has no reported checks', async () => {
    await using world = await startWorld();
    expect(await refusalOf(await report(world, good))).toEqual([400, expect.stringMatching(/it has none$/)]);
  });

  it('without a valid key, by a caller who may not, and of an endpoint that no policy names', async () => {
    await using world = await startReporting();
    const body = JSON.stringify(good);
    expect((await world.post(`${longPath}:report`, { key: null, body })).status).toBe(401);
    expect((await world.post(`${longPath}:report`, { key: 'wrong', body })).status).toBe(401);
    expect((await report(world, good, '/v1/endpoints/other:report')).status).toBe(404);
    await using closed = await startReporting({ config: onlyEndpoints('other') });
    expect((await report(closed, good)).status).toBe(403);
    expect([await countsOf(world), await countsOf(closed)]).toEqual([{}, {}]);
  });

  it('above 64 KiB, and by GET', async () => {
    await using world = await startReporting();
    expect((await report(world, 'x'.repeat(limits.reportBytesMax + 1))).status).toBe(413);
    const got = await fetch(`${world.origin}${longPath}:report`);
    expect([got.status, got.headers.get('allow')]).toEqual([405, 'POST']);
  });

  it('when it names more DeployedModels than there are; then it may be sent again, and predictions are counted', async () => {
    let now = Date.parse('2026-03-01T12:00:00.000Z');
    await using world = await startReporting({ now: () => now });
    await (await world.post(`${longPath}:predict`)).text();
    const made = (from: number, count: number) => ({
      reports: Array.from({ length: count }, (_, i) => ({ ...good, deployedModelId: String(from + i) })),
    });
    expect((await report(world, made(100, 100))).status).toBe(200);
    expect((await report(world, made(200, 28))).status).toBe(200);
    const full = await report(world, made(300, 2));
    expect(await refusalOf(full)).toEqual([429, expect.stringMatching(/128 pairs/)]);
    expect(full.headers.get('retry-after')).toBe('5');
    // Those that are known go on.
    expect((await report(world, made(200, 28))).status).toBe(200);
    await (await world.post(`${longPath}:predict`)).text();
    await world.handler.flush();
    now += 5_000;
    expect((await report(world, made(300, 2))).status).toBe(200);
    const counts = await countsOf(world);
    expect([counts['7']?.requests, Object.keys(counts).length]).toEqual([2, 131]);
    expect(counts['200']?.signals).toEqual({ complaints: { hits: 2, trials: 2 } });
  });
});

describe('many reports', () => {
  it('fit into a message', async () => {
    await using world = await startReporting();
    await (await world.post(`${longPath}:predict`)).text();
    const outcomes = { basket: 0.5, 'minutes-late': 12, complaints: true };
    for (let i = 0; i < 40; i += 1) {
      await (await report(world, { deployedModelId: `${10 ** 9 + i}`, outcomes })).text();
    }
    await countsOf(world);
    const largest = Math.max(...world.published.map((message) => JSON.stringify(message).length));
    expect(largest).toBeLessThan(limits.messageBytesMax / 2);
  });
});
