/** Does a shadow see what callers ask, off their path, and does the evidence say how it did? */
import { describe, expect, it, vi } from 'vitest';
import { limits } from '../../functions/engine/limits.ts';
import { proxyConfigSchema } from '../../functions/proxy/config.ts';
import { shadowConfigSchema } from '../../functions/proxy/shadow.ts';
import { addCounts, noCounts, type VariantCounts, variantCountsSchema } from '../../machines/analysis/evidence.ts';
import { endpoint, goodKey, longPath, type Model, servedBySeven, startWorld, type World } from './proxy/proxy-world.ts';

const second = 'projects/demo/locations/us-central1/endpoints/789';
const servedByNine = { ...servedBySeven, 'x-vertex-ai-endpoint-id': '789', 'x-vertex-ai-deployed-model-id': '9' };

const isForShadow = (url: string | undefined) => url === `/v1/${second}:rawPredict`;
const shadowing = (rule: object = {}) =>
  proxyConfigSchema.parse({ shadow: [{ from: 'delays', to: second, share: 1, ...rule }] });

/** One model for the callers' endpoint, another for the shadow's. */
function both(primary: string, shadow: Model): Model {
  return (received, response) => {
    if (isForShadow(received.url)) return shadow(received, response);
    response.writeHead(200, { 'content-type': 'application/json', ...servedBySeven });
    response.end(primary);
  };
}

function answering(body: string, status = 200, headers: Record<string, string> = servedByNine): Model {
  return (_received, response) => void response.writeHead(status, headers).end(body);
}

/** What was published of an endpoint, by variant. */
async function countsOf(world: World, name: string): Promise<Record<string, VariantCounts>> {
  await world.handler.flush();
  const total: Record<string, VariantCounts> = {};
  for (const message of world.published.filter((one) => one.endpoint === name)) {
    for (const [id, counts] of Object.entries(message.variants)) {
      const { success, data } = variantCountsSchema.safeParse(counts);
      // A message may hold signals alone.
      total[id] = addCounts(total[id] ?? noCounts, success ? data : { ...noCounts, ...counts });
    }
  }
  return total;
}

/** Waits for what is counted after the caller has been answered. */
async function shadowCounts(world: World, requests: number): Promise<Record<string, VariantCounts>> {
  return vi.waitFor(async () => {
    const counts = await countsOf(world, second);
    expect(Object.values(counts).reduce((sum, one) => sum + one.requests, 0)).toBe(requests);
    return counts;
  });
}

const predict = async (world: World, body = '{"instances":[[1]]}', verb = 'predict') =>
  (await world.post(`${longPath}:${verb}`, { body })).text();

describe('a shadow', () => {
  it('is asked the same by the proxy itself, and its requests are evidence of its own endpoint', async () => {
    const overrides = { config: shadowing(), accessToken: () => Promise.resolve('ours') };
    await using world = await startWorld(both('{"predictions":[0.5]}', answering('{"predictions":[0.6]}')), overrides);
    await predict(world, '{"instances":[[7]]}');
    const counts = await shadowCounts(world, 1);
    const [asked] = world.received.filter(({ url }) => isForShadow(url));
    expect(asked?.body.toString()).toBe('{"instances":[[7]]}');
    expect(asked?.headers.authorization).toBe('Bearer ours');
    expect(JSON.stringify(asked?.headers)).not.toContain(goodKey);
    expect(counts).toMatchObject({ '9': { requests: 1, errors: 0 } });
    expect(counts['9']?.predictions?.counts.reduce((sum, count) => sum + count)).toBe(1);
    expect(counts['9']?.signals).toBeUndefined();
    expect(Object.keys(await countsOf(world, endpoint))).toEqual(['7']);
  });

  it('is asked its share of the predictions', async () => {
    const draws = [0.1, 0.9, 0.3, 0.29, 0.31];
    let drawn = 0;
    await using world = await startWorld(both('{"predictions":[1]}', answering('{"predictions":[1]}')), {
      config: shadowing({ share: 0.3 }),
      random: () => draws[drawn++] ?? 1,
    });
    for (const [i] of draws.entries()) await predict(world, `[${i}]`);
    await shadowCounts(world, 2);
    const asked = world.received.filter(({ url }) => isForShadow(url)).map(({ body }) => body.toString());
    expect(asked).toEqual(['[0]', '[3]']);
  });

  it('is not asked what streams, nor for another policy, nor unless it is configured', async () => {
    const model = both('{"predictions":[1]}', answering('{"predictions":[1]}'));
    for (const [config, verb] of [
      [shadowing(), 'streamRawPredict'],
      [shadowing({ from: 'other' }), 'predict'],
      [shadowing({ share: 0 }), 'predict'],
      [proxyConfigSchema.parse({}), 'predict'],
    ] as const) {
      await using world = await startWorld(model, { config });
      await predict(world, '[1]', verb);
      await world.handler.close();
      expect(world.received.map(({ url }) => isForShadow(url))).toEqual([false]);
    }
  });

  it('that never answers keeps no caller waiting, and no more requests than there is room for', async () => {
    const logged = vi.spyOn(process.stdout, 'write').mockReturnValue(true);
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const model = both('{"predictions":[1]}', async (_received, response) => {
      await held;
      response.writeHead(200, servedByNine).end('{"predictions":[1]}');
    });
    await using world = await startWorld(model, { config: shadowing() });
    const room = limits.shadowCallsMax + limits.shadowQueueMax;
    const asked = () => world.received.filter(({ url }) => isForShadow(url)).length;
    for (let i = 0; i < room + 5; i += 1) expect(await predict(world)).toContain('"predictions":[1]');
    await vi.waitFor(() => expect(asked()).toBe(limits.shadowCallsMax));
    expect(logged.mock.calls.filter(([line]) => String(line).includes('dropped'))).toHaveLength(1);
    release();
    await shadowCounts(world, room);
    expect(asked()).toBe(room);
  });

  it('is let go of when the proxy closes', async () => {
    const asked = Promise.withResolvers<void>();
    const model = both('{"predictions":[1]}', () => asked.resolve());
    await using world = await startWorld(model, { config: shadowing() });
    await predict(world);
    await asked.promise;
    await world.handler.close();
    expect(await countsOf(world, second)).toEqual({});
  });
});

