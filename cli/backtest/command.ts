/** Would the rule have been right? `rollouts backtest`: recorded requests through the real rule; asks no running system. */

import { writeFile } from 'node:fs/promises';
import { extname, resolve } from 'node:path';
import type { Command as Program } from 'commander';
import { seededRandom } from '../../emulator/models/random.ts';
import type { Policy } from '../../machines/policy/policy.ts';
import { parseDurationSeconds } from '../../machines/policy/units.ts';
import { look, print } from '../output.ts';
import { readPolicyFile } from '../policy-file.ts';
import { CliError, type ExitCode, exitCodes, type World } from '../world.ts';
import { readCsv } from './csv.ts';
import { progressOf } from './lines.ts';
import { readMonitoring } from './monitoring.ts';
import type { Note, Recording } from './recording.ts';
import { type Life, replay } from './replay.ts';
import { type Backtest, livesOf, renderBacktest } from './report.ts';
import { readRequestLog } from './request-log.ts';
import { divide, findRoles, type SidedWindow, type Trial, thinTo } from './sides.ts';
import { drawLife } from './svg.ts';
import { messageOf } from '../../functions/engine/errors.ts';

interface Flags {
  data: string;
  format?: string;
  canary?: string;
  stable?: string;
  split?: string;
  seed: string;
  lives: string;
  window?: string;
  cumulative?: boolean;
  every?: boolean;
  json?: boolean;
  svg?: string;
}

const HELP = `
Formats:
  monitoring  JSON of ListTimeSeries: response_count and prediction_latencies by deployed_model_id
  csv         timestamp,variant,requests,errors[,le_10,le_50,…]
  jsonl       one request a line: {"timestamp","variant","status","latencyMs"?,"prediction"?}

One variant recorded: its requests are divided at random by the shares of the policy's steps, and every rollback is a
false alarm. Two recorded: their shares stand, or are thinned to the policy's with --split policy.

Exit codes:
  0  the recorded canary would have been promoted; or false alarms are within the policy's rate
  2  wrong usage, an invalid policy, or data that cannot be used
  3  it would have been rolled back; or more false alarms than the policy's rate
  4  not decided: paused, or the recording ends first`;

const formats = {
  '.csv': 'csv',
  '.jsonl': 'jsonl',
  '.ndjson': 'jsonl',
  '.log': 'jsonl',
  '.json': 'monitoring',
} as const;
type Format = (typeof formats)[keyof typeof formats];

const LIVES_MAX = 10_000;
/** Longer than any recording: a share that is kept throughout. */
const FOREVER_SECONDS = 100 * 366 * 86_400;
/** A window with so many requests of each says by itself how large the canary's recorded part is; else those to each side do. */
const ENOUGH = 30;
const AROUND = 10;

export function addBacktest(program: Program, world: World, end: (code: ExitCode) => void): void {
  program
    .command('backtest <policy>')
    .description('what a policy would have decided on recorded requests; needs no running system')
    .requiredOption('--data <file>', 'the recorded requests')
    .option('--format <format>', 'monitoring, csv or jsonl; by default from the name of the file')
    .option('--canary <id>', 'which variant is the canary')
    .option('--stable <id>', 'which variant is stable; alone, its requests are divided at random')
    .option('--split <percent>', 'draw shares at random: a percentage to keep throughout, or "policy" for its steps')
    .option('--seed <n>', 'where chance begins', '1')
    .option('--lives <n>', 'how often requests are divided or thinned anew', '100')
    .option('--window <duration>', 'length of the windows: 60s for jsonl, else the distance of the points')
    .option('--cumulative', 'the columns of a csv are counters that only rise')
    .option('--every', 'show every verdict, and not only where they change')
    .option('--json', 'JSON output')
    .option('--svg <file>', 'draw the replay')
    .addHelpText('after', HELP)
    .action(async (file: string, flags: Flags) => end(await backtest(world, file, flags)));
}

