/**
 * What starts a function? The platform's functions-framework, at the version that was tested here and brought along as one
 * file: its installer fetches nothing, and a process reads three files where it read hundreds.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { build, type Plugin } from 'esbuild';
import { z } from 'zod';

export const framework = '@google-cloud/functions-framework';

const packageSchema = z.object({ version: z.string() });
const mediaTypesSchema = z.record(z.string(), z.unknown());

/** Its names that functions/index.ts imports, and its command line, which runs when it is loaded. */
const entry = `
export { cloudEvent, http } from '${framework}';
export function start() { require('./node_modules/${framework}/build/src/main.js'); }
`;

/** Of the two thousand types of files that express knows, those it answers with when it is not told, and reads. */
const mediaTypes = [
  'application/json',
  'application/octet-stream',
  'application/x-www-form-urlencoded',
  'text/html',
  'text/plain',
];

/** Tables are most of it. JSON is in UTF-8; a body in a Chinese, Japanese or Korean character set is refused. */
const leanTables: Plugin = {
  name: 'lean tables',
  setup(plugin) {
    const characterSets = /\/iconv-lite\/encodings\/tables\/[\w-]+\.json$/;
    plugin.onLoad({ filter: characterSets }, () => ({ contents: 'null', loader: 'json' }));
    plugin.onLoad({ filter: /\/mime-db\/db\.json$/ }, ({ path }) => {
      const all = mediaTypesSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
      return {
        contents: JSON.stringify(Object.fromEntries(mediaTypes.map((type) => [type, all[type]]))),
        loader: 'json',
      };
    });
  },
};

/** The files with which `npm ci` puts it where the platform looks: a package of its own, and those that depend on it. */
export async function frameworkFiles(root: string, name: string): Promise<Record<string, Uint8Array | string>> {
  const { version } = packageSchema.parse(
    JSON.parse(readFileSync(join(root, 'node_modules', framework, 'package.json'), 'utf8')),
  );
  const code = await frameworkCode(root);
  const about = { name, version: '1.0.0', private: true };
  const bin = { 'functions-framework': 'main.js' };
  const dependencies = { [framework]: 'file:framework' };
  return {
    'framework/index.cjs': code,
    'framework/main.js': "#!/usr/bin/env node\nrequire('./index.cjs').start();\n",
    'framework/package.json': text({ name: framework, version, main: 'index.cjs', bin }),
    'package.json': text({ ...about, main: 'index.mjs', dependencies }),
    'package-lock.json': text({
      ...about,
      lockfileVersion: 3,
      requires: true,
      packages: {
        '': { ...about, dependencies },
        framework: { name: framework, version, bin },
        [`node_modules/${framework}`]: { resolved: 'framework', link: true },
      },
    }),
  };
}

const made = new Map<string, Promise<Uint8Array | string>>();

/** Made once for all functions. */
function frameworkCode(root: string): Promise<Uint8Array | string> {
  const known = made.get(root) ?? makeFramework(root);
  made.set(root, known);
  return known;
}

async function makeFramework(root: string): Promise<Uint8Array | string> {
  const { outputFiles } = await build({
    absWorkingDir: root,
    stdin: { contents: entry, resolveDir: root },
    write: false,
    bundle: true,
    platform: 'node',
    target: 'node24',
    format: 'cjs',
    // Names too, unlike in our own code: nobody reads a stack trace of it.
    minify: true,
    plugins: [leanTables],
    legalComments: 'none',
    logLevel: 'error',
  });
  return outputFiles[0]?.contents ?? '';
}

function text(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
