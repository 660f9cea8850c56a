/**
 * How does a build go without Cloud Build? Its steps one after the other, each as a process in one folder, with the real shells
 * and the real Terraform. `gcloud` is a folder and a file here, and `npm` and `node` answer what a test wants.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { Pipeline } from './pipeline.ts';

/** Storage is the folder CLOUD, a topic a file in it; a bucket's name is a folder's. With CLOUD/closed it lists nothing. */
const gcloud = `#!/bin/bash
set -euo pipefail
path() { if [[ $1 == gs://* ]]; then echo "$CLOUD/\${1#gs://}"; else echo "$1"; fi; }
case "$1 $2" in
  'storage cp')
    shift 2
    if [ "$1" = --no-clobber ]; then shift; if [ -e "$(path "$2")" ]; then exit 0; fi; fi
    mkdir -p "$(dirname "$(path "$2")")"
    if [ "$1" = - ]; then cat >"$(path "$2")"; else cp "$(path "$1")" "$(path "$2")"; fi ;;
  'storage cat') cat "$(path "$3")" ;;
  'storage ls') [ ! -e "$CLOUD/closed" ]; for file in "$(path "$3")"*; do echo "$3$(basename "$file")"; done ;;
  'pubsub topics') printf '%s\\n' "$4 $5 $6" >>"$CLOUD/messages" ;;
  *) echo "Nobody was to say gcloud $*" >&2; exit 64 ;;
esac
`;

/** The smoke test is node's one task here: it is well unless CLOUD/unwell is there. */
const node = `#!/bin/sh
[ "$1" = cli/smoke.ts ] && [ ! -e "$CLOUD/unwell" ]
`;

export interface LocalBuild {
  /** Runs steps until one fails that may not. Returns their names with how each ended, and all that they said. */
  run(
    pipeline: Pipeline,
    options: { folder: string; substitutions: Record<string, string>; only?: string[] },
  ): Promise<{ ended: Record<string, number>; text: string }>;
}

/** `cloud` is the folder that stands for Google Cloud; `environment` what Terraform needs. */
export function localBuild(cloud: string, environment: Record<string, string>): LocalBuild {
  const bin = join(cloud, 'bin');
  mkdirSync(bin, { recursive: true });
  for (const [name, text] of Object.entries({ gcloud, node, npm: '#!/bin/sh\n' })) {
    writeFileSync(join(bin, name), text);
    chmodSync(join(bin, name), 0o755);
  }
  return {
    async run({ steps }, { folder, substitutions, only }) {
      mkdirSync(folder, { recursive: true });
      const ended: Record<string, number> = {};
      let text = '';
      for (const { id, script, env, allow_failure: mayFail } of steps) {
        if (only?.includes(id) === false) continue;
        const given = env.map((each) => each.replaceAll(/\$(\w+)/g, (_, name: string) => substitutions[name] ?? ''));
        const variables = Object.fromEntries(
          given.map((each) => [each.split('=', 1)[0], each.slice(each.indexOf('=') + 1)]),
        );
        const path = `${bin}:${environment['PATH'] ?? ''}`;
        const file = join(cloud, `${id}.script`);
        writeFileSync(file, script ?? 'exit 64');
        chmodSync(file, 0o755);
        const child = spawn(file, [], {
          cwd: folder,
          env: { ...environment, ...variables, PATH: path, CLOUD: cloud },
          stdio: ['ignore', 'pipe', 'pipe'],
        });
        for (const stream of [child.stdout, child.stderr])
          stream.on('data', (chunk: Buffer) => (text += chunk.toString()));
        const [code] = z.tuple([z.number().nullable(), z.unknown()]).parse(await once(child, 'close'));
        ended[id] = code ?? 1;
        if (code !== 0 && !mayFail) break;
      }
      return { ended, text };
    },
  };
}
