/** Which policy is in this file? One policy to work with, or every problem of the file at once. */
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { formatProblem, parsePolicy } from '../machines/policy/document.ts';
import type { Policy } from '../machines/policy/policy.ts';
import { CliError, exitCodes } from './world.ts';
import { messageOf } from '../functions/engine/errors.ts';

/** Reads a policy from a file, relative to a folder. Throws a CliError that names each problem with its line. */
export async function readPolicyFile(folder: string, file: string): Promise<Policy> {
  let text: string;
  try {
    text = await readFile(resolve(folder, file), 'utf8');
  } catch (error) {
    throw usage(`Expected a policy file, got: ${messageOf(error)}`);
  }
  const parsed = parsePolicy(text);
  if (parsed.kind === 'ok') return parsed.policy;
  throw usage(parsed.problems.map((problem) => formatProblem(file, problem)).join('\n'));
}

function usage(message: string): CliError {
  return new CliError(message, { exitCode: exitCodes.usage });
}
