import { defineConfig } from 'vitest/config';

/** Tests that run the whole system in real time: alone, one after the other, for they measure what it does under load. */
const wholeSystem = [
  'test/cli/start.test.ts',
  'test/functions/google-emulators.test.ts',
  'test/bundle/whole-path.test.ts',
  'test/kills/kills.test.ts',
  'test/bench/rollback/rounds.test.ts',
];
/** As many threads as there are cores, and busy for a minute: alone too. */
const allCores = ['test/simulation/faults.test.ts'];
const alone = [...wholeSystem, ...allCores];

export default defineConfig({
  test: {
    projects: [
      {
        extends: true,
        test: {
          name: 'parts',
          include: ['test/**/*.test.ts'],
          exclude: alone,
          maxWorkers: '100%',
          sequence: { groupOrder: 0 },
        },
      },
      { extends: true, test: { name: 'system', include: alone, maxWorkers: 1, sequence: { groupOrder: 1 } } },
    ],
    // Emulators and function processes take seconds to start, and a busy machine five times as long; a hang still ends.
    testTimeout: 180_000,
    hookTimeout: 300_000,
    restoreMocks: true,
    reporters: ['default', './test/reporter.ts'],
  },
});
