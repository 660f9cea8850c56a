/**
 * May we pass on what we run on? Every package that production installs, held against the licences that ask no more than to
 * be named. `npm run verify` runs it; a licence that is not in the list is read by a person before it is added.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';

const allowed = new Set([
  '0BSD',
  'Apache-2.0',
  'BlueOak-1.0.0',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'CC-BY-3.0',
  'CC0-1.0',
  'ISC',
  'MIT',
]);

const lockSchema = z.object({
  packages: z.record(z.string(), z.object({ dev: z.boolean().optional(), devOptional: z.boolean().optional() })),
});
const packageSchema = z.object({ license: z.unknown().optional() });

/** One line for each installed package of production whose licence is not allowed. */
export function licenceProblems(folder: string): string[] {
  const { packages } = lockSchema.parse(readJson(join(folder, 'package-lock.json')));
  return Object.entries(packages).flatMap(([path, { dev, devOptional }]) => {
    const file = join(folder, path, 'package.json');
    // What is for another platform is in the lock file and not here.
    if (path === '' || dev === true || devOptional === true || !existsSync(file)) return [];
    const { license } = packageSchema.parse(readJson(file));
    return typeof license === 'string' && isAllowed(license)
      ? []
      : [`${path}: expected one of ${[...allowed].join(', ')}; got ${JSON.stringify(license) ?? 'none'}`];
  });
}

/** An SPDX expression of names, OR and AND: of an OR one suffices. */
function isAllowed(expression: string): boolean {
  const choices = expression.replaceAll(/[()]/g, '').split(' OR ');
  return choices.some((choice) => choice.split(' AND ').every((name) => allowed.has(name.trim())));
}

function readJson(file: string): unknown {
  return JSON.parse(readFileSync(file, 'utf8'));
}

if (import.meta.main) {
  const problems = licenceProblems('.');
  for (const problem of problems) console.log(problem);
  process.exitCode = problems.length === 0 ? 0 : 1;
}