describe('what a shadow does wrong', () => {
  it.for([
    { it: 'fails', model: answering('oops', 500), id: '9', errors: 1 },
    { it: 'refuses the proxy', model: answering('{}', 403, {}), id: 'unattributed', errors: 1 },
    { it: 'refuses the request', model: answering('{}', 400), id: '9', errors: 0 },
    {
      it: 'hangs up',
      model: ((_r, response) => void response.destroy()) satisfies Model,
      id: 'unattributed',
      errors: 1,
    },
    {
      it: 'breaks off',
      model: ((_r, response) => {
        response.writeHead(200, { ...servedByNine, 'content-length': '100' });
        response.write('{"predictions"', () => response.destroy());
      }) satisfies Model,
      id: '9',
      errors: 1,
    },
  ])('is its own: $it', async ({ model, id, errors }) => {
    await using world = await startWorld(both('{"predictions":[1]}', model), { config: shadowing() });
    expect(await predict(world)).toContain('"predictions":[1]');
    expect(await shadowCounts(world, 1)).toMatchObject({ [id]: { requests: 1, errors } });
    expect(await countsOf(world, endpoint)).toMatchObject({ '7': { requests: 1, errors: 0 } });
  });
});

describe('a comparison', () => {
  const large = (predictions: string) =>
    `{"predictions":${predictions},"x":"${'x'.repeat(limits.sampledAnswerBytesMax)}"}`;

  it.for([
    { of: 'the same', primary: '{"predictions":[0.5]}', shadow: '{"predictions":[0.5]}', signal: [0, 1] },
    { of: 'nearly the same', primary: '{"predictions":[1e9]}', shadow: '{"predictions":[1000000001]}', signal: [0, 1] },
    { of: 'another number', primary: '{"predictions":[0.5,1]}', shadow: '{"predictions":[0.5,1.1]}', signal: [1, 1] },
    { of: 'fewer predictions', primary: '{"predictions":[0.5,1]}', shadow: '{"predictions":[0.5]}', signal: [1, 1] },
    { of: 'no predictions', primary: '{"predictions":[0.5]}', shadow: '{}', signal: [1, 1] },
    { of: 'a failure', primary: '{"predictions":[0.5]}', shadow: 'oops', status: 500, signal: [1, 1] },
    { of: 'a refusal', primary: '{"predictions":[0.5]}', shadow: '{}', status: 400, signal: [1, 1] },
    { of: 'texts', primary: '{"predictions":["a"]}', shadow: '{"predictions":["b"]}', signal: null },
    { of: 'too large an answer', primary: large('[1]'), shadow: '{"predictions":[2]}', signal: null },
    { of: "too large a shadow's", primary: '{"predictions":[1]}', shadow: large('[2]'), signal: null },
  ])('of $of', async ({ primary, shadow, status = 200, signal }) => {
    await using world = await startWorld(both(primary, answering(shadow, status)), {
      config: shadowing({ compare: true }),
    });
    await predict(world);
    const { '9': counts } = await shadowCounts(world, 1);
    const [hits, trials] = signal ?? [];
    expect(counts?.signals ?? null).toEqual(signal === null ? null : { 'shadow-differs': { hits, trials } });
  });

  it('by another tolerance', async () => {
    await using world = await startWorld(both('{"predictions":[10]}', answering('{"predictions":[10.9]}')), {
      config: shadowing({ compare: true, tolerance: 0.1 }),
    });
    await predict(world);
    const { '9': counts } = await shadowCounts(world, 1);
    expect(counts?.signals).toEqual({ 'shadow-differs': { hits: 0, trials: 1 } });
  });
});

describe('a rule', () => {
  it.for([
    [{ from: 'a', to: second, share: 1.1 }],
    [{ from: 'a', to: 'endpoints/9', share: 1 }],
    [
      { from: 'a', to: second, share: 1 },
      { from: 'a', to: second, share: 1 },
    ],
  ])('is refused when it makes no sense: %j', (rules) => {
    expect(shadowConfigSchema.safeParse(rules).success).toBe(false);
  });
});
