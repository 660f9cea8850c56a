/** How will rollouts go, before there is one? `rollouts simulate`: many lives of the real machine; asks no running system. */

import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Command as Program } from 'commander';
import type { Policy } from '../../machines/policy/policy.ts';
import { parsePercentRatio } from '../../machines/policy/units.ts';
import { progressOf } from '../backtest/lines.ts';
import { look, print } from '../output.ts';
import { readPolicyFile } from '../policy-file.ts';
import { CliError, type ExitCode, exitCodes, type World } from '../world.ts';
import { advise, changesToTry, isHeldUp, type Trial } from './advice.ts';
import { answerFor, type PolicyAnswer } from './answer.ts';
import { type FaultName, faultNames, type Scenario } from './faults.ts';
import { drawPage } from './html.ts';
import { sources } from './lives.ts';
import { renderSimulation, type Simulation } from './render.ts';
import { drawSimulation } from './svg.ts';
import { messageOf } from '../../functions/engine/errors.ts';

interface Flags {
  rate: string;
  shape: string;
  errorRate: string;
  source: string;
  fault: string;
  lives: string;
  seed: string;
  versus?: string;
  json?: boolean;
  svg?: string;
  html?: string;
}

const HELP = `
Faults of the canary:
  none   as good as stable: a rollback would be a false alarm
  2x     twice stable's errors
  crash  every request fails
  slow   half of its answers take over twice as long
  onset  30 % errors, from two minutes into the second step on
  load   30 % errors, while its share is above 25 %
  drift  not simulated: lives are made of requests without predictions

Exit codes:
  0  answered, whatever the answer
  2  wrong usage, or an invalid policy`;

const LIVES_MAX = 10_000;
/** Beyond this a slot holds more requests than anybody's endpoint serves. */
const RATE_MAX = 1_000_000;
const RATE_MIN = 0.001;
/** Enough for a median. */
const TRIAL_LIVES_MAX = 10;

export function addSimulate(program: Program, world: World, end: (code: ExitCode) => void): void {
  program
    .command('simulate <policy>')
    .description('how rollouts under a policy would go, before there is one; needs no running system')
    .option('--rate <rps>', 'requests per second of the endpoint, on average', '20')
    .option('--shape <shape>', 'steady, or daily: from a fifth to nine fifths of the rate', 'steady')
    .option('--error-rate <percent>', "stable's errors", '1%')
    .option('--source <source>', 'monitoring, or proxy: which also rolls back by its own evidence', 'monitoring')
    .option('--fault <fault>', `${faultNames.join(', ')} or all`, 'all')
    .option('--lives <n>', 'how often each fault is lived', '50')
    .option('--seed <n>', 'where chance begins', '1')
    .option('--versus <policy>', 'another policy, lived on the same seeds')
    .option('--json', 'JSON output')
    .option('--svg <file>', 'draw the share over time')
    .option('--html <file>', 'write the whole answer as one page')
    .addHelpText('after', HELP)
    .action(async (file: string, flags: Flags) => {
      await simulate(world, file, flags);
      end(exitCodes.ok);
    });
}

