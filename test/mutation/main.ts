/**
 * Would the tests notice? `npm run mutate` changes the code of machines/ and functions/engine/ in small ways, one at a time, and
 * counts the changes that some test fails on. `npm run mutate -- policy functions/engine/loop.ts` looks at some areas and files.
 */
import { Stryker } from '@stryker-mutator/core';

interface Area {
  mutate: string[];
  /** The tests that speak of it. What takes seconds is left out: it would take them again for each mutant. */
  tests: string[];
  leaveOut: string[];
}

const areas: Record<string, Area> = {
  policy: {
    mutate: ['machines/policy/**/*.ts', 'machines/nth.ts'],
    tests: ['test/machines/policy/**/*.test.ts', 'test/machines/nth.test.ts'],
    leaveOut: ['reference.test.ts', 'parsed or explained', 'brackets without end', 'minute-by-minute'],
  },
  analysis: {
    mutate: ['machines/analysis/**/*.ts'],
    tests: ['test/machines/analysis/**/*.test.ts'],
    leaveOut: [],
  },
  rollout: {
    // The picture is drawn for people, by test/picture.ts, and no rollout knows of it.
    mutate: ['machines/rollout/**/*.ts', '!machines/rollout/picture.ts'],
    tests: ['test/machines/rollout/**/*.test.ts'],
    leaveOut: ['picture.test.ts', 'any event in any state'],
  },
  engine: {
    mutate: ['functions/engine/**/*.ts'],
    tests: ['test/functions/engine/*.test.ts'],
    // Any life, races, outages and processes find more, and take seconds each: npm test runs them.
    leaveOut: [
      'laws.test.ts',
      'races.test.ts',
      'upgrade.test.ts',
      'faults-found.test.ts',
      'processes that open one file',
      'outages at any moment',
      'real stores that fail',
      'half the time of one',
      'a newer blessing',
      'acts at most once',
    ],
  },
};

interface Count {
  killed: number;
  survived: number;
}

async function measure({ mutate, tests, leaveOut }: Area, name: string): Promise<Count> {
  const configFile = 'test/mutation/stryker.json';
  const jsonReporter = { fileName: `dist/mutation-${name}.json` };
  // Stryker's type does not know of the runner's own settings.
  const settings = { configFile, mutate, inProcess: { tests, leaveOut }, jsonReporter };
  const stryker = new Stryker(settings);
  const results = await stryker.runMutationTest();
  const count = (...states: string[]) => results.filter(({ status }) => states.includes(status)).length;
  return { killed: count('Killed', 'Timeout'), survived: count('Survived', 'NoCoverage') };
}

function scoreOf({ killed, survived }: Count): string {
  return ((100 * killed) / (killed + survived)).toFixed(1);
}

/** What is asked for: all, or the areas that are named, and of others the files that are. */
function chosen(named: readonly string[]): [name: string, area: Area][] {
  const folder = (area: Area) => area.mutate[0]?.replace(/\*.*$/, '') ?? '';
  const all = Object.entries(areas);
  const isKnown = (each: string) => areas[each] !== undefined || all.some(([, area]) => each.startsWith(folder(area)));
  const unknown = named.filter((each) => !isKnown(each));
  if (unknown.length > 0) {
    throw new Error(`expected some of ${Object.keys(areas).join(', ')}, or files of theirs, got ${unknown.join(', ')}`);
  }
  return all.flatMap(([name, area]): [string, Area][] => {
    if (named.length === 0 || named.includes(name)) return [[name, area]];
    const files = named.filter((each) => each.startsWith(folder(area)));
    return files.length === 0 ? [] : [[name, { ...area, mutate: files }]];
  });
}

const total: Count = { killed: 0, survived: 0 };
const lines: string[] = [];
for (const [name, area] of chosen(process.argv.slice(2))) {
  const counted = await measure(area, name);
  const all = counted.killed + counted.survived;
  lines.push(`mutation.${name} ${scoreOf(counted)} percent, ${counted.survived} of ${all} left`);
  total.killed += counted.killed;
  total.survived += counted.survived;
}
process.stdout.write(`${lines.join('\n')}\nmutation.score ${scoreOf(total)} percent\n`);
