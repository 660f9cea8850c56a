/** What happens between nothing and an answer? One process of functions-framework, as the platform starts it, and its end. */
import { type ChildProcess, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { createProcessGuard } from '../../../emulator/process-guard.ts';
import { bundle } from '../../bundle.ts';
import { framework } from '../../bundle/framework.ts';
import { zipOf } from '../../bundle/zip.ts';
import { freePort } from '../../google-emulators.ts';

export interface FirstRequest {
  path: string;
  method: 'GET' | 'POST';
  headers: Record<string, string>;
  body: string | null;
  /** What the answer must have, or what was measured is a failure. */
  status: number;
  /** What must stand in its log. */
  says: string;
}

export interface Subject {
  name: string;
  folder: string;
  kilobytes: number;
  request: FirstRequest;
}

/** Milliseconds since the process was asked for; resident megabytes after the answer. */
export interface Cold {
  listeningMs: number;
  answerMs: number;
  megabytes: number;
}

const modules = fileURLToPath(new URL('../../../node_modules', import.meta.url));
const ANSWER_MS_MAX = 60_000;

/** As the documentation of functions-framework has it. */
const helloWorld = {
  'index.js': `const functions = require('@google-cloud/functions-framework');
functions.http('hello', (req, res) => { res.send('Hello, World'); });
`,
  'package.json':
    '{ "name": "hello", "main": "index.js", "dependencies": { "@google-cloud/functions-framework": "5" } }\n',
};

/** Writes what the platform starts: a function's bundle, or the hello world beside our own node_modules. */
export async function layOut(folder: string, name: string): Promise<Omit<Subject, 'request'>> {
  const files = name === 'hello' ? helloWorld : await bundle(name);
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), content);
  }
  // As `npm ci` leaves it.
  await mkdir(join(folder, 'node_modules/@google-cloud'), { recursive: true });
  const installed = name === 'hello' ? join(modules, framework) : '../../framework';
  await symlink(installed, join(folder, 'node_modules', framework));
  return { name, folder, kilobytes: zipOf(files).length / 1000 };
}

/** Starts a process, asks it once, and ends it. Throws, with what it said, when the answer is not the one expected. */
export async function startCold(
  { name, folder, request }: Subject,
  environment: Record<string, string>,
): Promise<Cold> {
  const port = await freePort();
  const guard = createProcessGuard();
  const said: string[] = [];
  try {
    const startedAt = performance.now();
    const child = guard.start(
      process.execPath,
      [
        join(folder, 'node_modules', framework, name === 'hello' ? 'build/src/main.js' : 'main.js'),
        `--source=${folder}`,
        `--target=${name}`,
        `--port=${port}`,
      ],
      { PATH: process.env['PATH'] ?? '', ...environment },
    );
    const heard = listenTo(child, said);
    await heard('Serving function');
    const listeningMs = performance.now() - startedAt;
    const { path, status, says, ...init } = request;
    const answer = await fetch(`http://127.0.0.1:${port}${path}`, {
      ...init,
      signal: AbortSignal.timeout(ANSWER_MS_MAX),
    });
    const text = await answer.text();
    const answerMs = performance.now() - startedAt;
    if (answer.status !== status) throw new Error(`expected ${status}, got ${answer.status} ${text}`);
    await heard(says);
    const resident = execFileSync('ps', ['-o', 'rss=', '-p', String(child.pid)], { encoding: 'utf8' });
    const exited = once(child, 'exit');
    guard.kill(child);
    await exited;
    return { listeningMs, answerMs, megabytes: Number(resident) / 1024 };
  } catch (error) {
    throw new Error(`${name} did not answer as expected:\n${said.join('\n')}`, { cause: error });
  } finally {
    guard.close();
  }
}

/** Keeps what a process says. The function made resolves when a text was said, and rejects when the process ends first. */
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
  const late = AbortSignal.timeout(ANSWER_MS_MAX);
  late.addEventListener('abort', () => ended.reject(new Error(`It was not done within ${ANSWER_MS_MAX} ms`)));
  child.once('exit', (code) => ended.reject(new Error(`It ended with ${code}`)));
  return async (text) => {
    while (!said.join('\n').includes(text)) {
      more = Promise.withResolvers<void>();
      await Promise.race([more.promise, ended.promise]);
    }
  };
}
