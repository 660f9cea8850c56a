/**
 * As much of a browser as the page's script uses. It knows no way to turn text into markup: a script that tried one
 * (innerHTML and its kin) fails here.
 */
import { runInNewContext } from 'node:vm';
import { script } from '../../../functions/dashboard/page-script.ts';

const markupWays = ['innerHTML', 'outerHTML', 'insertAdjacentHTML', 'write', 'writeln', 'setHTMLUnsafe', 'srcdoc'];

export class Element {
  readonly tag: string;
  readonly attributes = new Map<string, string>();
  readonly style: Record<string, string> = {};
  readonly listeners = new Map<string, (event: { preventDefault(): void }) => void>();
  nodes: (Element | string)[] = [];
  value = '';
  open = false;
  disabled = false;

  constructor(tag: string) {
    this.tag = tag;
    for (const name of markupWays) {
      const refuse = () => {
        throw new Error(`the page must not use ${name}`);
      };
      Object.defineProperty(this, name, { get: refuse, set: refuse });
    }
  }

  get children(): Element[] {
    return this.nodes.filter((node) => typeof node === 'object');
  }
  get textContent(): string {
    return this.nodes.map((node) => (typeof node === 'string' ? node : node.textContent)).join('');
  }
  set textContent(text: string) {
    this.nodes = [text];
  }
  append(...nodes: (Element | string)[]): void {
    this.nodes.push(...nodes);
  }
  replaceChildren(...nodes: (Element | string)[]): void {
    this.nodes = nodes;
  }
  setAttribute(name: string, value: unknown): void {
    this.attributes.set(name, String(value));
  }
  addEventListener(name: string, listener: (event: { preventDefault(): void }) => void): void {
    this.listeners.set(name, listener);
  }
  showModal(): void {
    this.open = true;
  }
  close(): void {
    this.open = false;
  }
  /** Itself and everything below. */
  all(): Element[] {
    return [this, ...this.children.flatMap((child) => child.all())];
  }
  fire(name: string): void {
    this.listeners.get(name)?.({ preventDefault: () => undefined });
  }
}

export interface Browser {
  byId(id: string): Element;
  /** Every element that the page shows. */
  all(): Element[];
  button(label: string): Element;
  /** What the page's next poll does. */
  poll(): Promise<void>;
  /** Lets everything that was started come to rest. */
  settle(): Promise<void>;
}

/** Opens the page; its calls go to `answer`, which is what the API would say. */
export async function openPage(answer: (path: string, init?: { body?: string }) => unknown): Promise<Browser> {
  const elements = new Map<string, Element>();
  const byId = (id: string): Element => {
    const known = elements.get(id) ?? new Element('div');
    elements.set(id, known);
    return known;
  };
  const all = () => [...elements.values()].flatMap((each) => each.all());
  let nextPoll: (() => void) | null = null;
  runInNewContext(script, {
    document: {
      hidden: false,
      getElementById: byId,
      createElement: (tag: string) => new Element(tag),
      querySelectorAll: (tag: string) => all().filter((each) => each.tag === tag),
      addEventListener: () => undefined,
    },
    fetch: async (path: string, init?: { body?: string }) => {
      await Promise.resolve();
      const body = answer(path, init);
      return body instanceof Error
        ? { ok: false, status: 503, json: () => Promise.resolve({ error: { message: body.message } }) }
        : { ok: true, status: 200, json: () => Promise.resolve(structuredClone(body)) };
    },
    setTimeout: (callback: () => void) => {
      nextPoll = callback;
    },
    setInterval: () => undefined,
    AbortSignal: { timeout: () => undefined },
    crypto: { randomUUID: () => 'one-id' },
  });
  await settle();
  return {
    byId,
    all,
    button: (label) => {
      const found = all().find((each) => each.tag === 'button' && each.textContent === label);
      if (found === undefined) throw new Error(`the page has no button "${label}"`);
      return found;
    },
    poll: async () => {
      nextPoll?.();
      await settle();
    },
    settle,
  };
}

async function settle(): Promise<void> {
  for (let i = 0; i < 5; i += 1) await new Promise((resolve) => setImmediate(resolve));
}
