/**
 * What does a Cloud Function take with it? `npm run bundle` writes dist/bundles/NAME.zip for each function of
 * functions/index.ts: its own code and of each package what it can reach, in chunks that load when they are first used.
 * Nothing is left for the platform to fetch. The same sources give the same bytes. Beside them stands their version.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, type Metafile, type Plugin } from 'esbuild';
import { uses } from '../cli/doctor/permissions.ts';
import { functionNames } from '../cli/start/places.ts';
import type { GoogleCall } from '../functions/gcp/permissions.ts';
import { framework, frameworkFiles } from './bundle/framework.ts';
import { cutProtos } from './bundle/protos.ts';
import { zipOf } from './bundle/zip.ts';

const root = fileURLToPath(new URL('..', import.meta.url));

/** The functions' names, each with the module behind it, as functions/index.ts registers them. */
export const doors = new Map(
  [...read('functions/index.ts').matchAll(/^(?:cloudEvent|http)\('(\w+)',.*\bimport\('(\.\/[\w-]+\.ts)'\)/gm)].map(
    ([, name = '', module = '']) => [name, module],
  ),
);

/** The files of a function's bundle, by their paths in it. `entryPoint` of the function's configuration is `name`. */
export async function bundle(name: string): Promise<Record<string, Uint8Array | string>> {
  const door = doors.get(name);
  if (door === undefined) throw new Error(`Expected one of ${[...doors.keys()].join(', ')}; got "${name}"`);
  const { outputFiles, metafile } = await build({
    metafile: true,
    absWorkingDir: root,
    entryPoints: ['functions/index.ts'],
    outdir: 'dist',
    write: false,
    bundle: true,
    splitting: true,
    platform: 'node',
    target: 'node24',
    format: 'esm',
    // Named so, a module is not searched for the package.json that says what it is.
    outExtension: { '.js': '.mjs' },
    // A stack trace is read by people: names stay.
    minifyWhitespace: true,
    minifySyntax: true,
    external: [framework],
    // So Node builds undici for itself: without its new parser.
    define: { esbuildDetection: 'true' },
    plugins: [otherDoors(door), uncalledClients(name), leanProtos, leanPackages, builtins, ownSources],
    legalComments: 'none',
    banner: { js: commonJs },
    logLevel: 'error',
  });
  const reached = reachedFrom('dist/index.mjs', metafile);
  const code = outputFiles
    .map(({ path, contents }) => [relative(root, path), contents] as const)
    .filter(([path]) => reached.has(path))
    .map(([path, contents]) => [basename(path), contents] as const);
  return { ...Object.fromEntries(code), ...(await frameworkFiles(root, `vertex-rollouts-${name.toLowerCase()}`)) };
}

/** esbuild also writes the chunks that only code asks for which it has left out. */
function reachedFrom(entry: string, { outputs }: Metafile): Set<string> {
  const reached = new Set<string>();
  const waiting = [entry];
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    if (reached.has(path)) continue;
    reached.add(path);
    waiting.push(...(outputs[path]?.imports ?? []).filter(({ external }) => external !== true).map((one) => one.path));
  }
  return reached;
}

/** Packages that are CommonJS ask for these. */
const commonJs = `
const require = process.getBuiltinModule('node:module').createRequire(import.meta.url);
const __dirname = import.meta.dirname, __filename = import.meta.filename;
`.trim();

