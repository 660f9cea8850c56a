/** May everybody do what they must? What each function's code calls, held against the roles that its account has. */
import { z } from 'zod';
import { topics } from '../../functions/engine/publish.ts';
import { callsByCheck, callsByPort, type GoogleCall, permissionsByCall } from '../../functions/gcp/permissions.ts';
import { parseReply } from '../../functions/gcp/status.ts';
import type { CheckPolicy } from '../../machines/policy/policy.ts';
import { type FunctionName, functionNames } from '../start/places.ts';
import { type Check, count, type Outcome, type Problem } from './checkup.ts';
import type { Google } from './google.ts';
import { deployedFunctions, inGoogle, policySchema } from './project.ts';
import type { Site } from './site.ts';

const { endpoints, models, metrics, schedule, policies, store } = callsByPort;
const record = [...store.load, ...store.commit];
const endpoint = Object.values(endpoints).flat();
const rollout = [...record, ...endpoint];

/** What each function calls on the project, and the topics to which it publishes. A test holds both against the code. */
export const uses: Record<FunctionName, { calls: readonly GoogleCall[]; topics: string[] }> = {
  onBlessing: {
    calls: [...rollout, ...policies.list, ...models.readVersion, ...schedule.resume],
    topics: [topics.notifications, topics.deadLetters],
  },
  onTick: {
    calls: [
      ...rollout,
      ...policies.list,
      ...models.readVersion,
      ...schedule.resume,
      ...schedule.pause,
      ...metrics.read,
      ...callsByCheck.promql,
    ],
    topics: [topics.notifications, topics.deadLetters, topics.ticks],
  },
  onCommand: {
    calls: [...rollout, ...store.listAll, ...schedule.resume],
    topics: [topics.notifications, topics.deadLetters],
  },
  onIncident: { calls: [...rollout, ...store.listAll], topics: [topics.notifications, topics.deadLetters] },
  onEvidence: { calls: rollout, topics: [topics.notifications, topics.deadLetters] },
  predict: { calls: ['rawPredict', ...policies.list], topics: [topics.evidence] },
  dashboard: { calls: store.listAll, topics: [topics.commands] },
};

/** What this command itself reads with, of whoever runs it. */
const looks = [
  'aiplatform.endpoints.get',
  'aiplatform.models.get',
  'cloudfunctions.functions.list',
  'cloudscheduler.jobs.get',
  'datastore.entities.get',
  'datastore.entities.list',
  'iam.roles.get',
  'monitoring.timeSeries.list',
  'pubsub.subscriptions.get',
  'pubsub.topics.get',
  'pubsub.topics.getIamPolicy',
  'resourcemanager.projects.getIamPolicy',
  'run.services.getIamPolicy',
  'serviceusage.services.get',
];

const grantedSchema = z.object({ permissions: z.array(z.string()).default([]) });
const roleSchema = z.object({ includedPermissions: z.array(z.string()).default([]) });

type Bindings = z.infer<typeof policySchema>['bindings'];

export const permissionChecks: Check[] = [
  inGoogle('your permissions', checkOwn),
  inGoogle('permissions', checkFunctions),
];

/** The permissions on the project that a function needs, where policies have checks from these sources. */
export function permissionsOf(name: FunctionName, sources: CheckPolicy['from']['kind'][]): string[] {
  const calls = name === 'onTick' ? sources.flatMap((source) => callsByCheck[source]) : [];
  return [
    ...new Set([...uses[name].calls, ...calls].flatMap((call): readonly string[] => permissionsByCall[call])),
  ].toSorted();
}

async function checkOwn({ environment: { project } }: Site, google: Google): Promise<Outcome> {
  const topic = `projects/${project}/topics/${topics.commands}`;
  const [looking, sending] = await Promise.all([
    granted(google, `https://cloudresourcemanager.googleapis.com/v1/projects/${project}:testIamPermissions`, looks),
    granted(google, `https://pubsub.googleapis.com/v1/${topic}:testIamPermissions`, ['pubsub.topics.publish']),
  ]);
  const problems: Problem[] = [];
  const missing = looks.filter((permission) => !looking.includes(permission));
  if (missing.length > 0) {
    problems.push({
      what: `You lack ${missing.join(', ')}.`,
      why: 'What you may not see is not checked.',
      mend: `gcloud projects add-iam-policy-binding ${project} --member=user:YOU --role=roles/viewer, and the same with --role=roles/iam.securityReviewer`,
    });
  }
  if (sending.length === 0) {
    problems.push({
      what: `You may not publish to ${topics.commands}.`,
      why: 'You cannot pause or abort a rollout.',
      mend: 'add yourself to `operators` of the Terraform module, and: terraform apply',
    });
  }
  return { seen: `${looking.length} of ${looks.length} to look, ${sending.length} of 1 to command`, problems };
}

