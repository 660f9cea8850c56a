/** How many requests does a subject bear, and how long do they take when it is not pressed? */
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Pool } from 'undici';
import { body, headers, path } from './request.ts';

const run = promisify(execFile);
const CONNECTIONS = 64;

export interface Reached {
  requests: number;
  seconds: number;
}

/** As many as it answers to 64 callers who each wait for an answer before they ask again: by wrk, which takes little itself. */
export async function press(origin: string, seconds: number, folder: string): Promise<Reached> {
  const script = join(folder, 'request.lua');
  const lines = Object.entries(headers).map(([name, value]) => `wrk.headers["${name}"] = "${value}"`);
  const done =
    'done = function(s) io.write("R " .. s.requests .. " " .. s.duration .. " " .. s.errors.status .. "\\n") end';
  await writeFile(script, ['wrk.method = "POST"', `wrk.body = '${body}'`, ...lines, done].join('\n'));
  const args = ['-t', '1', '-c', String(CONNECTIONS), '-d', `${seconds}s`, '-s', script, `${origin}${path}`];
  const { stdout } = await run('wrk', args);
  const [, requests, microseconds, failed] = /^R (\d+) (\d+) (\d+)$/m.exec(stdout) ?? [];
  if (requests === undefined || failed !== '0') throw new Error(`wrk said:\n${stdout}`);
  return { requests: Number(requests), seconds: Number(microseconds) / 1e6 };
}

/** Asks at an even pace, whether or not earlier ones were answered. Gives each answer's time since its request was due. */
export async function pace(origin: string, perSecond: number, seconds: number): Promise<number[]> {
  const pool = new Pool(origin, { connections: CONNECTIONS });
  const latencies: number[] = [];
  const startedAt = performance.now();
  const total = Math.floor(perSecond * seconds);
  const all = Promise.withResolvers<void>();
  let sent = 0;
  const send = (): void => {
    const due = Math.min(total, Math.floor(((performance.now() - startedAt) / 1000) * perSecond));
    for (; sent < due; sent += 1) ask(pool, startedAt + (sent * 1000) / perSecond);
    if (sent < total) setImmediate(send);
  };
  const ask = (to: Pool, dueAt: number): void => {
    to.dispatch(
      { path, method: 'POST', headers, body },
      {
        onRequestStart: () => undefined,
        onResponseStart: () => undefined,
        onResponseData: () => undefined,
        onResponseEnd: () => {
          latencies.push(performance.now() - dueAt);
          if (latencies.length === total) all.resolve();
        },
        onResponseError: (_controller, error) => all.reject(error),
      },
    );
  };
  send();
  await all.promise;
  await pool.close();
  return latencies.toSorted((a, b) => a - b);
}
