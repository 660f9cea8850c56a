/**
 * Which policies are there? A folder of YAML, one policy a file, read anew each time it is asked: an edit counts at the
 * next tick. A bad file is a named problem, and hides no good one.
 */
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { formatProblem, POLICY_BYTES_MAX, parsePolicy } from '../../machines/policy/document.ts';
import type { Policy } from '../../machines/policy/policy.ts';
import { messageOf, PermanentError } from './errors.ts';
import { limits } from './limits.ts';
import type { PoliciesPort } from './ports.ts';

type Reading = { file: string } & ({ kind: 'ok'; policy: Policy } | { kind: 'invalid'; problems: string[] });

/** Policies from `*.yaml` and `*.yml` in a folder, in the order of file names; of two with one name the first counts. */
export function policiesFromFolder(folder: string): PoliciesPort {
  return {
    async list() {
      const files = await policyFiles(folder);
      const problems =
        files.length > limits.policiesMax
          ? [
              `${folder}: expected at most ${limits.policiesMax} policies, got ${files.length}; the last ones are not read`,
            ]
          : [];
      const readings = await Promise.all(files.slice(0, limits.policiesMax).map(readPolicy));
      const documents = new Map<string, Policy | null>(files.map((file) => [file, null]));
      const byName = new Map<string, { file: string; policy: Policy }>();
      for (const reading of readings) {
        if (reading.kind === 'invalid') {
          problems.push(...reading.problems);
          continue;
        }
        const { file, policy } = reading;
        const first = byName.get(policy.name);
        if (first === undefined) {
          byName.set(policy.name, { file, policy });
          documents.set(file, policy);
        } else
          problems.push(`${file} metadata.name: ${first.file} is named "${policy.name}" already; rename one of them`);
      }
      return { policies: [...byName.values()].map(({ policy }) => policy), problems, documents };
    },
  };
}

async function policyFiles(folder: string): Promise<string[]> {
  try {
    const names = await readdir(folder);
    return names
      .filter((name) => /\.ya?ml$/.test(name) && !name.startsWith('.'))
      .toSorted()
      .map((name) => join(folder, name));
  } catch (cause) {
    const message = `ROLLOUT_POLICIES: expected a folder of policies at ${folder}, could not read it; create it or mend the variable`;
    throw new PermanentError('notFound', message, { cause });
  }
}

async function readPolicy(file: string): Promise<Reading> {
  const text = await readText(file);
  if (text.kind === 'invalid') return { file, ...text };
  const parsed = parsePolicy(text.text);
  return parsed.kind === 'ok'
    ? { file, kind: 'ok', policy: parsed.policy }
    : { file, kind: 'invalid', problems: parsed.problems.map((problem) => formatProblem(file, problem)) };
}

async function readText(file: string): Promise<{ kind: 'ok'; text: string } | { kind: 'invalid'; problems: string[] }> {
  try {
    const found = await stat(file);
    // A pipe or a device could keep the reader waiting for ever.
    if (!found.isFile()) return { kind: 'invalid', problems: [`${file}: expected a file, got something else`] };
    const { size } = found;
    if (size > POLICY_BYTES_MAX) {
      return { kind: 'invalid', problems: [`${file}: expected at most ${POLICY_BYTES_MAX} bytes, got ${size}`] };
    }
    return { kind: 'ok', text: await readFile(file, 'utf8') };
  } catch (error) {
    return { kind: 'invalid', problems: [`${file}: expected a readable file, got: ${messageOf(error)}`] };
  }
}
