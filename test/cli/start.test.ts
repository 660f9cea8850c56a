/** npm start as a person meets it: a process with a terminal's output, a folder, and somebody who may kill it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { takeLock } from '../../cli/start/lock.ts';
import { answers } from '../../cli/start/processes.ts';

const program = fileURLToPath(new URL('../../cli/start.ts', import.meta.url));
/** Away from npm start's own, and from the benchmarks'. */
const PORT_BASE = 18_720;
const ports = Array.from({ length: 17 }, (_, i) => PORT_BASE + i);

let folder = '';
const children: ChildProcess[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'start-'));
});

afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  await portsAreFree();
  rmSync(folder, { recursive: true });
});

describe('npm start', () => {
  it('says all of its options and exit codes', async () => {
    const run = await start('--help').ended;
    expect(run.code).toBe(0);
    for (const option of ['--bless', '--exit', '--fresh', '--rps', '--policy', '--port-base'])
      expect(run.output).toContain(option);
    expect(run.output).toMatch(/0 {2}promoted.*3 {2}with --exit.*4 {2}with --exit/s);
  });

  it.for([
    { args: ['--bless', 'delays@9'], says: 'Expected one of delays@1 to delays@8 for --bless, got "delays@9"' },
    { args: ['--rps', 'many'], says: 'Expected a whole number from 1 to 500' },
    { args: ['--policy', 'nowhere.yaml'], says: 'Expected a policy file' },
  ])('refuses $args before it starts anything', async ({ args, says }) => {
    const run = await start(...args).ended;
    expect(run.code).toBe(2);
    expect(run.output).toContain(says);
    expect(existsSync(join(folder, '.rollouts'))).toBe(false);
  });

  it('says who runs in the folder already, and leaves that one alone', async () => {
    mkdirSync(join(folder, '.rollouts'));
    const release = takeLock(join(folder, '.rollouts/lock.sqlite'));
    const run = await start().ended;
    release();
    expect(run.code).toBe(1);
    expect(run.output).toContain(`A local system runs in this folder already (process ${process.pid})`);
  });

  it('says which port another program has', async () => {
    const other = createServer().listen(PORT_BASE + 5, '127.0.0.1');
    await once(other, 'listening');
    const run = await start().ended;
    other.close();
    expect(run.code).toBe(1);
    expect(run.output).toContain(`Another program has the port ${PORT_BASE + 5} of this machine`);
  });

  it('takes delays@2 to 100 %, though it is killed on the way and started again', { timeout: 400_000 }, async () => {
    const killed = start();
    await killed.says('5% · The canary has 5 %');
    killed.child.kill('SIGKILL');
    await killed.ended;
    await portsAreFree();

    const run = await start('--exit').ended;
    expect(run.output).toMatch(/^Going on with the rollout of delays@2/);
    expect(run.output).toMatch(/25% · .*50% · .*100% · .*promoted · 100%/s);
    expect(run.code).toBe(0);
    await portsAreFree();
    expect(existsSync(join(folder, '.rollouts/local.json'))).toBe(false);
  });
});

interface Run {
  child: ChildProcess;
  ended: Promise<{ code: number | null; output: string }>;
  /** Resolves when the output so far has the text; rejects when it ended without. */
  says(text: string): Promise<void>;
}

function start(...args: string[]): Run {
  const child = spawn(process.execPath, [program, '--port-base', String(PORT_BASE), ...args], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text));
  const ended = once(child, 'close').then(([code]: (number | null)[]) => ({ code: code ?? null, output }));
  return {
    child,
    ended,
    says: (text) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          if (output.includes(text)) resolve();
        };
        child.stdout.on('data', look);
        look();
        void ended.then(() => reject(new Error(`ended without "${text}":\n${output}`)));
      }),
  };
}

/** Resolves when no process of the system answers any more; the test's own time limit is the bound. */
async function portsAreFree(): Promise<void> {
  while ((await Promise.all(ports.map((port) => answers(port)))).includes(true)) await sleep(50);
}