/** functions/index.ts names every door; in the bundle of one the others are never opened. */
function otherDoors(own: string): Plugin {
  return {
    name: 'other doors',
    setup(plugin) {
      plugin.onResolve({ filter: /^\.\// }, ({ path, importer }) =>
        importer.endsWith('/functions/index.ts') && path !== own && [...doors.values()].includes(path)
          ? { path, external: true }
          : null,
      );
    },
  };
}

/** Google's clients that functions/gcp/clients.ts opens when they are first asked for, each with a call that asks for it. */
const clientsByCall: [GoogleCall, RegExp][] = [
  ['getEndpoint', /\/endpoint_service_client\.js$/],
  ['getModel', /\/model_service_client\.js$/],
  ['listTimeSeries', /\/(metric|job|model_monitoring)_service_client\.js$/],
  ['resumeJob', /\/cloud_scheduler_client\.js$/],
];

/** What a function never calls of Google it does not carry. `uses` says what it calls; a test derives it from the code. */
function uncalledClients(name: string): Plugin {
  const own = functionNames.find((one) => one === name);
  const calls: readonly GoogleCall[] = own === undefined ? [] : uses[own].calls;
  const uncalled = clientsByCall.filter(([call]) => !calls.includes(call)).map(([, client]) => client);
  return {
    name: 'uncalled clients',
    setup(plugin) {
      plugin.onResolve({ filter: /^@google-cloud\// }, ({ path, kind }) =>
        kind === 'dynamic-import' && uncalled.some((client) => client.test(path)) ? { path, external: true } : null,
      );
    },
  };
}

/** Each of Google's clients gets of its package's protos.json what it names. */
const leanProtos: Plugin = {
  name: 'lean protos',
  setup(plugin) {
    plugin.onResolve({ filter: /\/protos\/protos\.json$/ }, ({ path, importer }) => ({
      path: importer,
      namespace: 'protos',
      pluginData: join(dirname(importer), path),
    }));
    plugin.onLoad(
      { filter: /./, namespace: 'protos' },
      ({ path, pluginData: description }: { path: string; pluginData: string }) => ({
        contents: JSON.stringify(cutProtos(JSON.parse(readFileSync(description, 'utf8')), readFileSync(path, 'utf8'))),
        loader: 'json',
      }),
    );
  },
};

/** What packages load, or hand out, and our code never uses: most of their bulk. */
const unused = [
  // Generated classes of every message; the clients read protos.json. Only google-gax's operations.js is for us.
  /\/@google-cloud\/[\w-]+\/build\/protos\/protos\.js$/,
  /\/google-gax\/build\/protos\/(iam_service|locations)\.js$/,
  // To make databases, and to subscribe.
  /\/firestore_admin_client\.js$/,
  // Of undici all but the dispatchers: fetch, sockets, events, caches, mocks, tunnels, pipes.
  /\/undici\/lib\/(cache|interceptor|mock|web)\//,
  /\/undici\/lib\/api\/api-(connect|pipeline|stream|upgrade)\.js$/,
  /\/undici\/lib\/handler\/re(direct|try)-handler\.js$/,
  // HTTP/2, which no agent of ours offers, and other ways to an upstream.
  /\/undici\/lib\/dispatcher\/(client-h2|h2c-client|[\w-]*proxy-agent|retry-agent|balanced-pool|round-robin-pool)\.js$/,
];

/** In the place of what is not used: names go on, a call does not. */
const none = `
const none = new Proxy(function () {}, {
  get: () => none,
  apply: () => { throw new Error('This part of a package is not in the bundle: see "unused" in test/bundle.ts'); },
});
module.exports = none;
`;

const leanPackages: Plugin = {
  name: 'lean packages',
  setup(plugin) {
    for (const filter of unused) plugin.onLoad({ filter }, () => ({ contents: none }));
  },
};

/** To import node:http reads its every name, and so loads the whole of fetch, for 50 ms; to require it does not. */
const builtins: Plugin = {
  name: 'builtins',
  setup(plugin) {
    plugin.onResolve({ filter: /^node:/ }, ({ path, kind }) =>
      kind === 'import-statement' ? { path, namespace: 'builtin', sideEffects: false } : null,
    );
    plugin.onLoad({ filter: /./, namespace: 'builtin' }, ({ path }) => ({
      contents: `module.exports = process.getBuiltinModule('${path}');`,
    }));
  },
};

/** What esbuild does not do by itself with our own sources. */
const ownSources: Plugin = {
  name: 'own sources',
  setup(plugin) {
    // A module of ours does nothing by being loaded: what is not used of it goes.
    plugin.onResolve({ filter: /^\.\.?\/.*\.ts$/ }, ({ path, resolveDir, kind }) =>
      kind === 'import-statement' ? { path: join(resolveDir, path), sideEffects: false } : null,
    );
    plugin.onLoad({ filter: /\/(functions|machines)\/.*\.ts$/ }, ({ path }) => ({
      contents: readFileSync(path, 'utf8')
        // Of zod as a namespace it leaves out what is not used, such as fifty languages; of the object `z` it does not.
        .replace("import { z } from 'zod';", "import * as z from 'zod';")
        // A chunk that is CommonJS has but a default export, where Node finds names.
        .replaceAll(/\bimport\('(?!\.)[^']+'\)/g, '$&.then((module) => module.default ?? module)'),
      loader: 'ts',
    }));
  },
};

function read(path: string): string {
  return readFileSync(join(root, path), 'utf8');
}

async function main(): Promise<void> {
  const folder = join(root, 'dist/bundles');
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const name of doors.keys()) {
    const zip = zipOf(await bundle(name));
    writeFileSync(join(folder, `${name}.zip`), zip);
    console.log(`${name.padEnd(12)}${Math.ceil(zip.length / 1000)} kB`);
  }
  const { version }: { version: string } = JSON.parse(read('package.json'));
  writeFileSync(join(folder, 'version'), `${version}\n`);
}

if (import.meta.main) await main();
