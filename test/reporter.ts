/**
 * How did it go, in one line? The last line of `npm test`: "412 passed, 0 failed". In CI a skipped test is a failure,
 * for what is skipped there is checked nowhere.
 */
import type { Reporter, TestModule } from 'vitest/node';

export interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

/** The line. What was skipped is only named where something was. */
export function summaryOf({ passed, failed, skipped }: Counts): string {
  return `${passed} passed, ${failed} failed${skipped === 0 ? '' : `, ${skipped} skipped`}`;
}

/** True when the run proves what it claims: something ran, nothing failed, and in CI nothing was left out. */
export function isGood({ passed, failed, skipped }: Counts, isCi: boolean): boolean {
  return passed > 0 && failed === 0 && (!isCi || skipped === 0);
}

export default class LastLine implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[]): void {
    const counts = countsOf(modules);
    counts.failed += unhandled.length;
    // At the very end, so that nothing is printed after it, and no earlier word on the outcome stands against it.
    process.once('exit', () => {
      if (!isGood(counts, (process.env['CI'] ?? '') !== '')) process.exitCode = process.exitCode || 1;
      process.stdout.write(`${summaryOf(counts)}\n`);
    });
  }
}

/** A file or suite that broke outside of its tests counts as one failure: its tests never ran. */
function countsOf(modules: readonly TestModule[]): Counts {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for (const module of modules) {
    const tests = [...module.children.allTests()];
    const states = tests.map((test) => test.result().state);
    counts.passed += states.filter((state) => state === 'passed').length;
    counts.failed += states.filter((state) => state === 'failed').length;
    // Pending: the run was interrupted before the test's turn.
    counts.skipped += states.filter((state) => state === 'skipped' || state === 'pending').length;
    const broken = [module, ...module.children.allSuites()].filter((suite) => suite.errors().length > 0);
    counts.failed += broken.length;
  }
  return counts;
}
