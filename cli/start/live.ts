/** What does a person see meanwhile? On a terminal one screen, redrawn in place below what was told; elsewhere plain lines. */
import type { TrafficStats } from '../../emulator/traffic.ts';
import type { RolloutView } from '../../machines/rollout/view.ts';
import { look } from '../output.ts';
import { renderLine, renderRollout, shortVersion } from '../render.ts';
import { clean } from '../text.ts';
import type { World } from '../world.ts';

export interface Live {
  /** Tells something once; it stays. */
  tell(note: string): void;
  /** Shows how things are now. */
  show(view: RolloutView, traffic: TrafficStats): void;
}

/** The terminal's own lines, or plain ones where there is no terminal. */
export function createLive(world: World): Live {
  return world.stdout.isTTY === true ? screen(world) : lines(world);
}

function screen(world: World): Live {
  const { stdout } = world;
  let shown: string[] = [];
  let shownId: string | null = null;
  function draw(next: string[], above: string): void {
    const back = shown.length === 0 ? '' : `\u001B[${shown.length}A\u001B[0J`;
    stdout.write(`${back}${above}${next.map((line) => `${line}\n`).join('')}`);
    shown = next;
  }
  return {
    tell: (note) => draw(shown, `${note}\n`),
    show(view, traffic) {
      // What is shown of an earlier rollout stays.
      if (view.id !== shownId) shown = [];
      shownId = view.id;
      // Higher than the terminal, the first lines could not be reached any more.
      const rows = (process.stdout.rows ?? 40) - 1;
      draw(['', ...renderRollout(view, look(world)), '', trafficLine(traffic)].slice(-rows), '');
    },
  };
}

function lines({ stdout, now }: World): Live {
  let last = '';
  const write = (text: string): unknown => stdout.write(`${new Date(now()).toISOString().slice(11, 19)} ${text}\n`);
  return {
    tell: (note) => void stdout.write(`${note}\n`),
    show(view, traffic) {
      const line = `${shortVersion(view)} · ${renderLine(view)}`;
      if (line === last) return;
      last = line;
      write(view.isFinal ? `${line}\n${trafficLine(traffic)}` : line);
    },
  };
}

function trafficLine({ sent, ok, failed, skipped, p50Ms, p95Ms }: TrafficStats): string {
  const failures = Object.entries(failed).map(([what, count]) => `${count} × ${what}`);
  const latency =
    p50Ms === null || p95Ms === null ? '' : ` · half within ${p50Ms.toFixed(0)} ms, 95% within ${p95Ms.toFixed(0)} ms`;
  const unsent = skipped === 0 ? '' : ` · ${skipped} not sent`;
  return clean(
    `traffic   ${sent} predictions asked for, ${ok} answered${failures.length === 0 ? '' : ` (${failures.join(', ')})`}${latency}${unsent}`,
  );
}
