/** How many requests does a subject bear, and how long do they take when it is not pressed? */
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { body, headers, path } from './request.ts';

const run = promisify(execFile);
const CONNECTIONS = 64;

export interface Reached {
  requests: number;
  seconds: number;
}

/** Of what was answered, in milliseconds. */
export interface Latencies {
  p50: number;
  p99: number;
}

/** As many as it answers to 64 callers who each wait for an answer before they ask again: by wrk, which takes little itself. */
export async function press(origin: string, seconds: number, folder: string): Promise<Reached> {
  const [requests = 0, microseconds = 0] = await askByWrk(origin, seconds, folder, [], 's.requests, s.duration');
  return { requests, seconds: microseconds / 1e6 };
}

/** The same callers, of whom each rests for so long before it asks again that they come to `perSecond` together. */
export async function pace(origin: string, perSecond: number, seconds: number, folder: string): Promise<Latencies> {
  const restMs = Math.round((CONNECTIONS * 1000) / perSecond);
  // At random, or they would come together.
  const rest = [`delay = function() return math.random(0, ${2 * restMs}) end`];
  const [p50 = Number.NaN, p99 = Number.NaN] = await askByWrk(
    origin,
    seconds,
    folder,
    rest,
    'l:percentile(50), l:percentile(99)',
  );
  return { p50: p50 / 1000, p99: p99 / 1000 };
}

/** What wrk says when it is done: numbers of its summary `s` and latencies `l`, which are in microseconds. */
async function askByWrk(
  origin: string,
  seconds: number,
  folder: string,
  more: string[],
  wanted: string,
): Promise<number[]> {
  const script = join(folder, 'request.lua');
  const lines = Object.entries(headers).map(([name, value]) => `wrk.headers["${name}"] = "${value}"`);
  const done = `done = function(s, l) io.write(table.concat({"R", s.errors.status, ${wanted}}, " ") .. "\\n") end`;
  await writeFile(script, ['wrk.method = "POST"', `wrk.body = '${body}'`, ...lines, ...more, done].join('\n'));
  const args = ['-t', '1', '-c', String(CONNECTIONS), '-d', `${seconds}s`, '-s', script, `${origin}${path}`];
  const { stdout } = await run('wrk', args);
  const [failed, ...numbers] = (/^R (.+)$/m.exec(stdout)?.[1] ?? 'nothing').split(' ').map(Number);
  if (failed !== 0) throw new Error(`wrk said:\n${stdout}`);
  return numbers;
}
