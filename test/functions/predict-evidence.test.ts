/** What does the proxy report of what it served? */
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { EvidenceMessage } from '../../functions/proxy/counters.ts';
import { endpoint, longPath, type Model, servedBySeven, startWorld } from './proxy/proxy-world.ts';

/** Answers with the status that the body asks for, as the variant that it asks for. */
const obedientModel: Model = ({ body }, response) => {
  const { status, id } = z.object({ status: z.int(), id: z.string() }).parse(JSON.parse(body.toString()));
  response.writeHead(status, { ...servedBySeven, 'x-vertex-ai-deployed-model-id': id });
  response.end('{"predictions":[1]}');
};

const summary = (messages: EvidenceMessage[]) => {
  const total: Record<string, [requests: number, errors: number]> = {};
  for (const [id, { requests, errors }] of messages.flatMap(({ variants }) => Object.entries(variants))) {
    const [r, e] = total[id] ?? [0, 0];
    total[id] = [r + requests, e + errors];
  }
  return total;
};

describe('evidence', () => {
  it.for(['predict', 'rawPredict', 'streamRawPredict'])('counts requests and 5xx by variant for :%s', async (verb) => {
    await using world = await startWorld(obedientModel);
    for (const [status, id] of [
      [200, '7'],
      [500, '8'],
      [503, '8'],
      [400, '8'],
      [429, '7'],
      [200, '8'],
    ]) {
      await (await world.post(`${longPath}:${verb}`, { body: JSON.stringify({ status, id }) })).text();
    }
    await world.handler.flush();
    expect(summary(world.published)).toEqual({ '7': [2, 0], '8': [4, 2] });
    expect(world.published.every((message) => message.endpoint === endpoint)).toBe(true);
    expect(new Set(world.published.map(({ source }) => source))).toEqual(new Set(['proxy:test']));
  });

  it('counts an answer cut short against the variant that gave it', async () => {
    await using world = await startWorld((_received, response) => {
      response.writeHead(200, servedBySeven);
      response.write('half');
      setImmediate(() => response.destroy());
    });
    await (await world.post(`${longPath}:rawPredict`)).text().catch(() => undefined);
    await world.handler.flush();
    expect(summary(world.published)).toEqual({ '7': [1, 1] });
  });

  it('counts failures and deadlines that name nobody as unattributed', async () => {
    await using world = await startWorld((_received, response) => void response.destroy());
    await world.post(`${longPath}:predict`);
    await world.handler.flush();
    await using slow = await startWorld(() => undefined, { bounds: { deadlineMs: 20 } });
    await slow.post(`${longPath}:rawPredict`);
    await slow.handler.flush();
    expect(summary(world.published)).toEqual({ unattributed: [1, 1] });
    expect(summary(slow.published)).toEqual({ unattributed: [1, 1] });
  });

  it('does not count what never went upstream', async () => {
    await using world = await startWorld();
    await world.post(`${longPath}:predict`, { key: null });
    await world.post('/v1/endpoints/other:predict');
    await world.handler.flush();
    expect(world.published).toEqual([]);
  });

  it('never keeps a caller waiting, or from an answer, when it cannot be published', async () => {
    await using world = await startWorld(undefined, { publishEvidence: () => Promise.reject(new Error('down')) });
    for (let i = 0; i < 3; i += 1) expect((await world.post(`${longPath}:predict`)).status).toBe(200);
    const stuck = Promise.withResolvers<void>();
    await using waiting = await startWorld(undefined, { publishEvidence: () => stuck.promise });
    for (let i = 0; i < 3; i += 1) expect((await waiting.post(`${longPath}:predict`)).status).toBe(200);
    stuck.resolve();
  });
});
