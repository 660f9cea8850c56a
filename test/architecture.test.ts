/**
 * Does the house stand as it was drawn? Who may import whom, what the deciding part must not touch, and how files and
 * folders are named. The table below is the design; a failure says where, what, and what to do instead.
 */
import { globSync, readFileSync } from 'node:fs';
import { basename, dirname, join, normalize } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseAst } from 'vitest/node';

interface Layer {
  name: string;
  /** A file belongs to the first layer whose folder or file it is in. */
  at: string;
  /** Other layers that it may import; its own always. */
  layers: string[];
  /** Packages by name, or by `scope/*` and `node:*`. */
  packages: string[];
  advice: string;
}

const google = ['@google-cloud/*', 'google-gax', 'google-auth-library'];

const table: Layer[] = [
  {
    name: 'machines',
    at: 'machines/',
    layers: [],
    packages: ['xstate', 'zod', 'yaml'],
    advice: 'it only decides; hand it in as an event or an argument',
  },
  {
    name: 'engine',
    at: 'functions/engine/',
    layers: ['machines'],
    packages: ['zod', 'yaml', 'node:*'],
    advice: 'pass it through ports',
  },
  {
    name: 'gcp',
    at: 'functions/gcp/',
    layers: ['machines', 'engine'],
    packages: ['zod', 'node:*', ...google],
    advice: 'it implements ports and knows nobody above them',
  },
  {
    name: 'proxy',
    at: 'functions/proxy/',
    layers: ['machines', 'engine'],
    packages: [
      'zod',
      'yaml',
      'node:*',
      'undici',
      'google-auth-library',
      'jose',
      'lru-cache',
      '@redis/client',
      '@opentelemetry/*',
    ],
    advice: 'pass it in from functions/open-predict.ts',
  },
  {
    name: 'dashboard',
    at: 'functions/dashboard/',
    layers: ['machines', 'engine'],
    packages: ['zod', 'node:*'],
    advice: 'pass it in from functions/serve-dashboard.ts',
  },
  {
    name: 'wiring',
    at: 'functions/wiring.ts',
    layers: ['machines', 'engine', 'gcp'],
    packages: ['node:*'],
    advice: 'it only joins clients to ports',
  },
  {
    name: 'index',
    at: 'functions/index.ts',
    layers: ['engine', 'doors'],
    packages: ['@google-cloud/functions-framework'],
    advice: 'it only lists the doors',
  },
  {
    name: 'doors',
    at: 'functions/',
    layers: ['machines', 'engine', 'proxy', 'dashboard', 'wiring'],
    packages: ['zod', 'node:*', 'undici'],
    advice: 'get it from functions/wiring.ts',
  },
  {
    name: 'emulator',
    at: 'emulator/',
    layers: ['machines'],
    packages: ['zod', 'node:*', 'undici', '@grpc/*'],
    advice: 'it stands for Google, and must not know what talks to it',
  },
  {
    name: 'cli',
    at: 'cli/',
    layers: ['machines', 'engine', 'gcp', 'wiring', 'doors', 'emulator'],
    packages: ['zod', 'node:*', 'undici', 'commander'],
    advice: 'reach Google through functions/gcp',
  },
];

/** What a pure part must not touch, and where what it wants comes from. */
const impure: Record<string, string> = {
  'Date.now': 'every event brings its own moment',
  'new Date()': 'every event brings its own moment',
  performance: 'every event brings its own moment',
  'Math.random': 'derive it from what is known',
  crypto: 'derive it from what is known',
  process: 'pass it in',
  console: 'return it',
  fetch: 'ask for it with a look or an effect',
  setTimeout: 'a wait is a due time in the context',
  setInterval: 'a wait is a due time in the context',
  setImmediate: 'a wait is a due time in the context',
  queueMicrotask: 'a wait is a due time in the context',
  globalThis: 'pass it in',
  async: 'it decides at once',
  await: 'it decides at once',
};

const folders = ['machines', 'functions', 'emulator', 'cli', 'test'];
const files = globSync(folders.map((folder) => `${folder}/**/*.ts`)).toSorted();

