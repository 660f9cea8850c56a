/** Is the project as Terraform left it? APIs, functions and their version, pushes that get in, and messages that wait. */
import { z } from 'zod';
import { topics } from '../../functions/engine/publish.ts';
import { parseReply } from '../../functions/gcp/status.ts';
import { functionNames } from '../start/places.ts';
import { roughly } from '../text.ts';
import { type Check, count, inProject, inRegion, type Outcome, type Problem } from './checkup.ts';
import type { Google } from './google.ts';
import { pushed, readSubscription } from './messages.ts';
import type { Site } from './site.ts';

/** Those without which nothing works; an option of Terraform's may want more. */
const apis = [
  'aiplatform',
  'cloudfunctions',
  'cloudscheduler',
  'firestore',
  'iam',
  'logging',
  'monitoring',
  'pubsub',
  'run',
  'secretmanager',
];

/** Longer than a function takes for a message, and than a back-off. */
const waitSecondsMax = 300;

const apisSchema = z.object({
  services: z.array(z.object({ name: z.string(), state: z.string().optional() })).default([]),
});

const functionsSchema = z.object({
  functions: z
    .array(
      z.object({
        name: z.string(),
        state: z.string(),
        labels: z.record(z.string(), z.string()).default({}),
        buildConfig: z.object({ entryPoint: z.string() }),
        serviceConfig: z.object({ uri: z.string().default(''), serviceAccountEmail: z.string() }),
      }),
    )
    .default([]),
});

export const policySchema = z.object({
  bindings: z.array(z.object({ role: z.string(), members: z.array(z.string()).default([]) })).default([]),
});

const seriesSchema = z.object({
  timeSeries: z
    .array(
      z.object({
        resource: z.object({ labels: z.record(z.string(), z.string()) }),
        points: z.array(z.object({ value: z.object({ int64Value: z.coerce.number().default(0) }) })).min(1),
      }),
    )
    .default([]),
});

export type DeployedFunction = z.infer<typeof functionsSchema>['functions'][number];

/** What no local run has. */
export function inGoogle(name: string, run: (site: Site, google: Google) => Promise<Outcome>): Check {
  const unchecked = 'only a project has it, and this is a local run';
  return { name, run: async (site) => (site.google === null ? { unchecked } : run(site, site.google)) };
}

export const projectChecks: Check[] = [
  inGoogle('APIs', checkApis),
  inGoogle('functions', checkFunctions),
  inGoogle('versions', checkVersions),
  inGoogle('pushes', checkPushes),
  inGoogle('backlog', checkBacklog),
];

async function checkApis(site: Site, google: Google): Promise<Outcome> {
  const { project } = site.environment;
  const names = apis.map((api) => `names=projects/${project}/services/${api}.googleapis.com`).join('&');
  const url = `https://serviceusage.googleapis.com/v1/projects/${project}/services:batchGet?${names}`;
  const { services } = parseReply(url, apisSchema, await google(url));
  const on = new Set(services.filter(({ state }) => state === 'ENABLED').map(({ name }) => name.split('/').at(-1)));
  const problems = apis
    .map((api) => `${api}.googleapis.com`)
    .filter((api) => !on.has(api))
    .map(
      (api): Problem => ({
        what: `${api} is not enabled.`,
        why: 'Every call to it is refused.',
        mend: `gcloud services enable ${api} ${inProject(site)}`,
      }),
    );
  return { seen: `${apis.length - problems.length} of ${apis.length} enabled`, problems };
}

/** Those of this installation, by the name that the code gives them. */
export async function deployedFunctions(site: Site, google: Google): Promise<Map<string, DeployedFunction>> {
  const { project, location } = site.environment;
  const url = `https://cloudfunctions.googleapis.com/v2/projects/${project}/locations/${location}/functions?pageSize=1000`;
  const { functions } = parseReply(url, functionsSchema, await google(url));
  const ours = functions.filter(({ labels }) => labels['app'] === 'vertex-rollouts');
  return new Map(ours.map((deployed) => [deployed.buildConfig.entryPoint, deployed]));
}

async function checkFunctions(site: Site, google: Google): Promise<Outcome> {
  const deployed = await deployedFunctions(site, google);
  const problems = functionNames.flatMap((name): Problem[] => {
    const state = deployed.get(name)?.state;
    if (state === 'ACTIVE') return [];
    const mend =
      state === undefined
        ? 'terraform apply'
        : `gcloud functions describe ${shortName(deployed.get(name))} --gen2 ${inRegion(site, 'region')}`;
    const what = state === undefined ? `There is no function ${name}.` : `Function ${name} is ${state}.`;
    return [{ what, why: 'What it is for does not happen; its messages wait, and are set aside in the end.', mend }];
  });
  return { seen: `${functionNames.length - problems.length} of ${functionNames.length} active`, problems };
}

