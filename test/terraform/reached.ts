/**
 * What can a door come to do? Follows the code from a door's file through every name that it mentions, to the methods of
 * ports and the topics that are reached. More than may ever happen, never less: a name that is mentioned counts as used.
 */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseAst } from 'vitest/node';

export interface Node extends Record<string, unknown> {
  type: string;
}

export interface Reached {
  /** Such as `store.load`: an object of this name, and what of it is named. */
  members: Set<string>;
  /** Every name that is mentioned. */
  names: Set<string>;
}

interface Module {
  /** By name, what stands at the top of the file. */
  declarations: Map<string, Node>;
  /** By local name, where it comes from. */
  imports: Map<string, { file: string; name: string }>;
}

/** Follows a file's own code and all that it reaches. What `isOutside` is not entered. */
export function reachedFrom(file: string, isOutside: (file: string) => boolean): Reached {
  const reached: Reached = { members: new Set(), names: new Set() };
  const modules = new Map<string, Module>();
  const seen = new Set<string>();
  const waiting = [...moduleOf(modules, file).declarations.keys()].map((name) => ({ file, name }));
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const key = `${next.file} ${next.name}`;
    const module = moduleOf(modules, next.file);
    const declaration = module.declarations.get(next.name);
    if (seen.has(key) || declaration === undefined) continue;
    seen.add(key);
    for (const source of loadedIn(declaration)) {
      const path = join(dirname(next.file), source);
      if (!source.startsWith('.') || isOutside(path)) continue;
      waiting.push(...[...moduleOf(modules, path).declarations.keys()].map((name) => ({ file: path, name })));
    }
    for (const name of mentionedIn(declaration, reached.members)) {
      reached.names.add(name);
      const from = module.imports.get(name);
      if (from === undefined) waiting.push({ file: next.file, name });
      else if (!isOutside(from.file)) waiting.push(from);
    }
  }
  return reached;
}

function moduleOf(modules: Map<string, Module>, file: string): Module {
  const known = modules.get(file);
  if (known !== undefined) return known;
  const module: Module = { declarations: new Map(), imports: new Map() };
  modules.set(file, module);
  if (!existsSync(file)) return module;
  for (const [i, statement] of bodyOf(file).entries()) {
    const declared = isNode(statement['declaration']) ? statement['declaration'] : statement;
    if (statement.type === 'ImportDeclaration') addImports(module, file, statement);
    else if (declared.type === 'VariableDeclaration') {
      for (const each of listOf(declared['declarations'])) {
        for (const name of namesIn(each['id'])) module.declarations.set(name, each);
      }
    } else module.declarations.set(nameOf(declared['id']) || `statement ${i}`, declared);
  }
  return module;
}

function addImports({ imports }: Module, file: string, statement: Node): void {
  const from = isNode(statement['source']) ? String(statement['source']['value']) : '';
  if (!from.startsWith('.')) return;
  for (const specifier of listOf(statement['specifiers'])) {
    const name = nameOf(specifier['imported']) || nameOf(specifier['local']);
    imports.set(nameOf(specifier['local']), { file: join(dirname(file), from), name });
  }
}

/** Names in a piece of code, without those of members and keys; members are added to `members`. */
function mentionedIn(root: Node, members: Set<string>): Set<string> {
  const names = new Set<string>();
  const waiting: unknown[] = [root];
  for (let node = waiting.pop(); node !== undefined; node = waiting.pop()) {
    if (Array.isArray(node)) waiting.push(...node.filter((each) => each != null));
    if (!isNode(node)) continue;
    const isPlain = node['computed'] !== true;
    if (node.type === 'Identifier') names.add(nameOf(node));
    if (node.type === 'MemberExpression' && isPlain)
      members.add(`${lastNameOf(node['object'])}.${nameOf(node['property'])}`);
    const label = !isPlain
      ? null
      : node.type === 'MemberExpression'
        ? 'property'
        : node['shorthand'] === true
          ? null
          : 'key';
    waiting.push(...Object.entries(node).flatMap(([key, child]) => (key === label || child == null ? [] : [child])));
  }
  return names;
}

/** The modules that a piece of code loads when it runs. */
function loadedIn(root: Node): string[] {
  const sources: string[] = [];
  for (const node of nodesIn(root)) {
    if (node.type === 'ImportExpression' && isNode(node['source'])) sources.push(String(node['source']['value']));
  }
  return sources;
}

/** A piece of code and all that is in it. */
function* nodesIn(root: unknown): Generator<Node> {
  if (Array.isArray(root)) for (const each of root) yield* nodesIn(each);
  if (!isNode(root)) return;
  yield root;
  for (const child of Object.values(root)) yield* nodesIn(child);
}

/** Of `context.ports.store` it is `store`. */
function lastNameOf(node: unknown): string {
  if (!isNode(node)) return '';
  return node.type === 'MemberExpression' ? nameOf(node['property']) : nameOf(node);
}

/** Every call of a member in a file, such as `client.getEndpoint`. */
export function membersCalledIn(file: string): Set<string> {
  const called = new Set<string>();
  for (const node of nodesIn(bodyOf(file))) {
    if (node.type === 'CallExpression' && isNode(node['callee'])) called.add(nameOf(node['callee']['property']));
  }
  return called;
}

function bodyOf(file: string): Node[] {
  return listOf(parseAst(readFileSync(file, 'utf8'), { lang: 'ts' }).body);
}

function namesIn(pattern: unknown): string[] {
  return isNode(pattern) ? [...mentionedIn(pattern, new Set())] : [];
}

function nameOf(node: unknown): string {
  return isNode(node) && typeof node['name'] === 'string' ? node['name'] : '';
}

function listOf(value: unknown): Node[] {
  return Array.isArray(value) ? value.filter(isNode) : [];
}

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && 'type' in value && typeof value.type === 'string';
}
