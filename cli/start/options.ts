/** What may be asked of npm start? Its options, parsed. */
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command as Program, CommanderError, InvalidArgumentError } from 'commander';
import type { World } from '../world.ts';

export interface StartOptions {
  /** As typed, such as `delays@3`; null when nothing was. */
  bless: string | null;
  exit: boolean;
  fresh: boolean;
  requestsPerSecond: number;
  /** An absolute path. */
  policyFile: string;
  portBase: number;
}

const HELP = `
Starts a local Vertex AI, all functions and steady traffic on delays@1; blesses a version, and shows its rollout.
A rollout that was under way when an earlier run ended goes on, unless another version is to be blessed.
State and logs are in .rollouts. Nothing leaves this machine.

Versions:
  delays@2  better, and sound            delays@6  never becomes healthy
  delays@3  fails on evening flights     delays@7  crashes after some hundred requests
  delays@4  takes three times as long    delays@8  fails above a quarter of the traffic
  delays@5  predicts nearly all late

Exit codes:
  0  promoted, or stopped with Ctrl-C without --exit
  1  the system could not start, or something went wrong
  2  wrong usage, or an invalid policy
  3  with --exit: the rollout ended without promotion (rolled back, aborted, failed, superseded)
  4  with --exit: not decided (paused, stopped, or under way for too long)`;

/** The options, or the exit code when there is nothing to start: help was wanted, or the usage is wrong. */
export function parseOptions(args: string[], world: World): StartOptions | { exitCode: number } {
  const program = new Program('npm start --')
    .description('Runs the whole system on this machine, and takes a model version to 100 % before your eyes.')
    .option('--bless <model@version>', 'the version to bless (default: delays@2)')
    .option('--exit', 'end when the rollout is decided, with its exit code', false)
    .option('--fresh', 'forget all state of earlier runs', false)
    .option('--rps <number>', 'predictions asked for each second', numberFrom(1, 500), 80)
    .option(
      '--policy <file>',
      'policy of the endpoint',
      fileURLToPath(new URL('../policies/delays.yaml', import.meta.url)),
    )
    .option(
      '--port-base <number>',
      'the first of the ports that are used, on the loopback only',
      numberFrom(1024, 65_000),
      8720,
    )
    .exitOverride()
    .configureOutput({ writeOut: (text) => world.stdout.write(text), writeErr: (text) => world.stderr.write(text) })
    .showHelpAfterError('(see npm start -- --help)')
    .addHelpText('after', HELP);
  try {
    const {
      bless = null,
      exit,
      fresh,
      rps,
      policy,
      portBase,
    } = program
      .parse(args, { from: 'user' })
      .opts<{ bless?: string; exit: boolean; fresh: boolean; rps: number; policy: string; portBase: number }>();
    return { bless, exit, fresh, requestsPerSecond: rps, policyFile: resolve(world.folder, policy), portBase };
  } catch (error) {
    if (error instanceof CommanderError) return { exitCode: error.exitCode === 0 ? 0 : 2 };
    throw error;
  }
}

function numberFrom(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() !== '' && Number.isInteger(value) && value >= min && value <= max) return value;
    throw new InvalidArgumentError(`Expected a whole number from ${min} to ${max}.`);
  };
}
