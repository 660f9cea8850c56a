/**
 * Does the guarantee hold? Lives of canaries that are exactly as bad as is allowed, watched for hours and looked at after every
 * window: how many reach 1/α, at three values of α. 10,000 lives in each cell; `--lives N` for fewer or more.
 */
import { parseArgs } from 'node:util';
import { drawBinomial, drawPoisson, upperBound } from '../../cli/chance.ts';
import { type Random, seededRandom } from '../../emulator/models/random.ts';
import { checksOf } from '../../machines/analysis/checks.ts';
import { type Evidence, noHistogram, type VariantCounts } from '../../machines/analysis/evidence.ts';
import { oddsOfWorse } from '../../machines/analysis/proof.ts';
import { addEvidence, beginStep, emptyTally } from '../../machines/analysis/tally.ts';
import { machineLimits } from '../../machines/rollout/limits.ts';
import type { Bench } from '../bench.ts';
import { policyOf } from '../machines/rollout/life.ts';

const alphas = [0.1, 0.01, 0.001];
const roles = { canaryId: 'canary', stableIds: ['stable'] };

interface Cell {
  name: string;
  requestsPerSecond: number;
  share: number;
  stableRatio: number;
  windowSeconds: number;
  hours: number;
  pastMinutes: number;
}

/** The margin is 0.5 points in all: the canary of each is at stable's rate and half a point. */
const marginRatio = 0.005;
const cells: Cell[] = [
  {
    name: '1 % at 20 rps',
    requestsPerSecond: 20,
    share: 0.25,
    stableRatio: 0.01,
    windowSeconds: 60,
    hours: 4,
    pastMinutes: 60,
  },
  {
    name: '0.1 % at 20 rps, no past',
    requestsPerSecond: 20,
    share: 0.05,
    stableRatio: 0.001,
    windowSeconds: 60,
    hours: 4,
    pastMinutes: 0,
  },
  {
    name: '20 % at 2 rps',
    requestsPerSecond: 2,
    share: 0.5,
    stableRatio: 0.2,
    windowSeconds: 60,
    hours: 4,
    pastMinutes: 60,
  },
  {
    name: '1 % at 20 rps by a proxy',
    requestsPerSecond: 20,
    share: 0.25,
    stableRatio: 0.01,
    windowSeconds: 5,
    hours: 0.5,
    pastMinutes: 0,
  },
];

const policy = {
  ...policyOf('  analysis: { errorRate: { max: 100%, margin: 0.5% }, latency: off }\n').analysis,
};
const checks = checksOf(policy);

// oxlint-disable-next-line typescript/require-await -- every benchmark is asynchronous
export const bench: Bench = async (report, options) => {
  const { values } = parseArgs({ args: options, options: { lives: { type: 'string', default: '10000' } } });
  const lives = Number(values.lives);
  if (!Number.isInteger(lives) || lives < 1) throw new Error(`--lives: expected a whole number, got ${values.lives}`);
  const worst = alphas.map(() => 0);
  for (const [c, cell] of cells.entries()) {
    const reached = alphas.map(() => 0);
    for (let life = 0; life < lives; life += 1) {
      const highest = highestLog(cell, seededRandom(c * 1_000_000_007 + life));
      for (const [a, alpha] of alphas.entries()) if (highest >= Math.log(1 / alpha)) reached[a] = (reached[a] ?? 0) + 1;
    }
    const shown = alphas.map((alpha, a) => `${alpha * 100} %: ${(100 * (reached[a] ?? 0)) / lives} %`);
    console.error(`${cell.name}: ${shown.join(', ')}`);
    for (const [a, hits] of reached.entries()) worst[a] = Math.max(worst[a] ?? 0, upperBound(hits, lives));
  }
  report('lives', lives * cells.length, 'lives');
  for (const [a, alpha] of alphas.entries())
    report(`false_rollback_upper95_at_${alpha * 100}_percent`, 100 * (worst[a] ?? 1), 'percent');
};

/** The highest odds of the life, as a logarithm. */
function highestLog(cell: Cell, random: Random): number {
  let state = emptyTally;
  const take = (fromSecond: number, source: string, seconds: number, share: number): void => {
    const requests = drawPoisson(random, cell.requestsPerSecond * seconds);
    const canary = drawBinomial(random, requests, share);
    const variants: Evidence['variants'] = { stable: counts(random, requests - canary, cell.stableRatio) };
    if (share > 0) variants['canary'] = counts(random, canary, cell.stableRatio + marginRatio);
    const window = { fromAt: fromSecond * 1000, toAt: (fromSecond + seconds) * 1000 };
    state = addEvidence(state, { source, window, variants }, roles, machineLimits, policy);
  };
  const beginsAt = cell.pastMinutes * 60;
  for (let second = 0; second < beginsAt; second += 60) take(second, 'monitoring', 60, 0);
  state = beginStep(state, beginsAt * 1000);
  let highest = 0;
  for (let second = 0; second < cell.hours * 3600; second += cell.windowSeconds) {
    take(beginsAt + second, 'monitoring', cell.windowSeconds, cell.share);
    highest = Math.max(highest, oddsOfWorse(state.monitoring, checks, policy).log);
  }
  return highest;
}

function counts(random: Random, requests: number, ratio: number): VariantCounts {
  return { requests, errors: drawBinomial(random, requests, ratio), latencyMs: noHistogram };
}
