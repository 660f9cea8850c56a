/** Do messages reach the functions? Topics, the subscription that pushes each, and where it puts what cannot be delivered. */
import { z } from 'zod';
import { PermanentError } from '../../functions/engine/errors.ts';
import { limits } from '../../functions/engine/limits.ts';
import { topics } from '../../functions/engine/publish.ts';
import { call, parseReply } from '../../functions/gcp/status.ts';
import { type Check, inProject, type Outcome, type Problem } from './checkup.ts';
import type { Site } from './site.ts';

/** What is lost while a topic is not pushed. Subscriptions have their topics' names. */
export const pushed: Record<string, string> = {
  [topics.blessings]: 'A blessing starts its rollout only when the next reconcile finds it.',
  [topics.ticks]: 'Rollouts stand still.',
  [topics.commands]: 'Nobody can pause, promote or abort.',
  [topics.incidents]: 'An alert on an endpoint does not stop its rollout.',
  [topics.evidence]: 'What the proxy sees does not bring a bad version back within seconds.',
};

const subscriptionSchema = z.object({
  topic: z.string(),
  pushConfig: z.object({ pushEndpoint: z.string() }).nullish(),
  deadLetterPolicy: z.object({ deadLetterTopic: z.string() }).nullish(),
});

export type Subscription = z.infer<typeof subscriptionSchema>;

export const messageChecks: Check[] = [
  { name: 'topics', run: checkTopics },
  { name: 'subscriptions', run: checkSubscriptions },
];

async function checkTopics(site: Site): Promise<Outcome> {
  const names: string[] = Object.values(topics);
  const isThere = await Promise.all(names.map((name) => hasTopic(site, name)));
  const problems = names
    .filter((_, i) => isThere[i] === false)
    .map(
      (name): Problem => ({
        what: `There is no topic ${name}.`,
        why: pushed[name] ?? 'What is published to it is lost.',
        mend: 'terraform apply',
      }),
    );
  return { seen: `${names.length - problems.length} of ${names.length} there`, problems };
}

async function checkSubscriptions(site: Site): Promise<Outcome> {
  const problems = await Promise.all(
    Object.keys(pushed).map(async (name) => faultsOf(site, name, await readSubscription(site, name))),
  );
  const broken = problems.filter((faults) => faults.length > 0).length;
  return { seen: `${problems.length - broken} of ${problems.length} as they must be`, problems: problems.flat() };
}

function faultsOf(site: Site, name: string, found: Subscription | null): Problem[] {
  const subject = `Subscription ${name}`;
  const why = pushed[name] ?? '';
  if (found === null) return [{ what: `${subject} is not there.`, why, mend: 'terraform apply' }];
  const problems: Problem[] = [];
  const topic = `projects/${site.environment.project}/topics/${name}`;
  if (!isSameTopic(found.topic, topic)) {
    const mend = `gcloud pubsub subscriptions delete ${name} ${inProject(site)}, then: terraform apply`;
    problems.push({ what: `${subject} is of ${found.topic}, and not of ${topic}.`, why, mend });
  }
  if (!found.pushConfig?.pushEndpoint)
    problems.push({ what: `${subject} pushes to nobody.`, why, mend: 'terraform apply' });
  if (!found.deadLetterPolicy?.deadLetterTopic) {
    const flags = `--dead-letter-topic=${topics.deadLetters} --max-delivery-attempts=100`;
    problems.push({
      what: `${subject} has no dead letter.`,
      why: 'A message on which its function fails comes again until it expires, and is then gone without a word.',
      mend: `gcloud pubsub subscriptions update ${name} ${flags} ${inProject(site)}`,
    });
  }
  return problems;
}

async function hasTopic({ clients }: Site, name: string): Promise<boolean> {
  const found = await unlessMissing(async () => {
    await call(`GetTopic ${name}`, limits.callDeadlineMs, async (options) =>
      (await clients.pubsub()).topic(name).getMetadata(options),
    );
    return true;
  });
  return found ?? false;
}

/** Null when there is none. */
export function readSubscription({ clients }: Site, name: string): Promise<Subscription | null> {
  const title = `GetSubscription ${name}`;
  return unlessMissing(async () => {
    const [reply] = await call(title, limits.callDeadlineMs, async (options) =>
      (await clients.pubsub()).subscription(name).getMetadata(options),
    );
    return parseReply(title, subscriptionSchema, reply);
  });
}

async function unlessMissing<T>(read: () => Promise<T>): Promise<T | null> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof PermanentError && error.code === 'notFound') return null;
    throw error;
  }
}

/** The project may be its number. */
function isSameTopic(a: string, b: string): boolean {
  return a.split('/').at(-1) === b.split('/').at(-1);
}
