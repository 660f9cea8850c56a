/**
 * What would `terraform apply` make? Runs Terraform itself, against the stand-in, in a copy of terraform/ that a test may
 * break first. Where Terraform is not installed the tests are skipped by name; in CI they fail.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe } from 'vitest';
import { z } from 'zod';
import { type StandIn, startStandIn } from './stand-in.ts';

export type Example = 'minimal' | 'hardened';

/** Variables of the two examples, as a person would give them. */
const variables: Record<Example, Record<string, unknown>> = {
  minimal: { project_id: 'my-project', location: 'us-central1' },
  hardened: {
    project_id: 'my-project',
    location: 'us-central1',
    network: 'main',
    domain: 'predict.example.com',
    operators: ['group:sre@example.com'],
    blessers: ['serviceAccount:pipeline@my-project.iam.gserviceaccount.com'],
    alert_emails: ['sre@example.com'],
    deployment: {
      repository: 'projects/my-project/locations/us-central1/connections/github/repositories/rollouts',
      composition: 'terraform/examples/production',
      approvers: ['group:sre@example.com'],
      images: {
        node: `node@sha256:${'1'.repeat(64)}`,
        terraform: `hashicorp/terraform@sha256:${'2'.repeat(64)}`,
        gcloud: `google/cloud-sdk@sha256:${'3'.repeat(64)}`,
      },
    },
  },
};

