/**
 * Do real processes on real stores survive? The processes that serve the functions are killed while rollouts go on, and many
 * writers contend for one document: on SQLite, and on Google's Firestore emulator. `npm run kills` runs the same for longer.
 */
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { withFirestoreEmulator } from '../emulators.ts';
import { contend } from './contention.ts';
import type { StoreVariables } from './land.ts';
import { type KillsReport, runKills } from './run.ts';

const { KILLS, KILLS_SEED = '1' } = process.env;
const kills = Number(KILLS ?? 30);
const seed = Number(KILLS_SEED);
/** Five kills a second on an idle machine; a busy one takes its time. */
const timeout = 300_000 + kills * 2000;

const writers = 32;
const commands = 100;
const commandIds = Array.from({ length: commands }, (_, i) => `command-${i}`);

const reports: KillsReport[] = [];

describe('over SQLite', () => {
  survives('sqlite', (folder) => ({ ROLLOUT_STORE: `sqlite:${join(folder, 'rollouts.sqlite')}` }));
});

withFirestoreEmulator("over Google's Firestore emulator", (firestore) => {
  survives('firestore', () => ({ ROLLOUT_STORE: 'firestore', FIRESTORE_EMULATOR_HOST: firestore.host }));
});

function survives(name: string, store: (folder: string) => StoreVariables): void {
  test('every rollout ends as it ought to, however often its processes are killed', { timeout }, async () => {
    const report = await runKills({ kills, seed, project: `kills-${name}`, store });
    reports.push(report);
    expect(report.wrong).toEqual([]);
    expect(report.lost).toBe(0);
    expect(report.kills).toBeGreaterThanOrEqual(kills);
    // Else nothing was cut off in the middle, and nothing was shown.
    expect(report.killsAtWork).toBeGreaterThan(kills / 4);
    expect(report.redelivered).toBeGreaterThan(0);
  });

  test('of the commands that 32 writers give to one rollout at once, each acts once', { timeout }, async () => {
    const { done, ignored, journalled, breaks } = await contend({
      project: `writers-${name}`,
      writers,
      commands,
      store,
    });
    expect({ done, ignored }).toEqual({ done: commands, ignored: commands });
    expect([...journalled.keys()].toSorted()).toEqual(commandIds.toSorted());
    expect([...journalled.values()].every((times) => times === 1)).toBe(true);
    expect(breaks).toEqual([]);
  });
}

afterAll(() => {
  if (KILLS === undefined) return;
  const total = (figure: 'kills' | 'killsAtWork' | 'redelivered' | 'rollouts' | 'orders' | 'repaired' | 'lost') =>
    reports.reduce((sum, report) => sum + report[figure], 0);
  console.log(
    [
      `kills.survived ${total('kills')} kills`,
      `kills.at_work ${total('killsAtWork')} kills`,
      `kills.redelivered ${total('redelivered')} messages`,
      `kills.rollouts ${total('rollouts')} rollouts`,
      `kills.orders ${total('orders')} commands`,
      `kills.repaired ${total('repaired')} deployments`,
      `kills.lost ${total('lost')} rollouts`,
    ].join('\n'),
  );
});
