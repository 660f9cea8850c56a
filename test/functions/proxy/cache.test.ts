/** Is an answer given again only while it would be given anew? */
import fc from 'fast-check';
import { setImmediate } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../../emulator/models/random.ts';
import { limits } from '../../../functions/engine/limits.ts';
import {
  type CachedAnswer,
  cacheConfigSchema,
  createCache,
  type Found,
  type LiveAnswer,
} from '../../../functions/proxy/cache.ts';
import { createMemoryCache } from '../../../functions/proxy/memory-cache.ts';

const [rule] = cacheConfigSchema.parse([{ alias: 'delays' }]);
const { ttlSeconds = 0, leaseSeconds = 0, quietSeconds = 0 } = rule ?? {};

/** One instance's cache, and what its requests came to. */
function startCache(store = createMemoryCache()) {
  const clock = { now: Date.parse('2026-03-01T12:00:00Z') };
  const cache = createCache(rule === undefined ? [] : [rule], store, () => clock.now);
  const find = (body: string, headers: Record<string, string> = {}, verb = 'predict') =>
    cache.find({ alias: 'delays', endpoint: 'e', verb, headers, body: Buffer.from(body), waitMs: 60_000 });
  const live = (id: string, body = `"${id}"`, headers: NodeJS.Dict<string | string[]> = {}): LiveAnswer => ({
    deployedModelId: id,
    startedAt: clock.now,
    sent: {
      headers: { 'x-vertex-ai-deployed-model-id': id, 'content-length': '9', ...headers },
      body: Buffer.from(body),
    },
  });
  /** Asks, and lets a model answer at once if the cache does not. */
  async function ask(body: string, id: string, answer?: LiveAnswer): Promise<'hit' | 'miss'> {
    const found = await find(body);
    if (found.kind === 'miss') found.settle(answer ?? live(id));
    return found.kind;
  }
  /** Lets one model answer so often, and for so long, that it is known to serve alone; the last answer is fresh. */
  async function settleOn(id: string): Promise<void> {
    for (let i = 0; i <= limits.cacheAnswersMin; i += 1) {
      await ask(`"${i}"`, id);
      clock.now += (quietSeconds * 1000) / limits.cacheAnswersMin;
    }
    await ask('"fresh"', id);
  }
  return { clock, cache, find, live, ask, settleOn };
}

const bodyOf = (found: Found) => (found.kind === 'hit' ? found.answer.body.toString() : null);

