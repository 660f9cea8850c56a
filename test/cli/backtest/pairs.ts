/**
 * Does the rule tell real airports apart? Every ordered pair of the ten busiest as canary and stable, by how much later the
 * canary's flights were over the whole quarter. `npx node test/cli/backtest/pairs.ts` prints the table of docs/backtest.md.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { main } from '../../../cli/rollouts.ts';
import { busiest, flightLines } from './flights.ts';

const lineSchema = z.object({ timestamp: z.string(), variant: z.string(), status: z.number() });
const answerSchema = z.object({
  life: z.object({ outcome: z.enum(['promoted', 'rolledBack', 'paused', 'undecided']) }),
});

/** In points of the ratio of flights that were an hour late; 2 is the policy's margin. */
const groups = [
  { name: 'no worse', most: 0 },
  { name: 'worse by up to 2 points', most: 0.02 },
  { name: 'worse by 2 to 4 points', most: 0.04 },
  { name: 'worse by more than 4 points', most: 1 },
];

/** The policy's own budget, and the one that the page compares with it. */
export const budgets = [5, 0.5];

export interface PairGroup {
  name: string;
  promoted: number;
  rolledBack: number;
  paused: number;
  undecided: number;
}

/** Outcomes by group, over all ordered pairs. @param budget `maxExcessErrors` of the policy */
export async function judgePairs(budget: number): Promise<PairGroup[]> {
  const folder = mkdtempSync(join(tmpdir(), 'flights-'));
  try {
    const days = daysOf(flightLines());
    const policy = readFileSync(new URL('flights.yaml', import.meta.url), 'utf8');
    writeFileSync(join(folder, 'policy.yaml'), policy.replace(/maxExcessErrors: [\d.]+/, `maxExcessErrors: ${budget}`));
    writeFileSync(join(folder, 'days.csv'), csvOf(days));
    const result = groups.map(({ name }) => ({ name, promoted: 0, rolledBack: 0, paused: 0, undecided: 0 }));
    for (const canary of busiest) {
      for (const stable of busiest.filter((other) => other !== canary)) {
        const excess = ratioOf(days, canary) - ratioOf(days, stable);
        const group = result[groups.findIndex(({ most }) => excess <= most)];
        if (group !== undefined) group[await outcomeOf(folder, canary, stable)] += 1;
      }
    }
    return result;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

export function pairTable(result: PairGroup[]): string {
  const rows = result.map(
    ({ name, promoted, rolledBack, paused, undecided }) =>
      `| ${name} | ${promoted + rolledBack + paused + undecided} | ${promoted} | ${rolledBack} | ${paused} | ${undecided} |`,
  );
  const head = [
    '| canary over the quarter | pairs | promoted | rolled back | paused | not decided |',
    '| --- | --- | --- | --- | --- | --- |',
  ];
  return [...head, ...rows].join('\n');
}

interface Day {
  day: string;
  variant: string;
  requests: number;
  errors: number;
}

function daysOf(lines: string[]): Day[] {
  const days = new Map<string, Day>();
  for (const line of lines) {
    const { timestamp, variant, status } = lineSchema.parse(JSON.parse(line));
    const day = timestamp.slice(0, 10);
    const { requests, errors } = days.get(`${day} ${variant}`) ?? { requests: 0, errors: 0 };
    const counted = { day, variant, requests: requests + 1, errors: errors + (status === 500 ? 1 : 0) };
    days.set(`${day} ${variant}`, counted);
  }
  return [...days.values()];
}

function csvOf(days: Day[]): string {
  const rows = days.map(({ day, variant, requests, errors }) => `${day},${variant},${requests},${errors}`);
  return ['timestamp,variant,requests,errors', ...rows].join('\n');
}

function ratioOf(days: Day[], airport: string): number {
  const own = days.filter(({ variant }) => variant === airport);
  const sum = (pick: (day: Day) => number): number => own.reduce((total, day) => total + pick(day), 0);
  return sum(({ errors }) => errors) / sum(({ requests }) => requests);
}

async function outcomeOf(folder: string, canary: string, stable: string) {
  const written = { out: '', err: '' };
  const world = {
    stdout: { write: (text: string) => (written.out += text) },
    stderr: { write: (text: string) => (written.err += text) },
    env: {},
    folder,
    user: 'nobody',
    now: () => 0,
    sleep: () => Promise.resolve(),
  };
  const flags = ['--data', 'days.csv', '--canary', canary, '--stable', stable, '--json'];
  await main(['backtest', 'policy.yaml', ...flags], world);
  if (written.out === '') throw new Error(written.err);
  return answerSchema.parse(JSON.parse(written.out)).life.outcome;
}

if (import.meta.main) {
  for (const budget of budgets) {
    process.stdout.write(`maxExcessErrors: ${budget}\n${pairTable(await judgePairs(budget))}\n\n`);
  }
}
