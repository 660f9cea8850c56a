#!/usr/bin/env node
/**
 * What can an operator say? The `rollouts` command line: reads from the dashboard's API, and sends commands and
 * blessings as Pub/Sub messages, as everyone else does.
 */
import { userInfo } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { CommanderError, Command as Program } from 'commander';
import { parseDurationSeconds } from '../machines/policy/units.ts';
import type { RolloutView } from '../machines/rollout/view.ts';
import { type Api, dashboardApi, noSuchRollout } from './api.ts';
import { addBacktest } from './backtest/command.ts';
import { addDoctor } from './doctor.ts';
import { addCommands } from './operate.ts';
import { look, print } from './output.ts';
import { addPolicy } from './policy.ts';
import { renderRollout } from './render.ts';
import { addSimulate } from './simulate/command.ts';
import { findSystem, type SystemFlags, withSystemFlags } from './system.ts';
import { renderJournal, renderList } from './tables.ts';
import { watch } from './watch.ts';
import { CliError, type ExitCode, exitCodeOf, exitCodes, type World } from './world.ts';

interface WatchFlags extends SystemFlags {
  interval: string;
  timeout: string;
}

const HELP = `
Exit codes:
  0  done; for get and watch: promoted
  1  failed: the system or the rollout is not there, or something went wrong; doctor found a problem
  2  wrong usage, or an invalid policy
  3  get and watch: the rollout ended without promotion (rolled back, aborted, failed, superseded)
  4  get and watch: not decided (paused or under way)

Which system:
  --api URL or ROLLOUTS_API   the dashboard, to read from; ROLLOUTS_TOKEN is an identity token for it
  GOOGLE_CLOUD_PROJECT        the project to send to; ROLLOUT_LOCATION completes short names
  PUBSUB_EMULATOR_HOST        an emulator to send to
  Without any of these, the local run that npm start describes in .rollouts/local.json.

Examples:
  rollouts bless delays@3
  rollouts watch ID
  rollouts pause ID --reason "marketing mail goes out"
  rollouts policy lint policies/*.yaml`;

/**
 * Runs one command line, without the program's name. Returns the exit code; never throws for what a person or a system
 * did wrong, but says it on stderr.
 */
export async function main(args: string[], world: World): Promise<ExitCode> {
  let outcome: ExitCode = exitCodes.ok;
  const program = commandLine(world, (code) => {
    outcome = code;
  });
  try {
    await program.parseAsync(args, { from: 'user' });
    return outcome;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
    if (!(error instanceof CliError)) throw error;
    const isJson = args.includes('--json');
    world.stderr.write(`${isJson ? JSON.stringify({ error: { message: error.message } }) : error.message}\n`);
    return error.exitCode;
  }
}

function commandLine(world: World, end: (code: ExitCode) => void): Program {
  const program = new Program('rollouts')
    .description('Sees and steers the rollouts of models on Vertex AI endpoints.')
    .exitOverride()
    .configureOutput({
      writeOut: (text) => world.stdout.write(text),
      writeErr: (text) => world.stderr.write(text),
      getOutHelpWidth: () => world.stdout.columns ?? 100,
    })
    .showHelpAfterError('(see rollouts --help)')
    .addHelpText('after', HELP);
  addReads(program, world, end);
  addCommands(program, world);
  addPolicy(program, world, end);
  addBacktest(program, world, end);
  addSimulate(program, world, end);
  addDoctor(program, world, end);
  return program;
}

function addReads(program: Program, world: World, end: (code: ExitCode) => void): void {
  withSystemFlags(program.command('list'), 'every rollout that the dashboard knows, newest first').action(
    async (options: SystemFlags) => {
      const views = await (await apiOf(world, options)).list();
      print(world, options, { rollouts: views }, () => renderList(views, look(world)));
    },
  );

  withSystemFlags(program.command('get <rollout>'), 'one rollout, on one screen').action(
    async (id: string, options: SystemFlags) => {
      const view = await mustFind(await apiOf(world, options), id);
      print(world, options, view, () => renderRollout(view, look(world)));
      end(exitCodeOf(view));
    },
  );

  withSystemFlags(program.command('watch <rollout>'), 'follow a rollout until it is decided')
    .option('--interval <duration>', 'time between looks', '2s')
    .option('--timeout <duration>', 'end undecided after this', '7d')
    .action(async (id: string, options: WatchFlags) => {
      const api = await apiOf(world, options);
      const intervalMs = Math.max(100, milliseconds('--interval', options.interval));
      const timeoutMs = milliseconds('--timeout', options.timeout);
      const { color } = look(world);
      end(await watch(world, () => mustFind(api, id), { intervalMs, timeoutMs, isJson: options.json === true, color }));
    });

  withSystemFlags(program.command('journal <rollout>'), 'all that happened to a rollout, and why').action(
    async (id: string, options: SystemFlags) => {
      const entries = await (await apiOf(world, options)).journal(id);
      if (entries === null) throw noSuchRollout(id);
      print(world, options, { entries }, () => renderJournal(entries, look(world)));
    },
  );
}

async function apiOf(world: World, options: SystemFlags): Promise<Api> {
  return dashboardApi(await findSystem(world, options.api));
}

async function mustFind(api: Api, id: string): Promise<RolloutView> {
  const view = await api.find(id);
  if (view === null) throw noSuchRollout(id);
  return view;
}

function milliseconds(flag: string, text: string): number {
  const seconds = parseDurationSeconds(text);
  if (seconds !== null) return seconds * 1000;
  throw new CliError(`Expected a duration such as 2s or 10m for ${flag}, got "${text}"`, { exitCode: exitCodes.usage });
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    // A container may run under a number that has no name.
    return `uid ${process.getuid?.() ?? 'unknown'}`;
  }
}

if (import.meta.main) {
  process.exitCode = await main(process.argv.slice(2), {
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    folder: process.cwd(),
    user: userName(),
    now: Date.now,
    sleep: (ms) => sleep(ms),
  });
}
