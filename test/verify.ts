/**
 * Is this ready to be merged? `npm run verify`: every check that CI runs, cheapest first, and the tests last. Stops at
 * the first failure and shows what it said. `npm run verify -- --no-tests` leaves the tests to `npm test`.
 */
import { spawn, spawnSync } from 'node:child_process';
import { globSync } from 'node:fs';
import { parseArgs } from 'node:util';

interface Step {
  name: string;
  command: string[];
  /** What mends it, where one command does. */
  mend?: string;
  /** Why it cannot run here; null when it can. */
  missing?: string | null;
  /** Shows what the command says as it says it, and not only when it failed. */
  isLoud?: boolean;
}

const steps: Step[] = [
  { name: 'format', command: ['biome', 'format', '.'], mend: 'npm run format' },
  { name: 'lint', command: ['oxlint'] },
  { name: 'types', command: ['tsc', '-p', '.'] },
  { name: 'imports', command: ['vitest', 'run', 'test/architecture.test.ts'] },
  {
    name: 'terraform',
    command: ['terraform', 'fmt', '-check', '-diff', '-recursive', 'terraform'],
    mend: 'terraform fmt -recursive terraform',
    missing: terraformMissing(),
  },
  { name: 'licences', command: ['node', 'test/packages/licences.ts'] },
  { name: 'audit', command: ['node', 'test/packages/audit.ts'], isLoud: true },
  { name: 'tests', command: ['vitest', 'run'], isLoud: true },
];

process.exitCode = await main(process.argv.slice(2));

async function main(args: string[]): Promise<number> {
  const { values } = parseArgs({ args, options: { 'no-tests': { type: 'boolean' } } });
  for (const step of steps.filter(({ name }) => name !== 'tests' || values['no-tests'] !== true)) {
    const { name, missing = null, isLoud = false } = step;
    process.stdout.write(isLoud ? `${name}\n` : `${name.padEnd(10)} `);
    if (missing !== null) {
      console.log(`skipped: ${missing}`);
      continue;
    }
    const { code, output, seconds } = await run(step);
    if (code === 0 && !isLoud) console.log(`ok ${seconds} s`);
    if (code === 0) continue;
    console.log(`failed ${seconds} s\n\n${output}`);
    console.error(
      `"${step.command.join(' ')}" ended with ${code}.${step.mend === undefined ? '' : ` Try: ${step.mend}`}`,
    );
    return 1;
  }
  return 0;
}

/** Runs to its end; npm has put the tools on the path. */
function run({ command: [program = '', ...args], isLoud = false }: Step) {
  const { promise, resolve } = Promise.withResolvers<{ code: number; output: string; seconds: string }>();
  const startedAt = performance.now();
  const chunks: Buffer[] = [];
  const child = spawn(program, args, { stdio: isLoud ? 'inherit' : ['ignore', 'pipe', 'pipe'] });
  child.stdout?.on('data', (chunk: Buffer) => chunks.push(chunk));
  child.stderr?.on('data', (chunk: Buffer) => chunks.push(chunk));
  const end = (code: number) =>
    resolve({
      code,
      output: Buffer.concat(chunks).toString(),
      seconds: ((performance.now() - startedAt) / 1000).toFixed(1),
    });
  child.once('error', (error) => {
    chunks.push(Buffer.from(`${error.message}; run this through npm: npm run verify\n`));
    end(127);
  });
  child.once('close', (code) => end(code ?? 1));
  return promise;
}

function terraformMissing(): string | null {
  if (globSync('terraform/**/*.tf').length === 0) return 'there is no Terraform here yet';
  return spawnSync('terraform', ['-version']).status === 0 ? null : 'terraform is not installed';
}
