/**
 * Which of Google's messages does a client use? Its package describes every service that there is, 4 MB for Vertex AI; a
 * client reads, hashes and links all of it when it opens. What it does not name, and what those do not lead to, is cut.
 */
import { z } from 'zod';

/** What protobufjs calls a namespace, a message, an enum, or a service; other keys are kept as they are. */
const nodeSchema = z.looseObject({
  get nested() {
    return z.record(z.string(), nodeSchema).optional();
  },
  fields: z.record(z.string(), z.looseObject({ type: z.string() })).optional(),
  methods: z.record(z.string(), z.looseObject({ requestType: z.string(), responseType: z.string() })).optional(),
});
type Node = z.infer<typeof nodeSchema>;

/** What the `source` of a client names, with all that it leads to, of a package's description in protobufjs's JSON. */
export function cutProtos(description: unknown, source: string): unknown {
  const root = nodeSchema.parse(description);
  const nodes = new Map<string, Node>();
  index(root, '', nodes);
  const kept = new Set<string>();
  const named = [...source.matchAll(/['"]\.?(google\.[\w.]+)['"]/g)].map(([, name = '']) => name);
  const waiting = named.filter((name) => nodes.has(name));
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    if (kept.has(name)) continue;
    kept.add(name);
    for (const type of typesOf(nodes.get(name))) {
      const found = resolve(type, name, nodes);
      if (found !== null) waiting.push(found);
    }
  }
  return pruned(root, '', kept);
}

function index(node: Node, at: string, nodes: Map<string, Node>): void {
  for (const [name, child] of Object.entries(node.nested ?? {})) {
    const path = at === '' ? name : `${at}.${name}`;
    nodes.set(path, child);
    index(child, path, nodes);
  }
}

function typesOf(node: Node | undefined): string[] {
  return [
    ...Object.values(node?.fields ?? {}).map(({ type }) => type),
    ...Object.values(node?.methods ?? {}).flatMap(({ requestType, responseType }) => [requestType, responseType]),
  ];
}

/** As protobuf does: from the innermost scope outwards. Null for what is no message, such as `string`. */
function resolve(type: string, scope: string, nodes: Map<string, Node>): string | null {
  if (type.startsWith('.')) return nodes.has(type.slice(1)) ? type.slice(1) : null;
  for (let at = scope; ; at = at.slice(0, Math.max(0, at.lastIndexOf('.')))) {
    const name = at === '' ? type : `${at}.${type}`;
    if (nodes.has(name)) return name;
    if (at === '') return null;
  }
}

/** Of what is not kept, only the way to what is. */
function pruned({ nested = {}, ...own }: Node, at: string, kept: Set<string>): Node {
  const children = Object.entries(nested).flatMap(([name, child]) => {
    const path = at === '' ? name : `${at}.${name}`;
    const rest = pruned(child, path, kept);
    return kept.has(path) || rest.nested !== undefined ? [[name, rest] as const] : [];
  });
  return children.length === 0 ? own : { ...own, nested: Object.fromEntries(children) };
}
