/**
 * Which running system is meant? The one that flags and environment name, or else the local run of this folder, which
 * `npm start` describes in .rollouts/local.json. Never a mixture: a command must not reach one system while the answer
 * comes from another.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command as Program } from 'commander';
import { z } from 'zod';
import { CliError, exitCodes, type World } from './world.ts';

const LOCAL_FILE = join('.rollouts', 'local.json');
/** One of these in the environment means that the person has chosen a system. */
const CHOOSERS = ['ROLLOUTS_API', 'GOOGLE_CLOUD_PROJECT', 'PUBSUB_EMULATOR_HOST'] as const;

const localSchema = z.object({ api: z.url(), env: z.record(z.string(), z.string()) });

export interface System {
  /** Base URL of the dashboard, without a slash at the end; null when none is named. */
  api: string | null;
  token: string | null;
  /** Variables that say where messages go. */
  env: Record<string, string | undefined>;
  /** What to do when something is missing or silent. */
  advice: string;
}

export interface SystemFlags {
  api?: string;
  json?: boolean;
}

/** Gives a command its description and the flags that all commands of a running system have. */
export function withSystemFlags(part: Program, description: string): Program {
  return part
    .description(description)
    .option('--api <url>', "the dashboard's address (ROLLOUTS_API)")
    .option('--json', 'JSON output');
}

/** Finds the system. Throws a CliError when the local description cannot be read, or an address is none. */
export async function findSystem(world: World, apiFlag: string | undefined): Promise<System> {
  const env = Object.fromEntries(Object.entries(world.env).filter(([, value]) => value !== ''));
  const chooser = apiFlag === undefined ? CHOOSERS.find((name) => env[name] !== undefined) : '--api';
  const local = await readLocal(world.folder);
  if (chooser === undefined && local !== null) {
    world.stderr.write(`Using the local run of this folder (${LOCAL_FILE}).\n`);
    const advice = `${LOCAL_FILE} may be left from a run that ended; start it again with: npm start`;
    return { api: baseUrl(local.api), token: null, env: local.env, advice };
  }
  const unused = local === null ? '' : ` (${LOCAL_FILE} is here, and not used because of ${chooser})`;
  const api = apiFlag ?? env['ROLLOUTS_API'];
  return {
    api: api === undefined ? null : baseUrl(api),
    token: env['ROLLOUTS_TOKEN'] ?? null,
    env,
    advice: `give --api URL or ROLLOUTS_API to read, GOOGLE_CLOUD_PROJECT to send, or start a local system here with: npm start${unused}`,
  };
}

async function readLocal(folder: string): Promise<z.infer<typeof localSchema> | null> {
  let text: string;
  try {
    text = await readFile(join(folder, LOCAL_FILE), 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
    throw new CliError(`Expected to read ${LOCAL_FILE}, got: ${String(error)}`);
  }
  const parsed = localSchema.safeParse(parseJson(text));
  if (parsed.success) return parsed.data;
  throw new CliError(
    `Expected { "api", "env" } in ${LOCAL_FILE}, got something else; remove it, and run npm start again`,
  );
}

function baseUrl(text: string): string {
  if (URL.canParse(text) && /^https?:$/.test(new URL(text).protocol)) return text.replace(/\/+$/, '');
  throw new CliError(`Expected the dashboard's address, such as https://dashboard.example.app, got "${text}"`, {
    exitCode: exitCodes.usage,
  });
}

/** JSON, or undefined when the text is none. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
