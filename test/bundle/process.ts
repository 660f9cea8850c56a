/** How is a bundle started? As the platform does it: unpacked, `npm ci`, and functions-framework as a process of its own. */
import { type ChildProcess, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { createProcessGuard } from '../../emulator/process-guard.ts';
import { bundle } from '../bundle.ts';
import { freePort } from '../port.ts';
import { framework } from './framework.ts';
import { zipOf } from './zip.ts';

/** What the platform would start. */
export interface Unpacked {
  name: string;
  folder: string;
  /** The script of functions-framework in it. */
  main: string;
  kilobytes: number;
}

export interface Process {
  url: string;
  /** Resident, now. */
  megabytes(): number;
  /** What it has used of processors until now; null where the machine does not tell. */
  cpuMs(): number | null;
  /** Resolves when it has said a text; rejects when it ends first, or does not say it in time. */
  heard(text: string): Promise<void>;
  /** All lines until now. */
  said: readonly string[];
  close(): Promise<void>;
}

const SAYS_MS_MAX = 60_000;

/** Writes a function's bundle as the platform unpacks it and `npm ci` leaves it. */
export async function unpack(folder: string, name: string): Promise<Unpacked> {
  const files = await bundle(name);
  return unpackFiles(folder, name, files, { installed: '../../framework', main: 'main.js' });
}

/** Writes files, and links functions-framework: `main` lies in what is `installed`. */
export async function unpackFiles(
  folder: string,
  name: string,
  files: Record<string, Uint8Array | string>,
  { installed, main }: { installed: string; main: string },
): Promise<Unpacked> {
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), content);
  }
  await mkdir(join(folder, 'node_modules/@google-cloud'), { recursive: true });
  const linked = join(folder, 'node_modules', framework);
  await symlink(installed, linked);
  return { name, folder, main: join(linked, main), kilobytes: zipOf(files).length / 1000 };
}

/** Starts a process; resolves when it listens. Throws, with what it said, when it does not come to that. */
export async function startProcess(
  { name, folder, main }: Unpacked,
  environment: Record<string, string>,
): Promise<Process> {
  const port = await freePort();
  const guard = createProcessGuard();
  const args = [main, `--source=${folder}`, `--target=${name}`, `--port=${port}`];
  const child = guard.start(process.execPath, args, { PATH: process.env['PATH'] ?? '', ...environment });
  const said: string[] = [];
  const heard = listenTo(child, said);
  async function close(): Promise<void> {
    const exited = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : null;
    guard.kill(child);
    await exited;
    guard.close();
  }
  try {
    await heard('Serving function');
  } catch (error) {
    await close();
    throw new Error(`${name} did not start:\n${said.join('\n')}`, { cause: error });
  }
  return {
    url: `http://127.0.0.1:${port}`,
    megabytes: () => Number(execFileSync('ps', ['-o', 'rss=', '-p', String(child.pid)], { encoding: 'utf8' })) / 1024,
    cpuMs: () => cpuMsOf(child.pid ?? 0),
    heard,
    said,
    close,
  };
}

/** Linux counts in ticks of 10 ms. @see proc_pid_stat(5) */
function cpuMsOf(pid: number): number | null {
  const path = `/proc/${pid}/stat`;
  if (!existsSync(path)) return null;
  // After the name in brackets, which may have spaces, the 12th and 13th are of the user and of the system.
  const fields = readFileSync(path, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

function listenTo(child: ChildProcess, said: string[]): (text: string) => Promise<void> {
  let more = Promise.withResolvers<void>();
  for (const stream of [child.stdout, child.stderr]) {
    if (stream === null) continue;
    createInterface({ input: stream }).on('line', (line) => {
      said.push(line);
      more.resolve();
    });
  }
  const ended = Promise.withResolvers<never>();
  ended.promise.catch(() => undefined);
  child.once('exit', (code) => ended.reject(new Error(`It ended with ${code}`)));
  return async (text) => {
    const late = AbortSignal.timeout(SAYS_MS_MAX);
    const silent = Promise.withResolvers<never>();
    silent.promise.catch(() => undefined);
    late.addEventListener('abort', () => silent.reject(new Error(`It did not say "${text}" within ${SAYS_MS_MAX} ms`)));
    while (!said.join('\n').includes(text)) {
      more = Promise.withResolvers<void>();
      await Promise.race([more.promise, ended.promise, silent.promise]);
    }
  };
}
