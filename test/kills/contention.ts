/** Does a contended record lose anything? Many writers, in several processes, give orders to one rollout at once. */
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { createProcessGuard } from '../../emulator/process-guard.ts';
import { bless } from '../../functions/engine/blessings.ts';
import { parseEnvironment } from '../../functions/engine/environment.ts';
import { topics } from '../../functions/engine/publish.ts';
import { wire } from '../../functions/wiring.ts';
import { endpointKey } from '../../machines/rollout/resource-name.ts';
import { breaks, writtenOf } from './accounts.ts';
import { openLand, type StoreVariables } from './land.ts';
import { patiently } from './run.ts';

const writer = fileURLToPath(new URL('writer.ts', import.meta.url));
const PROCESSES = 4;
const ENTRIES_MAX = 10_000;

const reportSchema = z.object({ done: z.int(), ignored: z.int(), tries: z.int() });

export interface ContentionOptions {
  project: string;
  /** A multiple of four. */
  writers: number;
  /** Each is given by two writers. */
  commands: number;
  store: (folder: string) => StoreVariables;
}

export interface ContentionReport {
  /** Answers of both kinds: a command that acted, and one that had acted before. */
  done: number;
  ignored: number;
  tries: number;
  /** How often each command stands in the journal. */
  journalled: Map<string, number>;
  /** Where the journal does not go on from where it was. */
  breaks: string[];
}

export async function contend({ project, writers, commands, store }: ContentionOptions): Promise<ContentionReport> {
  await using stack = new AsyncDisposableStack();
  const land = await openLand(project, 1, store);
  stack.defer(() => land.close());
  const pubsub = await land.clients.pubsub();
  await Promise.all(Object.values(topics).map((topic) => pubsub.createTopic(topic)));
  const scheduler = await land.clients.scheduler();
  const parent = `projects/${project}/locations/us-central1`;
  const pubsubTarget = {
    topicName: `projects/${project}/topics/${topics.ticks}`,
    data: Buffer.from('{"kind":"tick"}'),
  };
  const job = { name: `${parent}/jobs/rollout-ticks`, schedule: '* * * * *', timeZone: 'UTC', pubsubTarget };
  await scheduler.createJob({ parent, job });

  const [estate] = land.estates;
  if (estate === undefined) throw new Error('one endpoint was asked for');
  const { endpoint, model, held } = estate;
  const wiring = wire(parseEnvironment(land.environment));
  stack.defer(() => wiring.ports.store.close());
  // Nobody ticks, so the rollout stays where it begins, and only commands are written.
  const blessing = { model, versionId: land.upload(estate, true), endpoint, policy: held };
  await patiently(() => bless(wiring, blessing, 'blessing'));

  const guard = createProcessGuard();
  stack.defer(() => guard.close());
  const half = commands / 2;
  // Each half of the commands goes to two processes.
  const reports = await Promise.all(
    Array.from({ length: PROCESSES }, async (_, i) => {
      const [from, to] = i % 2 === 0 ? [0, half] : [half, commands];
      const args = [writer, endpoint, String(writers / PROCESSES), String(from), String(to)];
      const child = guard.start(process.execPath, args, { PATH: process.env['PATH'] ?? '', ...land.environment });
      const { stdout, stderr } = child;
      if (stdout === null || stderr === null) throw new Error('a guarded process has pipes');
      const [said, failed] = await Promise.all([text(stdout), text(stderr), once(child, 'close')]);
      if (child.exitCode !== 0) throw new Error(`A writer ended with ${child.exitCode}:\n${failed}`);
      return reportSchema.parse(JSON.parse(said.trim().split('\n').at(-1) ?? ''));
    }),
  );

  const rollouts = await patiently(() => wiring.ports.store.listRollouts(10));
  const [rollout] = rollouts.filter(({ key }) => key === endpointKey(endpoint));
  const entries = await patiently(() => wiring.ports.store.listJournal(rollout?.id ?? '', ENTRIES_MAX));
  const journal = entries.map(writtenOf).toSorted((a, b) => a.sequence - b.sequence);
  const journalled = new Map<string, number>();
  for (const { event } of journal) {
    if (event.type.startsWith('operator.')) {
      journalled.set(event.reason ?? '', (journalled.get(event.reason ?? '') ?? 0) + 1);
    }
  }
  const sum = (name: 'done' | 'ignored' | 'tries') => reports.reduce((total, report) => total + report[name], 0);
  return {
    done: sum('done'),
    ignored: sum('ignored'),
    tries: sum('tries'),
    journalled,
    breaks: breaks('contended', journal),
  };
}
