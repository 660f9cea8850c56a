/**
 * How are tests run against a mutant? Stryker's test runner, in place of its vitest runner: a mutant is switched on in code
 * that is loaded already. A test that fails on a mutant is run again without it, because what an earlier mutant left in a
 * module would otherwise count as a kill.
 */
import { globSync } from 'node:fs';
import { resolve } from 'node:path';
import type { MutantCoverage, StrykerOptions } from '@stryker-mutator/api/core';
import { commonTokens, declareClassPlugin, PluginKind, tokens } from '@stryker-mutator/api/plugin';
import {
  type DryRunResult,
  DryRunStatus,
  type MutantRunOptions,
  type MutantRunResult,
  MutantRunStatus,
  type TestResult,
  type TestRunner,
  TestStatus,
} from '@stryker-mutator/api/test-runner';
import { z } from 'zod';
import { type Case, collect, type Ran, run } from './in-process.ts';

/** What the instrumented code reads and fills. */
const namespace: {
  activeMutant?: string | undefined;
  currentTestId?: string | undefined;
  hitCount?: number | undefined;
  hitLimit?: number | undefined;
  mutantCoverage?: MutantCoverage;
} = {};
Object.assign(globalThis, { __stryker__: namespace });

const askedSchema = z.object({
  tests: z.array(z.string()),
  /** Parts of files' and tests' names: what takes seconds, and would take them for each mutant. */
  leaveOut: z.array(z.string()),
});

class InProcessRunner implements TestRunner {
  static inject = tokens(commonTokens.options);
  readonly #asked: z.infer<typeof askedSchema>;
  #cases = new Map<string, Case>();
  /** Each test's time when it last passed; the quick ones go first. */
  readonly #tookMs = new Map<string, number>();

  constructor(options: StrykerOptions) {
    this.#asked = askedSchema.parse(options['inProcess']);
  }

  capabilities() {
    return { reloadEnvironment: false };
  }

  init(): Promise<void> {
    process.env['NODE_ENV'] = 'test';
    // What the code logs is nobody's to read, a thousand times over.
    process.stdout.write = () => true;
    return Promise.resolve();
  }

  async dryRun(): Promise<DryRunResult> {
    await this.#load();
    const tests: TestResult[] = [];
    for (const chosen of this.#byFile([...this.#cases.keys()])) {
      for (const ran of await run(chosen, (id) => setCurrent(id))) {
        const { id, name, file } = ran.case;
        const told = { id, name, fileName: file, timeSpentMs: ran.tookMs };
        this.#note(ran);
        tests.push(
          ran.failure === null
            ? { ...told, status: TestStatus.Success }
            : { ...told, status: TestStatus.Failed, failureMessage: ran.failure.stack ?? ran.failure.message },
        );
      }
    }
    return {
      status: DryRunStatus.Complete,
      tests,
      mutantCoverage: namespace.mutantCoverage ?? { static: {}, perTest: {} },
    };
  }

  async mutantRun({
    activeMutant,
    testFilter,
    hitLimit,
    mutantActivation,
  }: MutantRunOptions): Promise<MutantRunResult> {
    if (mutantActivation === 'static') namespace.activeMutant = activeMutant.id;
    await this.#load();
    let nrOfTests = 0;
    for (const chosen of this.#byFile(testFilter ?? [...this.#cases.keys()])) {
      namespace.hitCount = 0;
      namespace.hitLimit = hitLimit;
      namespace.activeMutant = activeMutant.id;
      const ran = await run(chosen, () => {});
      namespace.activeMutant = undefined;
      const hits = namespace.hitCount ?? 0;
      namespace.hitCount = undefined;
      if (hitLimit !== undefined && hits > hitLimit)
        return { status: MutantRunStatus.Timeout, reason: 'Hit limit reached' };
      nrOfTests += ran.length;
      for (const each of ran) this.#note(each);
      const killer = ran.find(({ failure }) => failure !== null);
      if (killer === undefined) continue;
      if (mutantActivation === 'runtime') {
        const [control] = await run([killer.case], () => {});
        if (control?.failure != null)
          throw new Error(`${killer.case.id} fails without a mutant: ${control.failure.message}`);
      }
      const failureMessage = killer.failure?.message ?? '';
      return { status: MutantRunStatus.Killed, killedBy: [killer.case.id], failureMessage, nrOfTests };
    }
    return { status: MutantRunStatus.Survived, nrOfTests };
  }

  async #load(): Promise<void> {
    if (this.#cases.size > 0) return;
    const { tests, leaveOut } = this.#asked;
    const isAsked = (id: string) => !leaveOut.some((part) => id.includes(part));
    for (const file of tests
      .flatMap((pattern) => globSync(pattern))
      .filter(isAsked)
      .toSorted()) {
      for (const each of await collect(resolve(file))) if (isAsked(each.id)) this.#cases.set(each.id, each);
    }
  }

  #note({ case: { id }, failure, tookMs }: Ran): void {
    if (failure === null) this.#tookMs.set(id, tookMs);
  }

  /** In groups of one file, the quickest group first, and in each the order of the file. */
  #byFile(ids: readonly string[]): Case[][] {
    const wanted = new Set(ids);
    const groups = Map.groupBy(
      [...this.#cases.values()].filter(({ id }) => wanted.has(id)),
      ({ file }) => file,
    );
    const cost = (group: Case[]) => group.reduce((sum, { id }) => sum + (this.#tookMs.get(id) ?? 0), 0);
    return [...groups.values()].toSorted((a, b) => cost(a) - cost(b));
  }
}

function setCurrent(id: string | null): void {
  namespace.currentTestId = id ?? undefined;
}

export const strykerPlugins = [declareClassPlugin(PluginKind.TestRunner, 'in-process', InProcessRunner)];
export const strykerValidationSchema = {
  properties: {
    inProcess: {
      type: 'object',
      properties: {
        tests: { type: 'array', items: { type: 'string' } },
        leaveOut: { type: 'array', items: { type: 'string' } },
      },
      required: ['tests', 'leaveOut'],
    },
  },
};
