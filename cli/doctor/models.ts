/** Could a rollout do its work? Endpoints and models are there, Monitoring sees requests in time, nothing bills for nobody. */
import { PermanentError } from '../../functions/engine/errors.ts';
import { limits } from '../../functions/engine/limits.ts';
import type { EndpointView } from '../../functions/engine/ports.ts';
import { REQUESTS } from '../../functions/gcp/prediction-counts.ts';
import { countOf, readSeries } from '../../functions/gcp/time-series.ts';
import type { Policy } from '../../machines/policy/policy.ts';
import type { EndpointRecord } from '../../machines/rollout/record.ts';
import { isSameEndpoint, parseEndpointName, parseModelName } from '../../machines/rollout/resource-name.ts';
import { clean, roughly } from '../text.ts';
import { type Check, count, inProject, type Outcome, type Problem } from './checkup.ts';
import type { Site } from './site.ts';

/** Beyond the metric lag, how far back requests are looked for. */
const periodsBack = 30;
/** A point's own length, and one more to be written and read. */
const periodsLate = 2;

export const modelChecks: Check[] = [
  { name: 'endpoints', run: checkEndpoints },
  { name: 'models', run: checkModels },
  { name: 'metrics', run: checkMetrics },
  { name: 'orphans', run: checkOrphans },
];

async function checkEndpoints(site: Site): Promise<Outcome> {
  const policies = await reachablePolicies(site);
  const problems: Problem[] = [];
  for (const { name, endpoint } of policies) {
    const view = await readEndpoint(site, endpoint);
    if (view === null) {
      problems.push({
        what: `Policy ${name} is for ${endpoint}, which does not exist.`,
        why: 'Each of its rollouts fails at once.',
        mend: `gcloud ai endpoints list ${inRegionOf(site, endpoint)}, and name one of them in the policy`,
      });
      continue;
    }
    for (const { id, availableReplicas } of view.deployedModels) {
      if (availableReplicas !== 0 || (view.split[id] ?? 0) === 0) continue;
      problems.push({
        what: `DeployedModel ${id} has ${view.split[id]}% of ${endpoint}, and no replica that serves.`,
        why: 'Its callers get errors, and a rollout that compares with it learns nothing.',
        mend: `gcloud ai endpoints describe ${inRegionOf(site, endpoint)}`,
      });
    }
  }
  return { seen: `${count(new Set(policies.map(({ endpoint }) => endpoint)).size, 'endpoint')} looked at`, problems };
}

async function checkModels(site: Site): Promise<Outcome> {
  const problems: Problem[] = [];
  const named = (await reachablePolicies(site)).flatMap(({ name, match }) =>
    match.kind === 'model' ? [{ name, model: match.model }] : [],
  );
  for (const { name, model } of named) {
    // Every model has a version with this alias.
    if ((await site.models.readAlias(model, 'default')) !== null) continue;
    problems.push({
      what: `Policy ${name} is for ${model}, which does not exist.`,
      why: 'A blessing of the model that was meant matches no policy.',
      mend: `gcloud ai models list --region=${parseModelName(model)?.location ?? site.environment.location} ${inProject(site)}, and name one of them in the policy`,
    });
  }
  return { seen: `${count(named.length, 'model')} named by policies`, problems };
}

async function checkMetrics(site: Site): Promise<Outcome> {
  const problems: Problem[] = [];
  const ages: string[] = [];
  for (const { name, endpoint, analysis } of await reachablePolicies(site)) {
    const view = await readEndpoint(site, endpoint);
    if (view === null || Object.keys(view.split).length === 0) continue;
    const lagMs = analysis.metricLagSeconds * 1000;
    const { periodMs, fromAt, newestAt } = await newestRequest(site, endpoint, lagMs);
    const id = parseEndpointName(endpoint)?.id ?? endpoint;
    const ageMs = site.now() - (newestAt ?? fromAt);
    ages.push(`${id} ${newestAt === null ? 'none' : `${roughly(ageMs)} old`}`);
    if (newestAt !== null && ageMs <= lagMs + periodsLate * periodMs) continue;
    problems.push({
      what: `The newest request that Monitoring shows of ${endpoint} is ${newestAt === null ? `older than ${roughly(ageMs)}` : `${roughly(ageMs)} old`}; policy ${name} expects ${roughly(lagMs)}.`,
      why: 'A rollout of now finds no data, and pauses or rolls back when its patience ends.',
      mend: 'if nobody asks this endpoint, that is all; if somebody does, raise analysis.metricLag in the policy, and: terraform apply',
    });
  }
  return { seen: ages.length === 0 ? 'no endpoint serves' : ages.join(', '), problems };
}

