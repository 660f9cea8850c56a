/** Is a running installation well? `rollouts doctor` looks at all that it needs, writes nothing, and says how to mend what is not. */
import { readFileSync } from 'node:fs';
import { findPackageJSON } from 'node:module';
import type { Command as Program } from 'commander';
import { z } from 'zod';
import { type Environment, parseEnvironment } from '../functions/engine/environment.ts';
import { googleClients } from '../functions/gcp/clients.ts';
import { type Finding, findingOf } from './doctor/checkup.ts';
import { clockChecks } from './doctor/clock.ts';
import { askGoogle, type Google } from './doctor/google.ts';
import { messageChecks } from './doctor/messages.ts';
import { modelChecks } from './doctor/models.ts';
import { permissionChecks } from './doctor/permissions.ts';
import { projectChecks } from './doctor/project.ts';
import { recordChecks } from './doctor/records.ts';
import { siteOf } from './doctor/site.ts';
import { look, print } from './output.ts';
import type { RenderOptions } from './render.ts';
import { findSystem, type SystemFlags, withSystemFlags } from './system.ts';
import { clean, row, type Span, type Style, wrap } from './text.ts';
import { CliError, type ExitCode, exitCodes, type World } from './world.ts';
import { messageOf } from '../functions/engine/errors.ts';

/** In the order in which they are told. */
export const checks = [
  ...projectChecks,
  ...permissionChecks,
  ...messageChecks,
  ...clockChecks,
  ...recordChecks,
  ...modelChecks,
];

/** Registers `doctor`. Ends with 0 when all is well, and 1 when anything is not. */
export function addDoctor(program: Program, world: World, end: (code: ExitCode) => void): void {
  withSystemFlags(program.command('doctor'), 'look at a running installation, read-only, and say what to mend').action(
    async (options: SystemFlags) => {
      const system = await findSystem(world, options.api);
      const environment = environmentOf(system.env, system.advice);
      const findings = await diagnose(environment, { now: world.now });
      const problems = findings.flatMap((finding) => finding.problems).length;
      print(world, options, { problems, findings }, () => render(findings, look(world)));
      end(problems === 0 ? exitCodes.ok : exitCodes.failure);
    },
  );
}

export interface Outside {
  now: () => number;
  /** Stands in for Google's administrative APIs; by default they are asked, unless an emulator is named. */
  google?: Google;
  /** Names of the checks that are made; by default all. */
  only?: readonly string[];
}

/** Looks at one installation. Throws only for a mistake of ours: what cannot be seen is a problem among the others. */
export async function diagnose(environment: Environment, { now, google, only }: Outside): Promise<Finding[]> {
  const clients = googleClients(environment);
  const isLocal = Object.values(environment.emulators).some((host) => host !== null);
  const site = siteOf({
    environment,
    clients,
    google: google ?? (isLocal ? null : askGoogle(clients)),
    version: ownVersion(),
    now,
  });
  try {
    const made = checks.filter(({ name }) => only?.includes(name) ?? true);
    return await Promise.all(made.map((check) => findingOf(check, site)));
  } finally {
    await clients.close();
  }
}

function environmentOf(variables: Record<string, string | undefined>, advice: string): Environment {
  try {
    return parseEnvironment(variables);
  } catch (error) {
    const reason = messageOf(error);
    throw new CliError(`${reason}\nWhich installation is meant? ${advice}`, { exitCode: exitCodes.usage });
  }
}

function ownVersion(): string {
  const file = findPackageJSON(import.meta.url);
  const parsed = z.object({ version: z.string() }).safeParse(file && JSON.parse(readFileSync(file, 'utf8')));
  return parsed.data?.version ?? 'unknown';
}

const styles: Record<Finding['status'], [string, Style]> = {
  ok: ['ok', 'green'],
  problem: ['PROBLEM', 'red'],
  unchecked: ['unchecked', 'dim'],
};

function render(findings: Finding[], { width, color }: RenderOptions): string[] {
  const line = (...spans: Span[]) => row(spans, width, color);
  const part = (name: string, text: string, style: Style | null) =>
    wrap(text, Math.max(20, width - 8)).map((words, i) =>
      line([`  ${i === 0 ? name : ''}`.padEnd(8), 'dim'], [words, style]),
    );
  const lines = findings.flatMap(({ check, status, seen, problems }) => [
    line([styles[status][0].padEnd(11), styles[status][1]], [check.padEnd(18), 'bold'], [clean(seen), 'dim']),
    ...problems.flatMap(({ what, why, mend }) => [
      ...part('what', what, null),
      ...part('why', why, 'dim'),
      // Not cut: it is to be copied.
      `  mend  ${clean(mend)}`,
    ]),
  ]);
  const problems = findings.flatMap((finding) => finding.problems).length;
  const unchecked = findings.filter(({ status }) => status === 'unchecked').length;
  const rest = unchecked === 0 ? '' : ` ${unchecked} of ${findings.length} checks were not made.`;
  return [...lines, '', `${problems === 0 ? 'No problem found.' : `${problems} to mend.`}${rest}`];
}
