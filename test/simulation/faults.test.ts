import { describe, expect, it } from 'vitest';
import type { Commit } from '../../functions/engine/ports.ts';
import { faultKinds } from './faults/chaos.ts';
import type { Law } from './faults/checkers.ts';
import { liveMany } from './faults/crowd.ts';
import type { Planted } from './faults/instances.ts';
import { live, type LifeResult } from './faults/life.ts';
import { shrink, storyOf } from './faults/lives.ts';

/** As many as `npm run simulate:faults` has: about a minute on two free cores. */
const lives = 20_000;
/** On cores that others use as well. */
const patienceMs = 1_800_000;

describe('lives with faults', () => {
  it('keep every law, and every rollout ends', { timeout: patienceMs }, async () => {
    const tally = await liveMany(1, lives);
    expect(tally.violations.map(({ seed, violation }) => `seed ${seed}: ${violation?.text}`)).toEqual([]);
    expect(tally.lives).toBeGreaterThanOrEqual(lives);
    expect(tally.injected).toBeGreaterThan(lives);
    expect(faultKinds.filter((kind) => tally.byKind[kind] === 0)).toEqual([]);
  });

  it.each([195927, 201819, 205969, 231711, 236178, 4057980, 4068959])(
    'are mended where a longer run named seed %i',
    async (seed) => {
      expect((await live(seed)).violation).toBeNull();
    },
  );

  it('are the same again from the same seed', async () => {
    expect(await storyOf(8, new Set())).toEqual(await storyOf(8, new Set()));
  });

  it('end the same when every message is delivered twice', { timeout: patienceMs }, async () => {
    for (let seed = 1; seed <= 25; seed += 1) {
      const once = await live(seed, { calmWithCopies: 1 });
      const twice = await live(seed, { calmWithCopies: 2 });
      expect(twice.ends, `seed ${seed}`).toEqual(once.ends);
    }
  });
});

const withoutQueue = (change: Commit): Commit =>
  typeof change.data === 'object' ? { ...change, data: { ...change.data, queued: null } } : change;

/** Mistakes that an engine could make, the laws of which it must then break one, and from which seed on to look for it. */
const mistakes: [string, Law[], Planted, number?][] = [
  [
    'loses a percent',
    [1],
    { split: (split) => Object.fromEntries(Object.entries(split).map(([id, share]) => [id, share - 1])) },
  ],
  ['gives all to the first', [2, 4, 9, 10, 11], { split: (split) => ({ [Object.keys(split).at(-1) ?? '']: 100 }) }],
  [
    'takes no data for health',
    [3, 7],
    {
      evidence: (evidence, { window, models }) =>
        evidence.length > 0
          ? evidence
          : [
              {
                window,
                source: 'monitoring',
                variants: Object.fromEntries(
                  models.map(({ id }) => [
                    id,
                    { requests: 1000, errors: 0, latencyMs: { bounds: [20], counts: [1000, 0] } },
                  ]),
                ),
              },
            ],
    },
  ],
  ['leaves the traffic where it is', [2, 4], { split: (_split, before) => before }],
  ['forgets which messages it has seen', [7], { change: (change) => ({ ...change, marks: [] }) }],
  ['forgets what waits', [8], { change: withoutQueue }],
  ['writes without an etag', [4, 10, 11], { isBlind: true }, 340],
  [
    'believes every replica ready',
    [12],
    {
      view: (view) => ({
        ...view,
        deployedModels: view.deployedModels.map((model) => ({ ...model, availableReplicas: 1 })),
      }),
    },
    200,
  ],
  [
    'leaves out of the journal what a tick did',
    [13],
    { change: (change) => ({ ...change, journal: change.journal.slice(1) }) },
  ],
];

describe('the checkers', { timeout: patienceMs }, () => {
  it.each(mistakes)('find an engine that %s', async (_name, laws, planted, fromSeed = 1) => {
    expect(laws).toContain((await firstFailure(planted, fromSeed)).violation?.law);
  });

  it('leave out the faults that do not matter, and tell the rest as a story', async () => {
    const planted: Planted = { change: (change) => ({ ...change, marks: [] }) };
    // From here on the first life that fails has more faults than it fails by.
    const failed = await firstFailure(planted, 119);
    const leftOut = await shrink(failed, { planted });
    expect(leftOut.size).toBeGreaterThan(0);
    const story = await storyOf(failed.seed, leftOut, { planted });
    expect(story.join('\n')).toMatch(/FAULT \d+ .*\n(.*\n)*.*VIOLATION of law 7/);
    expect(story.some((line) => /#\d+ onCommand\/\d+ store\.commit/.test(line))).toBe(true);
  });
});

async function firstFailure(planted: Planted, fromSeed = 1): Promise<LifeResult> {
  for (let seed = fromSeed; seed < fromSeed + 500; seed += 1) {
    const result = await live(seed, { planted });
    if (result.violation !== null) return result;
  }
  throw new Error('no life of 500 found it');
}