describe('an answer', () => {
  it('is given again to whoever asks the same, with the names of who gave it', async () => {
    const { find, ask, settleOn } = startCache();
    await settleOn('7');
    expect(await ask('{"instances":[[1]],"parameters":{"a":1,"b":2}}', '7')).toBe('miss');
    const found = await find('{ "parameters":{"b":2, "a":1}, "instances":[[1]] }');
    expect(found).toMatchObject({ kind: 'hit', answer: { headers: { 'x-vertex-ai-deployed-model-id': '7' } } });
    expect(bodyOf(found)).toBe('"7"');
    expect(Object.keys(found.kind === 'hit' ? found.answer.headers : {})).toEqual(['x-vertex-ai-deployed-model-id']);
    expect(await ask('{"instances":[[1.0]],"parameters":{"a":1,"b":2}}', '7')).toBe('miss');
  });

  it('is not given before its model is known to serve alone', async () => {
    const { clock, ask } = startCache();
    for (let i = 0; i < limits.cacheAnswersMin * 2; i += 1) expect(await ask('[1]', '7')).toBe('miss');
    clock.now += quietSeconds * 1000 - 1;
    expect(await ask('[1]', '7')).toBe('miss');
  });

  it('is not given after few live answers, however long they took', async () => {
    const { clock, ask } = startCache();
    for (let i = 2; i < limits.cacheAnswersMin; i += 1) {
      await ask(`"${i}"`, '7');
      clock.now += (quietSeconds * 1000) / 10;
    }
    await ask('"fresh"', '7');
    expect(await ask('[1]', '7')).toBe('miss');
    expect(await ask('[1]', '7')).toBe('miss');
    expect(await ask('[1]', '7')).toBe('hit');
  });

  it('is not given after a time in which nobody asked, and anything may have happened', async () => {
    const { clock, ask, settleOn } = startCache();
    await settleOn('7');
    clock.now += quietSeconds * 1000 + 1;
    for (let i = 0; i < 4; i += 1) expect(await ask('[1]', '7')).toBe('miss');
  });

  it('is not given for so long after anybody else has answered', async () => {
    const { clock, ask, settleOn } = startCache();
    await settleOn('7');
    await ask('[1]', '7');
    expect(await ask('[1]', '7')).toBe('hit');
    await ask('[2]', '8');
    for (let past = 0; past < quietSeconds; past += 1) {
      expect(await ask('[1]', '7')).toBe('miss');
      clock.now += 1000;
    }
    await ask('[1]', '7');
    expect(await ask('[1]', '7')).toBe('hit');
  });

  it('is not given when it is older than its time to live, however well its model is known', async () => {
    const { clock, ask, settleOn } = startCache();
    await settleOn('7');
    await ask('[1]', '7');
    for (let past = 0; past < ttlSeconds - 1; past += 1) {
      clock.now += 1000;
      await ask(`"other ${past}"`, '7');
    }
    expect(await ask('[1]', '7')).toBe('hit');
    clock.now += 1000;
    await ask('"one more"', '7');
    expect(await ask('[1]', '7')).toBe('miss');
  });

  it('is not given when no live answer has said for a lease who serves', async () => {
    const { clock, ask, settleOn } = startCache();
    await settleOn('7');
    await ask('[1]', '7');
    clock.now += leaseSeconds * 1000;
    expect(await ask('[1]', '7')).toBe('miss');
    expect(await ask('[1]', '7')).toBe('hit');
  });

  it('says who served when it was asked for, not when it came', async () => {
    const { clock, find, live, ask, settleOn } = startCache();
    await settleOn('7');
    await ask('[1]', '7');
    const slow = await find('[2]');
    const answer = live('7');
    clock.now += leaseSeconds * 1000;
    if (slow.kind === 'miss') slow.settle(answer);
    expect(await ask('[1]', '7')).toBe('miss');
  });

  it.for(['no-store', 'private, No-Store', ['private', 'no-store']])('is not kept where it says %j', async (said) => {
    const { ask, live, settleOn } = startCache();
    await settleOn('7');
    await ask('[1]', '7', live('7', '"7"', { 'cache-control': said }));
    expect(await ask('[1]', '7')).toBe('miss');
    expect(await ask('[1]', '7')).toBe('hit');
  });

  it('is asked for anew twice in each lease, by one request each time', async () => {
    const { clock, ask, settleOn } = startCache();
    await settleOn('7');
    await ask('[1]', '7');
    const kinds: string[] = [];
    for (let past = 0; past < 4 * leaseSeconds; past += 1) {
      clock.now += 500;
      kinds.push(await ask('[1]', '7'));
      kinds.push(await ask('[1]', '7'));
    }
    expect(kinds.filter((kind) => kind === 'miss')).toHaveLength(4);
  });

  it.for([
    { of: 'what is not :predict', body: '[1]', headers: {}, verb: 'rawPredict' },
    { of: 'what is no JSON', body: '[1', headers: {}, verb: 'predict' },
    { of: 'who wants it fresh', body: '[1]', headers: { 'cache-control': 'no-cache' }, verb: 'predict' },
    { of: 'text in another encoding', body: '[1]', headers: { 'content-encoding': 'br' }, verb: 'predict' },
    { of: 'a large body', body: `"${'x'.repeat(limits.cacheQuestionBytesMax)}"`, headers: {}, verb: 'predict' },
  ])('is not kept of $of', async ({ body, headers, verb }) => {
    const { find, live, settleOn } = startCache();
    await settleOn('7');
    for (let i = 0; i < 2; i += 1) {
      const found = await find(body, headers, verb);
      expect(found.kind).toBe('miss');
      if (found.kind === 'miss') found.settle(live('7'));
    }
  });

  it('is not shared between callers who want other types', async () => {
    const { find, ask, settleOn } = startCache();
    await settleOn('7');
    await ask('[1]', '7');
    expect((await find('[1]')).kind).toBe('hit');
    const other = await find('[1]', { accept: 'text/plain' });
    expect(other.kind).toBe('miss');
    if (other.kind === 'miss') other.settle(null);
  });

  it('is not kept when it is none, says not to, is large, or comes from somebody else', async () => {
    const { ask, live, settleOn } = startCache();
    const large = `"${'x'.repeat(limits.cacheAnswerBytesMax)}"`;
    const cases = [
      { ...live('7'), sent: null },
      live('7', '1', { 'cache-control': 'private, No-Store' }),
      live('7', large),
    ];
    await settleOn('7');
    for (const answer of cases) {
      await ask('[1]', '7', answer);
      expect(await ask('[1]', '7', answer)).toBe('miss');
    }
    await ask('[1]', '7', live('8'));
    expect(await ask('[1]', '7')).toBe('miss');
  });

  it('of somebody else is neither kept, nor believed when the store gives it', async () => {
    const kept: CachedAnswer[] = [];
    const memory = createMemoryCache();
    const { ask, live, settleOn } = startCache({
      ...memory,
      get: (key) => {
        const answer = memory.get(key);
        return answer === null || answer instanceof Promise ? answer : { ...answer, deployedModelId: '8' };
      },
      set: (key, answer, ttlMs) => {
        kept.push(answer);
        memory.set(key, answer, ttlMs);
      },
    });
    await settleOn('7');
    await ask('[1]', '7');
    expect(await ask('[1]', '7', live('8'))).toBe('miss');
    expect(new Set(kept.map(({ deployedModelId }) => deployedModelId))).toEqual(new Set(['7']));
  });

  it('is kept in no more memory than was given', async () => {
    const store = createMemoryCache(10_000);
    const { find, ask, live, settleOn } = startCache(store);
    await settleOn('7');
    for (let i = 0; i < 20; i += 1) await ask(`[${i}]`, '7', live('7', 'x'.repeat(1000)));
    const kept: number[] = [];
    for (let i = 0; i < 20; i += 1) {
      const found = await find(`[${i}]`);
      if (found.kind === 'hit') kept.push(i);
      else found.settle(null);
    }
    // The newest, with a kilobyte each and as much around it.
    expect(kept).toEqual([16, 17, 18, 19]);
  });
});

