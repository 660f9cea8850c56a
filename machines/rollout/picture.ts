/**
 * What does the statechart look like? Drawn from its definition as Mermaid, for the eye, and listed as a table, which
 * leaves nothing out. The picture keeps every arrow between siblings: one that leaves a group is drawn from the group,
 * and its label names the state within.
 */
import type { AnyStateMachine, AnyStateNode } from 'xstate';

interface Arrow {
  from: AnyStateNode;
  /** Null: it stays where it is, and only remembers something. */
  to: AnyStateNode | null;
  /** Null: taken as soon as the claim is true. */
  event: string | null;
  claim: string | null;
  updates: string[];
}

/** A Mermaid `stateDiagram-v2`, without the arrows that stay where they are. */
export function mermaidOf(machine: AnyStateMachine): string {
  const drawn = nodesOf(machine.root).flatMap(arrowsOf).flatMap(siblingsOf);
  return ['stateDiagram-v2', ...inside(machine.root, drawn).map((line) => `  ${line}`)].join('\n');
}

/** A Markdown table of every arrow, in the order in which they are tried. */
export function tableOf(machine: AnyStateMachine): string {
  const rows = nodesOf(machine.root).flatMap((node) =>
    arrowsOf(node).map(({ event, claim, to, updates }, i) => [
      i === 0 ? code(pathOf(node)) : '',
      event === null ? '*at once*' : code(event),
      claim === null ? '' : code(claim),
      to === null ? '*stays*' : code(pathOf(to)),
      updates.map(code).join(' '),
    ]),
  );
  const head = ['state', 'event', 'if', 'then', 'updates'];
  return [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

/** What each state owes the world, as a Markdown table. */
export function dutiesOf(machine: AnyStateMachine): string {
  const rows = nodesOf(machine.root).flatMap((node) => {
    const owes: unknown = node.meta?.owes;
    return typeof owes === 'string' ? [`| ${code(pathOf(node))} | ${code(owes)} |`] : [];
  });
  return ['| state | owes |', '| --- | --- |', ...rows].join('\n');
}

function arrowsOf(node: AnyStateNode): Arrow[] {
  const named = [...node.transitions.entries()].flatMap(([event, transitions]) =>
    transitions.map((transition) => ({ event, transition })),
  );
  const eventless = (node.always ?? []).map((transition) => ({ event: null, transition }));
  return [...eventless, ...named].map(({ event, transition }) => ({
    from: node,
    to: transition.target?.[0] ?? null,
    event,
    claim: nameOf(transition.guard),
    updates: transition.actions.flatMap((action: unknown) => nameOf(action) ?? []),
  }));
}

interface Drawn {
  parent: AnyStateNode;
  from: string;
  to: string;
  label: string;
}

/** The arrow between the two children of the nearest common parent; into one of its own children, from all the others. */
function siblingsOf({ from, to, event, claim }: Arrow): Drawn[] {
  if (to === null) return [];
  const [source, target] = [lineOf(from), lineOf(to)];
  const depth = source.findIndex((node, i) => node !== target[i]);
  const parent = depth === -1 ? from : source[depth - 1];
  const end = target[depth === -1 ? source.length : depth];
  if (parent === undefined || end === undefined) return [];
  const starts =
    depth === -1 ? Object.values(parent.states).filter((child) => child !== end) : source.slice(depth, depth + 1);
  return starts.map((start) => {
    const within = depth === -1 || start === from ? '' : `${from.key}: `;
    const when = [event, claim === null ? null : `[${claim}]`].filter((part) => part !== null).join(' ');
    const into = end === to ? '' : `, to ${to.key}`;
    return { parent, from: start.key, to: end.key, label: `${within}${when}${into}` };
  });
}

function inside(node: AnyStateNode, drawn: Drawn[]): string[] {
  const children = Object.values(node.states);
  if (node.type === 'parallel') {
    const regions = children.map((child) => composite(child, drawn).map((line) => `  ${line}`));
    const split = regions.flatMap((region, i) => (i === 0 ? region : ['  --', ...region]));
    return [`state ${node.key} {`, ...split, '}'];
  }
  const arrows = Object.entries(
    Object.groupBy(
      drawn.filter(({ parent }) => parent === node),
      ({ from, to }) => `${from} --> ${to}`,
    ),
  );
  return [
    ...children.filter((child) => node.initial?.target?.includes(child)).map((first) => `[*] --> ${first.key}`),
    ...children.flatMap((child) => (Object.keys(child.states).length > 0 ? composite(child, drawn) : [])),
    ...arrows.map(([ends, group]) => `${ends}: ${[...new Set(group?.map(({ label }) => label))].join('<br/>')}`),
    ...children.filter((child) => child.type === 'final').map((child) => `${child.key} --> [*]`),
  ];
}

function composite(node: AnyStateNode, drawn: Drawn[]): string[] {
  return [`state ${node.key} {`, ...inside(node, drawn).map((line) => `  ${line}`), '}'];
}

/** Parents first. */
function nodesOf(node: AnyStateNode): AnyStateNode[] {
  return [node, ...Object.values(node.states).flatMap(nodesOf)];
}

/** From the root to the node. */
function lineOf(node: AnyStateNode): AnyStateNode[] {
  return node.parent === undefined ? [node] : [...lineOf(node.parent), node];
}

function pathOf(node: AnyStateNode): string {
  return node.path.join('.');
}

/** `isPaused`, or with its parameters `endsAs aborted`; null when there is none. */
function nameOf(reference: unknown): string | null {
  if (typeof reference === 'string') return reference;
  if (typeof reference !== 'object' || reference === null || !('type' in reference)) return null;
  const params = ('params' in reference && reference.params) || {};
  return [reference.type, ...Object.values(params)].join(' ');
}

function code(text: string): string {
  return `\`${text}\``;
}
