/**
 * What may arrive that nobody meant to send? Values, texts and bytes of every wrong kind, and good messages that were
 * damaged: parts replaced, dropped, doubled, nested too deep, or named as no key should be. All from fast-check's seed.
 */
import fc from 'fast-check';

const oddTexts = [
  '',
  ' ',
  '\0',
  'null',
  'NaN',
  '1e999',
  '7',
  'true',
  '{}',
  '[object Object]',
  '__proto__',
  'constructor',
  'toString',
  '\u{d800}',
  '\u{202e}\u{feff}\u{301}',
  '🚀'.repeat(300),
  '../../etc/passwd',
  '%00%ff',
  '<script>alert(1)</script>',
  "'; DROP TABLE records; --",
  'x'.repeat(1000),
  'x'.repeat(1001),
  '2026-02-30T00:00:00Z',
  '9999-12-31T23:59:60Z',
  '0000-01-01T00:00:00Z',
  `2026-01-05T00:00:00.${'9'.repeat(400)}Z`,
  '2026-01-05T00:00:00+23:59',
  'projects/demo/locations/us-central1/endpoints/1\n',
  'projects/7/locations/us-central1/endpoints/1',
  'projects/demo/locations/us-central1/endpoints/999',
  `projects/demo/locations/us-central1/endpoints/${'9'.repeat(64)}`,
  'projects/demo/locations/us-central1/models/delays@2',
  'projects/../locations/x/models/y',
];

const oddNumbers = [
  0,
  -0,
  -1,
  0.1,
  7,
  100,
  101,
  2 ** 31,
  2 ** 32,
  2 ** 53,
  Number.MAX_SAFE_INTEGER,
  1e21,
  1e308,
  -1e308,
  5e-324,
  8.64e15,
  8.64e15 + 1,
  Number.NaN,
  Number.POSITIVE_INFINITY,
];

const oddKeys = [
  '__proto__',
  'constructor',
  'prototype',
  'hasOwnProperty',
  'toString',
  '',
  ' ',
  '0',
  'x'.repeat(70),
  '\u{d800}',
];

/** Rare, for each costs milliseconds. */
const hugeText = fc.integer({ min: 10_000, max: 300_000 }).map((length) => 'x'.repeat(length));

const oddText = fc.oneof(
  { weight: 200, arbitrary: fc.constantFrom(...oddTexts) },
  { weight: 40, arbitrary: fc.string({ unit: 'binary', maxLength: 40 }) },
  { weight: 2, arbitrary: hugeText },
);

/** Any value at all, most often a wrong one that is nearly right. */
export const anyValue: fc.Arbitrary<unknown> = fc.oneof(
  { weight: 60, arbitrary: oddText },
  { weight: 60, arbitrary: fc.constantFrom(...oddNumbers) },
  { weight: 40, arbitrary: fc.constantFrom(null, true, false, undefined, [], {}, [[]], [null], { a: {} }) },
  { weight: 20, arbitrary: fc.jsonValue({ maxDepth: 3 }) },
  { weight: 2, arbitrary: fc.nat({ max: 2000 }).map((length) => Array.from({ length }, () => 1)) },
  { weight: 2, arbitrary: fc.tuple(fc.nat({ max: 9000 }), fc.constantFrom(0, null, {}, 'x')).map(many) },
  { weight: 2, arbitrary: fc.integer({ min: 1, max: 3000 }).map(nested) },
);

const anyKey = fc.oneof(fc.constantFrom(...oddKeys), fc.string({ maxLength: 8 }));

const change = fc.oneof(
  { weight: 6, arbitrary: anyValue.map((value) => ({ kind: 'replace' as const, value })) },
  { weight: 2, arbitrary: fc.constant({ kind: 'drop' as const }) },
  { weight: 2, arbitrary: fc.tuple(anyKey, anyValue).map(([key, value]) => ({ kind: 'add' as const, key, value })) },
  { weight: 1, arbitrary: fc.constant({ kind: 'asText' as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'inList' as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'twice' as const }) },
);
type Change = typeof change extends fc.Arbitrary<infer T> ? T : never;

/** A good value with up to `max` parts changed; sometimes with none. */
export function damaged(good: fc.Arbitrary<unknown>, max = 3): fc.Arbitrary<unknown> {
  const changes = fc.array(fc.tuple(fc.nat({ max: 9999 }), change), { maxLength: max });
  return fc.tuple(good, changes).map(([value, wanted]) =>
    wanted.reduce((now: unknown, [place, how]) => {
      const places = placesIn(now);
      return changed(now, places[place % places.length] ?? [], how);
    }, value),
  );
}

