/**
 * How good is it? `npm run bench -- NAME` runs test/bench/NAME.ts and prints one line per figure, `NAME.figure value
 * unit`, on standard output; what it does meanwhile is told on standard error.
 */
import { readdirSync } from 'node:fs';

/** A benchmark's module exports `bench`: measures, and reports each figure once. Throws when it could not measure. */
export type Bench = (report: (figure: string, value: number, unit: string) => void) => Promise<void>;

const folder = new URL('bench/', import.meta.url);
const names = readdirSync(folder)
  .filter((file) => file.endsWith('.ts'))
  .map((file) => file.slice(0, -'.ts'.length));

const [name = '', ...rest] = process.argv.slice(2);
if (!names.includes(name) || rest.length > 0) {
  console.error(
    `Usage: npm run bench -- NAME\nExpected one of: ${names.join(', ')}; got "${[name, ...rest].join(' ')}".`,
  );
  process.exit(2);
}
const { bench }: { bench: Bench } = await import(new URL(`${name}.ts`, folder).href);
await bench((figure, value, unit) => console.log(`${name}.${figure} ${Number(value.toFixed(3))} ${unit}`));
process.exit(0);
