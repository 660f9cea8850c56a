/** Is a policy right, and what does it mean? Reads files; asks no running system. */
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { formatProblem, type ParsedPolicy, parsePolicy } from '../machines/policy/document.ts';
import { explainPolicy } from '../machines/policy/explain.ts';
import { CliError, type ExitCode, exitCodes, type World } from './world.ts';

/** Checks each file, and prints every problem of every file. */
export async function lintPolicies(world: World, files: string[], isJson: boolean): Promise<ExitCode> {
  const results = await Promise.all(files.map(async (file) => ({ file, ...(await parseFile(world, file)) })));
  if (isJson) world.stdout.write(`${JSON.stringify(results.map(summary), null, 2)}\n`);
  else for (const result of results) report(world, result);
  return results.every(({ kind }) => kind === 'ok') ? exitCodes.ok : exitCodes.usage;
}

/** Says in plain sentences what a policy does. */
export async function explainFile(world: World, file: string, isJson: boolean): Promise<ExitCode> {
  const parsed = await parseFile(world, file);
  if (parsed.kind === 'invalid') {
    for (const problem of parsed.problems) world.stderr.write(`${formatProblem(file, problem)}\n`);
    return exitCodes.usage;
  }
  const sentences = explainPolicy(parsed.policy);
  const text = isJson ? JSON.stringify({ policy: parsed.policy, sentences }, null, 2) : sentences.join('\n');
  world.stdout.write(`${text}\n`);
  return exitCodes.ok;
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

async function parseFile(world: World, file: string): Promise<ParsedPolicy> {
  try {
    return parsePolicy(await readFile(resolve(world.folder, file), 'utf8'));
  } catch (error) {
    const got = error instanceof Error ? error.message : 'unknown error';
    throw new CliError(`Expected a policy file, got: ${got}`, { exitCode: exitCodes.usage });
  }
}
