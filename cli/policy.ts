/** Is a policy right, can it decide in time, and what does it mean? Reads files; asks no running system. */
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Command as Program } from 'commander';
import { formatProblem, type ParsedPolicy, parsePolicy } from '../machines/policy/document.ts';
import { type Doubt, doubtsOf } from '../machines/policy/doubts.ts';
import { explainPolicy } from '../machines/policy/explain.ts';
import type { Policy } from '../machines/policy/policy.ts';
import { pointSecondsOf, policyWarnings } from './simulate/advice.ts';
import { CliError, type ExitCode, exitCodes, type World } from './world.ts';

interface LintFlags {
  rate?: string;
  strict?: boolean;
}

/** `policy lint` and `policy explain`. */
export function addPolicy(program: Program, world: World, end: (code: ExitCode) => void): void {
  const policy = program.command('policy').description('check and explain policies; needs no running system');
  policy
    .command('lint <file...>')
    .description('every problem of every file, with its line and what to write instead')
    .option(
      '--rate <rps>',
      'requests per second of the endpoint, such as 20/s: warns of steps that get too few in time',
    )
    .option('--strict', 'warnings fail, too')
    .option('--json', 'JSON output')
    .action(async (files: string[], flags: LintFlags & { json?: boolean }) =>
      end(await lintPolicies(world, files, flags.json === true, flags)),
    );
  policy
    .command('explain <file>')
    .description('what a policy does, in plain sentences')
    .option('--json', 'JSON output')
    .action(async (file: string, flags: { json?: boolean }) =>
      end(await explainFile(world, file, flags.json === true)),
    );
}

/** Checks each file, and prints every problem of every file. */
export async function lintPolicies(
  world: World,
  files: string[],
  isJson: boolean,
  { rate, strict }: LintFlags = {},
): Promise<ExitCode> {
  const requestsPerSecond = rate === undefined ? undefined : requestsPerSecondOf(rate);
  const doubts = (policy: Policy): Doubt[] => [...doubtsOf(policy), ...deadlineDoubts(policy, requestsPerSecond)];
  const results = await Promise.all(files.map(async (file) => ({ file, ...(await parseFile(world, file, doubts)) })));
  if (isJson) world.stdout.write(`${JSON.stringify(results.map(summary), null, 2)}\n`);
  else for (const result of results) report(world, result);
  const isFine = results.every((each) => each.kind === 'ok' && (strict !== true || each.warnings.length === 0));
  return isFine ? exitCodes.ok : exitCodes.usage;
}

/** Says in plain sentences what a policy does. */
export async function explainFile(world: World, file: string, isJson: boolean): Promise<ExitCode> {
  const parsed = await parseFile(world, file, doubtsOf);
  if (parsed.kind === 'invalid') {
    for (const problem of parsed.problems) world.stderr.write(`${formatProblem(file, problem)}\n`);
    return exitCodes.usage;
  }
  const sentences = explainPolicy(parsed.policy);
  const text = isJson ? JSON.stringify({ policy: parsed.policy, sentences }, null, 2) : sentences.join('\n');
  world.stdout.write(`${text}\n`);
  return exitCodes.ok;
}

/** Where the policy cannot decide within its own deadlines; without a rate, what holds at any. */
function deadlineDoubts(policy: Policy, requestsPerSecond: number | undefined): Doubt[] {
  return policyWarnings(policy, requestsPerSecond, pointSecondsOf(policy)).map(({ path, text }) => ({
    path,
    message: text,
    instead: null,
  }));
}

function requestsPerSecondOf(text: string): number {
  const number = Number(/^(\d{1,7}(?:\.\d{1,6})?)(?:\/s)?$/.exec(text)?.[1] ?? 0);
  if (number > 0) return number;
  const message = `Expected requests per second such as 20/s or 0.5 for --rate, got "${text}"`;
  throw new CliError(message, { exitCode: exitCodes.usage });
}

function report({ stdout }: World, result: { file: string } & ParsedPolicy): void {
  const findings = result.kind === 'ok' ? result.warnings : result.problems;
  const note = result.kind === 'ok' ? 'warning: ' : '';
  for (const each of findings)
    stdout.write(`${formatProblem(result.file, { ...each, message: note + each.message })}\n`);
  if (result.kind === 'ok') stdout.write(`${result.file}: ok, policy ${result.policy.name}\n`);
}

function summary(result: { file: string } & ParsedPolicy) {
  const { file } = result;
  return result.kind === 'ok'
    ? { file, ok: true, name: result.policy.name, problems: [], warnings: result.warnings }
    : { file, ok: false, problems: result.problems, warnings: [] };
}

async function parseFile(world: World, file: string, doubts: (policy: Policy) => Doubt[]): Promise<ParsedPolicy> {
  try {
    return parsePolicy(await readFile(resolve(world.folder, file), 'utf8'), doubts);
  } catch (error) {
    const got = error instanceof Error ? error.message : 'unknown error';
    throw new CliError(`Expected a policy file, got: ${got}`, { exitCode: exitCodes.usage });
  }
}
