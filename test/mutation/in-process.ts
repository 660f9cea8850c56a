/**
 * Vitest's words, for running test files in this process, again and again, without loading them again. It collects what
 * they declare and runs what is asked for; expectations and spies are vitest's own. Modules are loaded once, so a thousand
 * mutants cost a thousand runs of their tests and not a thousand starts.
 */
import { readFileSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, vi } from 'vitest';

// What vitest's spies and timers look for in its workers.
Object.assign(globalThis, { __vitest_worker__: { config: { fakeTimers: {} } } });

registerHooks({
  resolve(specifier, context, next) {
    const isOfTests = specifier === 'vitest' && !(context.parentURL ?? '').includes('/test/mutation/');
    return next(isOfTests ? new URL('./in-process-words.ts', import.meta.url).href : specifier, context);
  },
});

// Vitest's own writes the file where it is missing, and keeps count; here it is only read.
expect.extend({
  toMatchFileSnapshot(received: unknown, path: string) {
    const wanted = readFileSync(join(dirname(running), path), 'utf8');
    return { pass: received === wanted, message: () => `differs from ${path}` };
  },
});

type Work = (...given: unknown[]) => unknown;

interface Suite {
  name: string;
  parent: Suite | null;
  hooks: Record<Hook, Work[]>;
}

export type Hook = 'beforeAll' | 'afterAll' | 'beforeEach' | 'afterEach';

export interface Case {
  id: string;
  name: string;
  file: string;
  suite: Suite;
  work: Work;
}

export interface Ran {
  case: Case;
  tookMs: number;
  /** What it failed with; null when it passed. */
  failure: Error | null;
}

const cases = new Map<string, Case>();
let file = '';
/** The file of the test that runs. */
let running = '';
let suite: Suite = suiteOf('', null);
let stray: Error | null = null;

// What a test leaves behind and what fails there is that test's failure, as with vitest.
for (const event of ['unhandledRejection', 'uncaughtException'] as const) {
  process.on(event, (error: unknown) => (stray ??= errorOf(error)));
}

/** Loads a test file and returns what it declares, in its order. */
export async function collect(path: string): Promise<Case[]> {
  file = path;
  suite = suiteOf('', null);
  const before = cases.size;
  await import(pathToFileURL(path).href);
  return [...cases.values()].slice(before);
}

export function declareSuite(name: string, declare: () => void): void {
  const outer = suite;
  suite = suiteOf(name, outer);
  declare();
  suite = outer;
}

export function declareCase(name: string, work: Work): void {
  const path = [...chainOf(suite).map((each) => each.name), name].filter((part) => part !== '').join(' ');
  const plain = `${file}#${path}`;
  let id = plain;
  for (let again = 2; cases.has(id); again += 1) id = `${plain} (${again})`;
  cases.set(id, { id, name: path, file, suite, work });
}

export function declareHook(hook: Hook, work: Work): void {
  suite.hooks[hook].push(work);
}

/** Runs some cases of one file in their order, with the hooks around them. Stops at the first failure. */
export async function run(chosen: readonly Case[], onCase: (id: string | null) => void): Promise<Ran[]> {
  const ran: Ran[] = [];
  const entered: Suite[] = [];
  const leavings = new Map<Suite, unknown[]>();
  try {
    for (const each of chosen) {
      const startedAt = performance.now();
      let failure: Error | null = null;
      try {
        for (const outer of chainOf(each.suite)) {
          if (entered.includes(outer)) continue;
          entered.push(outer);
          leavings.set(outer, await inTurn(outer.hooks.beforeAll));
        }
      } catch (error) {
        failure = errorOf(error);
      }
      onCase(each.id);
      failure ??= await runCase(each);
      onCase(null);
      ran.push({ case: each, tookMs: performance.now() - startedAt, failure });
      if (failure !== null) break;
    }
  } finally {
    for (const each of entered.toReversed()) {
      for (const leave of [...each.hooks.afterAll, ...(leavings.get(each) ?? [])]) {
        if (typeof leave === 'function')
          await Promise.resolve(leave({})).catch((error: unknown) => (stray ??= errorOf(error)));
      }
    }
  }
  return ran;
}

async function runCase({ suite: own, work, file: from }: Case): Promise<Error | null> {
  stray = null;
  running = from;
  const outwards = chainOf(own).toReversed();
  const leavings: unknown[] = [];
  let failure: Error | null = null;
  try {
    for (const each of chainOf(own)) leavings.push(...(await inTurn(each.hooks.beforeEach)));
    await work();
  } catch (error) {
    failure = errorOf(error);
  }
  for (const leave of [...leavings, ...outwards.flatMap(({ hooks }) => hooks.afterEach.toReversed())]) {
    try {
      if (typeof leave === 'function') await leave({});
    } catch (error) {
      failure ??= errorOf(error);
    }
  }
  vi.restoreAllMocks();
  return failure ?? stray;
}

async function inTurn(works: readonly Work[]): Promise<unknown[]> {
  const returned: unknown[] = [];
  for (const work of works) returned.push(await work({}));
  return returned;
}

function suiteOf(name: string, parent: Suite | null): Suite {
  return { name, parent, hooks: { beforeAll: [], afterAll: [], beforeEach: [], afterEach: [] } };
}

function chainOf(innermost: Suite): Suite[] {
  return innermost.parent === null ? [innermost] : [...chainOf(innermost.parent), innermost];
}

function errorOf(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}
