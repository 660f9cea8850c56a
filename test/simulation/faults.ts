/**
 * Does the controller survive anything? `npm run simulate:faults -- --seed N --lives N`: lives of consecutive seeds on all
 * cores, until so many rollouts have lived. A seed that breaks a law is told as a story; `--seed THAT --lives 1` tells it again.
 */
import { parseArgs } from 'node:util';
import { faultKinds } from './faults/chaos.ts';
import { liveMany } from './faults/crowd.ts';
import type { LifeResult } from './faults/life.ts';
import { shrink, storyOf } from './faults/lives.ts';

/** Stories told at most; the figures count all. */
const storiesMax = 3;
const progressEveryMs = 20_000;

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    lives: { type: 'string', default: '20000' },
    story: { type: 'boolean', default: false },
  },
});
const firstSeed = wholeNumber('seed', values.seed);
const livesWanted = wholeNumber('lives', values.lives);

const startedAt = performance.now();
let toldAt = startedAt;
let violationsTold = 0;
const tally = await liveMany(firstSeed, livesWanted, ({ lives, violations }) => {
  // At once, for who stops it early.
  for (const { seed, violation } of violations.slice(violationsTold))
    process.stderr.write(`seed ${seed} breaks law ${violation?.law}: ${violation?.text}\n`);
  violationsTold = violations.length;
  if (performance.now() - toldAt < progressEveryMs) return;
  toldAt = performance.now();
  process.stderr.write(`${lives} of ${livesWanted} lives, ${violations.length} violations\n`);
});
const seconds = (performance.now() - startedAt) / 1000;
for (const failed of tally.violations.slice(0, storiesMax)) await tell(failed);
if (values.story && tally.violations.length === 0) print(await storyOf(firstSeed, new Set()));
for (const kind of faultKinds) print([`  ${kind.padEnd(20)} ${tally.byKind[kind] ?? 0}`]);
print([
  `faults.worlds ${tally.worlds} worlds`,
  `faults.awaits ${tally.awaits} awaits`,
  `faults.lives ${tally.lives} lives`,
  `faults.injected ${tally.injected} faults`,
  `faults.violations ${tally.violations.length} violations`,
  `faults.lives_per_second ${Math.round(tally.lives / seconds)}`,
]);
process.exitCode = tally.violations.length === 0 ? 0 : 1;

async function tell(failed: LifeResult): Promise<void> {
  const leftOut = await shrink(failed);
  print([
    '',
    `The story of seed ${failed.seed}, law ${failed.violation?.law}: ${failed.violation?.text}`,
    `${failed.faultsDrawn - leftOut.size} of its ${failed.faultsDrawn} faults are enough. Replay: npm run simulate:faults -- --seed ${failed.seed} --lives 1`,
    ...(await storyOf(failed.seed, leftOut)),
    '',
  ]);
}

function print(lines: string[]): void {
  process.stdout.write(`${lines.join('\n')}\n`);
}

function wholeNumber(name: string, text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text))
    throw new Error(`--${name}: expected a whole number from 1 to 999999999, got "${text}"`);
  return Number(text);
}
