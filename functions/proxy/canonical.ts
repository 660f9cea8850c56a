/**
 * Do two bodies ask the same? One spelling for every JSON text that differs only in white space, the order of keys and the
 * escapes in strings. Numbers stay as they are written: 1 and 1.0 need not be the same to a model.
 */
import { isUtf8 } from 'node:buffer';
import { limits } from '../engine/limits.ts';

/** Sticky, so that each is asked for exactly here. */
const patterns = {
  space: /[ \t\n\r]*/y,
  number: /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y,
  // oxlint-disable-next-line no-control-regex -- what JSON forbids in a string
  string: /"[^"\\\u0000-\u001f]*(?:\\(?:["\\/bfnrt]|u[\dA-Fa-f]{4})[^"\\\u0000-\u001f]*)*"/y,
  word: /true|false|null/y,
} as const;

/**
 * The canonical text; null for what is no JSON to every reader alike: other bytes, text around it, a key given twice, or
 * values nested deeper than limits.cacheDepthMax.
 */
export function canonicalJson(body: Buffer): string | null {
  if (!isUtf8(body)) return null;
  const reader = new Reader(body.toString('utf8'));
  const value = reader.value(0);
  return value !== null && reader.isAtEnd() ? value : null;
}

class Reader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  isAtEnd(): boolean {
    this.#take('space');
    return this.#at === this.#text.length;
  }

  /** Null as soon as something is wrong; what is left is then not read. */
  value(depth: number): string | null {
    if (depth > limits.cacheDepthMax) return null;
    this.#take('space');
    const first = this.#text[this.#at];
    if (first === '{') return this.#object(depth);
    if (first === '[') return this.#array(depth);
    return first === '"' ? this.#string() : (this.#take('number') ?? this.#take('word'));
  }

  #array(depth: number): string | null {
    const items: string[] = [];
    const isWhole = this.#list(']', () => {
      const item = this.value(depth + 1);
      if (item !== null) items.push(item);
      return item !== null;
    });
    return isWhole ? `[${items.join(',')}]` : null;
  }

  #object(depth: number): string | null {
    const members = new Map<string, string>();
    const isWhole = this.#list('}', () => {
      this.#take('space');
      const key = this.#string();
      if (key === null || members.has(key) || !this.#passes(':')) return false;
      const value = this.value(depth + 1);
      if (value !== null) members.set(key, value);
      return value !== null;
    });
    if (!isWhole) return null;
    const keys = [...members.keys()].toSorted();
    return `{${keys.map((key) => `${key}:${members.get(key) ?? ''}`).join(',')}}`;
  }

  /** Reads from the opening bracket to the closing one. */
  #list(close: string, readItem: () => boolean): boolean {
    this.#at += 1;
    if (this.#passes(close)) return true;
    for (;;) {
      if (!readItem()) return false;
      if (this.#passes(close)) return true;
      if (!this.#passes(',')) return false;
    }
  }

  #string(): string | null {
    const token = this.#take('string');
    return token?.includes('\\') ? JSON.stringify(JSON.parse(token)) : token;
  }

  #passes(mark: string): boolean {
    this.#take('space');
    if (this.#text[this.#at] !== mark) return false;
    this.#at += 1;
    return true;
  }

  #take(name: keyof typeof patterns): string | null {
    const pattern = patterns[name];
    pattern.lastIndex = this.#at;
    const token = pattern.exec(this.#text)?.[0] ?? null;
    this.#at += token?.length ?? 0;
    return token;
  }
}