/** The label has no dots: terraform/functions.tf writes 1.2.3-rc.1 as 1-2-3-rc-1. */
async function checkVersions(site: Site, google: Google): Promise<Outcome> {
  const deployed = await deployedFunctions(site, google);
  const versions = new Map(
    [...deployed].flatMap(([name, { labels }]) => (labels['version'] ? [[name, labels['version']]] : [])),
  );
  if (versions.size === 0) return { unchecked: 'the functions bear no label "version"' };
  const problems = [...versions]
    .filter(([, version]) => version !== site.version.replaceAll('.', '-'))
    .map(
      ([name, version]): Problem => ({
        what: `Function ${name} is of version ${version.replaceAll('-', '.')}, and this command line of ${site.version}.`,
        why: 'An older one leaves alone the records that a newer one has written.',
        mend: 'npm run bundle && terraform apply, or use the command line of the version that is deployed',
      }),
    );
  return { seen: `this is ${site.version}`, problems };
}

/** Pub/Sub calls with a token of its own account; a function closed to it answers 403 until the message is set aside. */
async function checkPushes(site: Site, google: Google): Promise<Outcome> {
  const { project, location } = site.environment;
  const deployed = await deployedFunctions(site, google);
  const pushes = `serviceAccount:rollouts-push@${project}.iam.gserviceaccount.com`;
  const problems: Problem[] = [];
  for (const [topic, why] of Object.entries(pushed)) {
    const subscription = await readSubscription(site, topic);
    const target = subscription?.pushConfig?.pushEndpoint;
    if (!target) continue;
    const called = [...deployed.values()].find(({ serviceConfig: { uri } }) => uri !== '' && target.startsWith(uri));
    if (called === undefined) {
      const what = `Subscription ${topic} pushes to ${target}, where none of the functions is.`;
      problems.push({ what, why, mend: 'terraform apply' });
      continue;
    }
    const service = `projects/${project}/locations/${location}/services/${shortName(called)}`;
    const url = `https://run.googleapis.com/v2/${service}:getIamPolicy`;
    const { bindings } = parseReply(url, policySchema, await google(url));
    if (bindings.some(({ role, members }) => role === 'roles/run.invoker' && members.includes(pushes))) continue;
    problems.push({
      what: `Pub/Sub may not call ${shortName(called)}: ${pushes} has no roles/run.invoker on it.`,
      why,
      mend: `gcloud run services add-iam-policy-binding ${shortName(called)} --member=${pushes} --role=roles/run.invoker ${inRegion(site, 'region')}`,
    });
  }
  return { seen: `${count(Object.keys(pushed).length, 'subscription')} looked at`, problems };
}

async function checkBacklog(site: Site, google: Google): Promise<Outcome> {
  const [ages, waiting] = await Promise.all([
    newest(site, google, 'oldest_unacked_message_age', Object.keys(pushed)),
    newest(site, google, 'num_undelivered_messages', [topics.deadLetters, 'rollouts-waiting']),
  ]);
  const problems: Problem[] = [];
  for (const [name, seconds] of ages) {
    if (seconds <= waitSecondsMax) continue;
    problems.push({
      what: `The oldest message of ${name} waits for ${roughly(seconds * 1000)}.`,
      why: pushed[name] ?? '',
      mend: `gcloud logging read --freshness=1h 'resource.type="cloud_run_revision" AND resource.labels.service_name=~"^rollouts-" AND severity>=ERROR' ${inProject(site)}`,
    });
  }
  for (const [name, messages] of waiting) {
    if (messages === 0) continue;
    problems.push({
      what: `${count(messages, 'message')} in ${name}.`,
      why:
        name === topics.deadLetters ? 'They were set aside, and nobody has looked.' : 'A rollout waits for a person.',
      mend: `gcloud pubsub subscriptions pull ${name} --limit=20 --format=json ${inProject(site)}`,
    });
  }
  return { seen: problems.length === 0 ? 'nothing waits' : count(problems.length, 'queue'), problems };
}

/** The newest value of a metric by subscription; one without any is left out. */
async function newest(
  site: Site,
  google: Google,
  metric: string,
  subscriptions: string[],
): Promise<[string, number][]> {
  const url = new URL(`https://monitoring.googleapis.com/v3/projects/${site.environment.project}/timeSeries`);
  const ids = subscriptions.map((id) => `"${id}"`).join(',');
  url.searchParams.set(
    'filter',
    `metric.type="pubsub.googleapis.com/subscription/${metric}" AND resource.labels.subscription_id=one_of(${ids})`,
  );
  url.searchParams.set('interval.startTime', new Date(site.now() - 10 * 60_000).toISOString());
  url.searchParams.set('interval.endTime', new Date(site.now()).toISOString());
  const { timeSeries } = parseReply(`ListTimeSeries of ${metric}`, seriesSchema, await google(url.href));
  return timeSeries.map(({ resource, points: [latest] }) => [
    resource.labels['subscription_id'] ?? '',
    latest?.value.int64Value ?? 0,
  ]);
}

function shortName(deployed: DeployedFunction | undefined): string {
  return deployed?.name.split('/').at(-1) ?? '';
}
