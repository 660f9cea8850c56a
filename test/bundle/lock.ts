/** Which versions of what a bundle leaves to the platform's installer? Those that were tested here: a part of our lock file. */
import { z } from 'zod';

const packageSchema = z.looseObject({
  version: z.string().optional(),
  dependencies: z.record(z.string(), z.string()).optional(),
  optionalDependencies: z.record(z.string(), z.string()).optional(),
});
const lockSchema = z.object({ packages: z.record(z.string(), packageSchema) });

/** The two files with which `npm ci` installs `names`, at the versions of `lock`, a package-lock.json, and nothing else. */
export function installOf(
  names: string[],
  lock: unknown,
  about: Record<string, unknown>,
): { 'package.json': string; 'package-lock.json': string } {
  const { packages } = lockSchema.parse(lock);
  const dependencies = Object.fromEntries(
    names.map((name) => [name, packages[`node_modules/${name}`]?.version ?? missing(name)]),
  );
  const kept: z.infer<typeof lockSchema>['packages'] = { '': { ...about, dependencies } };
  const waiting = names.map((name) => ({ name, from: '' }));
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const path = resolve(packages, next.name, next.from);
    const found = path === null ? undefined : packages[path];
    if (path === null || found === undefined || path in kept) continue;
    kept[path] = found;
    const needed = Object.keys({ ...found.dependencies, ...found.optionalDependencies });
    waiting.push(...needed.map((name) => ({ name, from: path })));
  }
  const sorted = Object.fromEntries(Object.entries(kept).toSorted(([a], [b]) => (a < b ? -1 : 1)));
  return {
    'package.json': text({ ...about, dependencies }),
    'package-lock.json': text({ ...about, lockfileVersion: 3, requires: true, packages: sorted }),
  };
}

/** As Node does: beside the one who asks, then further and further up. */
function resolve(packages: Record<string, unknown>, name: string, from: string): string | null {
  for (let at = from; ; at = at.slice(0, Math.max(0, at.lastIndexOf('/node_modules/')))) {
    const path = `${at === '' ? '' : `${at}/`}node_modules/${name}`;
    if (path in packages) return path;
    if (at === '') return null;
  }
}

function missing(name: string): never {
  throw new Error(`Expected ${name} in package-lock.json; run npm install`);
}

function text(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