async function simulate(world: World, file: string, flags: Flags): Promise<void> {
  const lives = numberOf('--lives', flags.lives, 1, LIVES_MAX, true);
  const seed = numberOf('--seed', flags.seed, 0, 2 ** 32 - 1, true);
  const faults = oneOf('--fault', flags.fault, [...faultNames, 'all']);
  const names = faults === 'all' ? faultNames : [faults];
  const asked = {
    requestsPerSecond: numberOf('--rate', flags.rate, RATE_MIN, RATE_MAX, false),
    shape: oneOf('--shape', flags.shape, ['steady', 'daily']),
    errorRatio: errorRatioOf(flags.errorRate),
    source: oneOf('--source', flags.source, ['monitoring', 'proxy']),
  };
  const files = flags.versus === undefined ? [file] : [file, flags.versus];
  const policies = await Promise.all(files.map((each) => readPolicyFile(world.folder, each)));
  const progress = progressOf(world);
  const sides = policies.map((policy, i) => {
    const label = policies.every(({ name }, k) => k === i || name !== policy.name) ? policy.name : (files[i] ?? '');
    const scenario = scenarioOf(asked, policy);
    const run = (tried: Policy, which: readonly FaultName[], count: number, what: string): PolicyAnswer =>
      answerFor(tried, scenario, which, {
        lives: count,
        seed,
        progress: (fault, life) => progress(() => `${label}${what}: ${fault}, life ${life + 1} of ${count} …`),
      });
    const answer = run(policy, names, lives, '');
    const trials = tryChanges(policy, answer, (tried, what) =>
      run(tried, ['none'], Math.min(lives, TRIAL_LIVES_MAX), what),
    );
    return { label, answer, advice: advise(answer, scenario, trials), scenario };
  });
  const [first] = sides;
  if (first === undefined) throw new Error('expected at least one policy');
  const result: Simulation = { scenario: first.scenario, lives, seed, sides };
  if (flags.svg !== undefined) await write(world, flags.svg, drawSimulation(result));
  if (flags.html !== undefined) await write(world, flags.html, drawPage(result));
  print(world, flags, jsonOf(result), () => renderSimulation(result, look(world)));
}

/** Where healthy canaries are held up, what would help is lived too, and not guessed. */
function tryChanges(
  policy: Policy,
  { answers }: PolicyAnswer,
  run: (policy: Policy, what: string) => PolicyAnswer,
): Trial[] {
  const healthy = answers.find(({ fault }) => fault === 'none');
  if (healthy === undefined || !isHeldUp(policy, healthy)) return [];
  return changesToTry(policy).flatMap(({ change, path, policy: tried }) => {
    const [answer] = run(tried, `, with ${change}`).answers;
    return answer === undefined ? [] : [{ change, path, answer }];
  });
}

/** Monitoring is read as late as the policy says that it is. */
function scenarioOf(asked: Omit<Scenario, 'source'> & { source: 'monitoring' | 'proxy' }, policy: Policy): Scenario {
  const { source, ...rest } = asked;
  const { metricLagSeconds: lagSeconds } = policy.analysis;
  return { ...rest, source: { ...(source === 'proxy' ? sources.both : sources.monitoring), lagSeconds } };
}

function jsonOf({ scenario, lives, seed, sides }: Simulation) {
  const { source, ...rest } = scenario;
  return {
    scenario: { ...rest, source: source.name },
    lives,
    seed,
    policies: sides.map(({ label, answer: { policy, ...answer }, advice }) => ({
      label,
      name: policy.name,
      steps: policy.steps,
      ...answer,
      advice,
    })),
  };
}

async function write(world: World, file: string, text: string): Promise<void> {
  try {
    await writeFile(resolve(world.folder, file), text);
  } catch (error) {
    throw new CliError(`Could not write ${file}: ${messageOf(error)}`);
  }
}

function errorRatioOf(text: string): number {
  const ratio = parsePercentRatio(text);
  if (ratio !== null && ratio <= 0.5) return ratio;
  throw usage(`Expected a percentage from 0% to 50%, such as 0.5%, for --error-rate, got "${text}"`);
}

function oneOf<Word extends string>(flag: string, text: string, words: readonly Word[]): Word {
  const found = words.find((word) => word === text);
  if (found !== undefined) return found;
  throw usage(`Expected one of ${words.join(', ')} for ${flag}, got "${text}"`);
}

function numberOf(flag: string, text: string, least: number, most: number, isWhole: boolean): number {
  const number = (isWhole ? /^\d{1,12}$/ : /^\d{1,12}(\.\d{1,6})?$/).test(text) ? Number(text) : Number.NaN;
  if (number >= least && number <= most) return number;
  throw usage(`Expected a ${isWhole ? 'whole ' : ''}number from ${least} to ${most} for ${flag}, got "${text}"`);
}

function usage(message: string): CliError {
  return new CliError(message, { exitCode: exitCodes.usage });
}
