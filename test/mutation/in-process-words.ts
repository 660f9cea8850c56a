/** What a test file gets when it imports vitest here: declarations that in-process.ts collects, and vitest's own expect and vi. */
import { format } from 'node:util';
import { declareCase, declareHook, declareSuite, type Hook } from './in-process.ts';

export { expect, vi } from 'vitest';

type Work = (...given: unknown[]) => unknown;
type Declare = (name: string, work: Work) => void;

const hook = (name: Hook) => (work: Work) => declareHook(name, work);
export const beforeAll = hook('beforeAll');
export const afterAll = hook('afterAll');
export const beforeEach = hook('beforeEach');
export const afterEach = hook('afterEach');

export const test = tabled(declareCase);
export const it = test;
export const describe = tabled((name, work) => declareSuite(name, () => void work()));

/** `each` spreads a row that is a list over the arguments, `for` hands it over whole. Options and timeouts are passed over. */
function tabled(declare: Declare) {
  const rows =
    (doesSpread: boolean) =>
    (table: readonly unknown[]) =>
    (name: string, ...rest: unknown[]) => {
      for (const row of table) {
        const given: unknown[] = doesSpread && Array.isArray(row) ? row : [row];
        const shown: unknown[] = Array.isArray(row) ? row : [row];
        declare(format(name, ...shown).slice(0, 300), () => workOf(rest)(...given));
      }
    };
  const plain = (name: string, ...rest: unknown[]) => declare(name, workOf(rest));
  return Object.assign(plain, { each: rows(true), for: rows(false) });
}

function workOf(given: readonly unknown[]): Work {
  const work = given.find((each) => typeof each === 'function');
  if (work === undefined) throw new Error('expected a function that tests something');
  return (...row) => Reflect.apply(work, undefined, row);
}
