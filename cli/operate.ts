/** How does a person steer? The commands that send: a blessing, and a word about a rollout that is under way. */
import { randomUUID } from 'node:crypto';
import type { Command as Program } from 'commander';
import type { RolloutView } from '../machines/rollout/view.ts';
import { dashboardApi, noSuchRollout } from './api.ts';
import { print } from './output.ts';
import { type Command, endpointOf, send, targetOf, versionOf } from './send.ts';
import { findSystem, type System, type SystemFlags, withSystemFlags } from './system.ts';
import { CliError, type World } from './world.ts';

/** An abort must not wait long for a dashboard that is slow. */
const LOOK_DEADLINE_MS = 3000;

interface SendOptions extends SystemFlags {
  by?: string;
  reason?: string;
}
interface BlessOptions extends SendOptions {
  endpoint?: string;
  policy?: string;
}

/** What comes after each command, so that nobody waits for the wrong thing. */
const EXPECTATIONS: Record<Command, string> = {
  pause: 'The share stays where it is. Safety checks go on, and may roll back. Go on with: rollouts resume',
  resume: 'It goes on from the same step, on fresh evidence.',
  abort: 'All traffic returns to stable at once; then the canary is undeployed.',
  promote: 'The canary gets the next step now, without waiting for evidence. Its checks go on.',
  'promote-full': 'The canary gets 100% now, without waiting for evidence. Its checks go on through the last hold.',
  approve: 'It leaves the step when its hold is over and its evidence is healthy.',
  retry: 'The same version begins anew, from its first step.',
};

/** Registers bless, pause, resume, abort, promote, approve and retry. */
export function addCommands(program: Program, world: World): void {
  withSender(
    program.command('bless <model@version>'),
    world,
    'name a version fit for production, which starts its rollout',
  )
    .option('--endpoint <endpoint>', 'only on this endpoint')
    .option('--policy <name>', 'only under this policy')
    .action(async (version: string, options: BlessOptions) => {
      const system = await findSystem(world, options.api);
      const message = {
        eventId: randomUUID(),
        ...versionOf(system, version),
        ...(options.endpoint !== undefined && { endpoint: endpointOf(system, options.endpoint) }),
        ...(options.policy !== undefined && { policy: options.policy }),
        by: options.by ?? world.user,
        blessedAt: new Date(world.now()).toISOString(),
      };
      await send(system, 'model-blessings', message);
      print(world, options, { topic: 'model-blessings', message }, () => [
        `Blessed ${message.model}@${message.versionId}.`,
        'Its rollout begins within a minute on every endpoint whose policy matches. See it with: rollouts list',
      ]);
    });

  addCommand('pause', 'keep the share where it is');
  addCommand('resume', 'go on after a pause');
  addCommand('abort', 'give all traffic back to stable, at once');
  addCommand('approve', 'let it leave a step that waits for a person');
  addCommand('retry', 'begin anew a rollout that has ended');
  addCommand('promote', "take the next step now, on a person's word").option('--full', 'take 100% now');

  function addCommand(name: Command, description: string): Program {
    return withSender(program.command(name), world, description)
      .argument('<target>', "a rollout's id, or an endpoint's full name")
      .option('--reason <text>', 'why, for the journal')
      .action((target: string, options: SendOptions & { full?: boolean }) =>
        command(world, options.full === true ? 'promote-full' : name, target, options),
      );
  }
}

/** Sends a command. Looks at the rollout first where it can; a dashboard that is silent must not stop an abort. */
async function command(world: World, name: Command, target: string, options: SendOptions): Promise<void> {
  const system = await findSystem(world, options.api);
  const meant = targetOf(target);
  if ('rollout' in meant && system.api !== null) await mustMakeSense(world, system, name, meant.rollout);
  const message = {
    command: name,
    ...meant,
    ...(options.reason !== undefined && { reason: options.reason }),
    by: options.by ?? world.user,
    commandId: randomUUID(),
  };
  await send(system, 'rollout-commands', message);
  print(world, options, { topic: 'rollout-commands', message }, () => [
    `Sent ${name} for ${target}.`,
    `${EXPECTATIONS[name]}${name === 'pause' ? ` ${target}` : ''}`,
    'rollout' in meant ? `See it with: rollouts watch ${target}` : 'See it with: rollouts list',
  ]);
}

async function mustMakeSense(world: World, system: System, name: Command, id: string): Promise<void> {
  const view = await look(world, system, id);
  if (view === 'unknown') return;
  if (view === null) throw noSuchRollout(id);
  if (view.isFinal && name !== 'retry') {
    throw new CliError(
      `Expected a rollout under way, got ${id}, which ended (${view.state}); begin it anew with: rollouts retry ${id}`,
    );
  }
  if (!view.isFinal && name === 'retry') {
    throw new CliError(
      `Expected a rollout that has ended, got ${id}, which is under way (${view.state}); end it with: rollouts abort ${id}`,
    );
  }
}

async function look(world: World, system: System, id: string): Promise<RolloutView | null | 'unknown'> {
  try {
    return await dashboardApi(system, LOOK_DEADLINE_MS).find(id);
  } catch (error) {
    if (!(error instanceof CliError)) throw error;
    world.stderr.write(`${error.message}. Sending without having looked.\n`);
    return 'unknown';
  }
}

function withSender(part: Program, world: World, description: string): Program {
  return withSystemFlags(part, description).option('--by <who>', `who says so (default: ${world.user})`);
}
