/** Which tests kill mutants? The quick ones of the decisions; a mutant costs a run of those that reach it. */
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: { include: ['test/machines/**/*.test.ts'], exclude: ['**/picture.test.ts'], testTimeout: 60_000 },
});
