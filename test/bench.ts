/**
 * How good is it? `npm run bench -- NAME` runs test/bench/NAME.ts, with the options it takes, and prints one line per figure,
 * `NAME.figure value unit`, on standard output; what it does meanwhile is told on standard error.
 */
import { readdirSync } from 'node:fs';

/**
 * A benchmark's module exports `bench`: measures, and reports each figure once. Throws when it could not measure. `options`
 * are the arguments after its name; one that does not name them is not run with any.
 */
export type Bench = (report: (figure: string, value: number, unit: string) => void, options: string[]) => Promise<void>;

const folder = new URL('bench/', import.meta.url);
const names = readdirSync(folder)
  .filter((file) => file.endsWith('.ts'))
  .map((file) => file.slice(0, -'.ts'.length));

const [name = '', ...options] = process.argv.slice(2);
if (!names.includes(name)) refuse();
const { bench }: { bench: Bench } = await import(new URL(`${name}.ts`, folder).href);
if (options.length > 0 && bench.length < 2) refuse();
await bench((figure, value, unit) => console.log(`${name}.${figure} ${Number(value.toFixed(3))} ${unit}`), options);
process.exit(0);

function refuse(): never {
  const got = [name, ...options].join(' ');
  console.error(`Usage: npm run bench -- NAME\nExpected one of: ${names.join(', ')}; got "${got}".`);
  process.exit(2);
}