describe('equal questions at once', () => {
  it('wait for one answer', async () => {
    const { find, live, settleOn } = startCache();
    await settleOn('7');
    const first = await find('[1]');
    const others = [find('[1]'), find(' [1]')];
    if (first.kind === 'miss') first.settle(live('7'));
    expect((await Promise.all(others)).map(bodyOf)).toEqual(['"7"', '"7"']);
  });

  it.for([
    { when: 'it failed', settle: (live: LiveAnswer) => ({ ...live, sent: null }) },
    { when: 'its caller left', settle: () => null },
    { when: 'somebody else gave it', settle: (live: LiveAnswer) => ({ ...live, deployedModelId: '8' }) },
  ])('are asked by each alone when $when', async ({ settle }) => {
    const { find, live, settleOn } = startCache();
    await settleOn('7');
    const first = await find('[1]');
    const others = [find('[1]'), find('[1]')];
    if (first.kind === 'miss') first.settle(settle(live('7')));
    expect((await Promise.all(others)).map(({ kind }) => kind)).toEqual(['miss', 'miss']);
  });

  it('do not wait longer than they can', async () => {
    const { cache, find, live, settleOn } = startCache();
    await settleOn('7');
    const first = await find('[1]');
    const question = { alias: 'delays', endpoint: 'e', verb: 'predict', headers: {}, body: Buffer.from('[1]') };
    expect((await cache.find({ ...question, waitMs: 1 })).kind).toBe('miss');
    if (first.kind === 'miss') first.settle(live('7'));
    expect((await find('[1]')).kind).toBe('hit');
  });

  it('all go to the models while more than one may serve', async () => {
    const { find } = startCache();
    const found = await Promise.all([find('[1]'), find('[1]'), find('[1]')]);
    expect(found.map(({ kind }) => kind)).toEqual(['miss', 'miss', 'miss']);
  });
});