describe('the table of imports', () => {
  test('holds in every file', () => {
    expect(files.length).toBeGreaterThan(100);
    expect(files.flatMap((file) => importProblems(file, readFileSync(file, 'utf8')))).toEqual([]);
  });

  test.each([
    [
      'functions/engine/loop.ts',
      "import { a } from '../gcp/bus.ts';",
      'engine may not import gcp; pass it through ports',
    ],
    [
      'functions/engine/loop.ts',
      "import type { A } from '@google-cloud/pubsub';",
      'engine may not import @google-cloud/pubsub',
    ],
    ['functions/engine/loop.ts', "const a = await import('google-gax');", 'engine may not import google-gax'],
    [
      'machines/rollout/decide.ts',
      "export { a } from '../../functions/engine/log.ts';",
      'machines may not import engine',
    ],
    ['machines/rollout/decide.ts', "export * from 'node:fs';", 'machines may not import node:fs'],
    ['machines/rollout/decide.ts', "type A = import('node:fs').Stats;", 'machines may not import node:fs'],
    [
      'functions/on-tick.ts',
      "import { a } from './gcp/bus.ts';",
      'doors may not import gcp; get it from functions/wiring.ts',
    ],
    ['emulator/start.ts', "import '../functions/index.ts';", 'emulator may not import index'],
    ['cli/send.ts', "import {\n  a,\n} from '../test/emulators.ts';", 'cli may not import test'],
    ['cli/send.ts', 'const a = import(name);', 'cli may not import what only the run knows'],
  ])('a planted violation in %s is found: %s', (file, source, expected) => {
    expect(importProblems(file, source)).toEqual([expect.stringContaining(`${file}:1: ${expected}`)]);
  });

  test('words in comments and strings are no imports', () => {
    const source = "// import 'node:fs'\nexport const text = `import 'node:fs'`;\n/* export * from 'node:fs' */\n";
    expect(importProblems('machines/a.ts', source)).toEqual([]);
  });
});

describe('what decides', () => {
  test('touches no clock, no chance, no world, and never waits', () => {
    const pure = files.filter((file) => file.startsWith('machines/'));
    expect(pure.length).toBeGreaterThan(20);
    expect(pure.flatMap((file) => purityProblems(file, readFileSync(file, 'utf8')))).toEqual([]);
  });

  test.each([
    ['const at = Date.now();', 'Date.now; every event brings its own moment'],
    ['const at = new Date();', 'new Date()'],
    ['const x = Math.random();', 'Math.random'],
    ["const x = process.env['A'];", 'process'],
    ['console.log(1);', 'console'],
    ['setTimeout(() => 1, 2);', 'setTimeout'],
    ['const wait = async () => 1;', 'async'],
    ['async function* wait() {}', 'async'],
    ['await fetch(url);', 'await'],
  ])('a planted violation is found: %s', (source, expected) => {
    const problems = purityProblems('machines/a.ts', source);
    expect(problems[0]).toContain(`machines/a.ts:1: machines may not use ${expected}`);
  });

  test('a date made of a given instant, and a member that is named like a global, are fine', () => {
    expect(
      purityProblems('machines/a.ts', 'const a = new Date(at); const b = deploy.process; const c = { fetch: 1 };'),
    ).toEqual([]);
  });
});

describe('names', () => {
  test('files are kebab-case', () => {
    const odd = files.filter((file) => !/^[a-z\d]+(-[a-z\d]+)*(\.test)?\.ts$/.test(basename(file)));
    expect(odd).toEqual([]);
  });

  test('a folder answers a question; none is a drawer', () => {
    const drawers = new Set(['utils', 'util', 'common', 'shared', 'helpers', 'lib', 'misc']);
    expect(
      files.filter((file) =>
        dirname(file)
          .split('/')
          .some((part) => drawers.has(part)),
      ),
    ).toEqual([]);
  });

  test('there is one index, and no barrel', () => {
    expect(files.filter((file) => basename(file) === 'index.ts')).toEqual(['functions/index.ts']);
    expect(files.filter((file) => isBarrel(readFileSync(file, 'utf8')))).toEqual([]);
  });

  test('a barrel is recognised', () => {
    expect(isBarrel("export * from './a.ts';\nexport { b } from './b.ts';")).toBe(true);
    expect(isBarrel("export * from './a.ts';\nexport const b = 1;")).toBe(false);
  });
});

