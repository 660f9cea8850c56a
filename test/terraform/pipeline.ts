/** What do cloudbuild.yaml and terraform/apply.yaml do, step by step? Read as Cloud Build reads them, and run without it. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { z } from 'zod';

const stepSchema = z.strictObject({
  id: z.string(),
  name: z.string(),
  entrypoint: z.string().optional(),
  args: z.array(z.string()).default([]),
  script: z.string().optional(),
  env: z.array(z.string()).default([]),
  volumes: z.array(z.strictObject({ name: z.string(), path: z.string() })).default([]),
  waitFor: z.array(z.string()).optional(),
  allow_failure: z.boolean().default(false),
});

const pipelineSchema = z.strictObject({
  steps: z.array(stepSchema).min(1),
  options: z.record(z.string(), z.unknown()).default({}),
  timeout: z.string().optional(),
});

export type Step = z.infer<typeof stepSchema>;
export type Pipeline = z.infer<typeof pipelineSchema>;

/** Throws what Cloud Build would refuse of its form. */
export function parsePipeline(text: string): Pipeline {
  return pipelineSchema.parse(parse(text));
}

/** What a step waits for, directly and by those that it waits for; without `waitFor` all before it, as Cloud Build has it. */
export function before(steps: Step[], id: string): Set<string> {
  const seen = new Set<string>();
  const waiting = [id];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const at = steps.findIndex((step) => step.id === next);
    const own = steps[at]?.waitFor ?? steps.slice(0, at).map((step) => step.id);
    for (const each of own.filter((one) => one !== '-' && !seen.has(one))) {
      seen.add(each);
      waiting.push(each);
    }
  }
  return seen;
}

/** What Cloud Build knows of itself, of what is used here. */
const builtIn = ['PROJECT_ID', 'BUILD_ID', 'COMMIT_SHA'];

type Law = (pipeline: Pipeline, variables: string[]) => string[];

/** `variables` are the substitutions of the trigger that runs it. Each law answers with the sentences of what breaks it. */
export const pipelineLaws: Record<string, Law> = {
  'each step has a name of its own, and waits for steps before it': ({ steps }) =>
    steps.flatMap(({ id, waitFor = [] }, i) => {
      const earlier = steps.slice(0, i).map((step) => step.id);
      const unknown = waitFor.filter((one) => one !== '-' && !earlier.includes(one));
      return [
        ...(earlier.includes(id) ? [`${id} is there twice`] : []),
        ...unknown.map((one) => `${id} waits for ${one}, which is not before it`),
      ];
    }),

  'no image is named here, but by a variable that Terraform takes with a digest': ({ steps }) =>
    steps.flatMap(({ id, name }) =>
      ['${_NODE}', '${_TERRAFORM}', '${_GCLOUD}'].includes(name) ? [] : [`${id} runs in ${name}, without a digest`],
    ),

  'every variable is one that the trigger gives': ({ steps }, variables) =>
    steps.flatMap(({ id, name, env, args }) =>
      [...[name, ...env, ...args].join(' ').matchAll(/\$\{?(\w+)/g)]
        .map(([, variable = '']) => variable)
        .filter((variable) => !builtIn.includes(variable) && !variables.includes(variable))
        .map((variable) => `${id} uses ${variable}, which nobody gives`),
    ),

  'a script reads what it is given, and stops at the first failure': ({ steps }) =>
    steps.flatMap(({ id, script, env }) => {
      if (script === undefined) return [];
      const [shebang = ''] = script.split('\n', 1);
      const shell = /^#!\/bin\/(sh|bash)$/.exec(shebang)?.[1];
      if (shell === undefined) return [`${id} does not say which shell it is for`];
      const { status, stderr } = spawnSync(shell, ['-n'], { input: script, encoding: 'utf8' });
      const given = [...env.map((each) => each.split('=', 1)[0]), ...assignedIn(script)];
      const unknown = [...script.matchAll(/\$\{?([A-Za-z_]\w*)/g)].flatMap(([, name = '']) =>
        given.includes(name) ? [] : [`${id} reads ${name}, which it is not given`],
      );
      return [
        ...(status === 0 ? [] : [`${id} is no script of ${shell}: ${stderr}`]),
        ...(/^set -eu/m.test(script) ? [] : [`${id} goes on after a failure`]),
        ...unknown,
      ];
    }),

  'what it calls of npm and of this folder is there': ({ steps }) => {
    const { scripts }: { scripts: Record<string, string> } = JSON.parse(readFileSync('package.json', 'utf8'));
    return steps.flatMap(({ id, entrypoint, args, script = '' }) => {
      const text = `${entrypoint ?? ''} ${args.join(' ')}\n${script}`;
      const called = [...text.matchAll(/\bnpm run ([\w:-]+)/g)].map(([, name = '']) => name);
      const files = [...text.matchAll(/(?:^|\s)((?:\.ci|cli|test)\/[\w./-]+)/gm)].map(([, file = '']) => file);
      return [
        ...called.filter((name) => !(name in scripts)).map((name) => `${id} runs npm run ${name}, which is not there`),
        ...files.filter((file) => !isFile(file)).map((file) => `${id} runs ${file}, which is not there`),
      ];
    });
  },

  'no secret is in it, nor asked for': ({ steps, options }) => {
    const text = JSON.stringify([steps, options]);
    const found = /secretEnv|availableSecrets|AIza[\w-]{30}|-----BEGIN|(?:key|token|password|secret)=(?!\$)\S/i.exec(
      text,
    );
    return found === null ? [] : [`it has ${found[0]}`];
  },
};

/** Variables that a script sets, reads into, or takes as a function's argument. */
function assignedIn(script: string): string[] {
  const assigned = [...script.matchAll(/(?:^|[\s;])([A-Za-z_]\w*)=/g)].map(([, name = '']) => name);
  const read = [...script.matchAll(/\bread -r ([\w ]+?)\s*<<</g)].flatMap(([, names = '']) => names.split(' '));
  return [...assigned, ...read];
}

function isFile(path: string): boolean {
  try {
    return readFileSync(path).length > 0;
  } catch {
    return false;
  }
}
