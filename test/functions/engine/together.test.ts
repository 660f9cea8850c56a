/** Many at once, and what is loaded late: what is promised to whoever waits for them? */
import { afterEach, describe, expect, it, test, vi } from 'vitest';
import { mapLimited } from '../../../functions/engine/concurrency.ts';
import { PermanentError, TransientError } from '../../../functions/engine/errors.ts';
import { guarded } from '../../../functions/engine/guarded.ts';
import { late } from '../../../functions/engine/late.ts';

afterEach(() => vi.restoreAllMocks());

test.each([
  { limit: 2, items: 5, atOnce: 2 },
  { limit: 5, items: 2, atOnce: 2 },
  { limit: 1, items: 3, atOnce: 1 },
  { limit: 3, items: 0, atOnce: 0 },
])(
  'of $items items at most $limit are worked on at once, and the answers keep their order',
  async ({ limit, items, atOnce }) => {
    let [working, most] = [0, 0];
    const work = async (item: number) => {
      working += 1;
      most = Math.max(most, working);
      await new Promise((resolve) => setImmediate(resolve));
      working -= 1;
      return item * 10;
    };
    const asked = Array.from({ length: items }, (_, i) => i);
    expect(await mapLimited(asked, limit, work)).toEqual(asked.map((item) => item * 10));
    expect(most).toBe(atOnce);
  },
);

describe('of many, one that fails', () => {
  it.for<[error: unknown, said: object]>([
    [new TransientError('unavailable', 'later'), { severity: 'WARNING', message: 'one: later', code: 'unavailable' }],
    [
      new PermanentError('internal', 'never'),
      { severity: 'CRITICAL', message: expect.stringMatching(/^one: PermanentError: never\n +at /) },
    ],
    [new TypeError('ours'), { severity: 'CRITICAL', message: expect.stringMatching(/^one: TypeError: ours\n +at /) }],
    ['no more', { severity: 'CRITICAL', message: 'one: no more' }],
  ])('with %s is logged, and the others go on', async ([error, said]) => {
    // What is no error may be thrown too.
    const failing = () => Promise.resolve(AbortSignal.abort(error)).then((signal) => signal.throwIfAborted());
    const lines: string[] = [];
    vi.spyOn(process.stdout, 'write').mockImplementation((line) => lines.push(String(line)) > 0);
    expect(await guarded('one', failing)).toBe(false);
    expect(await guarded('another', () => Promise.resolve())).toBe(true);
    expect(lines.map((line): unknown => JSON.parse(line))).toEqual([said]);
  });
});

describe('what is loaded late', () => {
  it('is loaded once, for all who ask, and is there at once afterwards', async () => {
    const load = vi.fn<() => Promise<{ answer: number }>>(() => Promise.resolve({ answer: 42 }));
    const get = late(load);
    expect(load).not.toHaveBeenCalled();
    const [first, second] = [get(), get()];
    expect(first).toBeInstanceOf(Promise);
    expect(await first).toBe(await second);
    expect(get()).toEqual({ answer: 42 });
    expect(load).toHaveBeenCalledTimes(1);
  });

  it('is tried again when it could not be loaded', async () => {
    const load = vi.fn<() => Promise<{ answer: number }>>(() => Promise.resolve({ answer: 42 }));
    load.mockReturnValueOnce(Promise.reject(new Error('no such file')));
    const get = late(load);
    await expect(get()).rejects.toThrow('no such file');
    expect(await get()).toEqual({ answer: 42 });
    expect(load).toHaveBeenCalledTimes(2);
  });
});