/** As a rollout would ask; see functions/wiring.ts for the period. */
async function newestRequest({ environment, clients, now }: Site, endpoint: string, lagMs: number) {
  const periodMs = environment.emulators.monitoring === null ? 60_000 : 1000;
  const toAt = Math.floor(now() / periodMs) * periodMs;
  const fromAt = toAt - (Math.ceil(lagMs / periodMs) + periodsBack) * periodMs;
  const { id = '', project = environment.project } = parseEndpointName(endpoint) ?? {};
  const { points } = await readSeries(
    clients,
    {
      project,
      filter: `${REQUESTS} AND resource.type="aiplatform.googleapis.com/Endpoint" AND resource.labels.endpoint_id=one_of("${id}")`,
      window: { fromAt, toAt },
      periodMs,
      aligner: 'ALIGN_DELTA',
      groupByFields: ['resource.label.endpoint_id'],
      deadlineMs: limits.metricsDeadlineMs,
    },
    countOf,
  );
  const ends = points.filter(({ value }) => value > 0).map(({ endAt }) => endAt);
  return { periodMs, fromAt, newestAt: ends.length === 0 ? null : Math.max(...ends) };
}

async function checkOrphans(site: Site): Promise<Outcome> {
  const [policies, { readable }] = await Promise.all([reachablePolicies(site), site.records()]);
  const names = new Set([...policies.map(({ endpoint }) => endpoint), ...readable.map(({ endpoint }) => endpoint)]);
  const problems: Problem[] = [];
  let deployed = 0;
  for (const endpoint of names) {
    const view = await readEndpoint(site, endpoint);
    if (view === null) continue;
    deployed += view.deployedModels.length;
    const record = readable.find((one) => isSameEndpoint(one.endpoint, endpoint));
    for (const { id, displayName, versionId, minReplicas } of view.deployedModels) {
      if ((view.split[id] ?? 0) > 0 || isNeeded(record, id)) continue;
      problems.push({
        what: `DeployedModel ${id} (${clean(displayName)}, version ${versionId}) has no traffic on ${endpoint}, and no rollout under way needs it.`,
        why: `It bills for ${minReplicas === null ? 'its replicas' : count(minReplicas, 'replica')} around the clock.`,
        mend: `gcloud ai endpoints undeploy-model ${endpoint} --deployed-model-id=${id} ${inRegionOf(site, endpoint)}`,
      });
    }
  }
  return { seen: count(deployed, 'DeployedModel'), problems };
}

/** A rollout's canary, and the stable that it may go back to. */
function isNeeded(record: EndpointRecord | undefined, id: string): boolean {
  if (!record?.active) return false;
  const { canaryId, stableModels } = record.active.context;
  return id === canaryId || stableModels.some((model) => model.id === id);
}

/** Those whose endpoint is where the functions look; the others are a problem of their own. */
async function reachablePolicies(site: Site): Promise<Policy[]> {
  const { policies } = await site.policies();
  return policies.filter(({ endpoint }) => parseEndpointName(endpoint)?.location === site.environment.location);
}

/** Null when there is none. */
async function readEndpoint(site: Site, name: string): Promise<EndpointView | null> {
  try {
    return await site.endpoint(name);
  } catch (error) {
    if (error instanceof PermanentError && error.code === 'notFound') return null;
    throw error;
  }
}

function inRegionOf(site: Site, endpoint: string): string {
  return `--region=${parseEndpointName(endpoint)?.location ?? site.environment.location} ${inProject(site)}`;
}
