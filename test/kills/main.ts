/**
 * `npm run kills -- --kills 400 --seed 1`: kills.test.ts, with so many kills on each store, and its figures. The seed draws the
 * moments, the victims and the lives; what a process was doing at that moment is the machine's own.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: { kills: { type: 'string', default: '400' }, seed: { type: 'string', default: '1' } },
});
const { kills, seed } = values;
for (const [option, value] of Object.entries({ kills, seed })) {
  if (!/^[1-9]\d{0,5}$/.test(value)) {
    console.error(`Expected a whole number from 1 to 999999 for --${option}, got "${value}".`);
    process.exit(2);
  }
}

const vitest = fileURLToPath(new URL('../../node_modules/vitest/vitest.mjs', import.meta.url));
const test = fileURLToPath(new URL('kills.test.ts', import.meta.url));
const child = spawn(process.execPath, [vitest, 'run', test, '--disable-console-intercept'], {
  env: { ...process.env, KILLS: kills, KILLS_SEED: seed },
  stdio: 'inherit',
});
const [code] = await once(child, 'exit');
process.exitCode = typeof code === 'number' ? code : 1;
