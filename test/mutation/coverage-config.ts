/** Which branches of the decisions and of the engine does no test take? `npm run coverage` fails at one that does not say why. */
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/machines/**/*.test.ts', 'test/functions/engine/**/*.test.ts'],
    testTimeout: 300_000,
    restoreMocks: true,
    coverage: {
      provider: 'v8',
      include: ['machines/**/*.ts', 'functions/engine/**/*.ts'],
      reporter: [['text', { skipFull: true, maxCols: 160 }], 'json'],
      reportsDirectory: 'dist/coverage',
      thresholds: { branches: 100 },
    },
  },
});
