/** Does the controller wake? The two jobs of Cloud Scheduler: one always on, one on while something is active. */
import { z } from 'zod';
import { PermanentError } from '../../functions/engine/errors.ts';
import { limits } from '../../functions/engine/limits.ts';
import { call, parseReply } from '../../functions/gcp/status.ts';
import { roughly } from '../text.ts';
import { type Check, count, inRegion, type Outcome, type Problem } from './checkup.ts';
import type { Site } from './site.ts';

const RECONCILE = 'rollout-reconcile';
/** Two runs missed, and the third late. */
const reconcileMsMax = 25 * 60_000;
const tickMsMax = 3 * 60_000;
/** The reconcile after the last rollout's end puts it to sleep; here two of them have not. */
const sleepMsMax = 21 * 60_000;

const time = z
  .object({ seconds: z.coerce.number(), nanos: z.number() })
  .transform(({ seconds, nanos }) => seconds * 1000 + nanos / 1e6)
  .nullish();

const jobSchema = z.object({
  state: z.union([z.string(), z.number()]).transform(String),
  lastAttemptTime: time,
  userUpdateTime: time,
  status: z.object({ code: z.number(), message: z.string() }).nullish(),
});

type Job = z.infer<typeof jobSchema>;

export const clockChecks: Check[] = [
  { name: 'reconcile job', run: checkReconcile },
  { name: 'tick job', run: checkTick },
];

async function checkReconcile(site: Site): Promise<Outcome> {
  const why = 'What every other way has lost, a blessing, a tick, a canary that bills, is never found.';
  const job = await readJob(site, RECONCILE);
  if (job === null) return missing(site, RECONCILE, why);
  const problems = [...failedRun(site, RECONCILE, job), ...lateRun(site, RECONCILE, job, reconcileMsMax, why)];
  if (job.state !== 'ENABLED') {
    const mend = `gcloud scheduler jobs resume ${RECONCILE} ${inRegion(site)}`;
    problems.splice(0, problems.length, { what: `Job ${RECONCILE} is ${job.state}.`, why, mend });
  }
  return { seen: seenOf(site, job), problems };
}

async function checkTick(site: Site): Promise<Outcome> {
  const { tickJob } = site.environment;
  const [job, { active, readable }] = await Promise.all([readJob(site, tickJob), site.records()]);
  const why = 'Rollouts advance only with each reconcile, every ten minutes.';
  if (job === null) return missing(site, tickJob, why);
  const problems = failedRun(site, tickJob, job);
  if (active > 0 && job.state !== 'ENABLED') {
    const mend = `gcloud scheduler jobs resume ${tickJob} ${inRegion(site)}`;
    problems.push({
      what: `Job ${tickJob} is ${job.state} while ${count(active, 'rollout')} ${active === 1 ? 'is' : 'are'} active.`,
      why,
      mend,
    });
  } else if (active > 0) problems.push(...lateRun(site, tickJob, job, tickMsMax, why));
  const ended = readable.flatMap(({ history }) => history.map(({ endedAt }) => endedAt));
  const quietSince = Math.max(job.userUpdateTime ?? 0, ...ended);
  if (active === 0 && job.state === 'ENABLED' && site.now() - quietSince > sleepMsMax) {
    problems.push({
      what: `Job ${tickJob} is ${job.state}, and nothing is active.`,
      why: 'It wakes a function 1,440 times a day for nothing, and a reconcile that cannot pause it may fail in more.',
      mend: `gcloud logging read --freshness=1h 'resource.labels.service_name="rollouts-on-tick" AND severity>=WARNING' --project=${site.environment.project}`,
    });
  }
  return { seen: `${seenOf(site, job)}, ${active} active`, problems };
}

/** Null when there is no such job. */
async function readJob({ environment, clients }: Site, id: string): Promise<Job | null> {
  const name = `projects/${environment.project}/locations/${environment.location}/jobs/${id}`;
  try {
    const [reply] = await call(`GetJob ${name}`, limits.callDeadlineMs, async (options) =>
      (await clients.scheduler()).getJob({ name }, options),
    );
    return parseReply(`GetJob ${name}`, jobSchema, reply);
  } catch (error) {
    if (error instanceof PermanentError && error.code === 'notFound') return null;
    throw error;
  }
}

function missing(site: Site, id: string, why: string): Outcome {
  const what = `There is no job ${id} in ${site.environment.location}.`;
  return { seen: 'missing', problems: [{ what, why, mend: 'terraform apply' }] };
}

function failedRun(site: Site, id: string, { status }: Job): Problem[] {
  if (!status || status.code === 0) return [];
  const what = `The last run of job ${id} failed with ${status.code}: ${status.message || 'no message'}.`;
  const why = 'What it was to publish did not arrive.';
  return [{ what, why, mend: `terraform apply, then: gcloud scheduler jobs run ${id} ${inRegion(site)}` }];
}

/** From its last run, or from when it was made or resumed. */
function lateRun(site: Site, id: string, job: Job, ageMsMax: number, why: string): Problem[] {
  const since = Math.max(job.lastAttemptTime ?? 0, job.userUpdateTime ?? 0);
  if (site.now() - since <= ageMsMax) return [];
  const what = since === 0 ? `Job ${id} has never run.` : `Job ${id} has not run for ${roughly(site.now() - since)}.`;
  return [{ what, why, mend: `gcloud scheduler jobs run ${id} ${inRegion(site)}` }];
}

function seenOf(site: Site, { state, lastAttemptTime }: Job): string {
  return `${state}, ${lastAttemptTime ? `last run ${roughly(site.now() - lastAttemptTime)} ago` : 'no run yet'}`;
}