function importProblems(file: string, source: string): string[] {
  const layer = layerOf(file);
  if (layer === null) return [];
  return importsOf(source).flatMap(({ line, from }) => {
    const target = from?.startsWith('.') === true ? nameOf(normalize(join(dirname(file), from))) : from;
    if (target !== null && isAllowed(layer, target)) return [];
    return [`${file}:${line}: ${layer.name} may not import ${target ?? 'what only the run knows'}; ${layer.advice}`];
  });
}

function isAllowed(layer: Layer, target: string): boolean {
  const allowed = [layer.name, ...layer.layers, ...layer.packages];
  const parts = target.split('/');
  const name = target.startsWith('@') ? parts.slice(0, 2).join('/') : (parts[0] ?? '');
  const group = target.startsWith('node:') ? 'node:*' : `${parts[0]}/*`;
  return allowed.includes(target) || allowed.includes(name) || allowed.includes(group);
}

function layerOf(file: string): Layer | null {
  return table.find(({ at }) => (at.endsWith('/') ? file.startsWith(at) : file === at)) ?? null;
}

/** A layer's name, or the folder of what is in none: `test`, or something outside of the house. */
function nameOf(file: string): string {
  return layerOf(file)?.name ?? file.split('/')[0] ?? file;
}

/** Every import, export-from, `import()` and `import('…')` in a type; `from` is null where only the run knows it. */
function importsOf(source: string): { line: number; from: string | null }[] {
  const kinds = new Set([
    'ImportDeclaration',
    'ExportAllDeclaration',
    'ExportNamedDeclaration',
    'ImportExpression',
    'TSImportType',
  ]);
  return nodesOf(source).flatMap((node) => {
    if (!kinds.has(node.type) || node['source'] == null) return [];
    const { source: from } = node;
    const value = isNode(from) && from.type === 'Literal' ? from['value'] : null;
    return [{ line: lineAt(source, node.start), from: typeof value === 'string' ? value : null }];
  });
}

function purityProblems(file: string, source: string): string[] {
  const nodes = nodesOf(source);
  // Names of members and of keys are not the globals of the same name.
  const labels = new Set(
    nodes.flatMap((node) => (node['computed'] === true ? [] : [node['property'], node['key']])).filter(isNode),
  );
  return nodes
    .filter((node) => !labels.has(node))
    .flatMap((node) => {
      const used = usedBy(node);
      const advice = used === null ? undefined : impure[used];
      return advice === undefined
        ? []
        : [`${file}:${lineAt(source, node.start)}: machines may not use ${used}; ${advice}`];
    });
}

function usedBy(node: Node): string | null {
  if (node['async'] === true) return 'async';
  switch (node.type) {
    case 'AwaitExpression':
      return 'await';
    case 'Identifier':
      return String(node['name']);
    case 'NewExpression':
      return nameIn(node['callee']) === 'Date' && Array.isArray(node['arguments']) && node['arguments'].length === 0
        ? 'new Date()'
        : null;
    case 'MemberExpression':
      return `${nameIn(node['object'])}.${nameIn(node['property'])}`;
    default:
      return null;
  }
}

function nameIn(node: unknown): string {
  return isNode(node) && node.type === 'Identifier' ? String(node['name']) : '';
}

function isBarrel(source: string): boolean {
  const { body } = parseAst(source, { lang: 'ts' });
  return (
    body.length > 0 &&
    body.every(
      (statement) => /^Export(All|Named)/.test(statement.type) && 'source' in statement && statement.source !== null,
    )
  );
}

interface Node extends Record<string, unknown> {
  type: string;
  start: number;
}

function isNode(value: unknown): value is Node {
  return (
    typeof value === 'object' && value !== null && 'type' in value && typeof value.type === 'string' && 'start' in value
  );
}

/** The nodes of the syntax tree, parents first. */
function nodesOf(source: string): Node[] {
  const found: Node[] = [];
  const waiting: unknown[] = [parseAst(source, { lang: 'ts' })];
  for (let value = waiting.pop(); value !== undefined; value = waiting.pop()) {
    if (isNode(value)) found.push(value);
    if (typeof value === 'object' && value !== null)
      waiting.push(
        ...Object.values(value)
          .filter((child) => child !== undefined)
          .toReversed(),
      );
  }
  return found;
}

function lineAt(source: string, offset: number): number {
  return source.slice(0, offset).split('\n').length;
}