async function backtest(world: World, policyFile: string, flags: Flags): Promise<ExitCode> {
  const seed = wholeNumber('--seed', flags.seed, 0, 2 ** 32 - 1);
  const lives = wholeNumber('--lives', flags.lives, 1, LIVES_MAX);
  const written = await readPolicyFile(world.folder, policyFile);
  const recorded = await readRecording(world, written, flags);
  const { owned, missing } = judgeable(written, recorded, flags.data);
  const recording = { ...recorded, notes: [...recorded.notes, ...missing] };
  const trial = findRoles(recording, flags);
  const split = flags.split ?? (trial.canaryId === null ? 'policy' : undefined);
  const policy = policyOf(owned, trial, split);
  const played = playLives(world, policy, trial, recording.windowMs, { split, seed, lives });
  const [life] = played;
  if (life === undefined) throw new Error('expected at least one life');
  const result: Backtest = {
    policy,
    file: flags.data,
    recording,
    trial,
    shares: split === undefined ? 'recorded' : trial.canaryId === null ? 'divided' : 'thinned',
    life,
    lives: livesOf(played, policy, { seed, isAlike: trial.canaryId === null }),
  };
  if (flags.svg !== undefined) await writeSvg(world, flags.svg, result);
  print(world, flags, jsonOf(result), () => renderBacktest(result, look(world), flags.every === true));
  return codeOf(result);
}

/** The policy without the checks that the recording has no numbers for: live, they would keep the share from rising. */
function judgeable(policy: Policy, { windows }: Recording, file: string): { owned: Policy; missing: Note[] } {
  const { analysis } = policy;
  const seen = windows.flatMap(({ variants }) => Object.values(variants));
  const hasLatency = seen.some(({ latencyMs }) => latencyMs.counts.some((count) => count > 0));
  const hasPredictions = seen.some(({ predictions }) => predictions !== undefined);
  const absent = [
    ...(analysis.latency === null || hasLatency ? [] : ['latency']),
    ...(analysis.drift === null || hasPredictions ? [] : ['drift']),
    ...analysis.checks.map(({ name }) => name),
  ];
  const owned = {
    ...policy,
    analysis: {
      ...analysis,
      latency: hasLatency ? analysis.latency : null,
      drift: hasPredictions ? analysis.drift : null,
      checks: [],
    },
  };
  const missing = absent.map((name) => ({
    text: `${name} is not judged: the recording has no numbers for it`,
    count: 1,
    first: file,
  }));
  return { owned, missing };
}

/** With recorded shares there is no chance, and one life says it all. */
function playLives(
  world: World,
  policy: Policy,
  { windows, canaryId }: Trial,
  windowMs: number,
  { split, seed, lives }: { split: string | undefined; seed: number; lives: number },
): Life[] {
  if (split === undefined) return [replay(policy, windows, windowMs, (window) => window)];
  const random = seededRandom(seed);
  const around = recordedRatios(windows);
  const progress = progressOf(world);
  return Array.from({ length: lives }, (_, i) => {
    progress(() => `Life ${i + 1} of ${lives} …`);
    return replay(policy, windows, windowMs, (window, index, percent) =>
      canaryId === null ? divide(random, window, percent) : thinTo(random, window, around[index] ?? 0, percent),
    );
  });
}

function recordedRatios(windows: SidedWindow[]): number[] {
  const sums = [{ canary: 0, all: 0 }];
  for (const { canary, stable } of windows) {
    const { canary: before, all } = sums.at(-1) ?? { canary: 0, all: 0 };
    sums.push({ canary: before + canary.requests, all: all + canary.requests + stable.requests });
  }
  return windows.map(({ canary, stable }, i) => {
    const own = canary.requests + stable.requests;
    if (Math.min(canary.requests, stable.requests) >= ENOUGH) return canary.requests / own;
    const [low, high] = [sums[Math.max(0, i - AROUND)], sums[Math.min(windows.length, i + AROUND + 1)]];
    const all = (high?.all ?? 0) - (low?.all ?? 0);
    return all === 0 ? 0 : ((high?.canary ?? 0) - (low?.canary ?? 0)) / all;
  });
}

