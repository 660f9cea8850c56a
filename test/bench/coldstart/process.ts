/** What happens between nothing and an answer? One process of functions-framework, as the platform starts it, and its end. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { framework } from '../../bundle/framework.ts';
import { startProcess, type Unpacked, unpack, unpackFiles } from '../../bundle/process.ts';

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

export interface Subject extends Unpacked {
  request: FirstRequest;
}

/** Milliseconds since the process was asked for; processor time and resident megabytes after the answer. */
export interface Cold {
  listeningMs: number;
  answerMs: number;
  /** Not a number where the machine does not tell. */
  cpuMs: number;
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
export function layOut(folder: string, name: string): Promise<Unpacked> {
  const installed = join(modules, framework);
  return name === 'hello'
    ? unpackFiles(folder, name, helloWorld, { installed, main: 'build/src/main.js' })
    : unpack(folder, name);
}

/** Starts a process, asks it once, and ends it. Throws, with what it said, when the answer is not the one expected. */
export async function startCold(subject: Subject, environment: Record<string, string>): Promise<Cold> {
  const startedAt = performance.now();
  const started = await startProcess(subject, environment);
  try {
    const listeningMs = performance.now() - startedAt;
    const { path, status, says, ...init } = subject.request;
    const answer = await fetch(`${started.url}${path}`, { ...init, signal: AbortSignal.timeout(ANSWER_MS_MAX) });
    const text = await answer.text();
    const answerMs = performance.now() - startedAt;
    if (answer.status !== status) throw new Error(`expected ${status}, got ${answer.status} ${text}`);
    await started.heard(says);
    return { listeningMs, answerMs, cpuMs: started.cpuMs() ?? Number.NaN, megabytes: started.megabytes() };
  } catch (error) {
    throw new Error(`${subject.name} did not answer as expected:\n${started.said.join('\n')}`, { cause: error });
  } finally {
    await started.close();
  }
}
