/**
 * Do real processes on real stores survive? The processes that serve the functions are killed while rollouts go on, and many
 * writers contend for one document: on SQLite, and on Google's Firestore emulator. `npm run kills` runs the same for longer.
 */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { withFirestoreEmulator } from '../emulators.ts';
import { contend, type ContentionReport } from './contention.ts';
import type { StoreVariables } from './land.ts';
import { type KillsReport, runKills } from './run.ts';

const { KILLS, KILLS_SEED = '1' } = process.env;
const kills = Number(KILLS ?? 12);
const seed = Number(KILLS_SEED);
/** A kill or two a second for each store on an idle machine; a busy one takes its time. */
const timeout = 600_000 + kills * 4000;

const writers = 32;
const commands = KILLS === undefined ? 40 : 100;
const commandIds = Array.from({ length: commands }, (_, i) => `command-${i}`);

const reports: KillsReport[] = [];

interface Trials {
  killed: Promise<KillsReport>;
  contended: Promise<ContentionReport>;
}

/** SQLite's go on beside Firestore's: both wait more than they work. */
let onSqlite: Trials | null = null;
beforeAll(() => {
  onSqlite = begin('sqlite', (folder) => ({ ROLLOUT_STORE: `sqlite:${join(folder, 'rollouts.sqlite')}` }));
});

withFirestoreEmulator("over Google's Firestore emulator", (firestore) => {
  let trials: Trials | null = null;
  beforeAll(() => {
    trials = begin('firestore', () => ({ ROLLOUT_STORE: 'firestore', FIRESTORE_EMULATOR_HOST: firestore.host }));
  });
  survives(() => trials);
});

describe('over SQLite', () => {
  survives(() => onSqlite);
});

/** One after the other. Who fails is heard by the test that waits for it. */
function begin(name: string, store: (folder: string) => StoreVariables): Trials {
  const tell = (done: number): void => console.error(`${name}: ${done} of ${kills} kills`);
  const progress = KILLS === undefined ? undefined : tell;
  const killed = runKills({ kills, seed, project: `kills-${name}`, store, progress });
  const afterwards = () => contend({ project: `writers-${name}`, writers, commands, store });
  const contended = killed.then(afterwards, afterwards);
  for (const trial of [killed, contended]) trial.catch(() => {});
  return { killed, contended };
}

function survives(trials: () => Trials | null): void {
  test('every rollout ends as it ought to, however often its processes are killed', { timeout }, async () => {
    const report = await trials()?.killed;
    if (report === undefined) throw new Error('the trial has not begun');
    reports.push(report);
    expect(report.wrong).toEqual([]);
    expect(report.lost).toBe(0);
    expect(report.kills).toBeGreaterThanOrEqual(kills);
    // Else nothing was cut off in the middle, and nothing was shown.
    expect(report.killsAtWork).toBeGreaterThanOrEqual(kills / 4);
    expect(report.redelivered).toBeGreaterThan(0);
  });

  test('of the commands that 32 writers give to one rollout at once, each acts once', { timeout }, async () => {
    const report = await trials()?.contended;
    if (report === undefined) throw new Error('the trial has not begun');
    const { done, ignored, journalled, breaks } = report;
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
