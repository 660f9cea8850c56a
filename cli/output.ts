/** Where does an answer go? To stdout: as JSON, or as lines for the terminal that is there. */
import type { RenderOptions } from './render.ts';
import type { World } from './world.ts';

/** Prints the value as JSON, or else as the lines that `text` gives. */
export function print(world: World, options: { json?: boolean }, value: unknown, text: () => string[]): void {
  const output = options.json === true ? JSON.stringify(value, null, 2) : text().join('\n');
  world.stdout.write(`${output}\n`);
}

/** The terminal's width and colour: no colour where it is not a terminal, is dumb, or NO_COLOR is set. */
export function look({ stdout, env, now }: World): RenderOptions {
  const isTTY = stdout.isTTY === true;
  const color = isTTY && !env['NO_COLOR'] && env['TERM'] !== 'dumb';
  return { width: stdout.columns ?? 100, now: now(), color };
}