describe('a rule', () => {
  it.for([
    [{ alias: 'a' }, { alias: 'a' }],
    [{ alias: 'a', leaseSeconds: 30, quietSeconds: 20 }],
    [{ alias: 'a', ttlSeconds: 0 }],
    [{ alias: 'a', ttl: 60 }],
  ])('is refused when it makes no sense: %j', (rules) => {
    expect(cacheConfigSchema.safeParse(rules).success).toBe(false);
  });
});

/** A stretch of time in which the canary has a share. */
const phases = fc.array(
  fc.record({
    sharePercent: fc.constantFrom(0, 1, 5, 25, 50, 95, 100, 0, 100),
    /** What every answer takes longer. */
    slowMs: fc.constantFrom(0, 0, 0, 9_000),
    seconds: fc.integer({ min: 5, max: 200 }),
  }),
  { minLength: 2, maxLength: 6 },
);

describe('through any rollouts', () => {
  it('no answer is given that its model could not have given within the lease, nor any older than its time', async () => {
    let hits = 0;
    await fc.assert(
      fc.asyncProperty(phases, fc.integer(), async (plan, seed) => {
        const { clock, find } = startCache();
        const random = seededRandom(seed);
        const startedAt = clock.now;
        /** When each model last had a share, as Vertex has it. */
        const servedAt = new Map<string, number>();
        const due: { at: number; run: () => void }[] = [];
        const later = (ms: number, run: () => void) => due.push({ at: clock.now + ms, run });
        const given: { isItsOwn: boolean; ageMs: number; goneMs: number }[] = [];
        let sharePercent = 0;
        let slowMs = 0;

        function note(): void {
          if (sharePercent > 0) servedAt.set('canary', clock.now);
          if (sharePercent < 100) servedAt.set('stable', clock.now);
        }
        async function ask(): Promise<void> {
          const question = Math.floor(random() * 4);
          const found = await find(`[${question}]`);
          if (found.kind === 'hit') {
            const { deployedModelId, askedAt, body } = found.answer;
            given.push({
              isItsOwn: body.toString() === `"${deployedModelId} ${question}"`,
              ageMs: clock.now - askedAt,
              goneMs: clock.now - (servedAt.get(deployedModelId) ?? Number.NEGATIVE_INFINITY),
            });
            return;
          }
          const beganAt = clock.now;
          later(random() * 50, () => {
            const id = random() * 100 < sharePercent ? 'canary' : 'stable';
            later(slowMs + (random() < 0.05 ? 8000 * random() : 50), () => {
              const sent = { headers: {}, body: Buffer.from(`"${id} ${question}"`) };
              found.settle({ deployedModelId: id, startedAt: beganAt, sent: random() < 0.95 ? sent : null });
            });
          });
        }

        let at = startedAt;
        for (const phase of plan) {
          due.push({ at, run: () => void ({ sharePercent, slowMs } = phase) });
          const end = at + phase.seconds * 1000;
          for (; at < end; at += 100 + random() * 800) due.push({ at, run: () => void ask() });
        }
        while (due.length > 0) {
          due.sort((a, b) => a.at - b.at);
          const next = due.shift();
          if (next === undefined) break;
          note();
          clock.now = next.at;
          note();
          next.run();
          await setImmediate();
        }
        hits += given.length;
        const [ttlMs, leaseMs] = [ttlSeconds * 1000, leaseSeconds * 1000];
        expect(given.filter(({ isItsOwn, ageMs, goneMs }) => !isItsOwn || ageMs >= ttlMs || goneMs >= leaseMs)).toEqual(
          [],
        );
      }),
      { numRuns: 15 },
    );
    expect(hits).toBeGreaterThan(500);
  });
});
