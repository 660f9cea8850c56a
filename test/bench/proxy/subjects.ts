/** Who is compared? Each a process of its own on loopback, and what the kernel says that it took. Linux only. */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { createProcessGuard } from '../../../emulator/process-guard.ts';
import { freePort } from '../../port.ts';
import { answer, answerHeaders, body, headers, path } from './request.ts';

export interface Subject {
  name: string;
  origin: string;
  pid: number;
}

/** The two whose ratio says what ours costs. */
export const bareName = 'node:http with undici';
export const onNodeName = 'ours on node:http';

export type Guard = ReturnType<typeof createProcessGuard>;

const here = (file: string): string => fileURLToPath(new URL(file, import.meta.url));
const framework = here('../../../node_modules/@google-cloud/functions-framework/build/src/main.js');

/** What runs beside the upstream, which is the first of them. Without nginx on this machine its row is missing. */
export async function startAll(guard: Guard, folder: string): Promise<Subject[]> {
  const hasNginx = has('nginx', '-v');
  const upstream = await (hasNginx
    ? startNginx(guard, folder, 'upstream direct', [fixedAnswer()])
    : startNode(guard, 'upstream direct', [here('server.ts'), 'upstream']));
  const env = { UPSTREAM: upstream.origin };
  const underFramework = (name: string, target: string) =>
    startNode(guard, name, [framework, `--source=${here('functions.ts')}`, `--target=${target}`], env);
  const others = [
    ...(hasNginx ? [startNginx(guard, folder, 'nginx proxy_pass', passedTo(upstream.origin))] : []),
    underFramework('functions-framework, ten lines', 'naive'),
    // Neighbours are pressed one after the other, and what the machine does for some seconds falls on both.
    underFramework('functions-framework alone', 'alone'),
    underFramework('ours on functions-framework', 'ours'),
    startNode(guard, onNodeName, [here('server.ts'), 'ours'], env),
    startNode(guard, bareName, [here('server.ts'), 'bare'], env),
  ];
  return [upstream, ...(await Promise.all(others))];
}

export function has(command: string, argument: string): boolean {
  try {
    execFileSync(command, [argument], { stdio: 'ignore' });
    return true;
  } catch (error) {
    // wrk -v ends with 1, but it is there.
    return error instanceof Error && 'status' in error && typeof error.status === 'number';
  }
}

async function startNode(
  guard: Guard,
  name: string,
  args: string[],
  env: Record<string, string> = {},
): Promise<Subject> {
  const port = await freePort();
  const isFramework = args[0] === framework;
  return start(guard, name, port, process.execPath, [...args, isFramework ? `--port=${port}` : String(port)], {
    ...env,
    NODE_ENV: 'production',
  });
}

async function startNginx(guard: Guard, folder: string, name: string, location: string[]): Promise<Subject> {
  const port = await freePort();
  const base = join(folder, String(port));
  const [upstream = '', ...rest] = location.length > 1 ? location : ['', ...location];
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (kind) => `${kind}_temp_path ${base}-${kind};`,
  );
  const configuration = `daemon off; master_process off; pid ${base}.pid; error_log stderr error;
events { worker_connections 4096; }
http {
  access_log off; keepalive_requests 1000000000; ${temporary.join(' ')}
  ${upstream}
  server { listen 127.0.0.1:${port}; location / { ${rest.join(' ')} } }
}
`;
  await writeFile(`${base}.conf`, configuration);
  return start(guard, name, port, 'nginx', ['-c', `${base}.conf`, '-e', 'stderr'], {});
}

function fixedAnswer(): string {
  const named = Object.entries(answerHeaders).filter(([name]) => name !== 'content-type');
  const added = named.map(([name, value]) => `add_header ${name} ${value};`);
  return `default_type application/json; ${added.join(' ')} return 200 '${answer}';`;
}

function passedTo(origin: string): string[] {
  return [
    `upstream model { server ${new URL(origin).host}; keepalive 512; keepalive_requests 1000000000; }`,
    'proxy_pass http://model; proxy_http_version 1.1; proxy_set_header Connection "";',
  ];
}

async function start(
  guard: Guard,
  name: string,
  port: number,
  command: string,
  args: string[],
  env: Record<string, string>,
): Promise<Subject> {
  const child = guard.start(command, args, { PATH: process.env['PATH'] ?? '', ...env });
  const said: string[] = [];
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk) => said.push(String(chunk)));
  const ended = once(child, 'exit').then(() => {
    throw new Error(`${name} ended:\n${said.join('')}`);
  });
  ended.catch(() => undefined);
  const origin = `http://127.0.0.1:${port}`;
  for (let attempt = 0; attempt < 300; attempt += 1) {
    const reply = await fetch(`${origin}${path}`, { method: 'POST', headers, body }).catch(() => null);
    if (reply !== null) {
      const text = await reply.text();
      if (reply.status !== 200) throw new Error(`${name} answered ${reply.status} ${text}`);
      return { name, origin, pid: child.pid ?? 0 };
    }
    await Promise.race([sleep(100), ended]);
  }
  throw new Error(`${name} did not answer within 30 s:\n${said.join('')}`);
}

/** User and system time that a process has taken so far, all threads, in seconds. */
export function cpuSeconds({ pid }: Subject): number {
  // After the name, which may hold spaces: utime and stime are fields 14 and 15, in ticks of 10 ms.
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

export function residentMegabytes({ pid }: Subject): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
}
