/** What is a rollout doing? Follows it until it is decided: redrawn in place on a terminal, a line a change elsewhere. */
import type { RolloutView } from '../machines/rollout/view.ts';
import { renderLine, renderRollout } from './render.ts';
import { CliError, type ExitCode, exitCodeOf, exitCodes, type World } from './world.ts';

/** With two seconds between, a restart of the dashboard is waited for, and a system that is gone is not. */
const FAILURES_MAX = 15;

export interface WatchOptions {
  intervalMs: number;
  /** After it, watching ends undecided. */
  timeoutMs: number;
  /** JSON: one object a line, whenever it has changed. */
  isJson: boolean;
  color: boolean;
}

/** Reads until the rollout is final, and says how it ended. A transient failure is waited out, within bounds. */
export async function watch(world: World, read: () => Promise<RolloutView>, options: WatchOptions): Promise<ExitCode> {
  const show = options.isJson
    ? jsonLines(world)
    : world.stdout.isTTY === true
      ? screen(world, options.color)
      : lines(world);
  const endAt = world.now() + options.timeoutMs;
  let failures = 0;
  while (world.now() <= endAt) {
    try {
      const view = await read();
      failures = 0;
      show(view);
      if (view.isFinal) return exitCodeOf(view);
    } catch (error) {
      failures += 1;
      if (!(error instanceof CliError && error.isTransient) || failures >= FAILURES_MAX) throw error;
      if (failures === 1) world.stderr.write(`${error.message}. Trying again.\n`);
    }
    await world.sleep(options.intervalMs);
  }
  world.stderr.write('Not decided within the time given; it goes on without being watched.\n');
  return exitCodes.undecided;
}

type Show = (view: RolloutView) => void;

/** Redraws in place, each time: what is due counts down. */
function screen({ stdout, now }: World, color: boolean): Show {
  let drawn = 0;
  return (view) => {
    const text = renderRollout(view, { width: stdout.columns ?? 80, now: now(), color });
    const back = drawn === 0 ? '' : `\u001B[${drawn}A\u001B[0J`;
    stdout.write(`${back}${text.join('\n')}\n`);
    drawn = text.length;
  };
}

function lines({ stdout, now }: World): Show {
  return onChange((view) => stdout.write(`${new Date(now()).toISOString()} ${renderLine(view)}\n`), renderLine);
}

function jsonLines({ stdout }: World): Show {
  return onChange((view) => stdout.write(`${JSON.stringify(view)}\n`), JSON.stringify);
}

function onChange(show: Show, keyOf: (view: RolloutView) => string): Show {
  let last: string | null = null;
  return (view) => {
    const key = keyOf(view);
    if (key !== last) show(view);
    last = key;
  };
}