/** The policy with the shares that the data has: recorded ones are told to the rule as if its steps had asked for them. */
function policyOf(policy: Policy, { recordedRatio }: Trial, split: string | undefined): Policy {
  if (split === 'policy') return policy;
  if (split !== undefined) {
    const percent = wholeNumber('--split', split.replace(/%$/, ''), 1, 99);
    const steps = [
      { percent, holdSeconds: FOREVER_SECONDS, approval: false },
      { percent: 100, holdSeconds: 0, approval: false },
    ];
    return { ...policy, steps };
  }
  const percent = Math.min(99, Math.max(1, Math.round((recordedRatio ?? 0) * 100)));
  return { ...policy, steps: policy.steps.map((step) => (step.percent === 100 ? step : { ...step, percent })) };
}

async function readRecording(world: World, { endpoint }: Policy, flags: Flags): Promise<Recording> {
  const windowMs = flags.window === undefined ? null : windowOf(flags.window);
  const format = formatOf(flags);
  if (flags.cumulative === true && format !== 'csv') throw usage(`Expected --cumulative with csv alone, got ${format}`);
  const path = resolve(world.folder, flags.data);
  switch (format) {
    case 'csv':
      return readCsv(world, path, { windowMs, isCumulative: flags.cumulative === true });
    case 'jsonl':
      return readRequestLog(world, path, windowMs ?? 60_000);
    case 'monitoring':
      return readMonitoring(path, endpoint, windowMs);
  }
}

function formatOf({ format, data }: Flags): Format {
  const byName = Object.entries(formats).find(([extension]) => extension === extname(data).toLowerCase())?.[1];
  const asked = format === undefined ? byName : Object.values(formats).find((known) => known === format);
  if (asked !== undefined) return asked;
  throw usage(
    `Expected --format monitoring, csv or jsonl, got ${format === undefined ? `none, and "${data}" does not tell` : `"${format}"`}`,
  );
}

function windowOf(text: string): number {
  const seconds = parseDurationSeconds(text);
  if (seconds !== null && seconds >= 1) return seconds * 1000;
  throw usage(`Expected a duration from 1s up for --window, got "${text}"`);
}

function wholeNumber(flag: string, text: string, least: number, most: number): number {
  const number = /^\d{1,12}$/.test(text) ? Number(text) : Number.NaN;
  if (number >= least && number <= most) return number;
  throw usage(`Expected a whole number from ${least} to ${most} for ${flag}, got "${text}"`);
}

async function writeSvg(world: World, file: string, result: Backtest): Promise<void> {
  try {
    await writeFile(resolve(world.folder, file), drawLife(result));
  } catch (error) {
    throw new CliError(`Could not write the drawing: ${messageOf(error)}`);
  }
}

function jsonOf({ policy, recording, trial, shares, life, lives, file }: Backtest) {
  const { windows, ...rest } = recording;
  return {
    policy: { name: policy.name, steps: policy.steps },
    data: { file, ...rest, windows: windows.length },
    shares,
    canary: trial.canaryId,
    stable: trial.stableId,
    lives,
    life,
  };
}

function codeOf({ trial, life, lives, policy }: Backtest): ExitCode {
  if (trial.canaryId === null) {
    return lives.proofs <= lives.count * policy.analysis.falseRollbackRatio ? exitCodes.ok : exitCodes.notPromoted;
  }
  if (life.outcome === 'promoted') return exitCodes.ok;
  return life.outcome === 'rolledBack' ? exitCodes.notPromoted : exitCodes.undecided;
}

function usage(message: string): CliError {
  return new CliError(message, { exitCode: exitCodes.usage });
}
