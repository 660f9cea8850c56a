/**
 * What has Vertex AI Model Monitoring found? Deviations per feature from a ModelDeploymentMonitoringJob (v1, of an
 * endpoint's DeployedModels) or a ModelMonitor (v2, of one model version), each read at most once.
 */
import type { CallOptions } from 'google-gax';
import { z } from 'zod';
import { isSameEndpoint, isSameModel } from '../../machines/rollout/resource-name.ts';
import { PermanentError } from '../engine/errors.ts';
import { limits } from '../engine/limits.ts';
import type { Clients } from './clients.ts';
import type { SignalQuery } from './signals.ts';
import { call, parseReply } from './status.ts';

export interface Deviation {
  /** Such as drift or skew: one feature has a deviation of each. */
  objective: string;
  feature: string;
  /** Where the data begins, in milliseconds since the epoch; null where the platform does not say (v2). */
  startAt: number | null;
  /** What it is dated by: the end of that data (v1), or when the statistics were made (v2). */
  endAt: number;
  /** As received: may be negative, infinite or no number. Null where the statistics hold none. */
  value: number | null;
}

type Models = SignalQuery['models'];

export interface Monitor {
  /** Those of the endpoint's models that are monitored; `problem` is why others are not, and what to do. */
  watched(endpoint: string, models: Models): { models: Models; problem: string | null };
  /** All deviations of a watched DeployedModel that are dated since `sinceAt`, and maybe earlier ones. */
  deviations(deployedModelId: string): Promise<Deviation[]>;
}

/** Milliseconds that the next call may take. Throws a TransientError when there are none left. */
export type Budget = () => number;

const JOB = /^projects\/[^/]+\/locations\/[a-z0-9-]+\/modelDeploymentMonitoringJobs\/[^/]+$/;
const MONITOR = /^projects\/[^/]+\/locations\/[a-z0-9-]+\/modelMonitors\/[^/]+$/;

/** How to open what the name names; null when it names neither a job nor a monitor. */
export function monitorOpener(resource: string): typeof openJob | null {
  if (JOB.test(resource)) return openJob;
  return MONITOR.test(resource) ? openMonitor : null;
}

/** What both APIs hold in one reply at most. */
const statsPerPage = 1000;

const timestampSchema = z
  .object({ seconds: z.coerce.number(), nanos: z.number() })
  .transform(({ seconds, nanos }) => seconds * 1000 + Math.floor(nanos / 1e6));

/** Any double: zod's number refuses NaN and infinities, which one feature may have and the others not. */
const doubleSchema = z.custom<number>((value) => typeof value === 'number', 'expected a double');

/** With `autoPaginate: false` a client gives [items, next request, response]. */
const pageOf = <Item extends z.ZodType>(item: Item) =>
  z.tuple([z.array(item).nullable(), z.unknown(), z.object({ nextPageToken: z.string().nullish() })]);

const jobSchema = z.object({
  endpoint: z.string(),
  modelDeploymentMonitoringObjectiveConfigs: z.array(
    z.object({
      deployedModelId: z.string(),
      objectiveConfig: z
        .object({
          predictionDriftDetectionConfig: z.object().nullish(),
          trainingPredictionSkewDetectionConfig: z.object().nullish(),
        })
        .nullish(),
    }),
  ),
});

const jobStatsSchema = z.object({
  objective: z.string(),
  featureStats: z.array(
    z.object({
      featureDisplayName: z.string(),
      predictionStats: z.array(
        z.object({
          distributionDeviation: doubleSchema,
          startTime: timestampSchema.nullish(),
          endTime: timestampSchema,
        }),
      ),
    }),
  ),
});

/** A job compares with a training set (skew), earlier requests (drift), or both: what it has not is not asked for. */
async function openJob(clients: Clients, resource: string, sinceAt: number, budget: Budget): Promise<Monitor> {
  const get = `GetModelDeploymentMonitoringJob ${resource}`;
  const [reply] = await call(get, budget(), async (options) =>
    (await clients.jobs()).getModelDeploymentMonitoringJob({ name: resource }, options),
  );
  const job = parseReply(get, jobSchema, reply);
  const objectives = new Map(
    job.modelDeploymentMonitoringObjectiveConfigs.map(({ deployedModelId, objectiveConfig: config }) => {
      const types: ('RAW_FEATURE_DRIFT' | 'RAW_FEATURE_SKEW')[] = [];
      if (config?.predictionDriftDetectionConfig != null) types.push('RAW_FEATURE_DRIFT');
      if (config?.trainingPredictionSkewDetectionConfig != null) types.push('RAW_FEATURE_SKEW');
      return [deployedModelId, types.map((type) => ({ type }))];
    }),
  );
  const isMonitored = (id: string) => (objectives.get(id) ?? []).length > 0;

  async function search(deployedModelId: string): Promise<Deviation[]> {
    const name = `SearchModelDeploymentMonitoringStatsAnomalies ${resource} (DeployedModel ${deployedModelId})`;
    const found = await allPages(name, jobStatsSchema, budget, async (page, options) =>
      (await clients.jobs()).searchModelDeploymentMonitoringStatsAnomalies(
        {
          modelDeploymentMonitoringJob: resource,
          deployedModelId,
          objectives: objectives.get(deployedModelId) ?? [],
          // Without an end: should "generated" mean when the job ran, it may be hours after the data that it is about.
          startTime: timestamp(sinceAt),
          ...page,
        },
        options,
      ),
    );
    return found.flatMap(({ objective, featureStats }) =>
      featureStats.flatMap(({ featureDisplayName: feature, predictionStats }) =>
        predictionStats.map(({ distributionDeviation: value, startTime, endTime }) => ({
          objective,
          feature,
          startAt: startTime ?? null,
          endAt: endTime,
          value,
        })),
      ),
    );
  }

  return {
    watched(endpoint, models) {
      if (!isSameEndpoint(job.endpoint, endpoint)) {
        const problem = `it monitors ${job.endpoint}; name the job that monitors ${endpoint}`;
        return { models: [], problem };
      }
      const missing = models.flatMap(({ id }) => (isMonitored(id) ? [] : [id])).join(', ');
      const problem = `it monitors neither drift nor skew of DeployedModel ${missing}; give each an objective config`;
      return { models: models.filter(({ id }) => isMonitored(id)), problem: missing === '' ? null : problem };
    },
    deviations: once(search),
  };
}