/** JSON that was damaged as text: cut, doubled keys, numbers that JSON has not, bytes in between. */
export function damagedJson(good: fc.Arbitrary<unknown>): fc.Arbitrary<string> {
  const cut = fc.nat({ max: 9999 });
  return fc.oneof(
    { weight: 120, arbitrary: damaged(good).map(jsonOf) },
    {
      weight: 60,
      arbitrary: fc
        .tuple(
          good,
          cut,
          fc.constantFrom('NaN', '1e999', '-1e999', '-0', '0x10', '007', '1.', '"7"', '1e400', 'undefined'),
        )
        .map(([value, at, number]) => withNumber(jsonOf(value), at, number)),
    },
    {
      weight: 30,
      arbitrary: fc.tuple(damaged(good), cut, cut).map(([value, from, length]) => {
        const text = jsonOf(value);
        const start = from % (text.length + 1);
        return text.slice(0, start) + text.slice(start + (length % 20));
      }),
    },
    {
      weight: 30,
      arbitrary: fc.tuple(damaged(good), cut, oddText).map(([value, at, odd]) => {
        const text = jsonOf(value);
        const place = at % (text.length + 1);
        return text.slice(0, place) + odd + text.slice(place);
      }),
    },
    {
      // The same key twice: the later one counts.
      weight: 30,
      arbitrary: fc.tuple(good, damaged(good)).map(([one, other]) => {
        const [a, b] = [jsonOf(one), jsonOf(other)];
        return a.endsWith('}') && b.startsWith('{') && b.length > 2 ? `${a.slice(0, -1)},${b.slice(1)}` : a + b;
      }),
    },
    { weight: 2, arbitrary: fc.integer({ min: 1, max: 40_000 }).map((depth) => '['.repeat(depth)) },
    {
      weight: 1,
      arbitrary: fc.integer({ min: 1, max: 5000 }).map((depth) => `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`),
    },
    { weight: 10, arbitrary: fc.string({ unit: 'binary', maxLength: 200 }) },
  );
}

/** JSON, or nothing where there is none: what JSON has no word for is left out, as every sender does. */
export function jsonOf(value: unknown): string {
  return JSON.stringify(value) ?? '';
}

function many([length, value]: [number, unknown]): unknown {
  return Object.fromEntries(Array.from({ length }, (_, i) => [String(i), value]));
}

function nested(depth: number): unknown {
  let value: unknown = 1;
  for (let i = 0; i < depth; i += 1) value = i % 2 === 0 ? { a: value } : [value];
  return value;
}

type Path = (string | number)[];

/** Where a value has parts, itself first; bounded. */
function placesIn(root: unknown): Path[] {
  const places: Path[] = [[]];
  for (let i = 0; i < places.length && places.length < 2000; i += 1) {
    const path = places[i] ?? [];
    const node = partAt(root, path);
    if (typeof node === 'object' && node !== null && path.length < 50) {
      for (const key of Object.keys(node).slice(0, 200)) places.push([...path, key]);
    }
  }
  return places;
}

function partAt(root: unknown, path: Path): unknown {
  return path.reduce<unknown>((node, key) => (isContainer(node) ? Reflect.get(node, key) : undefined), root);
}

function isContainer(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

/** A changed copy along the path; what lies beside it is not touched. */
function changed(root: unknown, path: Path, how: Change): unknown {
  const [key, ...rest] = path;
  if (key !== undefined && isContainer(root)) {
    const copy: object = Array.isArray(root) ? [...root] : { ...root };
    if (rest.length === 0 && how.kind === 'drop') Reflect.deleteProperty(copy, key);
    else put(copy, key, changed(Reflect.get(root, key), rest, how));
    return copy;
  }
  switch (how.kind) {
    case 'replace':
      return how.value;
    case 'drop':
      return undefined;
    case 'add': {
      if (!isContainer(root)) return how.value;
      const copy: object = Array.isArray(root) ? [...root, how.value] : { ...root };
      if (!Array.isArray(root)) put(copy, how.key, how.value);
      return copy;
    }
    case 'asText':
      return jsonOf(root);
    case 'inList':
      return [root];
    case 'twice':
      return Array.isArray(root) ? [...root, ...root] : [root, root];
  }
}

/** As JSON.parse does: `__proto__` becomes a property like any other. */
function put(target: object, key: string | number, value: unknown): void {
  Reflect.defineProperty(target, key, { value, writable: true, enumerable: true, configurable: true });
}

function withNumber(text: string, at: number, number: string): string {
  const numbers = [...text.matchAll(/(?<=[:[,])-?\d[\d.eE+-]*(?=[,\]}])/g)];
  const found = numbers[at % Math.max(1, numbers.length)];
  return found === undefined ? text : text.slice(0, found.index) + number + text.slice(found.index + found[0].length);
}
