/**
 * Does what was just deployed run? `node cli/smoke.ts`: the doctor's checks of what a deployment makes, and one message from
 * Pub/Sub through a function to its log. Ends with 1, and says why, where it does not; terraform/apply.yaml then goes back.
 */
import { z } from 'zod';
import { type Environment, parseEnvironment } from '../functions/engine/environment.ts';
import { topics } from '../functions/engine/publish.ts';
import { type Clients, googleClients } from '../functions/gcp/clients.ts';
import { parseReply } from '../functions/gcp/status.ts';
import { type Outside, diagnose } from './doctor.ts';
import { askGoogle, type Google } from './doctor/google.ts';

/** Checks of the doctor that fail by a deployment, and not by what models and people do meanwhile. */
export const deployed = [
  'APIs',
  'functions',
  'versions',
  'pushes',
  'permissions',
  'topics',
  'subscriptions',
  'reconcile job',
  'policies',
];

/** A function that starts anew, a grant that is not yet known everywhere, and a log that is written. */
const WAKE_MS_MAX = 5 * 60_000;
const LOOK_EVERY_MS = 10_000;

export interface SmokeOptions extends Required<Pick<Outside, 'now' | 'google'>> {
  sleep: (ms: number) => Promise<void>;
}

/** Looks, and wakes the controller once. Returns what is wrong, a sentence each; none: it runs. */
export async function smoke(environment: Environment, options: SmokeOptions): Promise<string[]> {
  const findings = await diagnose(environment, { ...options, only: deployed });
  const problems = findings.flatMap(({ check, problems: found }) =>
    found.map(({ what, why, mend }) => `${check}: ${what} ${why} Mend: ${mend}`),
  );
  // What is not whole need not be waited for.
  return problems.length > 0 ? problems : wake(environment, options);
}

const logSchema = z.object({
  entries: z
    .array(
      z.object({
        severity: z.string().default('DEFAULT'),
        resource: z.object({ labels: z.record(z.string(), z.string()) }),
        jsonPayload: z.object({ message: z.string() }).optional(),
        textPayload: z.string().optional(),
      }),
    )
    .default([]),
});

async function wake(environment: Environment, { now, google, sleep }: SmokeOptions): Promise<string[]> {
  const since = now();
  const clients = googleClients(environment);
  try {
    await publishReconcile(clients);
  } finally {
    await clients.close();
  }
  while (now() - since < WAKE_MS_MAX) {
    const entries = await read(google, environment.project, since);
    const failures = entries.filter(({ severity }) => /^(ERROR|CRITICAL|ALERT|EMERGENCY)$/.test(severity));
    if (failures.length > 0)
      return failures.map(({ resource, text }) => `${resource.labels['service_name'] ?? 'a function'} failed: ${text}`);
    if (entries.some(({ text }) => /^reconcile: \d+ active, 0 failed$/.test(text))) return [];
    await sleep(LOOK_EVERY_MS);
  }
  return [`A message on ${topics.ticks} was not answered within ${WAKE_MS_MAX / 60_000} minutes.`];
}

async function publishReconcile(clients: Clients): Promise<void> {
  const pubsub = await clients.pubsub();
  await pubsub.topic(topics.ticks).publishMessage({ json: { kind: 'reconcile' } });
}

async function read(google: Google, project: string, since: number) {
  const url = 'https://logging.googleapis.com/v2/entries:list';
  const filter = [
    'resource.type="cloud_run_revision"',
    'resource.labels.service_name=~"^rollouts-"',
    `timestamp>="${new Date(since).toISOString()}"`,
    '(severity>=ERROR OR jsonPayload.message=~"^reconcile:")',
  ].join(' AND ');
  const asked = { resourceNames: [`projects/${project}`], filter, pageSize: 50 };
  const { entries } = parseReply(url, logSchema, await google(url, asked));
  return entries.map((entry) => ({ ...entry, text: entry.jsonPayload?.message ?? entry.textPayload ?? 'no message' }));
}

function passTime(ms: number): Promise<void> {
  return new Promise((resolve) => void setTimeout(resolve, ms));
}

async function main(): Promise<void> {
  const environment = parseEnvironment(process.env);
  const clients = googleClients(environment);
  const problems = await smoke(environment, { now: Date.now, google: askGoogle(clients), sleep: passTime });
  await clients.close();
  for (const problem of problems) console.log(problem);
  console.log(problems.length === 0 ? 'What was deployed runs.' : `It does not run: ${problems.length} to mend.`);
  process.exitCode = problems.length === 0 ? 0 : 1;
}

if (import.meta.main) await main();