async function granted(google: Google, url: string, permissions: string[]): Promise<string[]> {
  return parseReply(url, grantedSchema, await google(url, { permissions })).permissions;
}

async function checkFunctions(site: Site, google: Google): Promise<Outcome> {
  const { project } = site.environment;
  const sources = (await site.policies()).policies.flatMap(({ analysis }) =>
    analysis.checks.map(({ from }) => from.kind),
  );
  const url = `https://cloudresourcemanager.googleapis.com/v1/projects/${project}:getIamPolicy`;
  const [deployed, { bindings }] = await Promise.all([
    deployedFunctions(site, google),
    google(url, { options: { requestedPolicyVersion: 3 } }).then((reply) => parseReply(url, policySchema, reply)),
  ]);
  const contentOf = roleReader(google);
  const publishers = topicReader(site, google);
  const problems: Problem[] = [];
  let asked = 0;
  for (const name of functionNames) {
    const account = deployed.get(name)?.serviceConfig.serviceAccountEmail;
    if (account === undefined) continue;
    const member = `serviceAccount:${account}`;
    const roles = rolesOf(bindings, member);
    const has = new Set((await Promise.all(roles.map(contentOf))).flat());
    const needs = permissionsOf(name, sources);
    const missing = needs.filter((permission) => !has.has(permission));
    for (const topic of uses[name].topics) {
      const isPublisher = rolesOf(await publishers(topic), member).includes('roles/pubsub.publisher');
      if (!isPublisher && !has.has('pubsub.topics.publish')) missing.push(`pubsub.topics.publish on ${topic}`);
    }
    asked += needs.length + uses[name].topics.length;
    const why = `What needs it fails with PERMISSION_DENIED, in ${name}. A grant to a group or a folder is not seen here.`;
    if (missing.length > 0)
      problems.push({ what: `${account} lacks ${missing.join(', ')}.`, why, mend: 'terraform apply' });
    for (const role of roles.filter((held) => /^roles\/(owner|editor)$/.test(held))) {
      problems.push({
        what: `${account} has ${role}.`,
        why: `Whoever breaks into ${name} owns the project.`,
        mend: `gcloud projects remove-iam-policy-binding ${project} --member=${member} --role=${role}`,
      });
    }
  }
  return { seen: `${count(asked, 'permission')} of ${count(deployed.size, 'function')} asked for`, problems };
}

function rolesOf(bindings: Bindings, member: string): string[] {
  return bindings.filter(({ members }) => members.includes(member)).map(({ role }) => role);
}

/** What a role permits, each asked for once. */
function roleReader(google: Google): (role: string) => Promise<string[]> {
  const known = new Map<string, Promise<string[]>>();
  async function read(role: string): Promise<string[]> {
    const url = `https://iam.googleapis.com/v1/${role}`;
    return parseReply(url, roleSchema, await google(url)).includedPermissions;
  }
  return (role) => {
    const reading = known.get(role) ?? read(role);
    known.set(role, reading);
    return reading;
  };
}

/** Who may do what with a topic, each asked for once. */
function topicReader({ environment: { project } }: Site, google: Google): (topic: string) => Promise<Bindings> {
  const known = new Map<string, Promise<Bindings>>();
  async function read(topic: string): Promise<Bindings> {
    const url = `https://pubsub.googleapis.com/v1/projects/${project}/topics/${topic}:getIamPolicy`;
    return parseReply(url, policySchema, await google(url)).bindings;
  }
  return (topic) => {
    const reading = known.get(topic) ?? read(topic);
    known.set(topic, reading);
    return reading;
  };
}