/** The functions as index.ts registers them. */
export const registered = [...readFileSync('functions/index.ts', 'utf8').matchAll(/^(cloudEvent|http)\('(\w+)'/gm)].map(
  ([, kind = '', name = '']) => ({ name, kind }),
);

/** Planning and applying takes a few seconds; what takes longer hangs. */
const deadlineMs = 50_000;

export interface Resource {
  type: string;
  name: string;
  /** Of `for_each`; null without. */
  key: string | null;
  /** As Terraform's state has them: nested blocks are lists. */
  values: Record<string, unknown>;
}

export interface Applied {
  resources: Resource[];
  outputs: Record<string, unknown>;
}

export interface Run {
  code: number;
  /** What it said, without its frames, and with the lines joined that it wrapped. */
  text: string;
}

export interface Terraform {
  /** Runs in the folder of the example. Never throws for what Terraform refuses. */
  run(...args: string[]): Promise<Run>;
  /** Applies, and returns all that was made. Throws what Terraform said when it refuses. */
  apply(): Promise<Applied>;
  /** Where Terraform remembers what it made: the world, as far as the stand-in knows it. */
  statePath: string;
}

export interface World {
  /** Opens a copy of terraform/. `changes` are what to change in it first, by file; one that is not there begins empty. */
  open: (example: Example, changes?: Changes) => Promise<Terraform>;
  /** An example as it is, applied once for all tests of a suite. */
  installed: (example: Example) => Promise<Installed>;
  /** With these variables Terraform meets the stand-in, whoever starts it. */
  environment: () => Record<string, string>;
}

export type Changes = Record<string, (text: string) => string>;

export interface Installed extends Applied {
  terraform: Terraform;
}

/** Describes tests that need Terraform. The world is there inside tests only, and is cleaned up after them. */
export function withTerraform(name: string, tests: (world: World) => void): void {
  const isMissing = spawnSync('terraform', ['-version']).status !== 0;
  const isSkipped = isMissing && (process.env['CI'] ?? '') === '';
  const suite = isSkipped ? describe.skip : describe;
  suite(isSkipped ? `${name} (skipped: terraform is not installed)` : name, () => {
    let standIn: StandIn | null = null;
    const folders: string[] = [];

    beforeAll(async () => {
      if (isMissing) throw new Error('These tests need Terraform 1.9 or newer on the path');
      standIn = await startStandIn();
    });

    afterAll(() => {
      standIn?.close();
      for (const folder of folders) rmSync(folder, { recursive: true });
    });

    const applied = new Map<Example, Promise<Installed>>();
    const world: World = {
      async open(example, changes = {}) {
        if (standIn === null) throw new Error('The stand-in runs only while tests do: open Terraform inside a test');
        const folder = mkdtempSync(join(tmpdir(), 'rollouts-terraform-'));
        folders.push(folder);
        return openIn(folder, standIn, example, changes);
      },
      installed(example) {
        const known = applied.get(example) ?? world.open(example).then(install);
        applied.set(example, known);
        return known;
      },
      environment() {
        if (standIn === null) throw new Error('The stand-in runs only while tests do: ask for it inside a test');
        return environmentOf(standIn);
      },
    };
    tests(world);
  });
}

async function install(terraform: Terraform): Promise<Installed> {
  return { ...(await terraform.apply()), terraform };
}

async function openIn(folder: string, standIn: StandIn, example: Example, changes: Changes): Promise<Terraform> {
  cpSync('terraform', folder, { recursive: true, filter: (path) => !path.includes('.terraform') });
  for (const [file, change] of Object.entries(changes)) {
    const path = join(folder, file);
    const text = readFileSync(path, { encoding: 'utf8', flag: 'a+' });
    const changed = change(text);
    if (changed === text) throw new Error(`Expected the change to ${file} to change something`);
    writeFileSync(path, changed);
  }
  const bundles = join(folder, 'bundles');
  mkdirSync(bundles);
  for (const { name } of registered) writeFileSync(join(bundles, `${name}.zip`), name);
  writeFileSync(join(bundles, 'version'), '1.2.3\n');
  const cwd = join(folder, 'examples', example);
  writeFileSync(join(cwd, 'terraform.tfvars.json'), JSON.stringify({ ...variables[example], bundles }));

  async function run(...args: string[]): Promise<Run> {
    const child = spawn('terraform', args, {
      cwd,
      env: environmentOf(standIn),
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: deadlineMs,
    });
    const chunks: Buffer[] = [];
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    const [code] = z.tuple([z.number().nullable(), z.unknown()]).parse(await once(child, 'close'));
    const output = Buffer.concat(chunks).toString();
    return { code: code ?? 1, text: output.replaceAll(/[╷│╵]/g, '').replaceAll(/\s+/g, ' ') };
  }

  const init = await run('init', '-no-color');
  if (init.code !== 0) throw new Error(init.text);
  const statePath = join(cwd, 'terraform.tfstate');
  return {
    run,
    statePath,
    async apply() {
      const applied = await run('apply', '-auto-approve', '-no-color', '-compact-warnings');
      if (applied.code !== 0) throw new Error(applied.text);
      return appliedOf(readFileSync(statePath, 'utf8'));
    },
  };
}

function environmentOf({ environment }: StandIn): Record<string, string> {
  const { PATH = '', HOME = '' } = process.env;
  const quiet = { CHECKPOINT_DISABLE: '1', TF_CLI_CONFIG_FILE: '/dev/null', TF_IN_AUTOMATION: '1' };
  return { PATH, HOME, ...environment, ...quiet };
}

const stateSchema = z.object({
  version: z.literal(4),
  outputs: z.record(z.string(), z.object({ value: z.unknown() })),
  resources: z.array(
    z.object({
      mode: z.string(),
      type: z.string(),
      name: z.string(),
      instances: z.array(
        z.object({
          index_key: z.union([z.string(), z.number()]).optional(),
          attributes: z.record(z.string(), z.unknown()),
        }),
      ),
    }),
  ),
});

/** What Terraform's state says that there is. */
export function appliedOf(state: string): Applied {
  const { outputs, resources } = stateSchema.parse(JSON.parse(state));
  return {
    resources: resources
      .filter(({ mode }) => mode === 'managed')
      .flatMap(({ type, name, instances }) =>
        instances.map(({ index_key: index, attributes: values }) => {
          return { type, name, key: index === undefined ? null : String(index), values };
        }),
      ),
    outputs: Object.fromEntries(Object.entries(outputs).map(([name, { value }]) => [name, value])),
  };
}
