/** Does the proxy see what the models predict, without anybody paying for it? */
import { describe, expect, it, vi } from 'vitest';
import { z } from 'zod';
import { limits } from '../../functions/engine/limits.ts';
import { answersMessage } from '../../functions/proxy/answer-counts.ts';
import { distanceOf } from '../../machines/analysis/drift.ts';
import {
  addCounts,
  noCounts,
  noHistogram,
  type VariantCounts,
  variantCountsSchema,
} from '../../machines/analysis/evidence.ts';
import { goodKey, listen, longPath, type Model, servedBySeven, startWorld, type World } from './proxy/proxy-world.ts';

const instant = Date.parse('2026-03-01T12:00:00.000Z');

/** Sends back what it was sent, with the status, the name and the headers that were asked for. */
function echo(headers: Record<string, string> = servedBySeven, status = 200): Model {
  return ({ body }, response) => void response.writeHead(status, headers).end(body);
}

async function countsOf(world: World): Promise<Record<string, VariantCounts>> {
  await world.handler.flush();
  const total: Record<string, VariantCounts> = {};
  for (const [id, counts] of world.published.flatMap(({ variants }) => Object.entries(variants))) {
    total[id] = addCounts(total[id] ?? noCounts, variantCountsSchema.parse(counts));
  }
  return total;
}

const sampledOf = (counts: VariantCounts | undefined) =>
  counts?.predictions?.counts.reduce((sum, count) => sum + count, 0) ?? null;

describe('predictions', () => {
  it('tell a canary that predicts otherwise from one that predicts the same', async () => {
    // 7 is stable, 8 predicts as it does, and 9 is sure of everything.
    const model: Model = ({ body }, response) => {
      const { id, at } = z.object({ id: z.string(), at: z.number() }).parse(JSON.parse(body.toString()));
      const probability = id === '9' ? 0.9 + at / 10 : at;
      response.writeHead(200, { ...servedBySeven, 'x-vertex-ai-deployed-model-id': id });
      response.end(JSON.stringify({ predictions: [{ late: probability > 0.5, probability }] }));
    };
    let now = instant;
    await using world = await startWorld(model, { now: () => now });
    for (const id of ['7', '8', '9']) {
      for (let i = 0; i < 40; i += 1) {
        now += 100;
        await (await world.post(`${longPath}:predict`, { body: JSON.stringify({ id, at: i / 40 }) })).text();
      }
    }
    const counts = await countsOf(world);
    const seen = (id: string) => counts[id]?.predictions ?? noHistogram;
    expect(distanceOf(seen('8'), seen('7'))).toMatchObject({ distance: 0, canaryCount: 40, stableCount: 40 });
    expect(distanceOf(seen('9'), seen('7')).distance).toBeGreaterThan(0.5);
  });

  it.for(['predict', 'rawPredict'])(
    'of :%s are sampled in each second up to the budget, and all counted',
    async (verb) => {
      let now = instant;
      await using world = await startWorld(undefined, { now: () => now });
      const max = limits.sampledAnswersPerSecondMax;
      const ask = () => world.post(`${longPath}:${verb}`).then((answer) => answer.text());
      for (let i = 0; i < max + 5; i += 1) await ask();
      now += 1_000;
      await ask();
      const { '7': counts } = await countsOf(world);
      expect([counts?.requests, sampledOf(counts)]).toEqual([max + 6, max + 1]);
    },
  );

  it('are looked for in the answer of the model, which the caller gets untouched', async () => {
    await using world = await startWorld(echo());
    const body = '{ "predictions" : [0.1, {"score": 7}, "x"] }\n';
    expect(await (await world.post(`${longPath}:rawPredict`, { body })).text()).toBe(body);
    const { '7': counts } = await countsOf(world);
    expect(counts?.predictions?.counts.flatMap((n, i) => (n > 0 ? [counts.predictions?.bounds[i]] : []))).toEqual([
      0.1, 10,
    ]);
  });

  it.for(['predict', 'rawPredict'])('are not looked at before the caller has the answer (:%s)', async (verb) => {
    await using world = await startWorld();
    let isAnswered = () => false;
    await using door = await listen((request, response) => {
      isAnswered = () => response.writableFinished;
      world.handler(request, response);
    });
    const whenParsed: boolean[] = [];
    const parse = JSON.parse;
    const spied = vi.spyOn(JSON, 'parse').mockImplementation((text, reviver): unknown => {
      if (text.includes('predictions')) whenParsed.push(isAnswered());
      return parse(text, reviver);
    });
    try {
      const init = { method: 'POST', headers: { 'x-goog-api-key': goodKey } };
      await (await fetch(`${door.origin}${longPath}:${verb}`, init)).text();
      await world.handler.flush();
    } finally {
      spied.mockRestore();
    }
    expect(whenParsed).toEqual([true]);
  });

  it.for([
    { why: 'malformed', verb: 'predict', body: '{"predictions":[NaN]}' },
    { why: 'malformed', verb: 'rawPredict', body: '{"predictions":[0.5,' },
    { why: 'empty', verb: 'rawPredict', body: '' },
    { why: 'a stream', verb: 'streamRawPredict', body: '{"predictions":[0.5]}' },
    {
      why: 'too large',
      verb: 'predict',
      body: `{"predictions":[0.5],"x":"${'x'.repeat(limits.sampledAnswerBytesMax)}"}`,
    },
    {
      why: 'too large',
      verb: 'rawPredict',
      body: `{"predictions":[0.5],"x":"${'x'.repeat(limits.sampledAnswerBytesMax)}"}`,
    },
  ])('of an answer that is $why are not counted, and nothing else suffers (:$verb)', async ({ verb, body }) => {
    const logged = vi.spyOn(process.stdout, 'write').mockReturnValue(true);
    try {
      await using world = await startWorld(echo());
      const answer = await world.post(`${longPath}:${verb}`, { body });
      expect([answer.status, (await answer.text()).slice(0, body.length - 1)]).toEqual([200, body.slice(0, -1)]);
      const { '7': counts } = await countsOf(world);
      expect([counts?.requests, counts?.errors, sampledOf(counts)]).toEqual([1, 0, null]);
      const told = logged.mock.calls.map(([line]) => String(line)).filter((line) => !line.includes(answersMessage));
      expect(told).toEqual([]);
    } finally {
      logged.mockRestore();
    }
  });

  it.for([
    { of: 'an answer that named nobody', model: echo({}), id: 'unattributed' },
    { of: 'a failure', model: echo(servedBySeven, 500), id: '7' },
    { of: 'a refusal', model: echo(servedBySeven, 400), id: '7' },
  ])('of $of are not counted', async ({ model, id }) => {
    await using world = await startWorld(model);
    await (await world.post(`${longPath}:rawPredict`, { body: '{"predictions":[0.5]}' })).text();
    const { [id]: counts } = await countsOf(world);
    expect([counts?.requests, sampledOf(counts)]).toEqual([1, null]);
  });
});