const monitorSchema = z.object({
  modelMonitoringTarget: z
    .object({ vertexModel: z.object({ model: z.string(), modelVersionId: z.string() }).nullish() })
    .nullish(),
});

const monitorStatsSchema = z.object({
  tabularStats: z
    .object({
      statsName: z.string(),
      dataPoints: z.array(
        z.object({
          currentStats: z
            .object({
              doubleValue: doubleSchema.nullish(),
              distributionValue: z.object({ distributionDeviation: doubleSchema }).nullish(),
            })
            .nullish(),
          createTime: timestampSchema,
        }),
      ),
    })
    .nullish(),
});

/** A monitor's statistics are of one model version: every DeployedModel of that version is judged by the same ones. */
async function openMonitor(clients: Clients, resource: string, sinceAt: number, budget: Budget): Promise<Monitor> {
  const get = `GetModelMonitor ${resource}`;
  const [reply] = await call(get, budget(), async (options) =>
    (await clients.modelMonitoring()).getModelMonitor({ name: resource }, options),
  );
  const target = parseReply(get, monitorSchema, reply).modelMonitoringTarget?.vertexModel;

  async function search(objectiveType: string): Promise<Deviation[]> {
    const name = `SearchModelMonitoringStats ${resource} (${objectiveType})`;
    const found = await allPages(name, monitorStatsSchema, budget, async (page, options) =>
      (await clients.modelMonitoring()).searchModelMonitoringStats(
        {
          modelMonitor: resource,
          statsFilter: { tabularStatsFilter: { objectiveType } },
          timeInterval: { startTime: timestamp(sinceAt) },
          ...page,
        },
        options,
      ),
    );
    return found.flatMap(({ tabularStats }) =>
      (tabularStats?.dataPoints ?? []).map(({ currentStats, createTime }) => ({
        objective: objectiveType,
        feature: tabularStats?.statsName ?? '',
        startAt: null,
        endAt: createTime,
        value: currentStats?.distributionValue?.distributionDeviation ?? currentStats?.doubleValue ?? null,
      })),
    );
  }
  const readAll = once(async () =>
    (await Promise.all(['raw-feature-drift', 'prediction-output-drift'].map(search))).flat(),
  );

  return {
    watched(_, models) {
      const watched = models.filter(
        ({ model, versionId }) =>
          target != null && isSameModel(target.model, model) && target.modelVersionId === versionId,
      );
      if (watched.length > 0) return { models: watched, problem: null };
      const of = target == null ? 'no model' : `version ${target.modelVersionId} of ${target.model}`;
      const problem = `it monitors ${of}, which is not in this rollout; name the canary's, with {version} for it`;
      return { models: [], problem };
    },
    deviations: () => readAll('all'),
  };
}

/** Reads page after page, each within the budget; PermanentError `internal` where they do not end. */
async function allPages<Item extends z.ZodType>(
  name: string,
  itemSchema: Item,
  budget: Budget,
  ask: (page: { pageSize: number; pageToken: string }, options: CallOptions) => Promise<unknown>,
): Promise<z.output<Item>[]> {
  const found: z.output<Item>[] = [];
  let pageToken = '';
  for (let page = 0; page < limits.pagesMax; page++) {
    const reply = await call(name, budget(), (options) =>
      ask({ pageSize: statsPerPage, pageToken }, { ...options, autoPaginate: false }),
    );
    const [items, , { nextPageToken }] = parseReply(name, pageOf(itemSchema), reply);
    found.push(...(items ?? []));
    pageToken = nextPageToken ?? '';
    if (pageToken === '') return found;
  }
  throw new PermanentError('internal', `${name}: more than ${limits.pagesMax} pages of ${statsPerPage} statistics`);
}

/** Asks once for each key: all who want an answer share it, and its failure. */
export function once<T>(ask: (key: string) => Promise<T>): (key: string) => Promise<T> {
  const answers = new Map<string, Promise<T>>();
  return (key) => {
    const answer = answers.get(key) ?? ask(key);
    answers.set(key, answer);
    return answer;
  };
}

function timestamp(at: number) {
  return { seconds: Math.floor(at / 1000), nanos: Math.floor((at % 1000) * 1_000_000) };
}
